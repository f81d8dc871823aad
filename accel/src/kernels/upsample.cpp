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

// What makes a row of the image: lines of the columns, and a filter's elements for each phase, either as `taps` from
// starts[phase] on, or as vectors, `weights` and `places` of which there are `count`.
struct Sources {
  const float* from;
  const Tap* taps;
  const int* starts;
  const float* weights;
  const Place* places;
  int count;
  float bias;
};

// Groups [x, end) as far as V vectors of each phase reach, the first to `out`; the first group that is left. S is the
// stride, if it is one of those whose phases are brought together by shuffling.
template <int S, int V>
int phases(const Sources& in, int stride, int x, int end, float* out) {
  const vec bias = broadcast(in.bias);
  for (; x + (V - 1) * W < end; x += V * W) {
    vec sum[S > 0 ? S : 1][V];
    for (int q = 0; q < stride; ++q) {
      vec* v = sum[S > 0 ? q : 0];
      filtered<V>(in.taps + in.starts[q], in.starts[q + 1] - in.starts[q], in.from + x, v);
      for (int i = 0; i < V; ++i) v[i] += bias;
      if (S == 0) {
        float one[V * W];
        for (int i = 0; i < V; ++i) store(one + i * W, v[i]);
        for (int i = 0; i < V * W; ++i) out[i * stride + q] = one[i];
      }
    }
    for (int i = 0; i < V; ++i, out += stride * W) {
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
void by_phases(const Sources& in, int stride, int begin, int end, float* out) {
  const int x = phases<S, S == 4 ? 2 : 4>(in, stride, begin, end, out);
  phases<S, 1>(in, stride, x, end, out + static_cast<ptrdiff_t>(x - begin) * stride);
}

// Where a stride has about as many pixels as a vector, or more, vectors are of neighbouring phases. What is written
// beyond a group is overwritten by the next.
template <int N>
void groups_of(const Sources& in, int stride, int begin, int end, float* out) {
  const int length = round_up(stride, W);
  const float* from[N];
  for (int n = 0; n < N; ++n) from[n] = in.from + in.places[n].at + begin;
  const vec bias = broadcast(in.bias);
  for (int q = length - W; q >= 0; q -= W) {
    vec weight[N];
    for (int n = 0; n < N; ++n) weight[n] = load(in.weights + n * length + q);
    float* to = out + q;
    for (ptrdiff_t x = 0; x < end - begin; ++x, to += stride) {
      vec sum = bias;
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) sum += weight[n] * broadcast(from[n][x]);
      store(to, sum);
    }
  }
}

void by_groups(const Sources& in, int stride, int begin, int end, float* out) {
  if (in.count == 4) return groups_of<4>(in, stride, begin, end, out);
  const int length = round_up(stride, W);
  for (int q = length - W; q >= 0; q -= W)
    for (int x = begin; x < end; x += 4) {
      vec sum[4] = {};
      for (int n = 0; n < in.count; ++n) {
        const vec weight = load(in.weights + n * length + q);
        const float* from = in.from + in.places[n].at + x;
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) sum[i] += weight * broadcast(from[i]);
      }
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i)
        if (x + i < end) store(out + static_cast<ptrdiff_t>(x + i - begin) * stride + q, sum[i] + broadcast(in.bias));
    }
}

// Groups [begin, end) of a row, from `out` on, and something beyond.
void groups(const Sources& in, int stride, int begin, int end, float* out) {
  if (in.weights) return by_groups(in, stride, begin, end, out);
  if (stride == 1) return by_phases<1>(in, stride, begin, end, out);
  if (stride == 2) return by_phases<2>(in, stride, begin, end, out);
  if (stride == 4) return by_phases<4>(in, stride, begin, end, out);
  by_phases<0>(in, stride, begin, end, out);
}

// out (+)= line.
void copy(const float* line, int width, bool add, float* out) {
  int x = 0;
  for (; x + W <= width; x += W) store(out + x, add ? load(out + x) + load(line + x) : load(line + x));
  if (x < width) store_first(out + x, add ? load_first(out + x, width - x) + load(line + x) : load(line + x), width - x);
}

// One row of the window, whose first pixel is number `skip` of the first of `count` groups.
void write_row(const Sources& in, int stride, int count, int skip, int width, bool add, float* line, float* out) {
  // Groups that lie in the window, and whose vectors do, need no line in between.
  const int first = skip > 0 ? 1 : 0, whole = (skip + width) / stride;    // groups [first, whole)
  int direct = max(whole - first, 0);
  if (!in.weights)
    direct = direct / W * W;
  else if (stride % W)
    direct = max(direct - 1, 0);
  if (add) direct = 0;
  if (direct == 0) {
    groups(in, stride, 0, count, line);
    return copy(line + skip, width, add, out);
  }
  const int before = first > 0 ? stride - skip : 0, behind = before + direct * stride;
  if (before > 0) {
    groups(in, stride, 0, 1, line);
    copy(line + skip, before, false, out);
  }
  groups(in, stride, first, first + direct, out + before);
  if (behind < width) {
    groups(in, stride, first + direct, count, line);
    copy(line, width - behind, false, out + behind);
  }
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
  const int skip = window.x + g.pad_w - across.first * g.stride_w;
  const bool shuffled = g.stride_w == 1 || g.stride_w == 2 || g.stride_w == 4;
  const bool by_groups = g.dilation_h == 1 && g.dilation_w == 1 && g.stride_w >= (shuffled ? W : W / 2);
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
          const Sources sources = {in, taps, s, by_groups ? own_filter + static_cast<ptrdiff_t>(s[0]) * length : nullptr,
                                   places + s[0], s[1] - s[0], bias ? bias[channel] : 0.f};
          write_row(sources, g.stride_w, across.count, skip, window.width, m > 0, own_line,
                    out + static_cast<ptrdiff_t>(y - window.y) * window.width);
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
