// Vectors of one width per instruction set. Every file that includes this is compiled once for each set, with
// ACCEL_ISA naming the namespace; kernels.h is the table through which the rest of the library reaches them.
// Nothing here may use templates of the standard library: the linker merges those across the sets.
#ifndef ACCEL_SIMD_H_
#define ACCEL_SIMD_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__aarch64__)
#include <arm_neon.h>
#else
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define ACCEL_ISA avx512
#define ACCEL_ISA_NAME "AVX-512"
#elif defined(__AVX2__) && defined(__FMA__)
#define ACCEL_ISA avx2
#define ACCEL_ISA_NAME "AVX2"
#elif defined(__SSE4_2__)
#define ACCEL_ISA sse4
#define ACCEL_ISA_NAME "SSE4.2"
#elif defined(__aarch64__)
#define ACCEL_ISA neon
#define ACCEL_ISA_NAME "NEON"
#else
#error "compile with the flags of one of the instruction sets in accel/build.py"
#endif

namespace accel {
namespace ACCEL_ISA {

#if defined(__AVX512F__)
constexpr int W = 16;   // floats in a vector
constexpr int MR = 8, NV = 3;   // rows, and vectors of a row, of C that the matrix kernel keeps in 32 registers
typedef int index __attribute__((vector_size(64)));
#define ACCEL_EVEN {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30}
#define ACCEL_ODD {1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31}
#define ACCEL_LOW {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23}
#define ACCEL_HIGH {8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31}
#define ACCEL_NEXT {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
#elif defined(__AVX2__)
constexpr int W = 8;
constexpr int MR = 4, NV = 3;   // in 16 registers
typedef int index __attribute__((vector_size(32)));
#define ACCEL_EVEN {0, 2, 4, 6, 8, 10, 12, 14}
#define ACCEL_ODD {1, 3, 5, 7, 9, 11, 13, 15}
#define ACCEL_LOW {0, 8, 1, 9, 2, 10, 3, 11}
#define ACCEL_HIGH {4, 12, 5, 13, 6, 14, 7, 15}
#define ACCEL_NEXT {1, 2, 3, 4, 5, 6, 7, 8}
#else
constexpr int W = 4;
#if defined(__aarch64__)
constexpr int MR = 8, NV = 3;   // in 32 registers
#else
constexpr int MR = 2, NV = 6;   // in 16 registers, where a product takes one before it is added
#endif
typedef int index __attribute__((vector_size(16)));
#define ACCEL_EVEN {0, 2, 4, 6}
#define ACCEL_ODD {1, 3, 5, 7}
#define ACCEL_LOW {0, 4, 1, 5}
#define ACCEL_HIGH {2, 6, 3, 7}
#define ACCEL_NEXT {1, 2, 3, 4}
#endif
constexpr int NR = NV * W;
constexpr int PACK = W > MR ? W : MR;   // rows of A that are brought into the order of the matrix kernel at a time

typedef float vec __attribute__((vector_size(W * 4)));
typedef float unaligned_vec __attribute__((vector_size(W * 4), aligned(4), may_alias));

static inline vec load(const float* p) { return *reinterpret_cast<const unaligned_vec*>(p); }
static inline void store(float* p, vec v) { *reinterpret_cast<unaligned_vec*>(p) = v; }
static inline vec broadcast(float x) { return x - vec{}; }

// a > b ? a : b, and a < b ? a : b: b where either is NaN. x86 has an instruction that is just this.
#if defined(__AVX512F__)
static inline vec max(vec a, vec b) { return (vec)_mm512_max_ps((__m512)a, (__m512)b); }
static inline vec min(vec a, vec b) { return (vec)_mm512_min_ps((__m512)a, (__m512)b); }
#elif defined(__AVX2__)
static inline vec max(vec a, vec b) { return (vec)_mm256_max_ps((__m256)a, (__m256)b); }
static inline vec min(vec a, vec b) { return (vec)_mm256_min_ps((__m256)a, (__m256)b); }
#elif defined(__SSE4_2__)
static inline vec max(vec a, vec b) { return (vec)_mm_max_ps((__m128)a, (__m128)b); }
static inline vec min(vec a, vec b) { return (vec)_mm_min_ps((__m128)a, (__m128)b); }
#else
static inline vec max(vec a, vec b) { return a > b ? a : b; }
static inline vec min(vec a, vec b) { return a < b ? a : b; }
#endif

// The first n < W floats at p, and zeros or what else is said; and back. Nothing behind them is touched.
static inline vec load_part(const float* p, ptrdiff_t n, vec otherwise = vec{}) {
#if defined(__AVX512F__)
  return (vec)_mm512_mask_loadu_ps((__m512)otherwise, static_cast<__mmask16>((1u << n) - 1), p);
#elif defined(__AVX2__)
  const index wanted = index{0, 1, 2, 3, 4, 5, 6, 7} < static_cast<int>(n);
  return wanted ? (vec)_mm256_maskload_ps(p, (__m256i)wanted) : otherwise;
#else
  return vec{n > 0 ? p[0] : otherwise[0], n > 1 ? p[1] : otherwise[1], n > 2 ? p[2] : otherwise[2], otherwise[3]};
#endif
}

static inline void store_part(float* p, vec v, ptrdiff_t n) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), (__m512)v);
#else
#if defined(__AVX2__)   // in halves: a store with a mask takes many cycles on some CPUs
  __m128 low = _mm256_castps256_ps128((__m256)v);
  if (n & 4) {
    _mm_storeu_ps(p, low);
    low = _mm256_extractf128_ps((__m256)v, 1);
    p += 4;
  }
  typedef float quarter __attribute__((vector_size(16)));
  const quarter left = (quarter)low;
