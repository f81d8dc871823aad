// Max pooling.
#include <float.h>

#include "../parallel.h"
#include "table.h"

namespace accel {
namespace ACCEL_ISA {

// Caffe takes the first of equal maxima, and nothing where all are NaN: value -FLT_MAX, index -1.
static inline int arg_max(const Pool& p, const float* plane, int y, int x, float* value) {
  const int top = max(y * p.stride_h - p.pad_h, 0), bottom = min(y * p.stride_h - p.pad_h + p.kernel_h, p.height);
  const int left = max(x * p.stride_w - p.pad_w, 0), right = min(x * p.stride_w - p.pad_w + p.kernel_w, p.width);
  float best = -FLT_MAX;
  int index = -1;
  for (int i = top; i < bottom; ++i)
    for (int j = left; j < right; ++j)
      if (plane[i * p.width + j] > best) {
        best = plane[i * p.width + j];
        index = i * p.width + j;
      }
  *value = best;
  return index;
}

static inline bool halves(const Pool& p) {
  return p.kernel_h == 2 && p.kernel_w == 2 && p.stride_h == 2 && p.stride_w == 2 && p.pad_h == 0 && p.pad_w == 0;
}

void max_pool(const Pool& p, int planes, const float* bottom, float* top) {
  each(planes, static_cast<ptrdiff_t>(p.height) * p.width, [&](int c) {
    const float* in = bottom + static_cast<ptrdiff_t>(c) * p.height * p.width;
    float* out = top + static_cast<ptrdiff_t>(c) * p.out_height * p.out_width;
    for (int y = 0; y < p.out_height; ++y, out += p.out_width) {
      int x = 0;
      if (halves(p) && 2 * y + 1 < p.height) {
        const float *a = in + 2 * y * p.width, *b = a + p.width;
        const vec lowest = broadcast(-FLT_MAX);
        for (; 2 * (x + W) <= p.width; x += W) {
          vec best = max(even(load(a + 2 * x), load(a + 2 * x + W)), lowest);
          best = max(odd(load(a + 2 * x), load(a + 2 * x + W)), best);
          best = max(even(load(b + 2 * x), load(b + 2 * x + W)), best);
          store(out + x, max(odd(load(b + 2 * x), load(b + 2 * x + W)), best));
        }
      }
      for (; x < p.out_width; ++x) arg_max(p, in, y, x, out + x);
    }
  });
}

// The maxima are found again: that is cheaper than an index for each, written forward and read backward.
void max_pool_backward(const Pool& p, int planes, const float* bottom, const float* top_diff, float* bottom_diff) {
  each(planes, static_cast<ptrdiff_t>(p.height) * p.width, [&](int c) {
    const ptrdiff_t plane = static_cast<ptrdiff_t>(p.height) * p.width;
    const float *in = bottom + c * plane, *diff = top_diff + static_cast<ptrdiff_t>(c) * p.out_height * p.out_width;
    float* out = bottom_diff + c * plane;
    if (!halves(p)) memset(out, 0, plane * sizeof(float));
    for (int y = 0; y < p.out_height; ++y, diff += p.out_width) {
      int x = 0;
      if (halves(p)) {
        const bool pair = 2 * y + 1 < p.height;
        const float *a = in + 2 * y * p.width, *b = a + p.width;
        float *da = out + 2 * y * p.width, *db = da + p.width;
        const vec lowest = broadcast(-FLT_MAX), zero = {};
        for (; pair && 2 * (x + W) <= p.width; x += W) {
          const vec a0 = load(a + 2 * x), a1 = load(a + 2 * x + W), b0 = load(b + 2 * x), b1 = load(b + 2 * x + W);
          const vec v[4] = {even(a0, a1), odd(a0, a1), even(b0, b1), odd(b0, b1)}, d = load(diff + x);
          vec best = lowest, g[4] = {zero, zero, zero, zero};
          for (int i = 0; i < 4; ++i) {  // a later one wins only if it is larger
            const auto larger = v[i] > best;
            best = larger ? v[i] : best;
            for (int j = 0; j < i; ++j) g[j] = larger ? zero : g[j];
            g[i] = larger ? d : zero;
          }
          store(da + 2 * x, zip_low(g[0], g[1]));
          store(da + 2 * x + W, zip_high(g[0], g[1]));
          store(db + 2 * x, zip_low(g[2], g[3]));
          store(db + 2 * x + W, zip_high(g[2], g[3]));
        }
        memset(da + 2 * x, 0, (p.width - 2 * x) * sizeof(float));
        if (pair) memset(db + 2 * x, 0, (p.width - 2 * x) * sizeof(float));
      }
      for (; x < p.out_width; ++x) {
        float value;
        const int index = arg_max(p, in, y, x, &value);
        if (index >= 0) out[index] += diff[x];
      }
    }
  });
}

}  // namespace ACCEL_ISA
}  // namespace accel
