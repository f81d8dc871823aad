// Max pooling.
#include <float.h>

#include "pooling.h"

namespace accel {
namespace ACCEL_ISA {
namespace {

// The maxima of a row of windows of a plane, and what gave them, its place in the plane or -1. Caffe takes the first of
// equal maxima, and nothing where all are NaN: the maximum is -FLT_MAX then. Either result may be null.
class Search {
 public:
  // `memory` is of 2 line_length(p) floats.
  Search(const Pool& p, float* memory) : p_(p), values_(memory), rows_(memory + line_length(p)) {
    for (int j = 0; j < line_length(p); ++j) values_[j] = -FLT_MAX;
    memset(rows_, 0, line_length(p) * sizeof(float));   // the padding is in no row before the first
  }

  void maxima(const float* plane, int y, float* top) {
    const Rows rows(p_, y);
    const float* in = plane + static_cast<ptrdiff_t>(rows.first) * p_.width;
    for (int j = 0; j < p_.width; j += W) {
      const int left = p_.width - j;
      vec best = broadcast(-FLT_MAX);
      const float* x = in + j;
      if (left < W)
        for (int i = rows.first; i < rows.last; ++i, x += p_.width) best = max(load_part(x, left), best);
      else
        for (int i = rows.first; i < rows.last; ++i, x += p_.width) best = max(load(x), best);
      store_some(values_ + p_.pad_w + j, best, left);
    }
    for (int x = 0; x < p_.out_width; x += W) {
      const float* line = values_ + x * p_.stride_w;
      vec best = every(line, p_.stride_w);
      for (int r = 1; r < p_.kernel_w; ++r) best = max(every(line + r, p_.stride_w), best);
      store_some(top + x, best, p_.out_width - x);
    }
  }

  // With the row of each column's maximum beside it. Among equal ones the upper row wins, then the column to the left.
  void winners(const float* plane, int y, float* top, int* winners) {
    const Rows rows(p_, y);
    const float* in = plane + static_cast<ptrdiff_t>(rows.first) * p_.width;
    for (int j = 0; j < p_.width; j += W) {
      const int left = p_.width - j;
      vec best = broadcast(-FLT_MAX);
      index row = {};
      const float* x = in + j;
      for (int i = rows.first; i < rows.last; ++i, x += p_.width) {
        const vec value = left < W ? load_part(x, left) : load(x);
        const index larger = value > best;
        best = larger ? value : best;
        row = larger ? index{} + i : row;
      }
      store_some(values_ + p_.pad_w + j, best, left);
      store_some(rows_ + p_.pad_w + j, (vec)row, left);
    }
    index lanes;
    for (int i = 0; i < W; ++i) lanes[i] = i * p_.stride_w;
    for (int x = 0; x < p_.out_width; x += W) {
      const int first = x * p_.stride_w;
      vec best = broadcast(-FLT_MAX);
      index row = index{} - 1, column = {};
      for (int r = 0; r < p_.kernel_w; ++r) {
        const vec value = every(values_ + first + r, p_.stride_w);
        const index its_row = (index)every(rows_ + first + r, p_.stride_w);
        const index wins = (value > best) | ((value == best) & (its_row < row));
        best = wins ? value : best;
        row = wins ? its_row : row;
        column = wins ? index{} + r : column;
      }
      const index place = row < 0 ? row : row * p_.width + (lanes + (first - p_.pad_w)) + column;
      if (top) store_some(top + x, best, p_.out_width - x);
      store_some(reinterpret_cast<float*>(winners + x), (vec)place, p_.out_width - x);
    }
  }

 private:
  const Pool& p_;
  float *values_, *rows_;
};

// Windows of 2x2 side by side, which need no line and no places.
struct Pairs {
  vec values[4];    // of W windows, in their order

