// Softmax over the channels of each pixel.
#include "exp.h"
#include "rows.h"
#include "table.h"

namespace accel {
namespace ACCEL_ISA {

// Where a pixel is all there is: a row of channels.
static void softmax_row(int channels, const float* bottom, float* top) {
  float largest = bottom[0];
  for (int c = 1; c < channels; ++c) largest = bottom[c] > largest ? bottom[c] : largest;
  map(channels, top, [=](vec x) { return exp_negative(x - largest); }, bottom);
  double sum = 0;
  total<1>(channels, &sum, [](vec* sums, vec y) { sums[0] += y; }, top);
  const float whole = static_cast<float>(sum);
  map(channels, top, [=](vec y) { return y / whole; }, top);
}

void softmax(int images, int channels, int pixels, const float* bottom, float* top) {
  if (pixels == 1) {
    return each(images, 8 * channels, [=](int n) {
      const ptrdiff_t row = static_cast<ptrdiff_t>(n) * channels;
      softmax_row(channels, bottom + row, top + row);
    });
  }
  constexpr int SPAN = 16 * W;  // pixels at a time: all their channels stay in the first level cache
  const int spans = ceil_div(pixels, SPAN);
  each(images * spans, static_cast<ptrdiff_t>(channels) * SPAN, [&](int task) {
    const int first = task % spans * SPAN, length = min(SPAN, pixels - first);
    const ptrdiff_t start = static_cast<ptrdiff_t>(task / spans) * channels * pixels + first;
    float largest[SPAN], total[SPAN], line[SPAN];
    memset(total, 0, sizeof total);
    memset(line, 0, sizeof line);
    memcpy(largest, bottom + start, length * sizeof(float));
    for (int c = 1; c < channels; ++c) {
      const float* in = bottom + start + static_cast<ptrdiff_t>(c) * pixels;
      for (int j = 0; j < length; ++j) largest[j] = in[j] > largest[j] ? in[j] : largest[j];
    }
    for (int c = 0; c < channels; ++c) {
      const float* in = bottom + start + static_cast<ptrdiff_t>(c) * pixels;
      for (int j = 0; j < length; ++j) line[j] = in[j] - largest[j];
      for (int j = 0; j < length; j += W) {
        const vec e = exp_negative(load(line + j));
        store(line + j, e);
        store(total + j, load(total + j) + e);
      }
      memcpy(top + start + static_cast<ptrdiff_t>(c) * pixels, line, length * sizeof(float));
    }
    for (int c = 0; c < channels; ++c) {
      float* out = top + start + static_cast<ptrdiff_t>(c) * pixels;
      for (int j = 0; j < length; ++j) out[j] /= total[j];
    }
  });
}

void softmax_backward(int images, int channels, int pixels, const float* top, const float* top_diff,
                      float* bottom_diff) {
  if (pixels == 1) {
    return each(images, 2 * channels, [=](int n) {
      const ptrdiff_t row = static_cast<ptrdiff_t>(n) * channels;
      double dot = 0;
      total<1>(channels, &dot, [](vec* sums, vec d, vec y) { sums[0] += d * y; }, top_diff + row, top + row);
      const float product = static_cast<float>(dot);
      map(channels, bottom_diff + row, [=](vec d, vec y) { return (d - product) * y; }, top_diff + row, top + row);
    });
  }
  constexpr int SPAN = 16 * W;
  const int spans = ceil_div(pixels, SPAN);
  each(images * spans, static_cast<ptrdiff_t>(channels) * SPAN, [=](int task) {
    const int first = task % spans * SPAN, length = min(SPAN, pixels - first);
    const ptrdiff_t start = static_cast<ptrdiff_t>(task / spans) * channels * pixels + first;
    float dots[SPAN] = {};
    for (int c = 0; c < channels; ++c) {
      const ptrdiff_t row = start + static_cast<ptrdiff_t>(c) * pixels;
      map(length, dots, [](vec dot, vec d, vec y) { return dot + d * y; }, dots, top_diff + row, top + row);
    }
    for (int c = 0; c < channels; ++c) {
      const ptrdiff_t row = start + static_cast<ptrdiff_t>(c) * pixels;
      map(length, bottom_diff + row, [](vec dot, vec d, vec y) { return (d - dot) * y; }, dots, top_diff + row,
          top + row);
    }
  });
}

}  // namespace ACCEL_ISA
}  // namespace accel
