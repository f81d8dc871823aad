// Products, element by element.
#include "rows.h"
#include "table.h"

namespace accel {
namespace ACCEL_ISA {

constexpr ptrdiff_t BLOCK = 1024;   // stays in the first level cache

void product(size_t count, int terms, const float* const* bottoms, float* top) {
  share(count, [=](size_t first, size_t last) {
    for (size_t i = first; i < last; i += BLOCK) {
      const ptrdiff_t n = static_cast<ptrdiff_t>(last - i) < BLOCK ? last - i : BLOCK;
      const auto times = [](vec x, vec y) { return x * y; };
      map(n, top + i, times, bottoms[0] + i, bottoms[1] + i);
      for (int t = 2; t < terms; ++t) map(n, top + i, times, top + i, bottoms[t] + i);
    }
  });
}

void product_backward(size_t count, int terms, const float* const* bottoms, const float* top, const float* top_diff,
                      float* const* bottom_diffs) {
  share(count, [=](size_t first, size_t last) {
    for (size_t i = first; i < last; i += BLOCK) {
      const ptrdiff_t n = static_cast<ptrdiff_t>(last - i) < BLOCK ? last - i : BLOCK;
      for (int t = 0; t < terms; ++t) {
        if (!bottom_diffs[t]) continue;
        float* out = bottom_diffs[t] + i;
        if (top) {
          map(n, out, [](vec d, vec y, vec x) { return y / x * d; }, top_diff + i, top + i, bottoms[t] + i);
          continue;
        }
        const float* so_far = top_diff + i;
        for (int other = 0; other < terms; ++other) {
          if (other == t) continue;
          map(n, out, [](vec d, vec x) { return d * x; }, so_far, bottoms[other] + i);
          so_far = out;
        }
      }
    }
  });
}

}  // namespace ACCEL_ISA
}  // namespace accel
