// Convolutions of each channel with filters of its own. The lines of the bottom that a band of the top sees are copied
// into the first level cache, with the padding around them; several rows of the top at a time share what is loaded.
#include <float.h>

#include "../parallel.h"
#include "lines.h"
#include "table.h"

namespace accel {
namespace ACCEL_ISA {
namespace {

constexpr int LINES = 5 << 10;   // floats of a band's lines, where these are short enough

// One plane of the top, and what becomes of its numbers.
struct Finish {
  float* top;
  const float* addend;
  float shift, lowest, highest;
  int width;

  void put(int y, int x, vec v) const {
    const ptrdiff_t at = static_cast<ptrdiff_t>(y) * width + x;
    const int n = width - x;
    v += broadcast(shift);
    if (addend) v += n >= W ? load(addend + at) : load_first(addend + at, n);
    // NaN is neither lower nor higher.
    const vec low = broadcast(lowest), high = broadcast(highest);
    v = low > v ? low : v;
    v = high < v ? high : v;
    if (n >= W)
      store(top + at, v);
    else
      store_first(top + at, v, n);
  }
};

// The lines of a band, as its filters see them: element (r, s) of a filter finds the number for the band's output
// (y, x) at lines + (y stride + r dilation) pitch + offsets[s] + x.
struct Lines {
  const float* lines;
  ptrdiff_t pitch;
  int stride, dilation;
  const ptrdiff_t* offsets;

  const float* row(int y, int r) const { return lines + (static_cast<ptrdiff_t>(y) * stride + r * dilation) * pitch; }
};

// R rows of the top, `apart` from one another, from `first` on: for a square filter. `y` counts from the band's first.
template <int K, int S, int R>
void rows_of(const Lines& in, const float* filter, const Finish& out, int top_row, int y) {
  const ptrdiff_t pitch = in.pitch * in.dilation;
  const float* from[K];
  for (int s = 0; s < K; ++s) from[s] = in.row(y, 0) + in.offsets[s];
  vec weights[K * K];
#pragma GCC unroll 25
  for (int i = 0; i < K * K; ++i) weights[i] = broadcast(filter[i]);
  for (int x = 0; x < out.width; x += W) {
    vec sum[R];
#pragma GCC unroll 16
    for (int i = 0; i < (R - 1) * S + K; ++i)
#pragma GCC unroll 5
      for (int s = 0; s < K; ++s) {
        const vec v = load(from[s] + i * pitch + x);
#pragma GCC unroll 4
        for (int j = 0; j < R; ++j) {
          const int r = i - j * S;
          if (r == 0 && s == 0) sum[j] = weights[0] * v;
          else if (r >= 0 && r < K) sum[j] += weights[r * K + s] * v;
        }
      }
#pragma GCC unroll 4
    for (int j = 0; j < R; ++j) out.put(top_row + j * in.dilation, x, sum[j]);
  }
}

template <int K, int S, int R>
void square(const Lines& in, const float* filter, const Finish& out, int top_row, int rows) {
  // Rows that share lines are a dilation apart.
  for (int first = 0; first < min(in.dilation, rows); ++first) {
    int y = first;
    for (; y + (R - 1) * in.dilation < rows; y += R * in.dilation)
      rows_of<K, S, R>(in, filter, out, top_row + y, y);
    for (; y < rows; y += in.dilation) rows_of<K, S, 1>(in, filter, out, top_row + y, y);
  }
}

// One row of the top, for any filter: V vectors at a time.
template <int V>
int any_of(const Lines& in, int kernel_h, int kernel_w, const float* filter, const Finish& out, int top_row, int y,
           int x) {
  for (; x + (V - 1) * W < out.width; x += V * W) {
    vec sum[V] = {};
    for (int r = 0; r < kernel_h; ++r)
      for (int s = 0; s < kernel_w; ++s) {
        const vec weight = broadcast(filter[r * kernel_w + s]);
        const float* from = in.row(y, r) + in.offsets[s] + x;
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) sum[v] += weight * load(from + v * W);
      }
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) out.put(top_row, x + v * W, sum[v]);
  }
  return x;
}

void band(const Geometry& g, const Lines& in, const float* filter, const Finish& out, int top_row, int rows) {
  const bool is_square = g.kernel_h == g.kernel_w, plain = g.stride_h == 1, halves = g.stride_h == 2 && g.dilation_h == 1;
  if (is_square && g.kernel_h == 3 && plain) return square<3, 1, 4>(in, filter, out, top_row, rows);
  if (is_square && g.kernel_h == 3 && halves) return square<3, 2, 2>(in, filter, out, top_row, rows);
  if (is_square && g.kernel_h == 5 && plain) return square<5, 1, 4>(in, filter, out, top_row, rows);
  if (is_square && g.kernel_h == 5 && halves) return square<5, 2, 4>(in, filter, out, top_row, rows);
  for (int y = 0; y < rows; ++y) {
    int x = any_of<4>(in, g.kernel_h, g.kernel_w, filter, out, top_row + y, y, 0);
    x = any_of<2>(in, g.kernel_h, g.kernel_w, filter, out, top_row + y, y, x);
    any_of<1>(in, g.kernel_h, g.kernel_w, filter, out, top_row + y, y, x);
  }
}

// A band of a plane's lines, and where they lie.
struct Bands {
  Axis axis;
  int reach;          // bottom rows that a row of the top sees, from the first to the last
  int count, rows;    // of the top in each but the last

