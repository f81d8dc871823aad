// Convolutions of each channel with filters of its own. The lines of the bottom that a band of the top sees are copied
// into the first level cache, with the padding around them; several rows of the top at a time share what is loaded.
#include <math.h>

#include "../parallel.h"
#include "planes.h"
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

  void put(ptrdiff_t x, vec v) const {
    v += shift;
    if (addend) v += load(addend + x);
    store(top + x, clamp(v, lowest, highest));
  }
  void put_first(ptrdiff_t x, vec v, int n) const {
    v += shift;
    if (addend) v += load_part(addend + x, n);
    store_part(top + x, clamp(v, lowest, highest), n);
  }
};

// The lines of a band: element (r, s) of a filter finds the number for the band's output (y, x) at
// row(y) + r dilation pitch + offsets[s] + x.
struct Lines {
  const float* lines;
  ptrdiff_t pitch;
  int stride, dilation;
  const ptrdiff_t* offsets;

  const float* row(int y) const { return lines + static_cast<ptrdiff_t>(y) * stride * pitch; }
};

// How the elements of a row of a square filter find their numbers: at constant offsets, unless it is dilated.
template <int K, int S, bool dilated>
struct Columns {
  const float* from[K];

  Columns(const Lines& in, int y) {
    for (int s = 0; s < K; ++s) from[s] = in.row(y) + in.offsets[s];
  }
  const float* at(int s) const { return dilated ? from[s] : from[s % S] + s / S; }
};

// R rows of the top at column x: for a filter of K x K, rows of the top S lines apart, those of the filter `pitch`.
template <int K, int S, int R, bool dilated>
inline __attribute__((always_inline)) void sums(const Columns<K, S, dilated>& columns, ptrdiff_t pitch, ptrdiff_t x,
                                                const vec* weights, vec* sum) {
#pragma GCC unroll 16
  for (int i = 0; i < (R - 1) * S + K; ++i)
#pragma GCC unroll 5
    for (int s = 0; s < K; ++s) {
      const vec v = load(columns.at(s) + i * pitch + x);
#pragma GCC unroll 4
      for (int j = 0; j < R; ++j) {
        const int r = i - j * S;
        if (r == 0 && s == 0) sum[j] = weights[0] * v;
        else if (r >= 0 && r < K) sum[j] += weights[r * K + s] * v;
      }
    }
}

// Rows [y, rows) of the band, R at a time as long as there are as many; the first that is left.
template <int K, int S, int R, bool dilated>
__attribute__((noinline)) int rows_of(const Lines& in, const float* filter, const Finish& out, int top_row, int y,
                                      int rows) {
  if (y + R > rows) return y;
  const ptrdiff_t pitch = in.pitch * in.dilation, width = out.width;
  vec weights[K * K], sum[R];
#pragma GCC unroll 25
  for (int i = 0; i < K * K; ++i) weights[i] = broadcast(filter[i]);
  for (; y + R <= rows; y += R) {
    const Columns<K, S, dilated> columns(in, y);
    const Row row(out, top_row + y);
    ptrdiff_t x = 0;
    for (; x + W <= width; x += W) {
      sums<K, S, R>(columns, pitch, x, weights, sum);
#pragma GCC unroll 4
      for (int j = 0; j < R; ++j) row.put(j * width + x, sum[j]);
    }
    if (x < width) {
      sums<K, S, R>(columns, pitch, x, weights, sum);
#pragma GCC unroll 4
      for (int j = 0; j < R; ++j) row.put_first(j * width + x, sum[j], static_cast<int>(width - x));
    }
  }
  return y;
}

template <int K, int S, int R>
void square(const Lines& in, const float* filter, const Finish& out, int top_row, int rows) {
  if (in.dilation > 1) {    // rows of the top that are neighbours share nothing
    rows_of<K, S, 1, true>(in, filter, out, top_row, 0, rows);
    return;
  }
  int y = rows_of<K, S, R, false>(in, filter, out, top_row, 0, rows);
  if (R > 2) y = rows_of<K, S, 2, false>(in, filter, out, top_row, y, rows);
  rows_of<K, S, 1, false>(in, filter, out, top_row, y, rows);
}

