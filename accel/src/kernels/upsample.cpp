// Deconvolution of each plane with its own kernel, as bilinear upsampling is.
#include "../parallel.h"
#include "table.h"

namespace accel {
namespace ACCEL_ISA {

// Every bottom pixel adds a scaled kernel to the top.
void upsample(int planes, int height, int width, int kernel, int stride, int pad, const float* weights,
              ptrdiff_t weights_stride, const float* bottom, float* top) {
  const int out_height = (height - 1) * stride + kernel - 2 * pad, out_width = (width - 1) * stride + kernel - 2 * pad;
  const int line_length = (width - 1) * stride + kernel;
  float* lines = scratch(static_cast<size_t>(line_length) * threads());
  parallel(planes * out_height, [&](int i, int thread) {
    const int c = i / out_height, y = i % out_height;
      float* line = lines + static_cast<ptrdiff_t>(line_length) * thread;
      memset(line, 0, line_length * sizeof(float));
      const int last = min((y + pad) / stride, height - 1);
      for (int i = max(ceil_div(y + pad - kernel + 1, stride), 0); i <= last; ++i) {
        const float* row = weights + c * weights_stride + (y + pad - i * stride) * kernel;
        const float* in = bottom + (static_cast<ptrdiff_t>(c) * height + i) * width;
        for (int j = 0; j < width; ++j)
          for (int k = 0; k < kernel; ++k) line[j * stride + k] += in[j] * row[k];
      }
      memcpy(top + (static_cast<ptrdiff_t>(c) * out_height + y) * out_width, line + pad, out_width * sizeof(float));
  });
}

void upsample_backward(int planes, int height, int width, int kernel, int stride, int pad, const float* weights,
                       ptrdiff_t weights_stride, const float* top_diff, float* bottom_diff) {
  const int out_height = (height - 1) * stride + kernel - 2 * pad, out_width = (width - 1) * stride + kernel - 2 * pad;
  each(planes * height, width * static_cast<ptrdiff_t>(kernel) * kernel, [&](int task) {
      const int c = task / height, i = task % height;
      const float* diff = top_diff + static_cast<ptrdiff_t>(c) * out_height * out_width;
      float* out = bottom_diff + (static_cast<ptrdiff_t>(c) * height + i) * width;
      for (int j = 0; j < width; ++j) {
        const int left = j * stride - pad, first = max(-left, 0), last = min(kernel, out_width - left);
        vec sums = {};
        float rest = 0;
        for (int r = max(pad - i * stride, 0); r < min(kernel, out_height + pad - i * stride); ++r) {
          const float* row = weights + c * weights_stride + r * kernel;
          const float* from = diff + static_cast<ptrdiff_t>(i * stride - pad + r) * out_width + left;
          int k = first;
          for (; k + W <= last; k += W) sums += load(row + k) * load(from + k);
          for (; k < last; ++k) rest += row[k] * from[k];
        }
        for (int k = 0; k < W; ++k) rest += sums[k];
        out[j] = rest;
      }
  });
}

}  // namespace ACCEL_ISA
}  // namespace accel
