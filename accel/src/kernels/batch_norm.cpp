// Batch normalisation: each channel by its own mean and variance.
#include <math.h>

#include "rows.h"
#include "table.h"

namespace accel {
namespace ACCEL_ISA {
namespace {

// Mean, and sum of the squares of what differs from it, of the numbers seen so far.
struct Moments {
  double count = 0, mean = 0, squares = 0;

  // One more row, a block at a time: it is in the first level cache when its squares are added up around its own mean,
  // and two blocks are put together exactly (Chan, Golub and LeVeque).
  void add(const float* row, int length) {
    for (int first = 0; first < length; first += 2048) add_block(row + first, min(2048, length - first));
  }

  void add_block(const float* x, int n) {
    double sum = 0;
    total<1>(n, &sum, [](vec* sums, vec x) { sums[0] += x; }, x);
    const double own = sum / n;
    const vec center = broadcast(static_cast<float>(own));
    vec a = {}, b = {};
    int j = 0;
    for (; j + 2 * W <= n; j += 2 * W) {
      const vec d = load(x + j) - center, e = load(x + j + W) - center;
      a += d * d;
      b += e * e;
    }
    if (j + W <= n) {
      const vec d = load(x + j) - center;
      a += d * d;
      j += W;
    }
    if (j < n) {
      const vec d = load_part(x + j, n - j, center) - center;
      b += d * d;
    }
    squares += add_up(a + b);
    if (count == 0) {
      count = n;
      mean = own;
      return;
    }
    const double apart = own - mean, share = n / (count + n);
    squares += apart * apart * count * share;
    mean += apart * share;
    count += n;
  }
};

}  // namespace

void batch_norm(int images, int channels, int pixels, float eps, const float* bottom, float* mean, float* variance,
                float* kept, float* top) {
  each(channels, static_cast<ptrdiff_t>(images) * pixels, [=](int c) {
    const ptrdiff_t first = static_cast<ptrdiff_t>(c) * pixels, image = static_cast<ptrdiff_t>(channels) * pixels;
    Moments moments;
    for (int n = 0; n < images; ++n) moments.add(bottom + first + n * image, pixels);
    mean[c] = static_cast<float>(moments.mean);
    variance[c] = static_cast<float>(moments.squares / moments.count);
    const float center = mean[c], factor = 1 / sqrtf(variance[c] + eps);
    for (int n = images - 1; n >= 0; --n) {   // backwards, from what the caches still have
      const float* row = bottom + first + n * image;
      if (kept) memcpy(kept + first + n * image, row, pixels * sizeof(float));
      map(pixels, top + first + n * image, [=](vec x) { return (x - center) * factor; }, row);
    }
  });
}

void batch_norm_backward(int images, int channels, int pixels, const float* mean, const float* deviation,
                         const float* bottom, const float* top_diff, float* bottom_diff) {
  each(channels, static_cast<ptrdiff_t>(images) * pixels, [=](int c) {
    const ptrdiff_t first = static_cast<ptrdiff_t>(c) * pixels, image = static_cast<ptrdiff_t>(channels) * pixels;
    const float center = mean[c], factor = 1 / deviation[c];
    double totals[2] = {0, 0};    // of the diff, and of the diff times the normalised number
    for (int n = 0; n < images; ++n)
      total<2>(pixels, totals, [=](vec* sums, vec d, vec x) {
        sums[0] += d;
        sums[1] += d * ((x - center) * factor);
      }, top_diff + first + n * image, bottom + first + n * image);
    const double count = static_cast<double>(images) * pixels;
    const float shift = static_cast<float>(totals[0] / count), slope = static_cast<float>(totals[1] / count);
    for (int n = images - 1; n >= 0; --n)
      map(pixels, bottom_diff + first + n * image, [=](vec d, vec x) {
        return (d - shift - slope * ((x - center) * factor)) * factor;
      }, top_diff + first + n * image, bottom + first + n * image);
  });
}

}  // namespace ACCEL_ISA
}  // namespace accel