  // Of two rows from x on, `left` numbers before they end; there is no second where that is null. What is not there is
  // NaN, which never wins.
  Pairs(const float* a, const float* b, int left) {
    const vec a0 = some(a, left), a1 = some(a + W, left - W);
    const vec b0 = some(b, b ? left : 0), b1 = some(b + W, b ? left - W : 0);
    values[0] = even(a0, a1), values[1] = odd(a0, a1), values[2] = even(b0, b1), values[3] = odd(b0, b1);
  }
  static vec some(const float* p, int n) {
    const vec nothing = broadcast(__builtin_nanf(""));
    return n >= W ? load(p) : n > 0 ? load_part(p, n, nothing) : nothing;
  }
};

void halve(const Pool& p, const float* in, float* out) {
  for (int y = 0; y < p.out_height; ++y, out += p.out_width) {
    const float *a = in + static_cast<ptrdiff_t>(2 * y) * p.width, *b = 2 * y + 1 < p.height ? a + p.width : nullptr;
    for (int x = 0; x < p.out_width; x += W) {
      const Pairs pairs(a + 2 * x, b ? b + 2 * x : nullptr, p.width - 2 * x);
      vec best = broadcast(-FLT_MAX);
      for (int i = 0; i < 4; ++i) best = max(pairs.values[i], best);
      store_some(out + x, best, p.out_width - x);
    }
  }
}

void halve_backward(const Pool& p, const float* in, const float* diff, float* out) {
  const auto put = [](float* to, vec v, int left) {
    if (left > 0) store_some(to, v, left);
  };
  for (int y = 0; y < p.out_height; ++y, diff += p.out_width) {
    const ptrdiff_t row = static_cast<ptrdiff_t>(2 * y) * p.width;
    const float *a = in + row, *b = 2 * y + 1 < p.height ? a + p.width : nullptr;
    int x = 0;
    for (; x < p.out_width; x += W) {
      const int left = p.width - 2 * x, windows = p.out_width - x;
      const Pairs pairs(a + 2 * x, b ? b + 2 * x : nullptr, left);
      const vec d = windows < W ? load_part(diff + x, windows) : load(diff + x);
      vec best = broadcast(-FLT_MAX), g[4];
      index larger[4];
      for (int i = 0; i < 4; ++i) {
        larger[i] = pairs.values[i] > best;
        best = max(pairs.values[i], best);
      }
      index left_over = (index)d;   // for those before: a later one wins only if it is larger
      for (int i = 3; i >= 0; --i) {
        g[i] = (vec)(larger[i] & left_over);
        left_over &= ~larger[i];
      }
      float *da = out + row + 2 * x, *db = da + p.width;
      put(da, zip_low(g[0], g[1]), left);
      put(da + W, zip_high(g[0], g[1]), left - W);
      put(db, zip_low(g[2], g[3]), b ? left : 0);
      put(db + W, zip_high(g[2], g[3]), b ? left - W : 0);
    }
    // Where Caffe is told to round down, a last column or row is in no window.
    for (x *= 2; x < p.width; ++x) {
      out[row + x] = 0;
      if (b) out[row + p.width + x] = 0;
    }
  }
  for (ptrdiff_t j = 2 * static_cast<ptrdiff_t>(p.out_height) * p.width; j < p.height * p.width; ++j) out[j] = 0;
}

}  // namespace

void max_pool(const Pool& p, int planes, const float* bottom, float* top, int* winners) {
  each(planes, static_cast<ptrdiff_t>(p.height) * p.width, [&](int c) {
    const ptrdiff_t out = static_cast<ptrdiff_t>(c) * p.out_height * p.out_width;
    const float* in = bottom + static_cast<ptrdiff_t>(c) * p.height * p.width;
    if (halves(p)) return halve(p, in, top + out);
    Search search(p, scratch(2 * line_length(p)));
    for (int y = 0; y < p.out_height; ++y) {
      const ptrdiff_t at = out + y * p.out_width;
      if (winners)
        search.winners(in, y, top + at, winners + at);
      else
        search.maxima(in, y, top + at);
    }
  });
}

void max_pool_backward(const Pool& p, int planes, const float* bottom, const int* winners, const float* top_diff,
                       float* bottom_diff) {
  const ptrdiff_t plane = static_cast<ptrdiff_t>(p.height) * p.width;
  const int outputs = p.out_height * p.out_width;
  each(planes, plane, [&](int c) {
    const float* diff = top_diff + static_cast<ptrdiff_t>(c) * outputs;
    float* out = bottom_diff + c * plane;
    if (halves(p)) return halve_backward(p, bottom + c * plane, diff, out);
    memset(out, 0, plane * sizeof(float));
    const auto add = [=](const int* places, const float* diff, int count) {
      for (int i = 0; i < count; ++i)
        if (places[i] >= 0) out[places[i]] += diff[i];
    };
    if (winners) return add(winners + static_cast<ptrdiff_t>(c) * outputs, diff, outputs);
    float* memory = scratch(2 * line_length(p) + p.out_width);
    int* row = reinterpret_cast<int*>(memory + 2 * line_length(p));
    Search search(p, memory);
    for (int y = 0; y < p.out_height; ++y) {
      search.winners(bottom + c * plane, y, nullptr, row);
      add(row, diff + y * p.out_width, p.out_width);
    }
  });
}

}  // namespace ACCEL_ISA
}  // namespace accel
