// Average pooling. Caffe divides by the size of the window within the padded plane.
#include "pooling.h"

namespace accel {
namespace ACCEL_ISA {
namespace {

int extent(int i, int kernel, int stride, int pad, int size) {
  const int begin = i * stride - pad;
  return min(begin + kernel, size + pad) - begin;
}

int rows_of(const Pool& p, int y) { return extent(y, p.kernel_h, p.stride_h, p.pad_h, p.height); }

// Of the windows of a row, as floats.
void columns_of(const Pool& p, float* columns) {
  for (int x = 0; x < p.out_width; ++x)
    columns[x] = static_cast<float>(extent(x, p.kernel_w, p.stride_w, p.pad_w, p.width));
}

bool global(const Pool& p) {
  return p.out_height == 1 && p.out_width == 1 && p.kernel_h - p.pad_h >= p.height && p.kernel_w - p.pad_w >= p.width;
}

}  // namespace

void average_pool(const Pool& p, int planes, const float* bottom, float* top) {
  const ptrdiff_t plane = static_cast<ptrdiff_t>(p.height) * p.width;
  if (global(p)) {
    const int size = rows_of(p, 0) * extent(0, p.kernel_w, p.stride_w, p.pad_w, p.width);
    return each(planes, plane, [&](int c) {
      double sum = 0;
      total<1>(plane, &sum, [](vec* sums, vec x) { sums[0] += x; }, bottom + c * plane);
      top[c] = static_cast<float>(sum / size);
    });
  }
  each(planes, plane, [&](int c) {
    float *line = scratch(line_length(p) + p.out_width), *columns = line + line_length(p);
    memset(line, 0, line_length(p) * sizeof(float));
    columns_of(p, columns);
    for (int y = 0; y < p.out_height; ++y) {
      const Rows rows(p, y);
      const float* in = bottom + c * plane + static_cast<ptrdiff_t>(rows.first) * p.width;
      for (int j = 0; j < p.width; j += W) {
        const int left = p.width - j;
        vec sum = {};
        const float* x = in + j;
        if (left < W)
          for (int i = rows.first; i < rows.last; ++i, x += p.width) sum += load_part(x, left);
        else
          for (int i = rows.first; i < rows.last; ++i, x += p.width) sum += load(x);
        store_some(line + p.pad_w + j, sum, left);
      }
      const float height = static_cast<float>(rows_of(p, y));
      float* out = top + (static_cast<ptrdiff_t>(c) * p.out_height + y) * p.out_width;
      for (int x = 0; x < p.out_width; x += W) {
        const float* first = line + x * p.stride_w;
        const int left = p.out_width - x;
        vec sum = {};
        for (int r = 0; r < p.kernel_w; ++r) sum += every(first + r, p.stride_w);
        store_some(out + x, sum / (height * (left < W ? load_part(columns + x, left) : load(columns + x))), left);
      }
    }
  });
}

void average_pool_backward(const Pool& p, int planes, const float* top_diff, float* bottom_diff) {
  const ptrdiff_t plane = static_cast<ptrdiff_t>(p.height) * p.width;
  if (global(p)) {
    const int size = rows_of(p, 0) * extent(0, p.kernel_w, p.stride_w, p.pad_w, p.width);
    return each(planes, plane, [&](int c) {
      const vec diff = broadcast(top_diff[c] / static_cast<float>(size));
      map(plane, bottom_diff + c * plane, [=]() { return diff; });
    });
  }
  each(planes, plane, [&](int c) {
    float *line = scratch(line_length(p) + 2 * p.out_width), *columns = line + line_length(p);
    float* shares = columns + p.out_width;
    columns_of(p, columns);
    float* out = bottom_diff + c * plane;
    memset(out, 0, plane * sizeof(float));
    for (int y = 0; y < p.out_height; ++y) {
      const Rows rows(p, y);
      const float* diff = top_diff + (static_cast<ptrdiff_t>(c) * p.out_height + y) * p.out_width;
      const float height = static_cast<float>(rows_of(p, y));
      map(p.out_width, shares, [=](vec d, vec width) { return d / (height * width); }, diff, columns);
      memset(line, 0, line_length(p) * sizeof(float));
      for (int r = 0; r < p.kernel_w; ++r) {
        if (p.stride_w == 1)
          map(p.out_width, line + r, [](vec sum, vec share) { return sum + share; }, line + r, shares);
        else
          for (int x = 0; x < p.out_width; ++x) line[x * p.stride_w + r] += shares[x];
      }
      for (int i = rows.first; i < rows.last; ++i) {
        float* row = out + static_cast<ptrdiff_t>(i) * p.width;
        map(p.width, row, [](vec sum, vec share) { return sum + share; }, row, line + p.pad_w);
      }
    }
  });
}

}  // namespace ACCEL_ISA
}  // namespace accel
