// Centers, factors and shifts of channels: what Scale, Bias and a BatchNorm of known statistics compute.
#include "rows.h"
#include "table.h"

namespace accel {
namespace ACCEL_ISA {
namespace {

inline float one(const float* p, int c, float otherwise) { return p ? p[c] : otherwise; }

inline vec some(const float* p, int n, float otherwise) {
  return !p ? broadcast(otherwise) : n < W ? load_part(p, n) : load(p);
}


// Where a channel is a single number: rows of channels.
void scale_columns(int images, int channels, const float* centers, const float* factors, const float* shifts,
                   const float* bottom, float* kept, float* top) {
  each(images, channels, [=](int n) {
    const ptrdiff_t row = static_cast<ptrdiff_t>(n) * channels;
    if (kept) memcpy(kept + row, bottom + row, channels * sizeof(float));
    for (int c = 0; c < channels; c += W) {
      const int left = channels - c;
      const vec center = some(centers ? centers + c : nullptr, left, 0);
      const vec factor = some(factors ? factors + c : nullptr, left, 1);
      const vec shift = some(shifts ? shifts + c : nullptr, left, 0);
      store_some(top + row + c, (some(bottom + row + c, left, 0) - center) * factor + shift, left);
    }
  });
}

void scale_columns_backward(int images, int channels, const float* bottom, const float* factors, const float* top_diff,
                            float* bottom_diff, float* factors_diff, float* shifts_diff) {
  each(ceil_div(channels, W), static_cast<ptrdiff_t>(images) * W, [=](int block) {
    const int c = block * W, left = channels - c;
    const vec factor = some(factors ? factors + c : nullptr, left, 1);
    double to_factors[W] = {}, to_shifts[W] = {};
    for (int n = 0; n < images;) {
      vec products = {}, sums = {};
      for (const int end = min(n + 64, images); n < end; ++n) {   // as in `total`: blocks, for their rounding errors
        const ptrdiff_t at = static_cast<ptrdiff_t>(n) * channels + c;
        const vec diff = some(top_diff + at, left, 0);
        sums += diff;
        if (factors_diff) products += diff * some(bottom + at, left, 0);
        if (bottom_diff) store_some(bottom_diff + at, diff * factor, left);
      }
      for (int i = 0; i < W; ++i) to_factors[i] += products[i], to_shifts[i] += sums[i];
    }
    for (int i = 0; i < min(left, W); ++i) {
      if (factors_diff) factors_diff[c + i] += static_cast<float>(to_factors[i]);
      if (shifts_diff) shifts_diff[c + i] += static_cast<float>(to_shifts[i]);
    }
  });
}

}  // namespace

void scale(int images, int channels, int pixels, const float* centers, const float* factors, const float* shifts,
           const float* bottom, float* kept, float* top) {
  if (pixels == 1) return scale_columns(images, channels, centers, factors, shifts, bottom, kept, top);
  each_block(images * channels, pixels, [=](int row, int first, int count) {
    const int c = row % channels;
    const ptrdiff_t at = static_cast<ptrdiff_t>(row) * pixels + first;
    const float center = one(centers, c, 0), factor = one(factors, c, 1), shift = one(shifts, c, 0);
    if (kept) memcpy(kept + at, bottom + at, count * sizeof(float));
    map(count, top + at, [=](vec x) { return (x - center) * factor + shift; }, bottom + at);
  });
}

void scale_backward(int images, int channels, int pixels, const float* bottom, const float* factors,
                    const float* top_diff, float* bottom_diff, float* factors_diff, float* shifts_diff) {
  if (pixels == 1)
    return scale_columns_backward(images, channels, bottom, factors, top_diff, bottom_diff, factors_diff, shifts_diff);
  each(channels, static_cast<ptrdiff_t>(images) * pixels, [=](int c) {
    const float factor = one(factors, c, 1);
    double totals[2] = {0, 0};
    for (int n = 0; n < images; ++n) {
      const ptrdiff_t at = (static_cast<ptrdiff_t>(n) * channels + c) * pixels;
      const float* diff = top_diff + at;
      if (factors_diff) {
        total<2>(pixels, totals, [](vec* sums, vec d, vec x) {
          sums[0] += d;
          sums[1] += d * x;
        }, diff, bottom + at);
      } else if (shifts_diff) {
        total<1>(pixels, totals, [](vec* sums, vec d) { sums[0] += d; }, diff);
      }
      if (bottom_diff && factor != 1)
        map(pixels, bottom_diff + at, [=](vec d) { return d * factor; }, diff);
      else if (bottom_diff && bottom_diff != top_diff)
        memcpy(bottom_diff + at, diff, pixels * sizeof(float));
    }
    if (factors_diff) factors_diff[c] += static_cast<float>(totals[1]);
    if (shifts_diff) shifts_diff[c] += static_cast<float>(totals[0]);
  });
}

}  // namespace ACCEL_ISA
}  // namespace accel
