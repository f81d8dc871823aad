// The transpose of filters over planes: deconvolution of each plane by a filter of its own, as bilinear upsampling is,
// and the gradient of a strided depthwise convolution. Each pixel of the image gathers what reaches it. With a stride
// of s, pixels whose number mod s is equal (those of a phase) see the same elements of the filter.
#include <math.h>

#include "../parallel.h"
#include "planes.h"
#include "table.h"

namespace accel {
namespace ACCEL_ISA {
namespace {

constexpr int LINES = 5 << 10;      // floats of a band's lines, where these are short enough
constexpr int PIXELS = 32 << 10;    // of a band
constexpr int LONG = 16;            // vectors of a row that is worth three parts

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
  int x = begin;
  if (S != 4) x = phases<S, 4>(in, stride, x, end, out);
  x = phases<S, 2>(in, stride, x, end, out + static_cast<ptrdiff_t>(x - begin) * stride);
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
  if (x < width) store_part(out + x, add ? load_part(out + x, width - x) + load(line + x) : load(line + x),
                             width - x);
}

// One row of the window, whose first pixel is number `skip` of the first of `count` groups.
void write_row(const Sources& in, int stride, int count, int skip, int width, bool add, float* line, float* out) {
  // Groups that lie in the window, and whose vectors do, need no line in between.
  const int first = skip > 0 ? 1 : 0, whole = (skip + width) / stride;    // groups [first, whole)
  int direct = max(whole - first, 0);
  if (!in.weights)
    direct = direct < LONG * W ? 0 : direct / W * W;
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
    const float* from = weights + i / parts * (gap + size) + size;
    if (__atomic_load_n(result, __ATOMIC_RELAXED) && !all_zero(from + begin, end - begin))
      __atomic_store_n(result, false, __ATOMIC_RELAXED);
  });
}

namespace {

// How planes are cut into bands, and what the memory of a thread holds: a filter's elements, the lines of a band of the
// columns, and a line of the image. Places are found once, for all planes.
struct Plan {
  Groups down, across;
  Axis axis;            // of a line of the columns
  bool by_groups;
  int length;           // of the vectors of an element's phases
  int phases, elements; // of which there are places
  int bands, rows;      // of groups, in each but the last
  size_t shared, filter, lines, line;

  Plan(const Geometry& g, const Window& window)
      : down(window.y, window.height, g.kernel_h, g.stride_h, g.pad_h, g.dilation_h),
        across(window.x, window.width, g.kernel_w, g.stride_w, g.pad_w, g.dilation_w),
        axis(g.out_width, across.reach - across.first, 1, round_up(across.count, W) + across.reach),
        length(round_up(g.stride_w, W)) {
    const bool shuffled = g.stride_w == 1 || g.stride_w == 2 || g.stride_w == 4;
    by_groups = g.dilation_h == 1 && g.dilation_w == 1 && g.stride_w >= (shuffled ? W : W / 2);
    phases = by_groups ? g.stride_h : g.stride_h * g.stride_w;
    elements = g.kernel_h * (by_groups ? ceil_div(g.kernel_w, g.stride_w) : g.kernel_w);
    const int most = max(min(PIXELS / (g.stride_h * window.width), LINES / axis.pitch() - down.reach), 1);
    bands = ceil_div(down.count, most);
    rows = ceil_div(down.count, bands);
    shared = elements * sizeof(Place) / sizeof(float) + round_up(phases + 1, W);
    filter = by_groups ? static_cast<size_t>(elements) * length : elements * sizeof(Tap) / sizeof(float);
    lines = static_cast<size_t>(rows + down.reach) * axis.pitch() + W;
    line = static_cast<size_t>(round_up(across.count, W) + 4) * g.stride_w + 2 * W;
  }

  size_t own() const { return (filter + lines + line + W) / W * W; }

