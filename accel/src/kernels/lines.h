// Lines of a plane as filters slide over them: with the padding around them, and for strides split into phases.
#ifndef ACCEL_LINES_H_
#define ACCEL_LINES_H_

#include "simd.h"

namespace accel {
namespace ACCEL_ISA {

// The first n < 2 W floats, in pieces of constant size, since calling memcpy would cost more than the copying.
static inline void copy_first(float* out, const float* in, int n) {
#pragma GCC unroll 5
  for (int size = W; size > 0; size /= 2)
    if (n & size) {
      memcpy(out, in, size * sizeof(float));
      out += size;
      in += size;
    }
}

static inline vec load_first(const float* p, int n) {
  float first[W] = {};
  copy_first(first, p, n);
  return load(first);
}

static inline void store_first(float* p, vec v, int n) {
  float first[W];
  store(first, v);
  copy_first(p, first, n);
}

// Zeros in [p, end), and up to W - 1 floats behind.
static inline void clear_beyond(float* p, const float* end) {
  for (; p < end; p += W) store(p, vec{});
}

// How a row of `size` numbers lies in a line: number j at place (j + pad) / stride of phase (j + pad) % stride, zeros
// around. So filters of any stride find what they need for neighbouring outputs side by side. A negative pad crops.
struct Axis {
  int skip, size, pad, stride;
  int used, length;   // of a phase: what may be read, and with what writing may spoil behind that

  // `used` at least.
  Axis(int size, int pad, int stride, int used)
      : skip(max(-pad, 0)), size(max(size - skip, 0)), pad(max(pad, 0)), stride(stride), used(round_up(used, W)),
        length(this->used + W) {
    if (length * stride % 512 == 0) length += W;  // lines a multiple of 2 KB apart would share few sets of the cache
  }

  int pitch() const { return length * stride; }
  // Of what lies j - pad from the beginning of the row.
  int place(int j) const { return j % stride * length + j / stride; }

  void clear(float* line) const { memset(line, 0, pitch() * sizeof(float)); }

  void fill(const float* in, float* line) const {
    in += skip;
    const int count = min(size, used * stride - pad);
    for (int phase = 0; phase < stride; ++phase) {
      // The numbers of this phase: the first, and how many.
      const int first = (phase - pad % stride + stride) % stride, at = (first + pad) / stride;
      const int n = count > first ? ceil_div(count - first, stride) : 0;
      float* out = line + phase * length;
      clear_beyond(out, out + at);
      if (stride == 1) {
        int i = 0;
        for (; i + W <= n; i += W) store(out + at + i, load(in + i));
        copy_first(out + at + i, in + i, n - i);
      } else if (stride == 2) {
        int i = 0;
        for (; 2 * (i + W) <= count; i += W)
          store(out + at + i, first ? odd(load(in + 2 * i), load(in + 2 * i + W)) : even(load(in + 2 * i), load(in + 2 * i + W)));
        if (i < n) {
          float rest[2 * W] = {};
          copy_first(rest, in + 2 * i, count - 2 * i);
          store(out + at + i, first ? odd(load(rest), load(rest + W)) : even(load(rest), load(rest + W)));
        }
      } else {
        for (int i = 0; i < n; ++i) out[at + i] = in[first + i * stride];
      }
      clear_beyond(out + at + n, out + used);
    }
  }
};

}  // namespace ACCEL_ISA
}  // namespace accel

#endif
