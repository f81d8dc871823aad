// PReLU: ReLU with a slope for each channel.
#include "rows.h"
#include "table.h"

namespace accel {
namespace ACCEL_ISA {

void prelu(int images, int channels, int pixels, const float* slopes, int slopes_stride, const float* bottom,
           float* kept, float* top) {
  each_block(images * channels, pixels, [=](int row, int first, int count) {
    const float slope = slopes[row % channels * slopes_stride];
    const ptrdiff_t at = static_cast<ptrdiff_t>(row) * pixels + first;
    const vec zero = {};
    if (kept) memcpy(kept + at, bottom + at, count * sizeof(float));
    map(count, top + at, [=](vec x) { return max(zero, x) + slope * min(zero, x); }, bottom + at);
  });
}

void prelu_backward(int images, int channels, int pixels, const float* slopes, int slopes_stride, const float* bottom,
                    const float* top_diff, float* bottom_diff, float* slopes_diff) {
  each(channels, static_cast<ptrdiff_t>(images) * pixels, [=](int c) {
    const vec zero = {}, one = broadcast(1.f), slope = broadcast(slopes[c * slopes_stride]);
    double to_slope = 0;
    for (int n = 0; n < images; ++n) {
      const ptrdiff_t at = (static_cast<ptrdiff_t>(n) * channels + c) * pixels;
      if (slopes_diff)
        total<1>(pixels, &to_slope, [=](vec* sums, vec d, vec x) { sums[0] += d * min(zero, x); },
                 top_diff + at, bottom + at);
      if (bottom_diff)
        map(pixels, bottom_diff + at, [=](vec d, vec x) { return d * (x > zero ? one : slope); }, top_diff + at,
            bottom + at);
    }
    if (slopes_diff) slopes_diff[c] += static_cast<float>(to_slope);
  });
}

}  // namespace ACCEL_ISA
}  // namespace accel
