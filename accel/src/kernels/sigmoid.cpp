// Sigmoid, and Swish, which multiplies with it.
#include "exp.h"
#include "rows.h"
#include "table.h"

namespace accel {
namespace ACCEL_ISA {
namespace {

inline vec logistic(vec x) {
  const vec zero = {}, one = broadcast(1.f);
  const vec e = exp_negative(x > zero ? -x : x);
  return (x > zero ? one : e) / (one + e);
}

}  // namespace

void sigmoid(size_t count, const float* bottom, float* top) {
  share(count, [=](size_t first, size_t last) {
    map(last - first, top + first, [](vec x) { return logistic(x); }, bottom + first);
  });
}

void sigmoid_backward(size_t count, const float* top, const float* top_diff, float* bottom_diff) {
  share(count, [=](size_t first, size_t last) {
    map(last - first, bottom_diff + first, [](vec d, vec y) { return d * y * (1.f - y); }, top_diff + first,
        top + first);
  });
}

void swish(size_t count, float beta, const float* bottom, float* gate, float* top) {
  share(count, [=](size_t first, size_t last) {
    for (size_t i = first; i < last; i += 1024) {   // stays in the first level cache
      const ptrdiff_t n = last - i < 1024 ? last - i : 1024;
      map(n, gate + i, [=](vec x) { return logistic(beta * x); }, bottom + i);
      map(n, top + i, [](vec x, vec g) { return x * g; }, bottom + i, gate + i);
    }
  });
}

void swish_backward(size_t count, float beta, const float* top, const float* gate, const float* top_diff,
                    float* bottom_diff) {
  share(count, [=](size_t first, size_t last) {
    map(last - first, bottom_diff + first, [=](vec d, vec y, vec g) { return d * (beta * y + g * (1.f - beta * y)); },
        top_diff + first, top + first, gate + first);
  });
}

}  // namespace ACCEL_ISA
}  // namespace accel