  // Which elements make each phase: those of phase i are [starts[i], starts[i + 1]), where i is p stride_w + q for
  // rows of phase p and columns of phase q; or p, and an element stands for those of all phases of columns.
  void find_places(const Geometry& g, Place* places, int* starts) const {
    int n = 0;
    for (int i = 0; i < phases; ++i) {
      const int p = by_groups ? i : i / g.stride_w, q = by_groups ? 0 : i % g.stride_w;
      starts[i] = n;
      for (int r = 0; r < g.kernel_h; ++r)
        if (reaches(r, p, g.stride_h, g.dilation_h))
          for (int s = 0; s < g.kernel_w; ++s)
            if (reaches(s, q, g.stride_w, g.dilation_w))
              places[n++] = {r * g.kernel_w + s,
                             (p - r * g.dilation_h) / g.stride_h * static_cast<ptrdiff_t>(axis.pitch()) +
                                 (q - s * g.dilation_w) / g.stride_w};
    }
    starts[phases] = n;
  }

  // A filter's elements in the order of the places.
  void pack(const Geometry& g, const float* weights, const Place* places, float* packed) const {
    Tap* const taps = reinterpret_cast<Tap*>(packed);
    for (int i = 0; i < elements; ++i) {
      const float* w = weights + places[i].element;
      const int there = min(g.stride_w, g.kernel_w - places[i].element % g.kernel_w);   // of all phases
      if (!by_groups)
        taps[i] = {places[i].at, *w};
      else
        for (int q = 0; q < length; ++q) packed[i * length + q] = q < there ? w[q] : 0.f;
    }
  }
};

}  // namespace

void spread(const Geometry& g, int images, const float* columns, const float* weights, ptrdiff_t weights_stride,
            const float* bias, const Window& window, float* image) {
  const Plan plan(g, window);
  const int multiplier = g.outputs / g.channels, tasks = images * g.channels * plan.bands;
  const int pieces = min(tasks, 4 * threads()), skip = window.x + g.pad_w - plan.across.first * g.stride_w;
  float* const memory = scratch(plan.shared + plan.own() * threads());
  Place* const places = reinterpret_cast<Place*>(memory);
  int* const starts = reinterpret_cast<int*>(places + plan.elements);
  plan.find_places(g, places, starts);
  const auto do_band = [&](int task, float* filter) {
    float *const lines = filter + plan.filter, *const line = lines + plan.lines;
    const int plane = task / plan.bands, channel = plane % g.channels;
    const int first = plan.down.first + task % plan.bands * plan.rows;
    const int last = min(first + plan.rows, plan.down.first + plan.down.count);
    float* const out = image + static_cast<ptrdiff_t>(plane) * window.height * window.width;
    for (int m = 0; m < multiplier; ++m) {
      plan.pack(g, weights + (channel * multiplier + m) * weights_stride, places, filter);
      plan.axis.fill(columns + (static_cast<ptrdiff_t>(plane) * multiplier + m) * g.out_height * g.out_width,
                     g.out_height, g.out_width, first - plan.down.reach, last - first + plan.down.reach, lines);
      const int end = min(last * g.stride_h - g.pad_h, window.y + window.height);
      for (int y = max(first * g.stride_h - g.pad_h, window.y); y < end; ++y) {
        const int group = (y + g.pad_h) / g.stride_h - first + plan.down.reach, p = (y + g.pad_h) % g.stride_h;
        const int* const s = starts + (plan.by_groups ? p : p * g.stride_w);
        const Sources sources = {lines + static_cast<ptrdiff_t>(group) * plan.axis.pitch() + plan.across.reach,
                                 reinterpret_cast<Tap*>(filter), s,
                                 plan.by_groups ? filter + static_cast<ptrdiff_t>(s[0]) * plan.length : nullptr,
                                 places + s[0], s[1] - s[0], bias ? bias[channel] : 0.f};
        write_row(sources, g.stride_w, plan.across.count, skip, window.width, m > 0, line,
                  out + static_cast<ptrdiff_t>(y - window.y) * window.width);
      }
    }
  };
  parallel(pieces, [&](int piece, int thread) {
    const int64_t all = tasks;
    for (int64_t task = all * piece / pieces; task < all * (piece + 1) / pieces; ++task)
      do_band(static_cast<int>(task), memory + plan.shared + plan.own() * thread);
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
