// 3x3 convolutions by Winograd's minimal filtering F(4x4, 3x3): 36 multiplications for 16 outputs instead of 144.
//
//   A. Lavin, S. Gray: Fast Algorithms for Convolutional Neural Networks. CVPR 2016, section 4.2.
//
// An output tile Y (4x4) of the filter g (3x3) over an input tile d (6x6) is
//
//   Y = A' [(G g G') * (B' d B)] A        (* elementwise, ' transposed)
//
// summed over channels before the outer transform, so each of the 36 elements ("frequencies") is a matrix product
//   M[f] (outputs x tiles) = U[f] (outputs x channels)  V[f] (channels x tiles),  U = G g G', V = B' d B.
// The gradients are the same algebra transposed: to the bottom, a convolution with the filters rotated by 180 degrees
// and outputs and channels exchanged; to the weights,
//   dg = G' [sum over tiles of (A dY A') * (B' d B)] G.
//
// Tiles are numbered row by row. A thread takes a block of consecutive tiles through all three stages, so that V and M
// stay in its cache; W tiles make a vector, which is why pixels are first split into the phases x mod 4. Where there are
// few tiles, the filters are what is large, and a thread takes some outputs instead, whose filters stay in its cache.
//
// A larger kernel is a sum of pieces of 3x3, the last ones filled up with zeros, each three pixels further on: its input
// has (channels x pieces) planes. A 7x7 kernel is nine pieces: 9 * 36 multiplications for 16 outputs instead of 784.
#include "../parallel.h"
#include "gemm.h"
#include "table.h"

namespace accel {
namespace ACCEL_ISA {
namespace {

constexpr int F = 36;             // frequencies
constexpr int BLOCK = 96;         // tiles of a block
constexpr int WIDE_BLOCK = 192;   // the same with many channels, whose filters come from memory once for each block
constexpr int MANY = 256;         // channels
constexpr int OUTPUTS = 128;      // outputs of one M
constexpr int DEEP = 128;         // channels of V that stay in the first level cache while all of those pass
constexpr int SKEW = 48;          // floats between frequencies, or all 36 would share one set of the cache
constexpr int PIECE = 128;        // tiles of W planes that a thread transforms at a time for the gradient to the weights
constexpr size_t CHUNK = 8u << 20;     // bytes of transformed tiles held at a time for that
constexpr size_t FILTERS = 20u << 20;  // bytes of transformed filters held at a time
constexpr int FEW = 64;           // tiles, up to which threads share out the outputs
constexpr int DEEPEST = 8192;     // input planes of which all tiles' filters may be transformed at once
constexpr int SOME = 2 * NR;      // outputs of a thread when they are shared out
constexpr int CACHED = 64 << 10;  // floats of U that stay in the second level cache then

// A run of tiles within one row of one image; `at` is the number of the first, or its place in the block.
struct Run {
  int image, row, column, length, at;
};

// The tiles of all images that are computed, as runs in the order of their numbers. What lies between two runs of a row
// is like the tile before it, a row without a run like the row above.
struct Tiles {
  int rows, columns;    // of an image
  Run* runs;
  int run_count, count;

  // All of them. `memory` has room for most_runs().
  Tiles(int rows, int columns, int images, Run* memory) : rows(rows), columns(columns), runs(memory), run_count(0), count(0) {
    for (int n = 0; n < images; ++n)
      for (int r = 0; r < rows; ++r) add(n, r, 0, columns);
  }
  // None yet.
  Tiles(int rows, int columns, Run* memory) : rows(rows), columns(columns), runs(memory), run_count(0), count(0) {}

