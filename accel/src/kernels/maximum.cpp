// The largest of several, element by element.
#include "rows.h"
#include "table.h"

namespace accel {
namespace ACCEL_ISA {

// Caffe takes the second of the first two unless the first is larger, and a later one only if it is larger.
void maximum(size_t count, int terms, const float* const* bottoms, float* top) {
  share(count, [=](size_t first, size_t last) {
    for (size_t i = first; i < last; i += 1024) {   // stays in the first level cache
      const ptrdiff_t n = last - i < 1024 ? last - i : 1024;
      map(n, top + i, [](vec a, vec b) { return a > b ? a : b; }, bottoms[0] + i, bottoms[1] + i);
      for (int t = 2; t < terms; ++t)
        map(n, top + i, [](vec a, vec b) { return b > a ? b : a; }, top + i, bottoms[t] + i);
    }
  });
}

void maximum_backward(size_t count, int terms, const float* const* bottoms, const float* top_diff,
                      float* const* bottom_diffs) {
  share(count, [=](size_t first, size_t last) {
    for (size_t i = first; i < last; i += W) {
      const ptrdiff_t n = last - i;
      const auto at = [=](const float* p) { return n < W ? load_part(p + i, n) : load(p + i); };
      vec best = at(bottoms[0]);
      index winner = {};
      for (int t = 1; t < terms; ++t) {
        const vec x = at(bottoms[t]);
        const index wins = t == 1 ? ~(best > x) : x > best;
        best = wins ? x : best;
        winner = wins ? index{} + t : winner;
      }
      const vec diff = at(top_diff);
      for (int t = 0; t < terms; ++t) {
        if (!bottom_diffs[t]) continue;
        const vec d = winner == index{} + t ? diff : vec{};
        n < W ? store_part(bottom_diffs[t] + i, d, n) : store(bottom_diffs[t] + i, d);
      }
    }
  });
}

}  // namespace ACCEL_ISA
}  // namespace accel
