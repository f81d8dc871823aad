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

void sum_backward(size_t count, int terms, const float* coefficients, const float* top_diff,
                  float* const* bottom_diffs) {
  share(count, [=](size_t first, size_t last) {
    const ptrdiff_t n = last - first;
    const auto times = [=](float* diff, float c) {
      if (c != 1)
        map(n, diff + first, [=](vec d) { return c * d; }, top_diff + first);
      else if (diff != top_diff)
        memcpy(diff + first, top_diff + first, n * sizeof(float));
    };
    int own = -1;   // the one that is the top's, last
    for (int t = 0; t < terms; ++t) {
      if (bottom_diffs[t] == top_diff)
        own = t;
      else if (bottom_diffs[t])
        times(bottom_diffs[t], coefficients[t]);
    }
    if (own >= 0) times(bottom_diffs[own], coefficients[own]);
  });
}

}  // namespace ACCEL_ISA
}  // namespace accel