// One row of the top from column x on, for any filter, V vectors at a time; the first column that is left.
template <int V>
int row_of(const float* from, const Tap* taps, int count, const Row& out, int width, int x) {
  vec sum[V];
  for (; x + (V - 1) * W < width; x += V * W) {
    filtered<V>(taps, count, from + x, sum);
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v)
      if (x + (v + 1) * W <= width)
        out.put(x + v * W, sum[v]);
      else
        out.put_first(x + v * W, sum[v], width - x - v * W);
  }
  return x;
}

// The elements of a filter, for places row(y) + x.
void place(const Geometry& g, const Lines& in, const float* filter, Tap* taps) {
  for (int i = 0; i < g.kernel_h * g.kernel_w; ++i)
    taps[i] = {i / g.kernel_w * in.dilation * in.pitch + in.offsets[i % g.kernel_w], filter ? filter[i] : 0.f};
}

// Rows of the top, each number the sum of a window times the filter. Its rows are cut into vectors, the last of which
// ends where the row does and leaves out what the others have: `packed`.
void windows(const Geometry& g, const Lines& in, const float* filter, float* packed, const Finish& out, int top_row,
             int rows) {
  const int vectors = ceil_div(g.kernel_w, W);
  for (int r = 0; r < g.kernel_h; ++r)
    for (int i = 0; i < vectors; ++i)
      for (int j = 0, begin = min(i * W, g.kernel_w - W); j < W; ++j)
        packed[(r * vectors + i) * W + j] = begin + j < i * W ? 0.f : filter[r * g.kernel_w + begin + j];
  for (int y = 0; y < rows; ++y) {
    const Row row(out, top_row + y);
    for (int x = 0; x < out.width; x += W) {
      const int n = min(W, out.width - x);
      float numbers[W] = {};
      for (int i = 0; i < n; i += 4) {    // up to three too many
        vec sum[4] = {};
        const float *weights = packed, *window = in.row(y) + (x + i) * static_cast<ptrdiff_t>(g.stride_w);
        for (int r = 0; r < g.kernel_h; ++r, window += in.dilation * in.pitch)
          for (int v = 0; v < vectors; ++v, weights += W) {
            const float* from = window + min(v * W, g.kernel_w - W);
            const vec weight = load(weights);
#pragma GCC unroll 4
            for (int j = 0; j < 4; ++j) sum[j] += weight * load(from + j * g.stride_w);
          }
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) numbers[i + j] = add_up(sum[j]);
      }
      if (n == W)
        row.put(x, load(numbers));
      else
        row.put_first(x, load(numbers), n);
    }
  }
}

void band(const Geometry& g, const Lines& in, const float* filter, Tap* taps, const Finish& out, int top_row,
          int rows) {
  if (g.kernel_h == g.kernel_w && g.stride_h == g.stride_w && g.dilation_h == g.dilation_w) {
    if (g.kernel_h == 3 && g.stride_h == 1) return square<3, 1, 4>(in, filter, out, top_row, rows);
    if (g.kernel_h == 3 && g.stride_h == 2) return square<3, 2, 2>(in, filter, out, top_row, rows);
    if (g.kernel_h == 5 && g.stride_h == 1) return square<5, 1, 4>(in, filter, out, top_row, rows);
    if (g.kernel_h == 5 && g.stride_h == 2) return square<5, 2, 2>(in, filter, out, top_row, rows);
  }
  const int count = g.kernel_h * g.kernel_w;
  place(g, in, filter, taps);
  for (int y = 0; y < rows; ++y) {
    const Row row(out, top_row + y);
    int x = row_of<8>(in.row(y), taps, count, row, out.width, 0);
    x = row_of<4>(in.row(y), taps, count, row, out.width, x);
    x = row_of<2>(in.row(y), taps, count, row, out.width, x);
    row_of<1>(in.row(y), taps, count, row, out.width, x);
  }
}

// How a plane of the top is cut into bands, and where the lines of one lie.
struct Bands {
  bool dots;          // whether vectors are of what one row of the filter sees, not of neighbouring outputs
  Axis axis;
  int reach;          // bottom rows that a row of the top sees, from the first to the last
  int count, rows;    // of the top in each but the last

