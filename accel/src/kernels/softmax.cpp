// Softmax over the channels of each pixel.
#include "../parallel.h"
#include "table.h"

namespace accel {
namespace ACCEL_ISA {
namespace {

// exp(x) for x <= 0 to 2 units in the last place: 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2] (Cephes' coefficients).
inline vec exp_negative(vec x) {
  const vec lowest = broadcast(-87.f);
  const auto tiny = x < lowest;
  x = tiny ? lowest : x;
  const vec magic = broadcast(12582912.f);  // 1.5 x 2^23: adding it rounds to an integer
  const vec shifted = x * 1.44269504f + magic;
  const vec n = shifted - magic;
  x = x - n * 0.693359375f + n * 2.12194440e-4f;
  vec p = broadcast(1.9875691500e-4f);
  p = p * x + 1.3981999507e-3f;
  p = p * x + 8.3334519073e-3f;
  p = p * x + 4.1665795894e-2f;
  p = p * x + 1.6666665459e-1f;
  p = p * x + 5.0000001201e-1f;
  p = p * x * x + x + 1.f;
  const index exponent = (((index)shifted - (index)magic) + 127) << 23;
  return tiny ? vec{} : p * (vec)exponent;
}

}  // namespace

void softmax(int images, int channels, int pixels, const float* bottom, float* top) {
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

}  // namespace ACCEL_ISA
}  // namespace accel
