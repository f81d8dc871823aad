// Loops over rows of numbers, a vector at a time and the last one in part.
#ifndef ACCEL_ROWS_H_
#define ACCEL_ROWS_H_

#include "../parallel.h"
#include "simd.h"

namespace accel {
namespace ACCEL_ISA {

// out[j] = f(in[j]...) for n numbers, f of vectors. Any `in` may be `out`. The last vector overlaps the one before; it
// is computed first.
template <typename F, typename... In>
static inline void map(ptrdiff_t n, float* out, const F& f, const In*... in) {
  if (n < W) {
    if (n > 0) store_part(out, f(load_part(in, n)...), n);
    return;
  }
  const vec last = f(load(in + n - W)...);
  for (ptrdiff_t j = 0; j + W < n; j += W) store(out + j, f(load(in + j)...));
  store(out + n - W, last);
}

// Calls f(row, first, count) for blocks of `rows` of `length` numbers each, in pieces.
template <typename F>
static void each_block(int rows, int length, const F& f) {
  const int most = 1 << 14, blocks = ceil_div(length, most);
  each(rows * blocks, min(length, most), [&](int i) {
    const int first = i % blocks * most;
    f(i / blocks, first, min(most, length - first));
  });
}

// totals[k] += the sum of what f(sums, in[j]...) adds to sums[k] for n numbers; for zeros it adds nothing. Blocks keep
// the rounding error of a plane of a million pixels at that of a thousand.
template <int K, typename F, typename... In>
static inline void total(ptrdiff_t n, double* totals, const F& f, const In*... in) {
  for (ptrdiff_t j = 0; j < n;) {
    const ptrdiff_t end = n - j < 128 * W ? n : j + 128 * W;
    vec a[K] = {}, b[K] = {}, c[K] = {}, d[K] = {};
    for (; j + 4 * W <= end; j += 4 * W) {
      f(a, load(in + j)...);
      f(b, load(in + j + W)...);
      f(c, load(in + j + 2 * W)...);
      f(d, load(in + j + 3 * W)...);
    }
    for (; j + W <= end; j += W) f(a, load(in + j)...);
    if (j < end) f(b, load_part(in + j, end - j)...);
    j = end;
    for (int k = 0; k < K; ++k) totals[k] += add_up((a[k] + b[k]) + (c[k] + d[k]));
  }
}

}  // namespace ACCEL_ISA
}  // namespace accel

#endif
