// The transpose of filters over planes: deconvolution of each plane by a filter of its own, as bilinear upsampling is,
// and the gradient of a strided depthwise convolution. Each pixel of the image gathers what reaches it. With a stride of
// s, pixels whose number mod s is equal (those of a phase) see the same elements of the filter.
#include <math.h>

#include "../parallel.h"
#include "planes.h"
#include "table.h"

namespace accel {
namespace ACCEL_ISA {
namespace {

constexpr int LINES = 5 << 10;      // floats of a band's lines, where these are short enough
constexpr int PIXELS = 32 << 10;    // of a band

// Rows and columns of the image that belong together: pixel i is of group (i + pad) / stride.
struct Groups {
  int first, count, reach;    // reach: how many numbers of the columns before that of its own a group sees
  Groups(int begin, int size, int kernel, int stride, int pad, int dilation)
      : first((begin + pad) / stride), count((begin + size - 1 + pad) / stride - first + 1),
        reach((kernel - 1) * dilation / stride) {}
};

// An element of a filter, and where what it multiplies lies, from the group's own place.
struct Place {
  int element;
  ptrdiff_t at;
};

// Whether element r of an axis reaches phase p.
bool reaches(int r, int p, int stride, int dilation) { return (p - r * dilation) % stride == 0; }

// Which elements make each phase: those of phase (p, q) are [starts[i], starts[i + 1]), i = p stride_w + q.
void find_places(const Geometry& g, ptrdiff_t pitch, Place* places, int* starts) {
  int n = 0;
  for (int p = 0; p < g.stride_h; ++p)
    for (int q = 0; q < g.stride_w; ++q) {
      *starts++ = n;
      for (int r = 0; r < g.kernel_h; ++r)
        if (reaches(r, p, g.stride_h, g.dilation_h))
          for (int s = 0; s < g.kernel_w; ++s)
            if (reaches(s, q, g.stride_w, g.dilation_w))
              places[n++] = {r * g.kernel_w + s, (p - r * g.dilation_h) / g.stride_h * pitch +
                                                     (q - s * g.dilation_w) / g.stride_w};
    }
  *starts = n;
}

// V vectors of each phase of a row, side by side in `line`.
template <int S, int V>
int phases(const float* from, const Tap* taps, const int* starts, int stride, int groups, int x, float* line) {
  for (; x + (V - 1) * W < groups; x += V * W) {
    vec sum[S > 0 ? S : 1][V];
    float* out = line + static_cast<ptrdiff_t>(x) * stride;
    for (int q = 0; q < stride; ++q) {
      vec* v = sum[S > 0 ? q : 0];
      filtered<V>(taps + starts[q], starts[q + 1] - starts[q], from + x, v);
      if (S == 0) {
        float one[V * W];
        for (int i = 0; i < V; ++i) store(one + i * W, v[i]);
        for (int i = 0; i < V * W; ++i) out[i * stride + q] = one[i];
      }
    }
    for (int i = 0; i < V; ++i, out += S * W) {
      if (S == 1) store(out, sum[0][i]);
      if (S == 2) {
        store(out, zip_low(sum[0][i], sum[S > 1][i]));
        store(out + W, zip_high(sum[0][i], sum[S > 1][i]));
      }
      if (S == 4) {
        const vec four[4] = {sum[0][i], sum[S > 1 ? 1 : 0][i], sum[S > 2 ? 2 : 0][i], sum[S > 3 ? 3 : 0][i]};
        interleave4(four, out);
      }
    }
  }
  return x;
}

template <int S>
void row_by_phases(const float* from, const Tap* taps, const int* starts, int stride, int groups, float* line) {
  const int x = phases<S, S == 4 ? 2 : 4>(from, taps, starts, stride, groups, 0, line);
  phases<S, 1>(from, taps, starts, stride, groups, x, line);
}

// Where a stride has about as many pixels as a vector, or more, vectors are of neighbouring phases: `weights` has, for
// each of the places, those of all phases. What is written beyond a group is overwritten by the next.
template <int N>
void row_by_groups(const float* from, const float* weights, const Place* places, int stride, int groups, float* line) {
  const int length = round_up(stride, W);
  for (int q = length - W; q >= 0; q -= W) {
    vec weight[N];
    for (int n = 0; n < N; ++n) weight[n] = load(weights + n * length + q);
    for (int x = 0; x < groups; ++x) {
      vec sum = weight[0] * broadcast(from[places[0].at + x]);
#pragma GCC unroll 4
      for (int n = 1; n < N; ++n) sum += weight[n] * broadcast(from[places[n].at + x]);
      store(line + static_cast<ptrdiff_t>(x) * stride + q, sum);
    }
  }
}

void row_by_groups(int count, const float* from, const float* weights, const Place* places, int stride, int groups,
                   float* line) {
  if (count == 4) return row_by_groups<4>(from, weights, places, stride, groups, line);
  const int length = round_up(stride, W);
  for (int q = length - W; q >= 0; q -= W)
    for (int x = 0; x < groups; x += 4) {     // up to three too many
      vec sum[4] = {};
      for (int n = 0; n < count; ++n) {
        const vec weight = load(weights + n * length + q);
        const float* in = from + places[n].at + x;
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) sum[i] += weight * broadcast(in[i]);
      }
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) store(line + static_cast<ptrdiff_t>(x + i) * stride + q, sum[i]);
    }
}

// out (+)= line + bias.
void finish(const float* line, int width, float bias, bool add, float* out) {
  const vec b = broadcast(bias);
  int x = 0;
  for (; x + W <= width; x += W) store(out + x, load(line + x) + (add ? load(out + x) : b));
  if (x < width) store_first(out + x, load(line + x) + (add ? load_first(out + x, width - x) : b), width - x);
}

constexpr ptrdiff_t SCANNED = 1 << 14;   // floats at a time

bool all_zero(const float* p, ptrdiff_t count) {
  index bits = {};
  int rest = 0;
  ptrdiff_t i = 0;
  for (; i + W <= count; i += W) bits |= (index)load(p + i);
  for (; i < count; ++i) rest |= p[i] != 0;
  for (int j = 0; j < W; ++j) rest |= bits[j] & 0x7fffffff;   // all but the sign
  return rest == 0;
}

}  // namespace

