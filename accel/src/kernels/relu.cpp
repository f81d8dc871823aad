// ReLU, leaky or not.
#include "rows.h"
#include "table.h"

namespace accel {
namespace ACCEL_ISA {

void relu(size_t count, float slope, const float* bottom, float* top) {
  share(count, [=](size_t first, size_t last) {
    const vec zero = {};
    map(last - first, top + first, [=](vec x) {
      return max(zero, x) + slope * min(zero, x);   // NaN stays NaN
    }, bottom + first);
  });
}

void relu_backward(size_t count, float slope, const float* bottom, const float* top_diff, float* bottom_diff) {
  share(count, [=](size_t first, size_t last) {
    const vec zero = {}, one = broadcast(1.f), other = broadcast(slope);
    map(last - first, bottom_diff + first, [=](vec d, vec x) { return d * (x > zero ? one : other); }, top_diff + first,
        bottom + first);
  });
}

}  // namespace ACCEL_ISA
}  // namespace accel
