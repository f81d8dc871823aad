// The matrix kernel of all convolutions.
#ifndef ACCEL_GEMM_H_
#define ACCEL_GEMM_H_

#include "simd.h"

namespace accel {
namespace ACCEL_ISA {

// C[MR x V W] (+)= sum over k of A[k][MR] outer B[k][V W]. The accumulators stay in registers for all of k; each step
// loads V vectors of B and broadcasts MR floats of A.
template <int V, bool accumulate>
static inline __attribute__((always_inline)) void block(
    int K, const float* a, ptrdiff_t a_stride, const float* b, ptrdiff_t b_stride, float* c, ptrdiff_t c_stride) {
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

// C[MR x n] (+)= A B for n a multiple of W.
template <bool accumulate>
static void panel(int n, int K, const float* a, ptrdiff_t a_stride, const float* b, ptrdiff_t b_stride, float* c,
                  ptrdiff_t c_stride) {
  int j = 0;
  for (; j + NR <= n; j += NR) block<NV, accumulate>(K, a, a_stride, b + j, b_stride, c + j, c_stride);
  if (NV > 3 && j + 3 * W <= n) {
    block<3, accumulate>(K, a, a_stride, b + j, b_stride, c + j, c_stride);
    j += 3 * W;
  }
  if (n - j == 2 * W) block<2, accumulate>(K, a, a_stride, b + j, b_stride, c + j, c_stride);
  if (n - j == W) block<1, accumulate>(K, a, a_stride, b + j, b_stride, c + j, c_stride);
}

}  // namespace ACCEL_ISA
}  // namespace accel

#endif
