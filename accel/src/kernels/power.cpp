// Powers of shifted and scaled numbers.
#include <math.h>

#include "rows.h"
#include "table.h"

namespace accel {
namespace ACCEL_ISA {

void power(size_t count, float exponent, float scale, float shift, const float* bottom, float* top) {
  share(count, [=](size_t first, size_t last) {
    const ptrdiff_t n = last - first;
    const float* in = bottom + first;
    float* out = top + first;
    if (exponent == 1) return map(n, out, [=](vec x) { return x * scale + shift; }, in);
    if (exponent == 2) return map(n, out, [=](vec x) { return (x * scale + shift) * (x * scale + shift); }, in);
    if (exponent == 0.5f) return map(n, out, [=](vec x) { return sqrt(x * scale + shift); }, in);
    if (exponent == -1) return map(n, out, [=](vec x) { return 1.f / (x * scale + shift); }, in);
    for (ptrdiff_t i = 0; i < n; ++i) out[i] = powf(in[i] * scale + shift, exponent);
  });
}

void power_backward(size_t count, float exponent, float scale, float shift, const float* bottom, const float* top,
                    const float* top_diff, float* bottom_diff) {
  const float slope = exponent * scale;
  share(count, [=](size_t first, size_t last) {
    const ptrdiff_t n = last - first;
    const float* diff = top_diff + first;
    float* out = bottom_diff + first;
    if (exponent == 1) return map(n, out, [=](vec d) { return d * slope; }, diff);
    if (exponent == 2)
      return map(n, out, [=](vec d, vec x) { return d * slope * (x * scale + shift); }, diff, bottom + first);
    map(n, out, [=](vec d, vec x, vec y) { return d * slope * (y / (x * scale + shift)); }, diff, bottom + first,
        top + first);
  });
}

}  // namespace ACCEL_ISA
}  // namespace accel
