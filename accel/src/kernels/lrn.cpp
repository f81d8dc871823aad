// Local response normalisation over neighbouring channels.
#include <math.h>

#include "rows.h"
#include "table.h"

namespace accel {
namespace ACCEL_ISA {
namespace {

constexpr int SPAN = 128;   // pixels at a time

// x^-beta: Caffe's beta is 0.75 unless a net says otherwise.
inline vec to_minus(float beta, vec x) {
  if (beta == 0.75f) {
    const vec root = sqrt(x);
    return 1.f / (root * sqrt(root));
  }
  if (beta == 0.5f) return 1.f / sqrt(x);
  if (beta == 1.f) return 1.f / x;
  for (int i = 0; i < W; ++i) x[i] = powf(x[i], -beta);
  return x;
}

// What the power is taken of, for a vector at channel c: `x` is a pixel in the first channel.
struct Window {
  const Lrn& l;
  int channels, pixels;
  template <typename Load>
  vec operator()(int c, const float* x, const Load& load) const {
    const int first = max(c - l.size / 2, 0), last = min(c + l.size / 2, channels - 1);
    vec squares = {};
    for (int q = first; q <= last; ++q) {
      const vec v = load(x + static_cast<ptrdiff_t>(q) * pixels);
      squares += v * v;
    }
    return l.k + l.alpha / l.size * squares;
  }
};

// f(j, load, store) for the vectors of a span.
template <typename F>
inline void vectors(int length, const F& f) {
  int j = 0;
  for (; j + W <= length; j += W)
    f(j, [](const float* p) { return load(p); }, [](float* p, vec v) { store(p, v); });
  const int left = length - j;
  if (left) f(j, [=](const float* p) { return load_part(p, left); }, [=](float* p, vec v) { store_part(p, v, left); });
}

}  // namespace

void lrn(const Lrn& l, int images, int channels, int pixels, const float* bottom, float* top) {
  const int spans = ceil_div(pixels, SPAN);
  const Window window = {l, channels, pixels};
  each(images * spans, static_cast<ptrdiff_t>(channels) * SPAN * 4, [&](int task) {
    const int first = task % spans * SPAN, length = min(SPAN, pixels - first);
    const ptrdiff_t start = static_cast<ptrdiff_t>(task / spans) * channels * pixels + first;
    for (int c = 0; c < channels; ++c) {
      const ptrdiff_t row = start + static_cast<ptrdiff_t>(c) * pixels;
      vectors(length, [&](int j, const auto& load, const auto& store) {
        store(top + row + j, load(bottom + row + j) * to_minus(l.beta, window(c, bottom + start + j, load)));
      });
    }
  });
}

void lrn_backward(const Lrn& l, int images, int channels, int pixels, const float* bottom, const float* top,
                  const float* top_diff, float* bottom_diff) {
  const int spans = ceil_div(pixels, SPAN), reach = l.size / 2;
  const float factor = 2 * l.alpha * l.beta / l.size;
  const Window window = {l, channels, pixels};
  each(images * spans, static_cast<ptrdiff_t>(channels) * SPAN * 8, [&](int task) {
    const int first = task % spans * SPAN, length = min(SPAN, pixels - first);
    const ptrdiff_t start = static_cast<ptrdiff_t>(task / spans) * channels * pixels + first;
    float* ratios = scratch(static_cast<size_t>(l.size) * SPAN);    // of the last `size` channels
    memset(ratios, 0, static_cast<size_t>(l.size) * SPAN * sizeof(float));
    for (int c = 0; c < channels + reach; ++c) {
      float* ratio = ratios + c % l.size * SPAN;
      const ptrdiff_t row = start + static_cast<ptrdiff_t>(c) * pixels;
      if (c < channels) {
        vectors(length, [&](int j, const auto& load, const auto& store) {
          const vec scale = window(c, bottom + start + j, load), diff = load(top_diff + row + j);
          accel::ACCEL_ISA::store(ratio + j, diff * load(top + row + j) / scale);
          store(bottom_diff + row + j, diff * to_minus(l.beta, scale));
        });
      } else {
        memset(ratio, 0, SPAN * sizeof(float));
      }
      if (c < reach) continue;
      const ptrdiff_t middle = row - static_cast<ptrdiff_t>(reach) * pixels;
      vectors(length, [&](int j, const auto& load, const auto& store) {
        vec sum = {};
        for (int q = 0; q < l.size; ++q) sum += accel::ACCEL_ISA::load(ratios + q * SPAN + j);
        store(bottom_diff + middle + j, load(bottom_diff + middle + j) - factor * load(bottom + middle + j) * sum);
      });
    }
  });
}

}  // namespace ACCEL_ISA
}  // namespace accel
