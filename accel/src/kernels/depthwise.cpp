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

// A plane of the top, and what becomes of its numbers.
struct Finish {
  float* top;
  const float* addend;
  float shift, lowest, highest;
  int width;
};

// One row of it.
struct Row {
  float* top;
  const float* addend;
  vec shift, lowest, highest;

  Row(const Finish& f, int y)
      : top(f.top + static_cast<ptrdiff_t>(y) * f.width), addend(f.addend ? f.addend + (top - f.top) : nullptr),
        shift(broadcast(f.shift)), lowest(broadcast(f.lowest)), highest(broadcast(f.highest)) {}

  vec finished(vec v) const {
    v = lowest > v ? lowest : v;    // NaN is neither lower nor higher
    return highest < v ? highest : v;
  }
  void put(ptrdiff_t x, vec v) const {
    v += shift;
    if (addend) v += load(addend + x);
    store(top + x, finished(v));
  }
  void put_first(ptrdiff_t x, vec v, int n) const {
    v += shift;
    if (addend) v += load_first(addend + x, n);
    store_first(top + x, finished(v), n);
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

// The sums of R rows of the top at column x, for a filter of K x K and a stride of S.
template <int K, int S, int R>
inline __attribute__((always_inline)) void sums(const float* const* from, ptrdiff_t pitch, ptrdiff_t x, const vec* weights,
                                                vec* sum) {
#pragma GCC unroll 16
  for (int i = 0; i < (R - 1) * S + K; ++i)
#pragma GCC unroll 5
    for (int s = 0; s < K; ++s) {
      const vec v = load(from[s % S] + s / S + i * pitch + x);
#pragma GCC unroll 4
      for (int j = 0; j < R; ++j) {
        const int r = i - j * S;
        if (r == 0 && s == 0) sum[j] = weights[0] * v;
        else if (r >= 0 && r < K) sum[j] += weights[r * K + s] * v;
      }
    }
}

// Rows [y, rows) of the band, R at a time as long as there are as many; the first that is left.
template <int K, int S, int R>
__attribute__((noinline)) int rows_of(const Lines& in, const float* filter, const Finish& out, int top_row, int y,
                                      int rows) {
  if (y + R > rows) return y;
  const ptrdiff_t pitch = in.pitch, width = out.width;
  vec weights[K * K], sum[R];
#pragma GCC unroll 25
  for (int i = 0; i < K * K; ++i) weights[i] = broadcast(filter[i]);
  for (; y + R <= rows; y += R) {
    const float* const from[2] = {in.row(y, 0), in.row(y, 0) + in.offsets[1]};
    const Row row(out, top_row + y);
    ptrdiff_t x = 0;
    for (; x + W <= width; x += W) {
      sums<K, S, R>(from, pitch, x, weights, sum);
#pragma GCC unroll 4
      for (int j = 0; j < R; ++j) row.put(j * width + x, sum[j]);
    }
    if (x < width) {
      sums<K, S, R>(from, pitch, x, weights, sum);
#pragma GCC unroll 4
      for (int j = 0; j < R; ++j) row.put_first(j * width + x, sum[j], static_cast<int>(width - x));
    }
  }
  return y;
}

template <int K, int S, int R>
void square(const Lines& in, const float* filter, const Finish& out, int top_row, int rows) {
  int y = rows_of<K, S, R>(in, filter, out, top_row, 0, rows);
  if (R > 2) y = rows_of<K, S, 2>(in, filter, out, top_row, y, rows);
  rows_of<K, S, 1>(in, filter, out, top_row, y, rows);
}

// One row of the top, for any filter: V vectors at a time.
template <int V>
int any_of(const Lines& in, int kernel_h, int kernel_w, const float* filter, const Row& out, int width, int y, int x) {
  for (; x + (V - 1) * W < width; x += V * W) {
    vec sum[V] = {};
    for (int r = 0; r < kernel_h; ++r)
      for (int s = 0; s < kernel_w; ++s) {
        const vec weight = broadcast(filter[r * kernel_w + s]);
        const float* from = in.row(y, r) + in.offsets[s] + x;
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) sum[v] += weight * load(from + v * W);
      }
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v)
      if (x + (v + 1) * W <= width)
        out.put(x + v * W, sum[v]);
      else
        out.put_first(x + v * W, sum[v], width - x - v * W);
  }
  return x;
}

void band(const Geometry& g, const Lines& in, const float* filter, const Finish& out, int top_row, int rows) {
  if (g.kernel_h == g.kernel_w && g.stride_h == g.stride_w && g.dilation_h == 1 && g.dilation_w == 1) {
    if (g.kernel_h == 3 && g.stride_h == 1) return square<3, 1, 4>(in, filter, out, top_row, rows);
    if (g.kernel_h == 3 && g.stride_h == 2) return square<3, 2, 2>(in, filter, out, top_row, rows);
    if (g.kernel_h == 5 && g.stride_h == 1) return square<5, 1, 4>(in, filter, out, top_row, rows);
    if (g.kernel_h == 5 && g.stride_h == 2) return square<5, 2, 2>(in, filter, out, top_row, rows);
  }
  for (int y = 0; y < rows; ++y) {
    const Row row(out, top_row + y);
    int x = any_of<4>(in, g.kernel_h, g.kernel_w, filter, row, out.width, y, 0);
    x = any_of<2>(in, g.kernel_h, g.kernel_w, filter, row, out.width, y, x);
    any_of<1>(in, g.kernel_h, g.kernel_w, filter, row, out.width, y, x);
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
    axis.fill(plane, g.height, g.width, first * g.stride_h - g.pad_h, lines(g, rows), line);
    return {line, axis.pitch(), g.stride_h, g.dilation_h, offsets};
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
