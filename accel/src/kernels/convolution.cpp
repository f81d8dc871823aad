// Convolutions of any shape as matrix products with the columns of the image (one column for each output pixel, one
// row for each weight of a filter). Columns are gathered a block at a time into the thread's cache; the whole matrix,
// hundreds of megabytes for a large image, never exists. 1x1 convolutions are the case in which it equals the image.
#include <omp.h>

#include "gemm.h"
#include "table.h"

namespace accel {
namespace ACCEL_ISA {
namespace {

constexpr int DEPTH = 256;    // length of the sums taken at a time: of columns, so many rows fit the second level cache
constexpr int COLUMNS = 384;
constexpr int ROWS = 1024;    // of a block of the result
constexpr int CHANNEL_ROWS = 256;  // the same where rows are whole channels, of which each thread should have some

int kernel_size(const Geometry& g) { return g.kernel_h * g.kernel_w; }
int pixels(const Geometry& g) { return g.out_height * g.out_width; }

// The run of output pixels [n, end) that lies in one row.
struct Row {
  int y, x, length;
  Row(const Geometry& g, int n, int end) : y(n / g.out_width), x(n % g.out_width), length(min(g.out_width - x, end - n)) {}
};

// Bottom row and first column that filter element (r, s) sees at a run's first pixel.
struct Source {
  int y, x;
  Source(const Geometry& g, const Row& row, int r, int s)
      : y(row.y * g.stride_h - g.pad_h + r * g.dilation_h), x(row.x * g.stride_w - g.pad_w + s * g.dilation_w) {}
};

// memcpy and memset for the short rows of small images, where calling those would cost more than the copying.
inline void copy(float* out, const float* in, int n) {
  int i = 0;
  for (; i + W <= n; i += W) store(out + i, load(in + i));
  for (; i < n; ++i) out[i] = in[i];
}

inline void clear(float* out, int n) {
  for (int i = 0; i < n; ++i) out[i] = 0;
}

// Rows [k, k + depth) of the columns [n, n + count), with zeros up to `stride` columns.
void gather(const Geometry& g, const float* bottom, int k, int depth, int n, int count, float* out, int stride) {
  for (int i = 0; i < depth; ++i, out += stride) {
    const int c = (k + i) / kernel_size(g), r = (k + i) / g.kernel_w % g.kernel_h, s = (k + i) % g.kernel_w;
    const float* plane = bottom + static_cast<ptrdiff_t>(c) * g.height * g.width;
    for (int at = 0; at < count;) {
      const Row row(g, n + at, n + count);
      const Source from(g, row, r, s);
      const float* line = plane + static_cast<ptrdiff_t>(from.y) * g.width;
      if (from.y < 0 || from.y >= g.height) {
        clear(out + at, row.length);
      } else if (g.stride_w == 1) {
        const int first = min(max(-from.x, 0), row.length), last = max(min(g.width - from.x, row.length), first);
        clear(out + at, first);
        copy(out + at + first, line + from.x + first, last - first);
        clear(out + at + last, row.length - last);
      } else {
        for (int j = 0; j < row.length; ++j) {
          const int x = from.x + j * g.stride_w;
          out[at + j] = x >= 0 && x < g.width ? line[x] : 0.f;
        }
      }
      at += row.length;
    }
    clear(out + count, stride - count);
  }
}

// The transpose of `gather`: add rows back to the pixels they came from.
void scatter(const Geometry& g, const float* in, int stride, int k, int depth, int n, int count, float* bottom) {
  for (int i = 0; i < depth; ++i, in += stride) {
    const int c = (k + i) / kernel_size(g), r = (k + i) / g.kernel_w % g.kernel_h, s = (k + i) % g.kernel_w;
    float* plane = bottom + static_cast<ptrdiff_t>(c) * g.height * g.width;
    for (int at = 0; at < count;) {
      const Row row(g, n + at, n + count);
      const Source to(g, row, r, s);
      float* line = plane + static_cast<ptrdiff_t>(to.y) * g.width;
      if (to.y >= 0 && to.y < g.height) {
        if (g.stride_w == 1) {
          const int first = min(max(-to.x, 0), row.length), last = max(min(g.width - to.x, row.length), first);
          for (int j = first; j < last; ++j) line[to.x + j] += in[at + j];
        } else {
          for (int j = 0; j < row.length; ++j) {
            const int x = to.x + j * g.stride_w;
            if (x >= 0 && x < g.width) line[x] += in[at + j];
          }
        }
      }
      at += row.length;
    }
  }
}

// rows x columns of `in` as columns x out_stride, which is at least `rows`, both multiples of W: rows beyond are zero,
// columns undefined.
void transposed(const float* in, ptrdiff_t stride, int rows, int columns, float* out, int out_stride) {
  float corner[W * W];
  for (int r = 0; r < out_stride; r += W)
    for (int c = 0; c < columns; c += W) {
      const float* from = in + r * stride + c;
      ptrdiff_t from_stride = stride;
      if (r + W > rows || c + W > columns) {
        memset(corner, 0, sizeof corner);
        for (int i = 0; i < min(W, rows - r); ++i)
          memcpy(corner + i * W, from + i * stride, min(W, columns - c) * sizeof(float));
        from = corner;
        from_stride = W;
      }
      transpose(from, from_stride, out + static_cast<ptrdiff_t>(c) * out_stride + r, out_stride);
    }
}

// rows x columns of `in`, as they are, zeros up to `out_stride`.
void copied(const float* in, ptrdiff_t stride, int rows, int columns, float* out, int out_stride) {
  for (int r = 0; r < rows; ++r) {
    copy(out + r * out_stride, in + r * stride, columns);
    clear(out + r * out_stride + columns, out_stride - columns);
  }
}

// C (rows x columns) (+)= A B; A is rows x depth in memory, B and C have columns rounded up to W, C's rows to MR.
// PACK rows of A at a time are transposed into `packed`, just before they are wanted. Weights are read once, from
// memory, in short rows that no hardware foresees: hence the prefetching of the next PACK, or of the first ones'
// continuation.
void multiply(bool accumulate, int rows, int columns, int depth, const float* a, ptrdiff_t a_stride, const float* b,
              float* c, float* packed) {
  const int stride = round_up(columns, W);
  for (int m = 0; m < rows; m += PACK) {
    transposed(a + m * a_stride, a_stride, min(PACK, rows - m), depth, packed, PACK);
    const float* next = m + PACK < rows ? a + (m + PACK) * a_stride : a + depth;
    for (int i = 0; i < PACK && m + i < rows; i += MR) {
      for (int r = i; r < min(i + MR, rows - m); ++r)
        for (int k = 0; k < depth; k += 16) __builtin_prefetch(next + r * a_stride + k, 0, 2);
      float* out = c + static_cast<ptrdiff_t>(m + i) * stride;
      if (accumulate)
        panel<true>(stride, depth, packed + i, PACK, b, stride, out, stride);
      else
        panel<false>(stride, depth, packed + i, PACK, b, stride, out, stride);
    }
  }
}

// The blocks of one thread: columns, their transpose, the result and some rows of the other side.
struct Blocks {
  float *b, *spare, *c, *a;
  static size_t size(int rows, int columns, int a_rows) {
    return 2 * static_cast<size_t>(columns + W) * (DEPTH + W) + static_cast<size_t>(rows + PACK) * (columns + W) +
           static_cast<size_t>(a_rows + PACK) * (DEPTH + W);
  }
  Blocks(float* memory, int rows, int columns)
      : b(memory), spare(b + (columns + W) * (DEPTH + W)), c(spare + (columns + W) * (DEPTH + W)),
        a(c + static_cast<size_t>(rows + PACK) * (columns + W)) {}
};

// `total` cut into parts of at most `most`, as equal as multiples allow: the size of a part.
int part(int total, int most, int multiple) { return round_up(ceil_div(total, ceil_div(total, most)), multiple); }

// Rows of a block: many, since all of them share the gathered columns, but so that every thread has two of the
// `across` times as many blocks.
int shared_rows(int rows, int across) {
  return part(rows, min(ROWS, max(rows * across / (2 * omp_get_max_threads()), 4 * PACK)), PACK);
}

}  // namespace

void convolve(const Geometry& g, const float* bottom, const float* weights, const float* bias, float* top) {
  const int depth = g.channels * kernel_size(g), count = pixels(g);
  const int columns = part(count, COLUMNS, W), across = ceil_div(count, columns);
  const int rows = shared_rows(g.outputs, across), down = ceil_div(g.outputs, rows);
  const size_t size = Blocks::size(rows, columns, PACK);
  float* memory = scratch(size * omp_get_max_threads());
#pragma omp parallel for schedule(dynamic)
  for (int task = 0; task < across * down; ++task) {
    const Blocks block(memory + size * omp_get_thread_num(), rows, columns);
    const int m = task % down * rows, height = min(rows, g.outputs - m);
    const int n = task / down * columns, width = min(columns, count - n), stride = round_up(width, W);
    for (int k = 0; k < depth; k += DEPTH) {
      const int length = min(DEPTH, depth - k);
      gather(g, bottom, k, length, n, width, block.b, stride);
      multiply(k > 0, height, width, length, weights + static_cast<ptrdiff_t>(m) * depth + k, depth, block.b, block.c,
               block.a);
    }
    for (int i = 0; i < height; ++i) {
      const float b = bias ? bias[m + i] : 0.f;
      float* out = top + static_cast<ptrdiff_t>(m + i) * count + n;
      for (int j = 0; j < width; ++j) out[j] = block.c[static_cast<ptrdiff_t>(i) * stride + j] + b;
    }
  }
}

void convolve_to_bottom(const Geometry& g, const float* top, const float* weights, float* bottom) {
  // A task owns whole channels, since neighbouring columns add to the same pixels.
  const int depth = g.channels * kernel_size(g), count = pixels(g), plane = g.height * g.width;
  const int columns = part(count, COLUMNS, W);
  const int channels = min(max(CHANNEL_ROWS / kernel_size(g), 1), ceil_div(g.channels, 2 * omp_get_max_threads()));
  const int rows = channels * kernel_size(g);
  const size_t size = Blocks::size(rows, columns, rows);
  float* memory = scratch(size * omp_get_max_threads());
#pragma omp parallel for schedule(dynamic)
  for (int c = 0; c < g.channels; c += channels) {
    const Blocks block(memory + size * omp_get_thread_num(), rows, columns);
    const int k = c * kernel_size(g), height = min(rows, depth - k);
    memset(bottom + static_cast<ptrdiff_t>(c) * plane, 0,
           min(channels, g.channels - c) * static_cast<size_t>(plane) * sizeof(float));
    for (int n = 0; n < count; n += columns) {
      const int width = min(columns, count - n), stride = round_up(width, W);
      for (int m = 0; m < g.outputs; m += DEPTH) {
        const int length = min(DEPTH, g.outputs - m);
        const int a_stride = round_up(height, PACK);
        copied(weights + static_cast<ptrdiff_t>(m) * depth + k, depth, length, height, block.a, a_stride);
        copied(top + static_cast<ptrdiff_t>(m) * count + n, count, length, width, block.b, stride);
        for (int r = 0; r < height; r += MR)
          if (m > 0)
            panel<true>(stride, length, block.a + r, a_stride, block.b, stride, block.c + r * stride, stride);
          else
            panel<false>(stride, length, block.a + r, a_stride, block.b, stride, block.c + r * stride, stride);
      }
      scatter(g, block.c, stride, k, height, n, width, bottom);
    }
  }
}

void convolve_to_weights(const Geometry& g, const float* bottom, const float* top, float* weights) {
  const int depth = g.channels * kernel_size(g), count = pixels(g), threads = omp_get_max_threads();
  const int columns = part(depth, COLUMNS, W), across = ceil_div(depth, columns);
  const int rows = shared_rows(g.outputs, across), down = ceil_div(g.outputs, rows), tasks = across * down;
  // With few blocks, the pixels are shared out as well and the parts added up in order afterwards.
  const int parts = tasks >= threads ? 1 : min(threads, ceil_div(count, DEPTH));
  const int share = round_up(ceil_div(count, parts), DEPTH);
  const size_t size = Blocks::size(rows, columns, PACK), result = static_cast<size_t>(rows + PACK) * (columns + W);
  float* memory = scratch(size * threads + (parts > 1 ? result * tasks * parts : 0));
  float* results = memory + size * threads;
#pragma omp parallel for schedule(dynamic)
  for (int task = 0; task < tasks * parts; ++task) {
    const Blocks block(memory + size * omp_get_thread_num(), rows, columns);
    const int m = task / parts % down * rows, height = min(rows, g.outputs - m);
    const int k = task / parts / down * columns, width = min(columns, depth - k), stride = round_up(width, W);
    float* c = parts > 1 ? results + result * task : block.c;
    const int begin = min(task % parts * share, count), end = min(begin + share, count);
    if (begin == end) memset(c, 0, static_cast<size_t>(round_up(height, MR)) * stride * sizeof(float));
    for (int n = begin; n < end; n += DEPTH) {
      const int length = min(DEPTH, end - n), length_stride = round_up(length, W);
      gather(g, bottom, k, width, n, length, block.spare, length_stride);
      transposed(block.spare, length_stride, width, length, block.b, stride);
      multiply(n > begin, height, width, length, top + static_cast<ptrdiff_t>(m) * count + n, count, block.b, c, block.a);
    }
    if (parts == 1)
      for (int i = 0; i < height; ++i)
        for (int j = 0; j < width; ++j)
          weights[static_cast<ptrdiff_t>(m + i) * depth + k + j] += c[static_cast<ptrdiff_t>(i) * stride + j];
  }
  if (parts == 1) return;
  for (int task = 0; task < tasks * parts; ++task) {
    const int m = task / parts % down * rows, height = min(rows, g.outputs - m);
    const int k = task / parts / down * columns, width = min(columns, depth - k), stride = round_up(width, W);
    for (int i = 0; i < height; ++i)
      for (int j = 0; j < width; ++j)
        weights[static_cast<ptrdiff_t>(m + i) * depth + k + j] += results[result * task + i * stride + j];
  }
}

}  // namespace ACCEL_ISA
}  // namespace accel
