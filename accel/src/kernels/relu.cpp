// ReLU, leaky or not.
#include "../parallel.h"
#include "table.h"

namespace accel {
namespace ACCEL_ISA {

void relu(size_t count, float slope, const float* bottom, float* top) {
  share(count, [=](size_t first, size_t last) {
    // Written out, because not every compiler makes vectors of it, nor of relu_backward, whose diffs may be equal.
    const vec zero = {}, other = broadcast(slope);
    size_t i = first;
    for (; i + W <= last; i += W) {
      const vec x = load(bottom + i);
      store(top + i, (x < zero ? zero : x) + other * (x > zero ? zero : x));  // NaN stays NaN
    }
    for (; i < last; ++i) top[i] = (bottom[i] < 0 ? 0.f : bottom[i]) + slope * (bottom[i] > 0 ? 0.f : bottom[i]);
  });
}

void relu_backward(size_t count, float slope, const float* bottom, const float* top_diff, float* bottom_diff) {
  share(count, [=](size_t first, size_t last) {
    const vec one = broadcast(1.f), other = broadcast(slope);
    size_t i = first;
    for (; i + W <= last; i += W)
      store(bottom_diff + i, load(top_diff + i) * (load(bottom + i) > vec{} ? one : other));
    for (; i < last; ++i) bottom_diff[i] = top_diff[i] * (bottom[i] > 0 ? 1.f : slope);
  });
}

}  // namespace ACCEL_ISA
}  // namespace accel
