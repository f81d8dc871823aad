// The matrix kernel of all convolutions: C (rows x columns) = or += A (rows x depth) B (depth x columns).
//
// A lies in panels of PACK rows, each depth x PACK, missing rows as zeros. B lies in panels of up to NV vectors of
// columns, each depth x that width. One panel of B, at most DEPTH deep, stays in the first level cache while all rows of
// A pass over it: K. Goto, R. van de Geijn: Anatomy of High-Performance Matrix Multiplication. TOMS 2008.
#ifndef ACCEL_GEMM_H_
#define ACCEL_GEMM_H_

#include "../kernels.h"
#include "simd.h"

namespace accel {
namespace ACCEL_ISA {

constexpr int DEPTH = W == 16 ? 128 : 256;   // of a panel of B: 24 KB

// The vectors of `columns`, cut into panels of NV or, evenly, fewer: one vector alone would wait for its own sums.
struct Panels {
  int vectors, count;
  explicit Panels(int columns) : vectors(ceil_div(columns, W)), count(ceil_div(vectors, NV)) {}
  int begin(int panel) const { return vectors * panel / count; }              // in vectors
  int size(int panel) const { return begin(panel + 1) - begin(panel); }
  int width() const { return vectors * W; }                                    // columns, with those of the padding
};

// C[MR x V W] (+)= A[K][MR] B[K][V W]. The accumulators stay in registers for all of K; each step loads V vectors of B
// and broadcasts MR floats of A.
template <int V, bool accumulate>
static inline __attribute__((always_inline)) void block(int K, const float* a, ptrdiff_t a_stride, const float* b,
                                                        ptrdiff_t b_stride, float* c, ptrdiff_t c_stride) {
  vec sum[MR][V];
  for (int i = 0; i < MR; ++i)
    for (int v = 0; v < V; ++v) sum[i][v] = vec{};
  for (int k = 0; k < K; ++k) {
    vec row[V];
#pragma GCC unroll 6
    for (int v = 0; v < V; ++v) row[v] = load(b + v * W);
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i) {
      // Where A's rows fill vectors, taken from one: on ARM an element of a vector is an operand of the multiplication.
      const vec x = MR % W ? broadcast(a[i]) : broadcast(load(a + i / W * W)[i % W]);
#pragma GCC unroll 6
      for (int v = 0; v < V; ++v) sum[i][v] += x * row[v];
    }
    a += a_stride;
    b += b_stride;
  }
#pragma GCC unroll 8
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 6
    for (int v = 0; v < V; ++v) {
      float* p = c + i * c_stride + v * W;
      store(p, accumulate ? load(p) + sum[i][v] : sum[i][v]);
    }
}

// C (MR x vectors W) (+)= A B.
static inline void panel(int vectors, int depth, const float* a, ptrdiff_t a_stride, const float* b, ptrdiff_t b_stride,
                         float* c, ptrdiff_t c_stride, bool accumulate) {
#define ACCEL_BLOCK(V)                                                   \
  (accumulate ? block<(V), true>(depth, a, a_stride, b, b_stride, c, c_stride) \
              : block<(V), false>(depth, a, a_stride, b, b_stride, c, c_stride))
  if (NV > 5 && vectors == 6) ACCEL_BLOCK(NV > 5 ? 6 : 1);
  else if (NV > 4 && vectors == 5) ACCEL_BLOCK(NV > 4 ? 5 : 1);
  else if (NV > 3 && vectors == 4) ACCEL_BLOCK(NV > 3 ? 4 : 1);
  else if (vectors == 3) ACCEL_BLOCK(3);
  else if (vectors == 2) ACCEL_BLOCK(2);
  else ACCEL_BLOCK(1);
#undef ACCEL_BLOCK
}

// What `panel` left in a tile of NR columns, its rows x columns added to those of C, or put there, and finished.
template <bool whole>
static inline __attribute__((always_inline)) void put(const float* tile, int rows, int columns, float* c,
                                                      ptrdiff_t c_stride, bool accumulate, const Epilogue& finish) {
  const vec lowest = broadcast(finish.lowest), highest = broadcast(finish.highest);
  for (int i = 0; i < rows; ++i) {
    const vec scale = broadcast(finish.scale ? finish.scale[i] : 1.f);
    const vec shift = broadcast(finish.shift ? finish.shift[i] : 0.f);
    const float* addend = finish.addend ? finish.addend + i * c_stride : nullptr;
    for (int j = 0; j < columns; j += W) {
      const int n = whole ? W : columns - j;
      float* p = c + i * c_stride + j;
      vec x = load(tile + i * NR + j);
      if (accumulate) x += load_some(p, n);
      x = x * scale + shift;
      if (addend) x += load_some(addend + j, n);
      store_some(p, clamp(x, lowest, highest), n);
    }
  }
}

// Lines of memory that will be wanted next: asked for a few at a time, during the products.
struct Ahead {
  const float* data = nullptr;    // rows x length, `stride` apart
  ptrdiff_t stride = 0;
  int rows = 0, length = 0, row = 0, at = 0;
  Ahead* then = nullptr;          // wanted after these
  int lines() const { return rows * ceil_div(length, 16) + (then ? then->lines() : 0); }
  void ask(int lines) {
    for (; lines > 0 && row < rows; --lines) {
      __builtin_prefetch(data + row * stride + at, 0, 2);
      if ((at += 16) >= length) at = 0, ++row;
    }
    if (lines > 0 && then) then->ask(lines);
  }
};

// C (rows x columns) = or += A B of the panels described above, and then `finish`, if there is one.
static inline void multiply_panels(int rows, int depth, const float* a, const Panels& panels, const float* b, float* c,
                            ptrdiff_t c_stride, int columns, bool accumulate, const Epilogue* finish, Ahead* ahead) {
  const int down = ceil_div(rows, MR), tiles = down * panels.count;
  const int lines = ahead ? ceil_div(ahead->lines(), tiles) : 0;
  // Where all of B stays in the first level cache, C is written row by row.
  const bool by_rows = panels.vectors * depth <= NV * DEPTH;
  for (int i = 0; i < tiles; ++i) {
    const int p = by_rows ? i % panels.count : i / down, m = (by_rows ? i / panels.count : i % down) * MR;
    const int first = panels.begin(p) * W, vectors = panels.size(p), width = vectors * W;
    const int height = min(MR, rows - m), n = min(columns - first, width);
    const float* a_panel = a + static_cast<ptrdiff_t>(m / PACK) * PACK * depth + m % PACK;
    const float* b_panel = b + static_cast<ptrdiff_t>(first) * depth;
    float* out = c + m * c_stride + first;
    if (ahead) ahead->ask(lines);
    for (int r = 0; r < height; ++r)   // wanted when the products are done
      for (int j = 0; j < width; j += 16) __builtin_prefetch(out + r * c_stride + j, 1, 3);
    if (!finish && height == MR && n == width) {
      panel(vectors, depth, a_panel, PACK, b_panel, width, out, c_stride, accumulate);
      continue;
    }
    float tile[MR * NR];
    panel(vectors, depth, a_panel, PACK, b_panel, width, tile, NR, false);
    const Epilogue own = finish ? finish->at(m, out - c) : NO_EPILOGUE;
    if (n == width)
      put<true>(tile, height, n, out, c_stride, accumulate, own);
    else
      put<false>(tile, height, n, out, c_stride, accumulate, own);
  }
}

}  // namespace ACCEL_ISA
}  // namespace accel

#endif