  explicit Bands(const Geometry& g, bool may_dot = false)
      : dots(may_dot && g.stride_w >= 4 && g.kernel_w >= W && g.dilation_w == 1),
        axis(dots ? Axis(g.width, g.pad_w, 1, (g.out_width + 3) * g.stride_w + g.kernel_w)
                  : Axis(g.width, g.pad_w, g.stride_w,
                         round_up(g.out_width, W) + (g.kernel_w - 1) * g.dilation_w / g.stride_w)),
        reach((g.kernel_h - 1) * g.dilation_h + 1) {
    // Few enough that the lines stay in the cache, many beside those that a band shares with the next.
    const int lines = max(LINES / axis.pitch(), reach + (dots ? 2 : 7) * g.stride_h);
    count = ceil_div(g.out_height, (lines - reach) / g.stride_h + 1);
    rows = ceil_div(g.out_height, count);
    count = ceil_div(g.out_height, rows);
  }

  int first(int i) const { return i % count * rows; }
  int lines(const Geometry& g, int rows) const { return (rows - 1) * g.stride_h + reach; }

  size_t size(const Geometry& g) const {
    return static_cast<size_t>(lines(g, rows)) * axis.pitch() + W + g.kernel_w * sizeof(ptrdiff_t) / sizeof(float);
  }

  // The lines for `rows` rows of the top from `first` on, in `memory`.
  Lines fill(const Geometry& g, const float* plane, int first, int rows, float* memory) const {
    ptrdiff_t* offsets = reinterpret_cast<ptrdiff_t*>(memory);
    for (int s = 0; s < g.kernel_w; ++s) offsets[s] = dots ? s : axis.place(s * g.dilation_w);
    float* line = reinterpret_cast<float*>(offsets + g.kernel_w);
    axis.fill(plane, g.height, g.width, first * g.stride_h - g.pad_h, lines(g, rows), line);
    return {line, axis.pitch(), g.stride_h, g.dilation_h, offsets};
  }
};

// Sums of ROWS rows of a filter of K columns from r on: of products of the bottom and one row of the top.
template <int K, int S, int ROWS>
__attribute__((noinline)) void gradient(const Lines& in, const float* diff, int rows, int width, int r, float* sums) {
  vec sum[ROWS * K] = {};
  for (int y = 0; y < rows; ++y, diff += width) {
    const Columns<K, S, false> columns(in, y);
    for (int x = 0; x < width; x += W) {
      const vec d = x + W <= width ? load(diff + x) : load_part(diff + x, width - x);
#pragma GCC unroll 3
      for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 5
        for (int s = 0; s < K; ++s) sum[i * K + s] += d * load(columns.at(s) + (r + i) * in.pitch + x);
    }
  }
#pragma GCC unroll 10
  for (int i = 0; i < ROWS * K; ++i) sums[r * K + i] = add_up(sum[i]);
}

// The same for N elements of any filter.
template <int N>
int gradient_of(const Lines& in, const Tap* taps, int count, const float* diff, int rows, int width, int i,
                float* sums) {
  for (; i + N <= count; i += N) {
    vec sum[N] = {};
    for (int y = 0; y < rows; ++y) {
      const float *from = in.row(y), *d = diff + static_cast<ptrdiff_t>(y) * width;
      for (int x = 0; x < width; x += W) {
        const vec v = x + W <= width ? load(d + x) : load_part(d + x, width - x);
#pragma GCC unroll 8
        for (int n = 0; n < N; ++n) sum[n] += v * load(from + taps[i + n].at + x);
      }
    }
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) sums[i + n] = add_up(sum[n]);
  }
  return i;
}

template <int K, int S>
void square_gradient(const Lines& in, const float* diff, int rows, int width, float* sums) {
  constexpr int ROWS = K == 3 ? 3 : 2;    // some ten sums at a time, in registers
  int r = 0;
  for (; r + ROWS <= K; r += ROWS) gradient<K, S, ROWS>(in, diff, rows, width, r, sums);
  for (; r < K; ++r) gradient<K, S, 1>(in, diff, rows, width, r, sums);
}