  explicit Bands(const Geometry& g)
      : axis(g.width, g.pad_w, g.stride_w,
             round_up(g.out_width, W) + (g.kernel_w - 1) * g.dilation_w / g.stride_w),
        reach((g.kernel_h - 1) * g.dilation_h + 1) {
    // Few enough that the lines stay in the cache, many beside those that a band shares with the next.
    const int lines = max(LINES / axis.pitch(), reach + 7 * g.stride_h);
    count = ceil_div(g.out_height, (lines - reach) / g.stride_h + 1);
    rows = ceil_div(g.out_height, count);
    count = ceil_div(g.out_height, rows);
  }

  int lines(const Geometry& g, int rows) const { return (rows - 1) * g.stride_h + reach; }

  size_t size(const Geometry& g) const {
    return static_cast<size_t>(lines(g, rows)) * axis.pitch() + g.kernel_w * sizeof(ptrdiff_t) / sizeof(float);
  }

  // The lines for `rows` rows of the top from `first` on, in `memory`.
  Lines fill(const Geometry& g, const float* plane, int first, int rows, float* memory) const {
    ptrdiff_t* offsets = reinterpret_cast<ptrdiff_t*>(memory);
    for (int s = 0; s < g.kernel_w; ++s) offsets[s] = axis.place(s * g.dilation_w);
    float* line = reinterpret_cast<float*>(offsets + g.kernel_w);
    const Lines result = {line, axis.pitch(), g.stride_h, g.dilation_h, offsets};
    const int top = first * g.stride_h - g.pad_h;
    for (int i = top; i < top + lines(g, rows); ++i, line += axis.pitch())
      if (i >= 0 && i < g.height)
        axis.fill(plane + static_cast<ptrdiff_t>(i) * g.width, line);
      else
        axis.clear(line);
    return result;
  }
};

}  // namespace

void depthwise(const Geometry& g, int images, const float* bottom, const float* weights, const Epilogue& e,
               float* top) {
  const Bands bands(g);
  const int size = g.kernel_h * g.kernel_w, multiplier = g.outputs / g.channels;
  each(images * g.outputs * bands.count, static_cast<ptrdiff_t>(bands.rows) * g.out_width * 2, [&](int i) {
    const int plane = i / bands.count, output = plane % g.outputs;
    const int first = i % bands.count * bands.rows, rows = min(bands.rows, g.out_height - first);
    float *filter = scratch(size + bands.size(g) + 2), *memory = filter + round_up(size, 2);
    for (int j = 0; j < size; ++j) filter[j] = weights[output * size + j] * (e.scale ? e.scale[output] : 1.f);
    const ptrdiff_t at = static_cast<ptrdiff_t>(plane) * g.out_height * g.out_width;
    const Finish finish = {top + at, e.addend ? e.addend + at : nullptr, e.shift ? e.shift[output] : 0.f, e.lowest,
                           e.highest, g.out_width};
    const float* from = bottom + static_cast<ptrdiff_t>(plane / multiplier) * g.height * g.width;
    band(g, bands.fill(g, from, first, rows, memory), filter, finish, first, rows);
  });
}

}  // namespace ACCEL_ISA
}  // namespace accel