  static size_t most_runs(int rows, int columns, int images) {
    return static_cast<size_t>(rows) * images * (columns / (W + 1) + 1);
  }
  void add(int image, int row, int column, int length) {
    runs[run_count++] = {image, row, column, length, count};
    count += length;
  }
};

// Tiles [begin, end) of them, and the runs that these are.
struct Block {
  const Tiles* tiles;
  int begin, end, first;
  Block(const Tiles& all, int begin, int end) : tiles(&all), begin(begin), end(end), first(0) {
    for (int above = all.run_count; above - first > 1;) {
      const int middle = (first + above) / 2;
      (all.runs[middle].at <= begin ? first : above) = middle;
    }
  }
  // Calls f with each run, whose `at` is counted from `begin`.
  template <typename Function>
  void each_run(const Function& f) const {
    for (int i = first; i < tiles->run_count && tiles->runs[i].at < end; ++i) {
      const Run& run = tiles->runs[i];
      const int skipped = max(begin - run.at, 0), at = run.at + skipped;
      f(Run{run.image, run.row, run.column + skipped, min(run.length - skipped, end - at), at - begin});
    }
  }
};

// Cook and Toom's algorithm behind it: 1-D filtering multiplies polynomials, by their values at six points, and any
// distinct six will do. Lavin and Gray take 0, +-1, +-2 and infinity; with 0, +-5/8, +-3/2 and infinity rounding errors
// are less than half as large at the same cost (the choice matters: B. Barabasz et al., Error Analysis and Improving the
// Accuracy of Winograd Convolution, 2018). Row p of A is the powers p^0..p^3, of G p^0..p^2 over the product of p's
// distances to the other points, and B' has the coefficients of the polynomials that vanish at all other points.
constexpr float P = 5.f / 8, Q = 3.f / 2, PP = P * P, QQ = Q * Q;
constexpr float NO = 1 / (PP * QQ), NP = 1 / (2 * PP * (PP - QQ)), NQ = 1 / (2 * QQ * (QQ - PP));

inline void multiply_Bt(const vec d[6], vec t[6]) {
  const vec a = d[4] - QQ * d[2], b = P * (d[3] - QQ * d[1]);
  const vec c = d[4] - PP * d[2], e = Q * (d[3] - PP * d[1]);
  t[0] = (PP * QQ) * d[0] + (d[4] - (PP + QQ) * d[2]);
  t[1] = a + b;
  t[2] = a - b;
  t[3] = c + e;
  t[4] = c - e;
  t[5] = (PP * QQ) * d[1] + (d[5] - (PP + QQ) * d[3]);
}

inline void multiply_A(const vec y[4], vec z[6]) {
  const vec a = y[0] + PP * y[2], b = P * (y[1] + PP * y[3]), c = y[0] + QQ * y[2], e = Q * (y[1] + QQ * y[3]);
  z[0] = y[0];
  z[1] = a + b;
  z[2] = a - b;
  z[3] = c + e;
  z[4] = c - e;
  z[5] = y[3];
}

inline void multiply_At(const vec m[6], vec s[4]) {
  const vec a = m[1] + m[2], b = P * (m[1] - m[2]), c = m[3] + m[4], d = Q * (m[3] - m[4]);
  s[0] = m[0] + a + c;
  s[1] = b + d;
  s[2] = PP * a + QQ * c;
  s[3] = PP * b + QQ * d + m[5];
}

template <typename T>
inline void multiply_G(const T g[3], T u[6]) {
  const T a = NP * g[0] + (NP * PP) * g[2], b = (NP * P) * g[1], c = NQ * g[0] + (NQ * QQ) * g[2], d = (NQ * Q) * g[1];
  u[0] = NO * g[0];
  u[1] = a + b;
  u[2] = a - b;
  u[3] = c + d;
  u[4] = c - d;
  u[5] = g[2];
}

inline void multiply_Gt(const vec u[6], vec g[3]) {
  const vec a = NP * (u[1] + u[2]), b = (NP * P) * (u[1] - u[2]), c = NQ * (u[3] + u[4]), d = (NQ * Q) * (u[3] - u[4]);
  g[0] = NO * u[0] + a + c;
  g[1] = b + d;
  g[2] = PP * a + QQ * c + u[5];
}

// Planes are worked on a few lines at a time, which are short for the hardware to foresee: ask for those of the next
// plane, which lies behind this one, while this one is computed.
template <bool write>
inline void prefetch(const float* line, int pixels) {
  for (int i = 0; i < pixels; i += 16) __builtin_prefetch(line + i, write, 3);
}

// Pixels [x, x + N) of a line: where they lie, or copied into `edge` with zeros for what is beyond the line.
template <int N>
inline const float* pixels(const float* line, int width, int x, float (&edge)[N]) {
  if (x >= 0 && x + N <= width) return line + x;
  for (int i = 0; i < N; ++i) edge[i] = x + i >= 0 && x + i < width ? line[x + i] : 0.f;
  return edge;
}

// Pixels from x on of W tiles: phase[j] holds pixel j of each tile's six, or four.
inline void split6(const float* line, int width, int x, vec phase[6]) {
  float edge[4 * W + 2];
  const float* p = pixels(line, width, x, edge);
  deinterleave4(p, phase);
  phase[4] = follow(phase[0], p[4 * W]);
  phase[5] = follow(phase[1], p[4 * W + 1]);
}

inline void split4(const float* line, int width, int x, vec phase[4]) {
  float edge[4 * W];
  deinterleave4(pixels(line, width, x, edge), phase);
}

// V[f][at...] of one plane for the tiles of a run, f `stride` apart: B' d B. Up to W - 1 places behind the run are
// overwritten; runs are taken in order, so the next one puts that right.
void transform_input(const float* plane, int height, int width, int pad_h, int pad_w, const Run& run, float* V,
                     ptrdiff_t stride) {
  const int y = 4 * run.row - pad_h;
  for (int t = 0; t < run.length; t += W) {
    const int x = 4 * (run.column + t) - pad_w;
    vec half[6][6];
    for (int i = 0; i < 6; ++i) {
      const float* line = plane + static_cast<ptrdiff_t>(y + i) * width;
      prefetch<false>(line + static_cast<ptrdiff_t>(height) * width + x, 4 * W);
      vec d[6] = {};
      if (y + i >= 0 && y + i < height) split6(line, width, x, d);
      multiply_Bt(d, half[i]);
    }
    for (int j = 0; j < 6; ++j) {
      vec column[6], v[6];
      for (int i = 0; i < 6; ++i) column[i] = half[i][j];
      multiply_Bt(column, v);
      for (int i = 0; i < 6; ++i) store(V + (6 * i + j) * stride + run.at + t, v[i]);
    }
  }
}

// The same for A dY A'.
void transform_gradient(const float* plane, int height, int width, const Run& run, float* Z, ptrdiff_t stride) {
  for (int t = 0; t < run.length; t += W) {
    vec half[4][6];
    for (int i = 0; i < 4; ++i) {
      vec y[4] = {};
      if (4 * run.row + i < height)
        split4(plane + static_cast<ptrdiff_t>(4 * run.row + i) * width, width, 4 * (run.column + t), y);
      multiply_A(y, half[i]);
    }
    for (int j = 0; j < 6; ++j) {
      vec column[4], z[6];
      for (int i = 0; i < 4; ++i) column[i] = half[i][j];
      multiply_A(column, z);
      for (int i = 0; i < 6; ++i) store(Z + (6 * i + j) * stride + run.at + t, z[i]);
    }
  }
}

// What an Epilogue does to one plane.
struct PlaneEpilogue {
  float scale, shift;
  const float* addend;
  vec lowest, highest;
  PlaneEpilogue(const Epilogue& e, int output, ptrdiff_t plane)
      : scale(e.scale ? e.scale[output] : 1.f), shift(e.shift ? e.shift[output] : 0.f),
        addend(e.addend ? e.addend + plane : nullptr), lowest(broadcast(e.lowest)), highest(broadcast(e.highest)) {}
};

// A' M A of one plane for the tiles of a run, and the epilogue.
void transform_output(const float* M, ptrdiff_t stride, const Run& run, const PlaneEpilogue& e, float* plane,
                      int height, int width) {
  const int rows = min(4, height - 4 * run.row);
  for (int i = 0; i < rows; ++i)
    prefetch<true>(plane + static_cast<ptrdiff_t>(height + 4 * run.row + i) * width + 4 * run.column, 4 * run.length);
  for (int t = 0; t < run.length; t += W) {
    vec half[4][6];
    for (int j = 0; j < 6; ++j) {
      vec m[6], column[4];
      for (int i = 0; i < 6; ++i) m[i] = load(M + (6 * i + j) * stride + run.at + t);
      multiply_At(m, column);
      for (int i = 0; i < 4; ++i) half[i][j] = column[i];
    }
    const int x = 4 * (run.column + t), pixels = min(4 * min(W, run.length - t), width - x);
    for (int i = 0; i < rows; ++i) {
      vec row[4];
      multiply_At(half[i], row);
      const ptrdiff_t at = static_cast<ptrdiff_t>(4 * run.row + i) * width + x;
      for (int j = 0; j < 4; ++j) row[j] = e.scale * row[j] + e.shift;
      if (!e.addend)
        for (int j = 0; j < 4; ++j) row[j] = clamp(row[j], e.lowest, e.highest);
      if (!e.addend && pixels == 4 * W) {
        interleave4(row, plane + at);
        continue;
      }
      float line[4 * W];
      interleave4(row, line);
      for (int j = 0; j < pixels; j += W) {
        vec v = load(line + j);
        if (e.addend) v = clamp(v + load_some(e.addend + at + j, pixels - j), e.lowest, e.highest);
        store_some(plane + at + j, v, pixels - j);
      }
    }
  }
}

// Filters as a matrix: element (o, c) is the kernel at data[o * outer + c * inner], rotated by 180 degrees or not.
struct Filters {
  const float* data;
  ptrdiff_t outer, inner;
  int height, width;
  bool rotated;
  int across() const { return ceil_div(width, 3); }                 // pieces of 3x3
  int pieces() const { return ceil_div(height, 3) * across(); }
};

constexpr int MOST_TAPS = 81;

// Of each piece of a kernel its nine taps, where there is no such one the number of taps.
struct Pieces {
  int count, taps[MOST_TAPS];
  explicit Pieces(const Filters& filters) : count(0) {
    const int all = filters.height * filters.width;
    for (int y = 0; y < filters.height; y += 3)
      for (int x = 0; x < filters.width; x += 3, ++count)
        for (int i = 0; i < 9; ++i) {
          const int row = y + i / 3, column = x + i % 3, tap = row * filters.width + column;
          taps[9 * count + i] = row >= filters.height || column >= filters.width ? all : filters.rotated ? all - 1 - tap : tap;
        }
  }
};

// U[f][channel and piece][...] of outputs [o, o + PACK) and channels [begin, end), rows `row` and f `stride` apart:
// G g G'. Outputs from `outputs` on are zero.
void transform_filters(const Filters& filters, int o, int outputs, int begin, int end, float* U, ptrdiff_t row,
                       ptrdiff_t stride) {
  typedef float pack_vec __attribute__((vector_size(PACK * 4), aligned(4), may_alias));
  const int taps = filters.height * filters.width, rows = max(0, min(PACK, outputs - o));
  const Pieces pieces(filters);
  float kernels[(MOST_TAPS + 1) * PACK];     // of PACK outputs, tap by tap, and a tap of zeros
  memset(kernels + (rows < PACK ? 0 : taps * PACK), 0, (rows < PACK ? taps + 1 : 1) * PACK * sizeof(float));
  for (int c = begin; c < end; ++c) {
    const float* from = filters.data + o * filters.outer + c * filters.inner;
    int t = 0;
    if (rows == PACK)
      for (; t + W <= taps; t += W)
        for (int m = 0; m < PACK; m += W)
          transpose(from + m * filters.outer + t, filters.outer, kernels + t * PACK + m, PACK);
    for (; t < taps; ++t)
      for (int m = 0; m < rows; ++m) kernels[t * PACK + m] = from[m * filters.outer + t];
    for (int p = 0; p < pieces.count; ++p, U += row) {
      pack_vec half[6][3];
      for (int j = 0; j < 3; ++j) {
        pack_vec in[3], out[6];
        for (int i = 0; i < 3; ++i)
          in[i] = *reinterpret_cast<const pack_vec*>(kernels + pieces.taps[9 * p + 3 * i + j] * PACK);
        multiply_G(in, out);
        for (int i = 0; i < 6; ++i) half[i][j] = out[i];
      }
      for (int i = 0; i < 6; ++i) {
        pack_vec out[6];
        multiply_G(half[i], out);
        for (int j = 0; j < 6; ++j) *reinterpret_cast<pack_vec*>(U + (6 * i + j) * stride) = out[j];
      }
    }
  }
}

// How many outputs' filters (of `channels` each) may be held at a time: all, or as many as FILTERS allows.
int group_size(int outputs, int channels) {
  const int most = static_cast<int>(FILTERS / (F * sizeof(float)) / channels) / 64 * 64;
  const int groups = ceil_div(outputs, max(most, 64));
  return min(round_up(ceil_div(outputs, groups), OUTPUTS), round_up(outputs, OUTPUTS));
}

// A convolution of one group: from `in` planes of `images` to `out` planes.
struct Planes {
  int count, height, width;
  ptrdiff_t stride;     // from image to image
  ptrdiff_t pixels() const { return static_cast<ptrdiff_t>(height) * width; }
};

size_t floats_for_runs(const Planes& out, int images) {
  return Tiles::most_runs(ceil_div(out.height, 4), ceil_div(out.width, 4), images) * sizeof(Run) / sizeof(float);
}

// The tiles of all images, in memory of this thread.
Tiles all_tiles(const Planes& out, int images) {
  Run* runs = reinterpret_cast<Run*>(scratch(floats_for_runs(out, images), 1));
  return Tiles(ceil_div(out.height, 4), ceil_div(out.width, 4), images, runs);
}

// Where the pixels of a line are, in all channels, those four to the left: zeros in `differ`. Returns whether the line
// is the one four above.
bool compare_line(const Planes& in, const float* bottom, int y, int32_t* differ) {
  constexpr int PARTS = 64;
  const int part = ceil_div(in.width, PARTS);
  bool alike[PARTS];      // whether any pixel of that part of the line may still be zero
  for (int i = 0; i < PARTS; ++i) alike[i] = i * part < in.width;
  for (int x = 0; x < in.width; ++x) differ[x] = x < 4;
  for (int c = 0, left = 1; c < in.count && left > 0; ++c) {
    const float* line = bottom + c * in.pixels() + static_cast<ptrdiff_t>(y) * in.width;
    left = 0;
    for (int i = 0; i < PARTS; ++i) {
      if (!alike[i]) continue;
      const int begin = max(i * part, 4), end = min(i * part + part, in.width);
      for (int x = begin; x < end; ++x) {
        int32_t here, before;
        memcpy(&here, line + x, sizeof here);
        memcpy(&before, line + x - 4, sizeof before);
        differ[x] |= here ^ before;
      }
      int zeros = 0;
      for (int x = begin; x < end; ++x) zeros += differ[x] == 0;
      alike[i] = zeros > 0;
      left += zeros;
    }
  }
  if (y < 4) return false;
  for (int c = 0; c < in.count; ++c) {
    const float* line = bottom + c * in.pixels() + static_cast<ptrdiff_t>(y) * in.width;
    if (memcmp(line, line - 4 * in.width, in.width * sizeof(float))) return false;
  }
  return true;
}

// Whether what is seen at each of [from, from + count) is what is seen four before: zeros in `differ`, which has `size`,
// and zeros of padding beyond it.
bool as_before(const int32_t* differ, int size, int from, int count) {
  for (int i = max(from, 0); i < from + count; ++i)
    if (i < size ? differ[i] != 0 : i < size + 4) return false;
  return true;
}

// The tiles that are unlike the one to their left and not all like those above. Padding, of a net's input or of a
// photograph, makes wide frames in which all are alike.
Tiles unlike_tiles(const Planes& in, const float* bottom, const Planes& out, int images, int pad_h, int pad_w,
                   const Filters& filters) {
  const int rows = ceil_div(out.height, 4), columns = ceil_div(out.width, 4);
  const size_t for_runs = floats_for_runs(out, images);
  float* memory = scratch(for_runs + in.pixels() + in.height + in.width, 1);
  int32_t *differ = reinterpret_cast<int32_t*>(memory + for_runs), *above = differ + in.pixels(), *left = above + in.height;
  Tiles tiles(rows, columns, reinterpret_cast<Run*>(memory));
  for (int n = 0; n < images; ++n) {
    const float* image = bottom + n * in.stride;
    each(in.height, in.count * static_cast<ptrdiff_t>(in.width), [&](int y) {
      above[y] = !compare_line(in, image, y, differ + static_cast<ptrdiff_t>(y) * in.width);
    });
    for (int r = 0; r < rows; ++r) {
      const int y = 4 * r - pad_h;
      if (r > 0 && as_before(above, in.height, y, filters.height + 3)) continue;
      memset(left, 0, in.width * sizeof(int32_t));
      for (int i = max(y, 0); i < min(y + filters.height + 3, in.height); ++i)
        for (int x = 0; x < in.width; ++x) left[x] |= differ[static_cast<ptrdiff_t>(i) * in.width + x];
      int begin = 0;
      for (int t = 1; t <= columns; ++t) {
        int end = t;
        while (end < columns && as_before(left, in.width, 4 * end - pad_w, filters.width + 3)) ++end;
        if (t < columns && end - t <= W) continue;     // fewer are not worth another run
        tiles.add(n, r, begin, t - begin);
        begin = t = end;
      }
    }
  }
  return tiles;
}

// Fill the tiles that were not computed with those that they are like.
void repeat_tiles(const Planes& out, float* top, int images, const Tiles& tiles) {
  if (tiles.count == tiles.rows * tiles.columns * images) return;
  each(out.count * images, out.pixels(), [&](int i) {
    const int n = i / out.count;
    float* plane = top + n * out.stride + i % out.count * out.pixels();
    const Run *run = tiles.runs, *last = tiles.runs + tiles.run_count;
    while (run < last && run->image < n) ++run;
    for (int r = 0; r < tiles.rows; ++r) {
      const int lines = min(4, out.height - 4 * r);
      float* line = plane + static_cast<ptrdiff_t>(4 * r) * out.width;
      if (run == last || run->image > n || run->row > r) {
        memcpy(line, line - 4 * static_cast<ptrdiff_t>(out.width), lines * out.width * sizeof(float));
        continue;
      }
      for (; run < last && run->image == n && run->row == r; ++run) {
        const bool followed = run + 1 < last && run[1].image == n && run[1].row == r;
        const int begin = 4 * (run->column + run->length), end = followed ? 4 * run[1].column : out.width;
        for (int j = 0; j < lines; ++j)
          for (int x = begin; x < end; x += 4)
            memmove(line + j * out.width + x, line + j * out.width + x - 4, min(4, end - x) * sizeof(float));
      }
    }
  });
}

// V[f][channel and piece][...] of a channel.
void transform_channel(const Planes& in, const float* bottom, int c, const Filters& filters, int pad_h, int pad_w,
                       const Block& block, float* V, ptrdiff_t row, ptrdiff_t stride) {
  for (int y = 0; y < filters.height; y += 3)
    for (int x = 0; x < filters.width; x += 3, V += row)
      block.each_run([&](const Run& run) {
        transform_input(bottom + run.image * in.stride + c * in.pixels(), in.height, in.width, pad_h - y, pad_w - x, run,
                        V, stride);
      });
}

// M[f][output] = U[f] V[f] for `rows` outputs, of depths [begin, end); U and V begin at the first.
void multiply(int rows, int depth, const float* U, ptrdiff_t U_row, ptrdiff_t U_stride, const float* V, ptrdiff_t V_row,
              ptrdiff_t V_stride, float* M, ptrdiff_t M_row, ptrdiff_t M_stride, const Panels& panels, bool accumulate) {
  for (int f = 0; f < F; ++f)
    for (int k = 0; k < depth; k += DEEP)
      for (int p = 0; p < panels.count; ++p) {
        const int at = panels.begin(p) * W;
        for (int m = 0; m < rows; m += MR)
          panel(panels.size(p), min(DEEP, depth - k), U + f * U_stride + m / PACK * U_row + k * PACK + m % PACK, PACK,
                V + f * V_stride + k * V_row + at, V_row, M + f * M_stride + m * M_row + at, M_row, accumulate || k > 0);
      }
}

// Outputs [o, o + rows) from M.
void transform_outputs(const Planes& out, float* top, int o, int rows, const Block& block, const float* M, ptrdiff_t M_row, ptrdiff_t M_stride, const Epilogue& e) {
  for (int m = 0; m < rows; ++m)
    block.each_run([&](const Run& run) {
      const ptrdiff_t to = run.image * out.stride + (o + m) * out.pixels();
      transform_output(M + m * M_row, M_stride, run, PlaneEpilogue(e, o + m, to), top + to, out.height, out.width);
    });
}

// By blocks of tiles; `filters` are transformed once for all of them, as many outputs at a time as FILTERS allows.
void convolve_blocks(const Planes& in, const float* bottom, const Planes& out, float* top, int pad_h, int pad_w,
                     const Filters& filters, const Tiles& tiles, const Epilogue& e) {
  const int depth = in.count * filters.pieces(), vectors = ceil_div(tiles.count, W);
  const int most = depth < MANY ? BLOCK : WIDE_BLOCK;
  const int blocks = min(vectors, round_up(ceil_div(vectors, most / W), threads()));  // an equal share for each
  const int length = ceil_div(vectors, blocks) * W;
  const int group = group_size(out.count, depth);
  const ptrdiff_t U_stride = static_cast<ptrdiff_t>(group) * depth + SKEW;
  const ptrdiff_t V_stride = static_cast<ptrdiff_t>(depth) * length + SKEW;
  const ptrdiff_t M_stride = static_cast<ptrdiff_t>(OUTPUTS) * length + SKEW;
  float* U = scratch(F * (U_stride + threads() * (V_stride + M_stride)) + threads() * 2 * W);
  float* VM = U + F * U_stride;
  for (int first = 0; first < out.count; first += group) {
    const int last = min(first + group, out.count);
    each(ceil_div(last - first, PACK), static_cast<ptrdiff_t>(F) * PACK * depth, [&](int i) {
      transform_filters(filters, first + i * PACK, last, 0, in.count, U + static_cast<ptrdiff_t>(i) * PACK * depth, PACK, U_stride);
    });
    parallel(blocks, [&](int task, int thread) {
      float* V = VM + thread * (F * (V_stride + M_stride) + 2 * W);
      float* M = V + F * V_stride + W;
      const int begin = static_cast<int>(static_cast<long>(vectors) * task / blocks) * W;
      const int end = min(static_cast<int>(static_cast<long>(vectors) * (task + 1) / blocks) * W, tiles.count);
      const Block block(tiles, begin, end);
      const Panels panels(end - begin);
      for (int c = 0; c < in.count; ++c)
        transform_channel(in, bottom, c, filters, pad_h, pad_w, block,
                          V + static_cast<ptrdiff_t>(c) * filters.pieces() * length, length, V_stride);
      for (int o = first; o < last; o += OUTPUTS) {
        const int rows = min(OUTPUTS, last - o);
        multiply(rows, depth, U + static_cast<ptrdiff_t>(o - first) * depth, static_cast<ptrdiff_t>(PACK) * depth, U_stride,
                 V, length, V_stride, M, length, M_stride, panels, false);
        transform_outputs(out, top, o, rows, block, M, length, M_stride, e);
      }
    });
  }
}

// By blocks of outputs, each with filters of its own, for as many tiles at a time as FEW. Here outputs make the vectors:
//   M'[f] (tiles x outputs) = V'[f] (tiles x channels)  U'[f] (channels x outputs).
void convolve_few(const Planes& in, const float* bottom, const Planes& out, float* top, int pad_h, int pad_w,
                  const Filters& filters, const Tiles& tiles, const Epilogue& e) {
  const int pieces = filters.pieces(), depth = in.count * pieces;
  const int parts = ceil_div(tiles.count, FEW), part = round_up(ceil_div(tiles.count, parts), PACK);
  const int row = part + W;           // the transform of a run's last tiles writes a vector
  const int columns = min(SOME, round_up(out.count, PACK)), tasks = ceil_div(out.count, columns);
  const int channels = max(1, min(in.count, CACHED / (F * columns * pieces)));   // at a time
  const ptrdiff_t U_stride = static_cast<ptrdiff_t>(channels) * pieces * columns + SKEW;
  const ptrdiff_t V_stride = static_cast<ptrdiff_t>(depth) * row + SKEW;
  const ptrdiff_t M_stride = static_cast<ptrdiff_t>(columns) * part + SKEW;
  const Panels panels(columns);
  float* V = scratch(F * (V_stride + threads() * (U_stride + 2 * M_stride)) + W);
  float* UM = V + F * V_stride + W;
  for (int begin = 0; begin < tiles.count; begin += part) {
    const int end = min(begin + part, tiles.count);
    const Block block(tiles, begin, end);
    each(in.count, static_cast<ptrdiff_t>(F) * pieces * row, [&](int c) {
      transform_channel(in, bottom, c, filters, pad_h, pad_w, block, V + static_cast<ptrdiff_t>(c) * pieces * row, row,
                        V_stride);
    });
    parallel(tasks, [&](int task, int thread) {
      float* U = UM + thread * F * (U_stride + 2 * M_stride);
      float *turned = U + F * U_stride, *M = turned + F * M_stride;
      const int o = task * columns;
      for (int c = 0; c < in.count; c += channels) {
        const int last = min(c + channels, in.count), k = c * pieces;
        for (int m = 0; m < columns; m += PACK)
          transform_filters(filters, o + m, out.count, c, last, U + m, columns, U_stride);
        for (int f = 0; f < F; ++f) {
          const float* next = V + (f + 1) % F * V_stride + static_cast<ptrdiff_t>(k) * row;
          for (int i = 0; i < (last * pieces - k) * row; i += 16) __builtin_prefetch(next + i, 0, 2);
          for (int p = 0; p < panels.count; ++p) {
            const int at = panels.begin(p) * W;
            for (int t = 0; t < end - begin; t += MR)
              panel(panels.size(p), last * pieces - k, V + f * V_stride + static_cast<ptrdiff_t>(k) * row + t, row,
                    U + f * U_stride + at, columns, turned + f * M_stride + t * columns + at, columns, k > 0);
          }
        }
      }
      for (int f = 0; f < F; ++f)
        for (int m = 0; m < columns; m += W)
          for (int t = 0; t < part; t += W)
            transpose(turned + f * M_stride + t * columns + m, columns, M + f * M_stride + m * part + t, part);
      transform_outputs(out, top, o, min(columns, out.count - o), block, M, part, M_stride, e);
    });
  }
}

void convolve_tiles(const Planes& in, const float* bottom, const Planes& out, float* top, int pad_h, int pad_w,
                    const Filters& filters, const Tiles& tiles, const Epilogue& e) {
  const bool few = tiles.count <= FEW || in.count * filters.pieces() > DEEPEST;
  (few ? convolve_few : convolve_blocks)(in, bottom, out, top, pad_h, pad_w, filters, tiles, e);
}

// Where a filter sees nothing but zeros its sum is exactly zero, as far as the nets are concerned: behind a frame of
// zero padding whole regions are, and ReLU would let half of the transforms' rounding errors pass there, and gradients
// with them. So put the exact result, the bias, into such pixels of the top.
void restore_zeros(const Geometry& g, const float* bottom, const Epilogue& e, float* top) {
  const int H = g.height, width = g.width;
  // One bit pattern for each pixel of the bottom: all its channels or-ed, without the sign, until none is zero.
  int32_t* seen = reinterpret_cast<int32_t*>(scratch(static_cast<size_t>(H) * width +
                                                     static_cast<size_t>(g.out_height) * g.out_width));
  int32_t* zero = seen + static_cast<size_t>(H) * width;
  bool any = false;
  each(H, static_cast<ptrdiff_t>(g.channels) * width, [&](int y) {
    int32_t* row = seen + static_cast<size_t>(y) * width;
    memset(row, 0, width * sizeof(int32_t));
    int zeros = width;
    for (int c = 0; c < g.channels && zeros; ++c) {
      const float* in = bottom + (static_cast<ptrdiff_t>(c) * H + y) * width;
      for (int x = 0; x < width; ++x) {
        int32_t bits;
        memcpy(&bits, in + x, sizeof bits);
        row[x] |= bits & 0x7fffffff;
      }
      if (c % 8 == 7 || c + 1 == g.channels) {
        zeros = 0;
        for (int x = 0; x < width; ++x) zeros += row[x] == 0;
      }
    }
    if (zeros) __atomic_store_n(&any, true, __ATOMIC_RELAXED);
  });
  if (!any) return;
  each(g.out_height, g.kernel_h * g.kernel_w * g.out_width, [&](int y) {
    for (int x = 0; x < g.out_width; ++x) {
      int32_t window = 0;
      for (int i = max(y - g.pad_h, 0); i < min(y - g.pad_h + g.kernel_h, H); ++i)
        for (int j = max(x - g.pad_w, 0); j < min(x - g.pad_w + g.kernel_w, width); ++j) window |= seen[i * width + j];
      zero[y * g.out_width + x] = window == 0;
    }
  });
  const int pixels = g.out_height * g.out_width;
  each(g.outputs, pixels, [&](int o) {
    float* plane = top + static_cast<ptrdiff_t>(o) * pixels;
    const float* addend = e.addend ? e.addend + static_cast<ptrdiff_t>(o) * pixels : nullptr;
    const float shift = e.shift ? e.shift[o] : 0.f;
    for (int i = 0; i < pixels; ++i) {
      if (!zero[i]) continue;
      const float x = shift + (addend ? addend[i] : 0.f), raised = x < e.lowest ? e.lowest : x;
      plane[i] = raised > e.highest ? e.highest : raised;
    }
  });
}

}  // namespace

void winograd(const Geometry& g, int images, const float* bottom, ptrdiff_t bottom_stride, const float* weights,
              const Epilogue& e, float* top, ptrdiff_t top_stride) {
  const ptrdiff_t taps = g.kernel_h * g.kernel_w;
  const Planes in = {g.channels, g.height, g.width, bottom_stride}, out = {g.outputs, g.out_height, g.out_width, top_stride};
  const Filters filters = {weights, taps * g.channels, taps, g.kernel_h, g.kernel_w, false};
  const Tiles tiles = e.addend ? all_tiles(out, images) : unlike_tiles(in, bottom, out, images, g.pad_h, g.pad_w, filters);
  convolve_tiles(in, bottom, out, top, g.pad_h, g.pad_w, filters, tiles, e);
  repeat_tiles(out, top, images, tiles);
  for (int n = 0; n < images; ++n)
    restore_zeros(g, bottom + n * bottom_stride, e.at(0, n * top_stride), top + n * top_stride);
}

void winograd_to_bottom(const Geometry& g, int images, const float* top, ptrdiff_t top_stride, const float* weights,
                        float* bottom, ptrdiff_t bottom_stride) {
  const ptrdiff_t taps = g.kernel_h * g.kernel_w;
  const Planes in = {g.outputs, g.out_height, g.out_width, top_stride}, out = {g.channels, g.height, g.width, bottom_stride};
  convolve_tiles(in, top, out, bottom, g.kernel_h - 1 - g.pad_h, g.kernel_w - 1 - g.pad_w,
                 {weights, taps, taps * g.channels, g.kernel_h, g.kernel_w, true}, all_tiles(out, images), NO_EPILOGUE);
}

void winograd_to_weights(const Geometry& g, int images, const float* bottom, ptrdiff_t bottom_stride,
                         const float* top, ptrdiff_t top_stride, float* weights) {
  const Tiles tiles = all_tiles({g.outputs, g.out_height, g.out_width, top_stride}, images);
  const int columns = round_up(g.channels, W);
  const int group = round_up(group_size(g.outputs, columns), W);
  const int fit = static_cast<int>(CHUNK / (F * sizeof(float) * (columns + group))) / PIECE * PIECE;
  const int chunk = min(round_up(tiles.count, W), max(fit, PIECE));
  // dU[f] (outputs x channels) += Z[f]' (outputs x tiles) V[f] (tiles x channels): both operands are needed with tiles
  // outermost, so W planes at a time are transformed as before and then transposed.
  const ptrdiff_t dU_stride = static_cast<ptrdiff_t>(group) * columns + SKEW;
  const ptrdiff_t V_stride = static_cast<ptrdiff_t>(chunk) * columns + SKEW;
  const ptrdiff_t Z_stride = static_cast<ptrdiff_t>(chunk) * group + SKEW;
  const ptrdiff_t plane_stride = static_cast<ptrdiff_t>(W) * (PIECE + W) + SKEW;
  float* dU = scratch(F * (dU_stride + V_stride + Z_stride + threads() * plane_stride));
  float *V = dU + F * dU_stride, *Z = V + F * V_stride, *planes = Z + F * Z_stride;
  for (int first = 0; first < g.outputs; first += group) {
    const int rows = min(group, g.outputs - first);
    const int V_blocks = columns / W, blocks = V_blocks + ceil_div(rows, W);
    for (int begin = 0; begin < tiles.count; begin += chunk) {
      const int end = min(begin + chunk, tiles.count);
      parallel(blocks * ceil_div(end - begin, PIECE), [&](int task, int thread) {
        float* own = planes + thread * F * plane_stride;
        const int length = PIECE + W;
        const int block = task % blocks, from = begin + task / blocks * PIECE, to = min(from + PIECE, end);
        const bool input = block < V_blocks;
        const Block pieces(tiles, from, to);
        const int first_plane = input ? block * W : first + (block - V_blocks) * W;
        for (int i = 0; i < W; ++i) {
          const int c = min(first_plane + i, (input ? g.channels : g.outputs) - 1);  // padding repeats the last
          pieces.each_run([&](const Run& run) {
            if (input)
              transform_input(bottom + run.image * bottom_stride + static_cast<ptrdiff_t>(c) * g.height * g.width,
                              g.height, g.width, g.pad_h, g.pad_w, run, own + i * length, plane_stride);
            else
              transform_gradient(top + run.image * top_stride + static_cast<ptrdiff_t>(c) * g.out_height * g.out_width,
                                 g.out_height, g.out_width, run, own + i * length, plane_stride);
          });
        }
        const ptrdiff_t row = input ? columns : group, out_stride = input ? V_stride : Z_stride;
        float* out = (input ? V + block * W : Z + (block - V_blocks) * W) + (from - begin) * row;
        for (int f = 0; f < F; ++f)
          for (int t = 0; t < to - from; t += W)
            transpose(own + f * plane_stride + t, length, out + f * out_stride + t * row, row);
      });
      const Panels panels(columns);
      parallel(F * panels.count, [&](int task, int) {
        const int f = task / panels.count, p = task % panels.count, at = panels.begin(p) * W;
        for (int k = 0; k < end - begin; k += DEEP)
          for (int m = 0; m < rows; m += MR)
            panel(panels.size(p), min(DEEP, end - begin - k),
                  Z + f * Z_stride + static_cast<ptrdiff_t>(k) * group + m, group,
                  V + f * V_stride + static_cast<ptrdiff_t>(k) * columns + at, columns,
                  dU + f * dU_stride + static_cast<ptrdiff_t>(m) * columns + at, columns, begin + k > 0);
      });
    }
    each(rows, static_cast<ptrdiff_t>(F) * columns, [&](int m) {
      for (int c = 0; c < g.channels; c += W) {
        vec half[3][6], kernel[9];
        for (int j = 0; j < 6; ++j) {
          vec u[6], column[3];
          for (int i = 0; i < 6; ++i) u[i] = load(dU + (6 * i + j) * dU_stride + static_cast<ptrdiff_t>(m) * columns + c);
          multiply_Gt(u, column);
          for (int i = 0; i < 3; ++i) half[i][j] = column[i];
        }
        for (int i = 0; i < 3; ++i) multiply_Gt(half[i], kernel + 3 * i);
        float* out = weights + (static_cast<ptrdiff_t>(first + m) * g.channels + c) * 9;
        for (int i = 0; i < min(W, g.channels - c); ++i)
          for (int r = 0; r < 9; ++r) out[9 * i + r] += kernel[r][i];
      }
    });
  }
}

}  // namespace ACCEL_ISA
}  // namespace accel