#else
  const vec left = v;
#endif
  if (n & 3) p[0] = left[0];
  if (n & 2) p[1] = left[1];
  if ((n & 3) == 3) p[2] = left[2];
#endif
}

// The same for as many as there are: W where n is no less.
static inline vec load_some(const float* p, ptrdiff_t n) { return n < W ? load_part(p, n) : load(p); }
static inline void store_some(float* p, vec v, ptrdiff_t n) { n < W ? store_part(p, v, n) : store(p, v); }

static inline vec clamp(vec x, vec lowest, vec highest) {
  x = x < lowest ? lowest : x;      // in this order a NaN stays one
  return x > highest ? highest : x;
}

static inline vec sqrt(vec v) {
#if defined(__AVX512F__)
  return (vec)_mm512_sqrt_ps((__m512)v);
#elif defined(__AVX2__)
  return (vec)_mm256_sqrt_ps((__m256)v);
#elif defined(__aarch64__)
  return (vec)vsqrtq_f32((float32x4_t)v);
#else
  return (vec)_mm_sqrt_ps((__m128)v);
#endif
}

// The sum of the elements, in pairs.
static inline float add_up(vec v) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps((__m512)v);
#elif defined(__aarch64__)
  return vaddvq_f32((float32x4_t)v);
#else
#if defined(__AVX2__)
  const __m128 half = _mm_add_ps(_mm256_castps256_ps128((__m256)v), _mm256_extractf128_ps((__m256)v, 1));
#else
  const __m128 half = (__m128)v;
#endif
  const __m128 pair = _mm_add_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_add_ss(pair, _mm_shuffle_ps(pair, pair, 1)));
#endif
}

// Of the 2 W floats a|b: every other one; or the lower or upper halves of a and b, alternating.
#if defined(__AVX2__) && !defined(__AVX512F__)
// In two instructions where the compiler finds five: within the halves, and then the halves' halves.
static inline vec even(vec a, vec b) {
  const vec v = __builtin_shuffle(a, b, (index){0, 2, 8, 10, 4, 6, 12, 14});
  return __builtin_shuffle(v, (index){0, 1, 4, 5, 2, 3, 6, 7});
}
static inline vec odd(vec a, vec b) {
  const vec v = __builtin_shuffle(a, b, (index){1, 3, 9, 11, 5, 7, 13, 15});
  return __builtin_shuffle(v, (index){0, 1, 4, 5, 2, 3, 6, 7});
}
#else
static inline vec even(vec a, vec b) { return __builtin_shuffle(a, b, (index)ACCEL_EVEN); }
static inline vec odd(vec a, vec b) { return __builtin_shuffle(a, b, (index)ACCEL_ODD); }
#endif
static inline vec zip_low(vec a, vec b) { return __builtin_shuffle(a, b, (index)ACCEL_LOW); }
static inline vec zip_high(vec a, vec b) { return __builtin_shuffle(a, b, (index)ACCEL_HIGH); }

// The elements of a from the second on, and then x.
static inline vec follow(vec a, float x) { return __builtin_shuffle(a, broadcast(x), (index)ACCEL_NEXT); }

// Split W pixels x 4 into the four phases x mod 4, and back.
static inline void deinterleave4(const float* p, vec out[4]) {
  vec a = load(p), b = load(p + W), c = load(p + 2 * W), d = load(p + 3 * W);
  vec even_low = even(a, b), odd_low = odd(a, b), even_high = even(c, d), odd_high = odd(c, d);
  out[0] = even(even_low, even_high);
  out[1] = even(odd_low, odd_high);
  out[2] = odd(even_low, even_high);
  out[3] = odd(odd_low, odd_high);
}

static inline void interleave4(const vec in[4], float* p) {
  vec even_low = zip_low(in[0], in[2]), even_high = zip_high(in[0], in[2]);
  vec odd_low = zip_low(in[1], in[3]), odd_high = zip_high(in[1], in[3]);
  store(p, zip_low(even_low, odd_low));
  store(p + W, zip_high(even_low, odd_low));
  store(p + 2 * W, zip_low(even_high, odd_high));
  store(p + 3 * W, zip_high(even_high, odd_high));
}

// Transpose W x W floats. One pass zips row i with row i + W/2, which rotates the bits of (row, column) by one place;
// after log2(W) passes rows have become columns.
static inline void transpose(const float* in, ptrdiff_t in_stride, float* out, ptrdiff_t out_stride) {
  vec a[W], b[W];
  for (int i = 0; i < W; ++i) a[i] = load(in + i * in_stride);
  for (int pass = 1; pass < W; pass *= 2) {
    for (int i = 0; i < W / 2; ++i) {
      b[2 * i] = zip_low(a[i], a[i + W / 2]);
      b[2 * i + 1] = zip_high(a[i], a[i + W / 2]);
    }
    for (int i = 0; i < W; ++i) a[i] = b[i];
  }
  for (int i = 0; i < W; ++i) store(out + i * out_stride, a[i]);
}

static inline int round_up(int n, int multiple) { return (n + multiple - 1) / multiple * multiple; }
static inline int ceil_div(int n, int d) { return (n + d - 1) / d; }
static inline int min(int a, int b) { return a < b ? a : b; }
static inline int max(int a, int b) { return a > b ? a : b; }

}  // namespace ACCEL_ISA
}  // namespace accel

#endif
