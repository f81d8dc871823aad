// Convolutions of any shape as matrix products with the columns of the image (one column for each output pixel, one
// row for each weight of a filter). Columns are gathered a block at a time into the thread's cache; the whole matrix,
// hundreds of megabytes for a large image, never exists. 1x1 convolutions are the case in which it equals the image.
#include "../parallel.h"
#include "gemm.h"
#include "table.h"

namespace accel {
namespace ACCEL_ISA {
namespace {

constexpr int COLUMNS = 384;         // of a block of the result
constexpr int ROWS = 64;             // of A that pass over a panel of columns: with it in the second level cache
constexpr int ROWS_AHEAD = 6;        // how far ahead rows of columns are asked for
constexpr int CHANNEL_ROWS = 256;    // of a block whose rows are whole channels, of which each thread should have some
constexpr int TAPS = 64;             // of an input's filters that are turned at a time
constexpr size_t PACKED = 16 << 20;  // bytes of weights that are brought into the kernel's order once for all blocks

int kernel_size(const Geometry& g) { return g.kernel_h * g.kernel_w; }
int pixels(const Geometry& g) { return g.out_height * g.out_width; }

// What weight k of a filter sees at the columns [n, n + count), row by row of the top: see(at, length, first, last, pixel)
// for the columns [at, at + length) of them, of which [first, last) lie in the image, the first one at `pixel` of it and
// the others `stride_w` apart. Rows may be short, so each has no division of its own.
template <typename See>
inline void each_row(const Geometry& g, int k, int n, int count, const See& see) {
  const int c = k / kernel_size(g), r = k / g.kernel_w % g.kernel_h, s = k % g.kernel_w;
  const int left = s * g.dilation_w - g.pad_w;
  const int inside = left < 0 ? ceil_div(-left, g.stride_w) : 0;
  const int outside = left < g.width ? ceil_div(g.width - left, g.stride_w) : 0;
  int y = n / g.out_width, x = n % g.out_width;
  for (int at = 0; at < count; ++y, x = 0) {
    const int length = min(g.out_width - x, count - at);
    const int from = y * g.stride_h - g.pad_h + r * g.dilation_h;
    const bool within = from >= 0 && from < g.height;
    const int first = within ? min(max(inside - x, 0), length) : length;
    const int last = max(min(outside - x, length), first);
    see(at, length, first, last, (static_cast<ptrdiff_t>(c) * g.height + from) * g.width + left + (x + first) * g.stride_w);
    at += length;
  }
}

// memcpy and memset for the short rows of small images, where calling those would cost more than the copying.
inline void copy(float* out, const float* in, int n) {
  int i = 0;
  for (; i + W <= n; i += W) store(out + i, load(in + i));
  for (; i < n; ++i) out[i] = in[i];
}

inline void clear(float* out, int n) {
  for (int i = 0; i < n; ++i) out[i] = 0;
}

// The transpose of `gather`: add rows back to the pixels they came from.
void scatter(const Geometry& g, const float* in, int stride, int k, int depth, int n, int count, float* bottom) {
  for (int i = 0; i < depth; ++i, in += stride)
    each_row(g, k + i, n, count, [&](int at, int, int first, int last, ptrdiff_t pixel) {
      float* line = bottom + pixel;
      const float* from = in + at + first;
      if (g.stride_w == 1)
        for (int j = 0; j < last - first; ++j) line[j] += from[j];
      else
        for (int j = 0; j < last - first; ++j) line[j * g.stride_w] += from[j];
    });
}

// Filters as a matrix: row r, column c taps + t is data[r outer + c inner + t], or the taps in reverse.
struct Filters {
  const float* data;
  ptrdiff_t outer, inner;
  int taps;
  bool rotated;
};

// Every `stride`-th of the pixels of a line.
void pick(const float* line, int stride, int n, float* out) {
  int i = 0;
  if (stride == 2)
    for (; i + W < n; i += W) store(out + i, even(load(line + 2 * i), load(line + 2 * i + W)));   // one less: the last ends behind the line
  if (stride == 4)
    for (; i + W < n; i += W) {
      const float* p = line + 4 * i;
      store(out + i, even(even(load(p), load(p + W)), even(load(p + 2 * W), load(p + 3 * W))));
    }
  for (; i < n; ++i) out[i] = line[i * stride];
}

// One row of columns [n, n + count): what weight k of a filter sees at each, zeros outside of the image.
void gather_row(const Geometry& g, const float* bottom, int k, int n, int count, float* out) {
  each_row(g, k, n, count, [&](int at, int length, int first, int last, ptrdiff_t pixel) {
    clear(out + at, first);
    if (g.stride_w == 1)
      copy(out + at + first, bottom + pixel, last - first);
    else
      pick(bottom + pixel, g.stride_w, last - first, out + at + first);
    clear(out + at + last, length - last);
  });
}

bool is_image(const Geometry& g) {   // whether the columns are the image itself
  return kernel_size(g) == 1 && g.stride_h == 1 && g.stride_w == 1 && g.pad_h == 0 && g.pad_w == 0;
}

// Rows [k, k + depth) of the columns [n, n + count) as panels. `line` has room for a row.
void gather(const Geometry& g, const float* bottom, int k, int depth, int n, int count, const Panels& panels,
            float* line, float* out) {
  const ptrdiff_t plane = static_cast<ptrdiff_t>(g.height) * g.width;
  for (int i = 0; i < depth; ++i) {
    const float* from = line;
    // Rows of an image are short and far from each other, which no hardware foresees.
    if (is_image(g))
      for (int j = 0; j < count; j += 16) __builtin_prefetch(bottom + (k + i + ROWS_AHEAD) * plane + n + j, 0, 2);
    if (is_image(g) && count % W == 0) {
      from = bottom + (k + i) * plane + n;
    } else {
      if (is_image(g))
        copy(line, bottom + (k + i) * plane + n, count);
      else
        gather_row(g, bottom, k + i, n, count, line);
      clear(line + count, panels.width() - count);
    }
    for (int p = 0; p < panels.count; ++p) {
      const int first = panels.begin(p), size = panels.size(p);
      float* to = out + (static_cast<ptrdiff_t>(first) * depth + static_cast<ptrdiff_t>(i) * size) * W;
      for (int v = 0; v < size; ++v) store(to + v * W, load(from + (first + v) * W));
    }
  }
}

// rows x columns of `in`, `stride` apart, as columns x `width`, a multiple of W: rows beyond are zero.
void transpose_panel(const float* in, ptrdiff_t stride, int rows, int columns, int width, float* out) {
  for (int r = 0; r < width; r += W)
    for (int c = 0; c < columns; c += W) {
      const float* from = in + r * stride + c;
      ptrdiff_t from_stride = stride;
      float corner[W * W], turned[W * W];
      const int height = min(W, rows - r), n = min(W, columns - c);
      if (height < W || n < W) {
        memset(corner, 0, sizeof corner);
        for (int i = 0; i < height; ++i)
          for (int j = 0; j < n; ++j) corner[i * W + j] = from[i * stride + j];
        from = corner;
        from_stride = W;
      }
      if (n == W) {
        transpose(from, from_stride, out + c * width + r, width);
      } else {
        transpose(from, from_stride, turned, W);
        for (int j = 0; j < n; ++j) store(out + (c + j) * width + r, load(turned + j * W));
      }
    }
}

// Rows [m, m + rows) and columns [k, k + depth) of filters as panels of A.
void pack_filters(const Filters& f, int m, int rows, int k, int depth, float* out) {
  if (f.outer == 1 && f.taps == 1) {   // what is read is dense along the rows
    for (int i = 0; i < depth; ++i) {
      const float* from = f.data + (k + i) * f.inner + m;
      for (int j = 0; j < rows; j += 16) __builtin_prefetch(from + ROWS_AHEAD * f.inner + j, 0, 2);
      for (int r = 0; r < rows; r += PACK) {
        float* to = out + static_cast<ptrdiff_t>(r) * depth + i * PACK;
        copy(to, from + r, min(PACK, rows - r));
        clear(to + min(PACK, rows - r), PACK - min(PACK, rows - r));
      }
    }
    return;
  }
  for (int r = 0; r < rows; r += PACK, out += PACK * depth) {
    const int height = min(PACK, rows - r);
    const float* from = f.data + (m + r) * f.outer;
    if (f.inner == f.taps && !f.rotated) {
      transpose_panel(from + k, f.outer, height, depth, PACK, out);
      continue;
    }
    for (int i = 0, n; i < depth; i += n) {       // taps of one input lie side by side
      const int t = (k + i) % f.taps;
      n = min(min(f.taps - t, depth - i), TAPS);
      float turned[TAPS * PACK];
      transpose_panel(from + (k + i) / f.taps * f.inner + (f.rotated ? f.taps - t - n : t), f.outer, height, n, PACK, turned);
      for (int j = 0; j < n; ++j) copy(out + (i + j) * PACK, turned + (f.rotated ? n - 1 - j : j) * PACK, PACK);
    }
  }
}

// `total` cut into parts of at most `most`, as equal as multiples allow: the size of a part.
int part(int total, int most, int multiple) { return round_up(ceil_div(total, ceil_div(total, most)), multiple); }

// Floats up to the next line of the cache.
size_t aligned(size_t floats) { return (floats + 15) / 16 * 16; }

// Rows of a block where `others` blocks of all rows would exist: as many as leave each thread some blocks, and enough for
// the columns of each. Where columns are gathered, each block does that again, so there is one for a thread.
int block_rows(const Geometry& g, int others) {
  const int wanted = threads() == 1 ? 1 : ceil_div((is_image(g) ? 4 : 1) * threads(), others);    // blocks of these rows
  return wanted == 1 ? g.outputs : round_up(max(ceil_div(g.outputs, wanted), min(g.outputs, ROWS)), PACK);
}

// All images and groups of a convolution, the filters of each group `depth` apart in the order of `f`.
void products(const Geometry& g, int images, int groups, const float* bottom, const Filters& f,
              ptrdiff_t filters_stride, const Epilogue& e, float* top) {
  const int depth = g.channels * kernel_size(g), count = pixels(g);
  // With a short depth, so few that all of them stay in the first level cache.
  const int columns = part(count, min(COLUMNS, max(NR * DEPTH / depth / NR, 4) * NR), W), across = ceil_div(count, columns);
  const int rows = block_rows(g, across * images * groups), down = ceil_div(g.outputs, rows);
  const ptrdiff_t in = static_cast<ptrdiff_t>(g.channels) * g.height * g.width;
  const ptrdiff_t out = static_cast<ptrdiff_t>(g.outputs) * count;
  // Filters that several blocks want are packed once, [group][part of the depth][panel of rows].
  const int panels_of_rows = ceil_div(g.outputs, PACK);
  const size_t packed_group = aligned(static_cast<size_t>(panels_of_rows) * PACK * depth);
  const bool once = across * images > 1 && packed_group * groups * sizeof(float) <= PACKED;
  const size_t own = aligned(static_cast<size_t>(columns + W) * (DEPTH + 1) + (once ? 0 : (ROWS + PACK) * DEPTH));
  float* packed = scratch(own * threads() + (once ? packed_group * groups : 0));
  float* memory = packed + (once ? packed_group * groups : 0);
  if (once)
    each(groups * panels_of_rows, static_cast<ptrdiff_t>(PACK) * depth, [&](int i) {
      const int j = i / panels_of_rows, m = i % panels_of_rows * PACK;
      const Filters mine = {f.data + j * filters_stride, f.outer, f.inner, f.taps, f.rotated};
      for (int k = 0; k < depth; k += DEPTH) {
        const int length = min(DEPTH, depth - k);
        pack_filters(mine, m, min(PACK, g.outputs - m), k, length,
                     packed + j * packed_group + static_cast<size_t>(k) * panels_of_rows * PACK +
                         static_cast<size_t>(m) * length);
      }
    });
  parallel(images * groups * across * down, [&](int task, int thread) {
    float* b = memory + own * thread;
    float* line = b + static_cast<size_t>(columns + W) * DEPTH;
    float* a = line + columns + W;
    const int m = task % down * rows, height = min(rows, g.outputs - m);
    const int n = task / down % across * columns, width = min(columns, count - n);
    const int j = task / down / across % groups, image = task / down / across / groups;
    const Panels panels(width);
    const float* x = bottom + (static_cast<ptrdiff_t>(image) * groups + j) * in;
    const ptrdiff_t to = (static_cast<ptrdiff_t>(image) * groups + j) * out;
    const Filters mine = {f.data + j * filters_stride, f.outer, f.inner, f.taps, f.rotated};
    for (int k = 0; k < depth; k += DEPTH) {
      const int length = min(DEPTH, depth - k);
      gather(g, x, k, length, n, width, panels, line, b);
      for (int r = 0; r < height; r += ROWS) {
        const int some = min(ROWS, height - r);
        const float* from = a;
        Ahead ahead;
        if (once) {
          from = packed + j * packed_group + static_cast<size_t>(k) * panels_of_rows * PACK +
                 static_cast<size_t>(m + r) * length;
        } else {
          pack_filters(mine, m + r, some, k, length, a);
          ahead.stride = mine.outer;
          ahead.rows = min(ROWS, height - r - some);
          ahead.data = mine.data + (m + r + some) * mine.outer + k;
          if (ahead.rows == 0) ahead.data = mine.data + m * mine.outer + k + length, ahead.rows = min(ROWS, height);
          ahead.length = min(length, depth - k - length);
          if (mine.inner != mine.taps) ahead.rows = 0;
        }
        const ptrdiff_t place = to + static_cast<ptrdiff_t>(m + r) * count + n;
        const Epilogue finish = e.at(j * g.outputs + m + r, place);
        multiply_panels(some, length, from, panels, b, top + place, count, width, k > 0,
                        k + length == depth ? &finish : nullptr, once ? nullptr : &ahead);
      }
    }
  });
}

}  // namespace

void convolve(const Geometry& g, int images, int groups, const float* bottom, const float* weights, const Epilogue& e,
              float* top) {
  const int depth = g.channels * kernel_size(g);
  products(g, images, groups, bottom, {weights, depth, kernel_size(g), kernel_size(g), false},
           static_cast<ptrdiff_t>(g.outputs) * depth, e, top);
}

void convolve_to_bottom(const Geometry& g, int images, int groups, const float* top, const float* weights,
                        float* bottom) {
  const int taps = kernel_size(g), depth = g.channels * taps, count = pixels(g), plane = g.height * g.width;
  const int pad_h = g.dilation_h * (g.kernel_h - 1) - g.pad_h, pad_w = g.dilation_w * (g.kernel_w - 1) - g.pad_w;
  // With a stride of 1 it is a convolution too, by the filters turned round. A bottom much larger than the top, as with
  // fc6, would make that more work than adding each product where it belongs.
  if (g.stride_h == 1 && g.stride_w == 1 && pad_h >= 0 && pad_w >= 0 && plane <= count + count / 4) {
    const Geometry back = {g.outputs, g.out_height, g.out_width, g.channels, g.height, g.width,
                           g.kernel_h, g.kernel_w, 1, 1, pad_h, pad_w, g.dilation_h, g.dilation_w};
    return products(back, images, groups, top, {weights, taps, depth, taps, true},
                    static_cast<ptrdiff_t>(g.outputs) * depth, NO_EPILOGUE, bottom);
  }
  // A task owns whole channels, since neighbouring columns add to the same pixels.
  const int columns = part(count, COLUMNS, W);
  const int channels = min(max(CHANNEL_ROWS / taps, 1), ceil_div(g.channels * groups, 2 * threads()));
  const int across = ceil_div(g.channels, channels), rows = channels * taps;
  const size_t own =
      aligned(static_cast<size_t>(columns + W) * (DEPTH + 1 + rows) + static_cast<size_t>(rows + PACK) * DEPTH);
  float* memory = scratch(own * threads());
  parallel(images * groups * across, [&](int task, int thread) {
    float* b = memory + own * thread;
    float* line = b + static_cast<size_t>(columns + W) * DEPTH;
    float* result = line + columns + W;
    float* a = result + static_cast<size_t>(columns + W) * rows;
    const int c = task % across * channels, j = task / across % groups;
    const int k = c * taps, height = min(rows, depth - k);
    const ptrdiff_t at = task / across;    // image and group
    float* planes = bottom + (at * g.channels + c) * plane;
    memset(planes, 0, static_cast<size_t>(min(channels, g.channels - c)) * plane * sizeof(float));
    // The products' right side is the top itself, its left side the filters with outputs for depth.
    const Geometry itself = {g.outputs, g.out_height, g.out_width, 0, g.out_height, g.out_width, 1, 1, 1, 1, 0, 0, 1, 1};
    const Filters f = {weights + j * static_cast<ptrdiff_t>(g.outputs) * depth, 1, depth, 1, false};
    for (int n = 0; n < count; n += columns) {
      const int width = min(columns, count - n);
      const Panels panels(width);
      for (int m = 0; m < g.outputs; m += DEPTH) {
        const int length = min(DEPTH, g.outputs - m);
        gather(itself, top + at * g.outputs * count, m, length, n, width, panels, line, b);
        pack_filters(f, k, height, m, length, a);
        multiply_panels(height, length, a, panels, b, result, panels.width(), panels.width(), m > 0, nullptr, nullptr);
      }
      scatter(g, result, panels.width(), k, height, n, width, planes - static_cast<ptrdiff_t>(c) * plane);
    }
  });
}

void convolve_to_weights(const Geometry& g, int images, int groups, const float* bottom, const float* top,
                         float* weights) {
  const int depth = g.channels * kernel_size(g), count = pixels(g);
  const int columns = part(depth, COLUMNS, W), across = ceil_div(depth, columns);
  const int rows = block_rows(g, across * groups), down = ceil_div(g.outputs, rows);
  const int tasks = groups * across * down;
  // With few blocks the pixels are shared out as well, and the parts added up in order afterwards.
  const int steps = ceil_div(count, DEPTH), parts = tasks >= 2 * threads() ? 1 : min(2 * threads(), images * steps);
  const size_t own =
      aligned(static_cast<size_t>(columns + W) * (DEPTH + DEPTH + W) + static_cast<size_t>(ROWS + PACK) * DEPTH);
  const size_t result = static_cast<size_t>(rows) * columns;
  float* memory = scratch(own * threads() + (parts > 1 ? result * tasks * parts : 0));
  float* results = memory + own * threads();
  const ptrdiff_t in = static_cast<ptrdiff_t>(g.channels) * g.height * g.width;
  parallel(tasks * parts, [&](int task, int thread) {
    float* b = memory + own * thread;
    float* spare = b + static_cast<size_t>(columns + W) * DEPTH;
    float* a = spare + static_cast<size_t>(columns + W) * (DEPTH + W);
    const int part = task % parts, block = task / parts;
    const int m = block % down * rows, height = min(rows, g.outputs - m);
    const int k = block / down % across * columns, width = min(columns, depth - k), j = block / down / across;
    const Panels panels(width);
    float* c = parts > 1 ? results + result * task : weights + (static_cast<ptrdiff_t>(j) * g.outputs + m) * depth + k;
    const ptrdiff_t c_stride = parts > 1 ? columns : depth;
    bool accumulate = parts == 1;     // to what is there
    for (int step = images * steps * part / parts; step < images * steps * (part + 1) / parts; ++step) {
      const ptrdiff_t image = step / steps * groups + j;
      const int n = step % steps * DEPTH, length = min(DEPTH, count - n), stride = round_up(length, W);
      const float* x = bottom + image * in;
      const float* rows_of_b = spare;
      ptrdiff_t b_stride = stride;
      if (is_image(g)) {
        rows_of_b = x + static_cast<ptrdiff_t>(k) * count + n;
        b_stride = count;
      } else {
        for (int i = 0; i < width; ++i) gather_row(g, x, k + i, n, length, spare + static_cast<ptrdiff_t>(i) * stride);
      }
      for (int p = 0; p < panels.count; ++p)
        transpose_panel(rows_of_b + panels.begin(p) * W * b_stride, b_stride, width - panels.begin(p) * W, length,
                        panels.size(p) * W, b + static_cast<ptrdiff_t>(panels.begin(p)) * W * length);
      for (int r = 0; r < height; r += ROWS) {
        const int some = min(ROWS, height - r);
        for (int i = 0; i < some; i += PACK)
          transpose_panel(top + (image * g.outputs + m + r + i) * count + n, count, min(PACK, some - i), length, PACK,
                          a + i * length);
        // The pixels that follow, of these rows and, the first time, of those of the columns.
        Ahead next_a, next_b;
        next_a.data = top + (image * g.outputs + m + r) * count + n + length;
        next_a.stride = count;
        next_a.rows = some;
        next_a.length = min(DEPTH, count - n - length);
        if (r == 0 && is_image(g)) {
          next_b = next_a;
          next_b.data = rows_of_b + length;
          next_b.rows = width;
          next_a.then = &next_b;
        }
        multiply_panels(some, length, a, panels, b, c + r * c_stride, c_stride, width, accumulate, nullptr, &next_a);
      }
      accumulate = true;
    }
  });
  if (parts == 1) return;
  each(groups * g.outputs, static_cast<ptrdiff_t>(depth) * parts, [&](int row) {
    const int j = row / g.outputs, m = row % g.outputs;
    for (int n = 0; n < across; ++n) {
      const float* from = results + result * ((j * across + n) * down + m / rows) * parts + m % rows * columns;
      float* to = weights + static_cast<ptrdiff_t>(row) * depth + n * columns;
      for (int part = 0; part < parts; ++part, from += result)
        for (int k = 0; k < min(columns, depth - n * columns); ++k) to[k] += from[k];
    }
  });
}

}  // namespace ACCEL_ISA
}  // namespace accel
