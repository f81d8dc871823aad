// What windows that slide over a plane have in common. Each row of windows is pooled down its columns first, whole
// vectors at a time, into a line that has the padding on both sides, and then along that line.
#ifndef ACCEL_POOLING_H_
#define ACCEL_POOLING_H_

#include "rows.h"
#include "table.h"

namespace accel {
namespace ACCEL_ISA {

// Floats in a line: as far as vectors of the last windows look.
static inline int line_length(const Pool& p) {
  return max(p.pad_w + p.width, (round_up(p.out_width, W) - 1) * p.stride_w + p.kernel_w) + 2 * W;
}

// Rows of the plane that a row of windows covers: [first, last), which may be none.
struct Rows {
  int first, last;
  Rows(const Pool& p, int y)
      : first(max(y * p.stride_h - p.pad_h, 0)), last(min(y * p.stride_h - p.pad_h + p.kernel_h, p.height)) {}
};

// W numbers, `stride` apart.
static inline vec every(const float* p, int stride) {
  if (stride == 1) return load(p);
  if (stride == 2) return even(load(p), load(p + W));
  vec v;
  for (int i = 0; i < W; ++i) v[i] = p[i * stride];
  return v;
}

}  // namespace ACCEL_ISA
}  // namespace accel

#endif
