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

// One element of a filter, and where what it multiplies lies, from a place that goes with the output.
struct Tap {
  ptrdiff_t at;
  float weight;
};

// V vectors of sums over N elements of a filter, added to what is there.
template <int V, int N>
static inline __attribute__((always_inline)) void add_filtered(const Tap* taps, const float* from, vec* sum) {
#pragma GCC unroll 4
  for (int i = 0; i < N; ++i) {
    const vec weight = broadcast(taps[i].weight);
    const float* in = from + taps[i].at;
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) sum[v] += weight * load(in + v * W);
  }
}

// V vectors of sums over the elements of a filter.
template <int V>
static inline __attribute__((always_inline)) void filtered(const Tap* taps, int count, const float* from, vec* sum) {
#pragma GCC unroll 8
  for (int v = 0; v < V; ++v) sum[v] = vec{};
  int i = 0;
  for (; i + 4 <= count; i += 4) add_filtered<V, 4>(taps + i, from, sum);
  for (; i < count; ++i) add_filtered<V, 1>(taps + i, from, sum);
}

// Zeros in [p, end), and up to W - 1 floats behind.
static inline void clear_beyond(float* p, const float* end) {
  for (; p < end; p += W) {
    store(p, vec{});
    asm("" : "+r"(p));    // or the compiler calls memset, for a vector or two
  }
}

// How a row of `size` numbers lies in a line: number j at place (j + pad) / stride of phase (j + pad) % stride, zeros
// around. So filters of any stride find what they need for neighbouring outputs side by side. A negative pad crops.
struct Axis {
  int skip, size, pad, stride;
  int used, length;   // of a phase: what may be read, and with what writing may spoil behind that

  // `used` at least.
  Axis(int size, int pad, int stride, int used)
      : skip(max(-pad, 0)), pad(max(pad, 0)), stride(stride), used(round_up(used, W)), length(this->used + W) {
    if (length * stride % 512 == 0) length += W;  // lines a multiple of 2 KB apart would share few sets of the cache
    this->size = max(min(size - skip, this->used * stride - this->pad), 0);
  }

  int pitch() const { return length * stride; }
  // Of what lies j - pad from the beginning of the row.
  int place(int j) const { return j % stride * length + j / stride; }

  // The lines of `count` rows of a plane of `height` from row `top` on, one behind the other; rows outside are zero.
  void fill(const float* plane, int height, int width, int top, int count, float* lines) const {
    const int above = min(max(-top, 0), count), below = max(min(top + count - height, count - above), 0);
    const int step = pitch(), inside = count - above - below;
    const float* in = plane + static_cast<ptrdiff_t>(top + above) * width + skip;
    clear_beyond(lines, lines + static_cast<ptrdiff_t>(above) * step);
    lines += static_cast<ptrdiff_t>(above) * step;
    if (stride == 1)
      fill_plain(in, width, inside, lines);
    else if (stride == 2)
      fill_halves(in, width, inside, lines);
    else
      fill_phases(in, width, inside, lines);
    lines += static_cast<ptrdiff_t>(inside) * step;
    clear_beyond(lines, lines + static_cast<ptrdiff_t>(below) * step - W);
  }

 private:
  // Of the row: the first that goes to a phase, its place there, and how many do.
  struct Phase {
    int first, at, count;
  };
  Phase phase(int i) const {
    const int first = (i - pad % stride + stride) % stride;
    return {first, (first + pad) / stride, size > first ? ceil_div(size - first, stride) : 0};
  }

  void fill_plain(const float* in, ptrdiff_t width, int rows, float* line) const {
    const int before = pad, count = size, end = used, step = length;
    for (int y = 0; y < rows; ++y, in += width, line += step) {
      float* out = line + before;
      clear_beyond(line, out);
      int i = 0;
      for (; i + W <= count; i += W) store(out + i, load(in + i));
      copy_first(out + i, in + i, count - i);
      clear_beyond(out + count, line + end);
    }
  }

  void fill_halves(const float* in, ptrdiff_t width, int rows, float* line) const {
    const Phase p[2] = {phase(0), phase(1)};
    // The row's numbers 0, 2, ... go to one phase, the others to the other.
    const int evens = place(pad), odds = place(pad + 1), count = size, other = length, end = used;
    for (int y = 0; y < rows; ++y, in += width, line += 2 * other) {
      clear_beyond(line, line + p[0].at);
      clear_beyond(line + other, line + other + p[1].at);
      int i = 0;
      for (; i + 2 * W <= count; i += 2 * W) {
        const vec a = load(in + i), b = load(in + i + W);
        store(line + evens + i / 2, even(a, b));
        store(line + odds + i / 2, odd(a, b));
      }
      if (i < count) {
        float rest[2 * W];
        copy_first(rest, in + i, count - i);
        const vec a = load(rest), b = load(rest + W);
        store(line + evens + i / 2, even(a, b));
        store(line + odds + i / 2, odd(a, b));
      }
      clear_beyond(line + p[0].at + p[0].count, line + end);
      clear_beyond(line + other + p[1].at + p[1].count, line + other + end);
    }
  }

  void fill_phases(const float* in, ptrdiff_t width, int rows, float* line) const {
    for (int j = 0; j < stride; ++j) {
      const Phase p = phase(j);
      for (int y = 0; y < rows; ++y) {
        const float* from = in + y * width + p.first;
        float* out = line + static_cast<ptrdiff_t>(y) * pitch() + j * length;
        clear_beyond(out, out + p.at);
        for (int i = 0; i < p.count; ++i) out[p.at + i] = from[i * stride];
        clear_beyond(out + p.at + p.count, out + used);
      }
    }
  }
};

}  // namespace ACCEL_ISA
}  // namespace accel

#endif
