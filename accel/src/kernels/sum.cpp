// Weighted sums.
#include "rows.h"
#include "table.h"

namespace accel {
namespace ACCEL_ISA {

void sum(size_t count, int terms, const float* const* bottoms, const float* coefficients, float* top) {
  share(count, [=](size_t first, size_t last) {
    const ptrdiff_t n = last - first;
    const float a = coefficients[0], b = terms > 1 ? coefficients[1] : 0;
    if (terms == 2 && a == 1 && b == 1)
      return map(n, top + first, [](vec x, vec y) { return x + y; }, bottoms[0] + first, bottoms[1] + first);
    if (terms == 2)
      return map(n, top + first, [=](vec x, vec y) { return a * x + b * y; }, bottoms[0] + first, bottoms[1] + first);
    // All terms of a few vectors at a time, since the top may be one of the bottoms.
    size_t i = first;
    for (; i + 4 * W <= last; i += 4 * W) {
      vec s[4] = {};
      for (int t = 0; t < terms; ++t)
        for (int v = 0; v < 4; ++v) s[v] += coefficients[t] * load(bottoms[t] + i + v * W);
      for (int v = 0; v < 4; ++v) store(top + i + v * W, s[v]);
    }
    for (; i < last; ++i) {
      float x = 0;
      for (int t = 0; t < terms; ++t) x += coefficients[t] * bottoms[t][i];
      top[i] = x;
    }
  });
}

void sum_backward(size_t count, int terms, const float* coefficients, const float* top_diff, float* const* bottom_diffs) {
  share(count, [=](size_t first, size_t last) {
    // A block at a time, which stays in the first level cache; the one that is the top's own last.
    for (size_t i = first; i < last; i += 1024) {
      const ptrdiff_t n = last - i < 1024 ? last - i : 1024;
      float* own = nullptr;
      float own_coefficient = 1;
      for (int t = 0; t < terms; ++t) {
        const float c = coefficients[t];
        if (bottom_diffs[t] == top_diff) {
          own = bottom_diffs[t];
          own_coefficient = c;
        } else if (bottom_diffs[t] && c == 1) {
          memcpy(bottom_diffs[t] + i, top_diff + i, n * sizeof(float));
        } else if (bottom_diffs[t]) {
          map(n, bottom_diffs[t] + i, [=](vec d) { return c * d; }, top_diff + i);
        }
      }
      if (own && own_coefficient != 1) map(n, own + i, [=](vec d) { return own_coefficient * d; }, top_diff + i);
    }
  });
}

}  // namespace ACCEL_ISA
}  // namespace accel