// What a band adds to the gradient of a filter.
void gradients(const Geometry& g, const Lines& in, const Tap* taps, const float* diff, int rows, float* sums) {
  if (g.kernel_h == g.kernel_w && g.stride_h == g.stride_w && g.dilation_h == 1 && g.dilation_w == 1) {
    if (g.kernel_h == 3 && g.stride_h == 1) return square_gradient<3, 1>(in, diff, rows, g.out_width, sums);
    if (g.kernel_h == 3 && g.stride_h == 2) return square_gradient<3, 2>(in, diff, rows, g.out_width, sums);
    if (g.kernel_h == 5 && g.stride_h == 1) return square_gradient<5, 1>(in, diff, rows, g.out_width, sums);
    if (g.kernel_h == 5 && g.stride_h == 2) return square_gradient<5, 2>(in, diff, rows, g.out_width, sums);
  }
  const int count = g.kernel_h * g.kernel_w;
  int i = gradient_of<8>(in, taps, count, diff, rows, g.out_width, 0, sums);
  i = gradient_of<4>(in, taps, count, diff, rows, g.out_width, i, sums);
  gradient_of<1>(in, taps, count, diff, rows, g.out_width, i, sums);
}

}  // namespace

void correlate(const Geometry& g, int images, const float* bottom, const float* weights, ptrdiff_t weights_stride,
               const Epilogue& e, float* top) {
  const Bands bands(g, true);
  const int size = g.kernel_h * g.kernel_w, multiplier = g.outputs / g.channels;
  const int packed = bands.dots ? g.kernel_h * round_up(g.kernel_w, W) : 0;
  each(images * g.outputs * bands.count, static_cast<ptrdiff_t>(bands.rows) * g.out_width * size / 4, [&](int i) {
    const int plane = i / bands.count, output = plane % g.outputs;
    const int first = bands.first(i), rows = min(bands.rows, g.out_height - first);
    const size_t elements = size * (sizeof(Tap) / sizeof(float) + 1) + 2;
    Tap* taps = reinterpret_cast<Tap*>(scratch(elements + bands.size(g) + packed));
    float *filter = reinterpret_cast<float*>(taps + size), *memory = filter + round_up(size, 2);
    for (int j = 0; j < size; ++j) filter[j] = weights[output * weights_stride + j] * (e.scale ? e.scale[output] : 1.f);
    const ptrdiff_t at = static_cast<ptrdiff_t>(plane) * g.out_height * g.out_width;
    const Finish finish = {top + at, e.addend ? e.addend + at : nullptr, e.shift ? e.shift[output] : 0.f, e.lowest,
                           e.highest, g.out_width};
    const float* from = bottom + static_cast<ptrdiff_t>(plane / multiplier) * g.height * g.width;
    const Lines lines = bands.fill(g, from, first, rows, memory);
    if (bands.dots)
      windows(g, lines, filter, memory + bands.size(g), finish, first, rows);
    else
      band(g, lines, filter, taps, finish, first, rows);
  });
}

void depthwise(const Geometry& g, int images, const float* bottom, const float* weights, const Epilogue& e,
               float* top) {
  correlate(g, images, bottom, weights, g.kernel_h * g.kernel_w, e, top);
}

