// Layers that do little with each number: they run at the speed of memory, so one pass and all threads are what counts.
#include <float.h>
#include <omp.h>

#include "kernels.h"
#include "simd.h"

namespace accel {
namespace ACCEL_ISA {
namespace {

// Call f(first, last) for one contiguous share of [0, count) in each thread; shares begin on a cache line or page.
template <typename F>
void share(size_t count, const F& f) {
  if (count < 1 << 14) return f(0, count);
#pragma omp parallel
  {
    const size_t grain = 1 << 10, threads = omp_get_num_threads(), grains = (count + grain - 1) / grain;
    const size_t first = grains * omp_get_thread_num() / threads * grain;
    const size_t last = grains * (omp_get_thread_num() + 1) / threads * grain;
    if (first < count) f(first, last < count ? last : count);
  }
}

}  // namespace

void relu(size_t count, float slope, const float* bottom, float* top) {
  share(count, [=](size_t first, size_t last) {
    // Written out, because not every compiler makes vectors of it, nor of relu_backward, whose diffs may be equal.
    const vec zero = {}, other = broadcast(slope);
    size_t i = first;
    for (; i + W <= last; i += W) {
      const vec x = load(bottom + i);
      store(top + i, (x < zero ? zero : x) + other * (x > zero ? zero : x));  // NaN stays NaN
    }
    for (; i < last; ++i) top[i] = (bottom[i] < 0 ? 0.f : bottom[i]) + slope * (bottom[i] > 0 ? 0.f : bottom[i]);
  });
}

void relu_backward(size_t count, float slope, const float* bottom, const float* top_diff, float* bottom_diff) {
  share(count, [=](size_t first, size_t last) {
    const vec one = broadcast(1.f), other = broadcast(slope);
    size_t i = first;
    for (; i + W <= last; i += W)
      store(bottom_diff + i, load(top_diff + i) * (load(bottom + i) > vec{} ? one : other));
    for (; i < last; ++i) bottom_diff[i] = top_diff[i] * (bottom[i] > 0 ? 1.f : slope);
  });
}

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
#pragma omp parallel for schedule(static)
  for (int c = 0; c < planes; ++c) {
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
  }
}

// The maxima are found again: that is cheaper than an index for each, written forward and read backward.
void max_pool_backward(const Pool& p, int planes, const float* bottom, const float* top_diff, float* bottom_diff) {
#pragma omp parallel for schedule(static)
  for (int c = 0; c < planes; ++c) {
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
  }
}

// top = coefficients[0] bottoms[0] + ...; top may be one of them.
void sum(size_t count, int terms, const float* const* bottoms, const float* coefficients, float* top) {
  share(count, [=](size_t first, size_t last) {
    for (size_t i = first; i < last; ++i) {
      float x = 0;
      for (int t = 0; t < terms; ++t) x += coefficients[t] * bottoms[t][i];
      top[i] = x;
    }
  });
}

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
#pragma omp parallel for schedule(static)
  for (int task = 0; task < images * spans; ++task) {
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
  }
}

void sgd(size_t count, const Sgd& s, float* data, float* diff, float* history) {
  share(count, [=](size_t first, size_t last) {
    if (s.l1) {
      for (size_t i = first; i < last; ++i) {
        const float sign = static_cast<float>((data[i] > 0) - (data[i] < 0));
        const float h = s.rate * (diff[i] * s.scale + s.decay * sign) + s.momentum * history[i];
        history[i] = diff[i] = h;
        data[i] -= h;
      }
    } else {
      for (size_t i = first; i < last; ++i) {
        const float h = s.rate * (diff[i] * s.scale + s.decay * data[i]) + s.momentum * history[i];
        history[i] = diff[i] = h;
        data[i] -= h;
      }
    }
  });
}

// Deconvolution of each plane with its own kernel. Every bottom pixel adds a scaled kernel to the top.
void upsample(int planes, int height, int width, int kernel, int stride, int pad, const float* weights,
              ptrdiff_t weights_stride, const float* bottom, float* top) {
  const int out_height = (height - 1) * stride + kernel - 2 * pad, out_width = (width - 1) * stride + kernel - 2 * pad;
  const int line_length = (width - 1) * stride + kernel;
  float* lines = scratch(static_cast<size_t>(line_length) * omp_get_max_threads());
#pragma omp parallel for schedule(static) collapse(2)
  for (int c = 0; c < planes; ++c)
    for (int y = 0; y < out_height; ++y) {
      float* line = lines + static_cast<ptrdiff_t>(line_length) * omp_get_thread_num();
      memset(line, 0, line_length * sizeof(float));
      const int last = min((y + pad) / stride, height - 1);
      for (int i = max(ceil_div(y + pad - kernel + 1, stride), 0); i <= last; ++i) {
        const float* row = weights + c * weights_stride + (y + pad - i * stride) * kernel;
        const float* in = bottom + (static_cast<ptrdiff_t>(c) * height + i) * width;
        for (int j = 0; j < width; ++j)
          for (int k = 0; k < kernel; ++k) line[j * stride + k] += in[j] * row[k];
      }
      memcpy(top + (static_cast<ptrdiff_t>(c) * out_height + y) * out_width, line + pad, out_width * sizeof(float));
    }
}

void upsample_backward(int planes, int height, int width, int kernel, int stride, int pad, const float* weights,
                       ptrdiff_t weights_stride, const float* top_diff, float* bottom_diff) {
  const int out_height = (height - 1) * stride + kernel - 2 * pad, out_width = (width - 1) * stride + kernel - 2 * pad;
#pragma omp parallel for schedule(static) collapse(2)
  for (int c = 0; c < planes; ++c)
    for (int i = 0; i < height; ++i) {
      const float* diff = top_diff + static_cast<ptrdiff_t>(c) * out_height * out_width;
      float* out = bottom_diff + (static_cast<ptrdiff_t>(c) * height + i) * width;
      for (int j = 0; j < width; ++j) {
        const int left = j * stride - pad, first = max(-left, 0), last = min(kernel, out_width - left);
        vec sums = {};
        float rest = 0;
        for (int r = max(pad - i * stride, 0); r < min(kernel, out_height + pad - i * stride); ++r) {
          const float* row = weights + c * weights_stride + r * kernel;
          const float* from = diff + static_cast<ptrdiff_t>(i * stride - pad + r) * out_width + left;
          int k = first;
          for (; k + W <= last; k += W) sums += load(row + k) * load(from + k);
          for (; k < last; ++k) rest += row[k] * from[k];
        }
        for (int k = 0; k < W; ++k) rest += sums[k];
        out[j] = rest;
      }
    }
}

}  // namespace ACCEL_ISA
}  // namespace accel