void is_diagonal(int channels, ptrdiff_t size, const float* weights, bool* result) {
  // From the end of one filter of the diagonal to the beginning of the next. Dense weights show it at once.
  const ptrdiff_t gap = channels * size;
  const int parts = static_cast<int>((gap + SCANNED - 1) / SCANNED);
  *result = channels == 1 || all_zero(weights + size, min(static_cast<int>(size), 64));
  if (!*result) return;
  each((channels - 1) * parts, SCANNED, [&](int i) {
    const ptrdiff_t begin = i % parts * SCANNED, end = begin + SCANNED < gap ? begin + SCANNED : gap;
    if (__atomic_load_n(result, __ATOMIC_RELAXED) && !all_zero(weights + i / parts * (gap + size) + size + begin, end - begin))
      __atomic_store_n(result, false, __ATOMIC_RELAXED);
  });
}

void spread(const Geometry& g, int images, const float* columns, const float* weights, ptrdiff_t weights_stride,
            const float* bias, const Window& window, float* image) {
  const Groups down(window.y, window.height, g.kernel_h, g.stride_h, g.pad_h, g.dilation_h);
  const Groups across(window.x, window.width, g.kernel_w, g.stride_w, g.pad_w, g.dilation_w);
  const Axis axis(g.out_width, across.reach - across.first, 1, round_up(across.count, W) + across.reach);
  const int size = g.kernel_h * g.kernel_w, multiplier = g.outputs / g.channels;
  const bool by_groups = g.dilation_h == 1 && g.dilation_w == 1 && g.stride_w > 2 && 2 * g.stride_w >= W;
  const int length = round_up(g.stride_w, W), per_row = ceil_div(g.kernel_w, g.stride_w);   // by groups

  const int most = max(min(PIXELS / (g.stride_h * window.width), LINES / axis.pitch() - down.reach), 1);
  const int bands = ceil_div(down.count, most), rows = ceil_div(down.count, bands);

  // By groups, a phase is one of rows, and its places are a row's elements a stride apart.
  const int phases_count = by_groups ? g.stride_h : g.stride_h * g.stride_w;
  const int places_count = by_groups ? g.kernel_h * per_row : size;
  const size_t shared = places_count * sizeof(Place) / sizeof(float) + round_up(phases_count + 1, W);
  const size_t filter = by_groups ? static_cast<size_t>(places_count) * length : size * sizeof(Tap) / sizeof(float);
  const size_t lines = static_cast<size_t>(rows + down.reach) * axis.pitch() + W;
  const size_t line = static_cast<size_t>(round_up(across.count, W) + 4) * g.stride_w + 2 * W;
  const size_t own = (filter + lines + line + W) / W * W;
  float* memory = scratch(shared + own * threads());
  Place* places = reinterpret_cast<Place*>(memory);
  int* starts = reinterpret_cast<int*>(places + places_count);
  if (by_groups) {
    int n = 0;
    for (int p = 0; p < g.stride_h; ++p) {
      starts[p] = n;
      for (int r = p; r < g.kernel_h; r += g.stride_h)
        for (int b = 0; b < per_row; ++b)
          places[n++] = {r * g.kernel_w + b * g.stride_w, -(r / g.stride_h) * static_cast<ptrdiff_t>(axis.pitch()) - b};
    }
    starts[g.stride_h] = n;
  } else {
    find_places(g, axis.pitch(), places, starts);
  }

  const int tasks = images * g.channels * bands, pieces = min(tasks, 4 * threads());
  parallel(pieces, [&](int piece, int thread) {
    float *const own_filter = memory + shared + own * thread, *const own_lines = own_filter + filter;
    float* const own_line = own_lines + lines;
    Tap* const taps = reinterpret_cast<Tap*>(own_filter);
    for (int task = static_cast<int>(static_cast<int64_t>(tasks) * piece / pieces);
         task < static_cast<int64_t>(tasks) * (piece + 1) / pieces; ++task) {
      const int plane = task / bands, channel = plane % g.channels;
      const int first = down.first + task % bands * rows, last = min(first + rows, down.first + down.count);
      float* out = image + static_cast<ptrdiff_t>(plane) * window.height * window.width;
      for (int m = 0; m < multiplier; ++m) {
        const float* w = weights + (channel * multiplier + m) * weights_stride;
        if (by_groups) {
          for (int i = 0; i < places_count; ++i)
            for (int q = 0; q < length; ++q)
              own_filter[i * length + q] =
                  q < min(g.stride_w, g.kernel_w - places[i].element % g.kernel_w) ? w[places[i].element + q] : 0.f;
        } else {
          for (int i = 0; i < size; ++i) taps[i] = {places[i].at, w[places[i].element]};
        }
        const float* from = columns + (static_cast<ptrdiff_t>(plane) * multiplier + m) * g.out_height * g.out_width;
        axis.fill(from, g.out_height, g.out_width, first - down.reach, last - first + down.reach, own_lines);
        for (int y = max(first * g.stride_h - g.pad_h, window.y);
             y < min(last * g.stride_h - g.pad_h, window.y + window.height); ++y) {
          const int group = (y + g.pad_h) / g.stride_h, p = (y + g.pad_h) % g.stride_h;
          const float* in = own_lines + static_cast<ptrdiff_t>(group - first + down.reach) * axis.pitch() + across.reach;
          const int* const s = starts + (by_groups ? p : p * g.stride_w);
          if (by_groups)
            row_by_groups(s[1] - s[0], in, own_filter + static_cast<ptrdiff_t>(s[0]) * length, places + s[0], g.stride_w,
                          across.count, own_line);
          else if (g.stride_w == 1)
            row_by_phases<1>(in, taps, s, 1, across.count, own_line);
          else if (g.stride_w == 2)
            row_by_phases<2>(in, taps, s, 2, across.count, own_line);
          else if (g.stride_w == 4)
            row_by_phases<4>(in, taps, s, 4, across.count, own_line);
          else
            row_by_phases<0>(in, taps, s, g.stride_w, across.count, own_line);
          finish(own_line + (window.x + g.pad_w - across.first * g.stride_w), window.width, bias ? bias[channel] : 0.f,
                 m > 0, out + static_cast<ptrdiff_t>(y - window.y) * window.width);
        }
      }
    }
  });
}

void upsample(const Geometry& g, int images, const float* weights, ptrdiff_t weights_stride, const float* bias,
              const Window& window, const float* bottom, float* top) {
  spread(g, images, bottom, weights, weights_stride, bias, window, top);
}

void upsample_backward(const Geometry& g, int images, const float* weights, ptrdiff_t weights_stride,
                       const float* top_diff, float* bottom_diff) {
  const Epilogue nothing = {nullptr, nullptr, nullptr, -INFINITY, INFINITY};
  correlate(g, images, top_diff, weights, weights_stride, nothing, bottom_diff);
}

}  // namespace ACCEL_ISA
}  // namespace accel