void depthwise_to_bottom(const Geometry& g, int images, const float* top, const float* weights, float* bottom) {
  const int size = g.kernel_h * g.kernel_w;
  if (g.stride_h > 1 || g.stride_w > 1)
    return spread(g, images, top, weights, size, nullptr, {0, 0, g.height, g.width}, bottom);
  // A correlation with the filter turned round; of a channel with several, each is added to what the others gave.
  Geometry back = g;
  back.outputs = g.channels;
  back.height = g.out_height;
  back.width = g.out_width;
  back.out_height = g.height;
  back.out_width = g.width;
  back.pad_h = g.dilation_h * (g.kernel_h - 1) - g.pad_h;
  back.pad_w = g.dilation_w * (g.kernel_w - 1) - g.pad_w;
  const Bands bands(back);
  const int multiplier = g.outputs / g.channels;
  each(images * g.channels * bands.count, static_cast<ptrdiff_t>(bands.rows) * g.width * size / 4, [&](int i) {
    const int plane = i / bands.count, first = bands.first(i), rows = min(bands.rows, g.height - first);
    Tap* taps = reinterpret_cast<Tap*>(scratch(size * (sizeof(Tap) / sizeof(float) + 1) + 2 + bands.size(back)));
    float *filter = reinterpret_cast<float*>(taps + size), *memory = filter + round_up(size, 2);
    float* out = bottom + static_cast<ptrdiff_t>(plane) * g.height * g.width;
    for (int m = 0; m < multiplier; ++m) {
      const float *w = weights + (plane % g.channels * multiplier + m) * static_cast<ptrdiff_t>(size);
      for (int j = 0; j < size; ++j) filter[j] = w[size - 1 - j];
      const Finish finish = {out, m > 0 ? out : nullptr, 0, -INFINITY, INFINITY, g.width};
      const float* from = top + (static_cast<ptrdiff_t>(plane) * multiplier + m) * g.out_height * g.out_width;
      band(back, bands.fill(back, from, first, rows, memory), filter, taps, finish, first, rows);
    }
  });
}

void depthwise_to_weights(const Geometry& g, int images, const float* bottom, const float* top, float* weights) {
  const Bands bands(g);
  const int size = g.kernel_h * g.kernel_w, multiplier = g.outputs / g.channels, all = images * bands.count;
  // With few filters, what each is summed over is shared out as well, and the parts are added up in order afterwards.
  const int parts = min(ceil_div(4 * threads(), g.outputs), all), tasks = g.outputs * parts;
  const int pieces = min(tasks, 4 * threads());
  struct Memory {
    Tap* taps;
    double* totals;
    float *sums, *lines;
    static size_t floats(int size, size_t lines) { return size * 7 + 1 + lines; }
    Memory(float* memory, int size)
        : taps(reinterpret_cast<Tap*>(memory)), totals(reinterpret_cast<double*>(taps + size)),
          sums(reinterpret_cast<float*>(totals + size)), lines(sums + round_up(size, 2)) {}
  };
  const size_t own = round_up(static_cast<int>(Memory::floats(size, bands.size(g))), 16);
  const size_t results = static_cast<size_t>(tasks) * size * 2;
  float* memory = scratch(results + own * threads());
  double* result = reinterpret_cast<double*>(memory);
  parallel(pieces, [&](int piece, int thread) {
    const Memory m(memory + results + own * thread, size);
    const int64_t all_tasks = tasks;
    for (int64_t task = all_tasks * piece / pieces; task < all_tasks * (piece + 1) / pieces; ++task) {
      const int output = static_cast<int>(task / parts), part = static_cast<int>(task % parts);
      for (int j = 0; j < size; ++j) m.totals[j] = 0;
      for (int i = all * static_cast<int64_t>(part) / parts; i < all * static_cast<int64_t>(part + 1) / parts; ++i) {
        const int n = i / bands.count, first = bands.first(i), rows = min(bands.rows, g.out_height - first);
        const ptrdiff_t plane = static_cast<ptrdiff_t>(n) * g.outputs + output;
        const Lines in = bands.fill(g, bottom + plane / multiplier * g.height * g.width, first, rows, m.lines);
        place(g, in, nullptr, m.taps);
        gradients(g, in, m.taps, top + (plane * g.out_height + first) * g.out_width, rows, m.sums);
        for (int j = 0; j < size; ++j) m.totals[j] += m.sums[j];
      }
      for (int j = 0; j < size; ++j) result[task * size + j] = m.totals[j];
    }
  });
  for (ptrdiff_t i = 0; i < static_cast<ptrdiff_t>(g.outputs) * size; ++i) {
    double sum = 0;
    for (int part = 0; part < parts; ++part) sum += result[(i / size * parts + part) * size + i % size];
    weights[i] += static_cast<float>(sum);
  }
}

}  // namespace ACCEL_ISA
}  // namespace accel
