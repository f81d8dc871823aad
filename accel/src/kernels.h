// What the layers call: one table of functions for each instruction set, all on Caffe's plain N x C x H x W layout.
#ifndef ACCEL_KERNELS_H_
#define ACCEL_KERNELS_H_

#include <cstddef>

namespace accel {

// One group of one convolution: sizes of a single image. `bottom` has `channels` planes of height x width, `top` has
// `outputs` planes of out_height x out_width, weights are outputs x channels x kernel_h x kernel_w.
struct Geometry {
  int channels, height, width;
  int outputs, out_height, out_width;
  int kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
};

struct Pool {
  int height, width, out_height, out_width;
  int kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w;
};

// One SGD update: g = scale diff + decay regulariser'(data), history = rate g + momentum history,
// diff = history, data -= history.
struct Sgd {
  float scale, decay, rate, momentum;
  bool l1;
};

struct Kernels {
  const char* name;

  // Winograd's F(4x4, 3x3); kernels 3x3, stride and dilation 1. `images` follow each other at the given strides.
  void (*winograd)(const Geometry&, int images, const float* bottom, ptrdiff_t bottom_stride, const float* weights,
                   const float* bias, float* top, ptrdiff_t top_stride);
  void (*winograd_to_bottom)(const Geometry&, int images, const float* top, ptrdiff_t top_stride,
                             const float* weights, float* bottom, ptrdiff_t bottom_stride);
  void (*winograd_to_weights)(const Geometry&, int images, const float* bottom, ptrdiff_t bottom_stride,
                              const float* top, ptrdiff_t top_stride, float* weights);

  // Any convolution, as a matrix product with columns of the image that exist only a block at a time.
  void (*convolve)(const Geometry&, const float* bottom, const float* weights, const float* bias, float* top);
  void (*convolve_to_bottom)(const Geometry&, const float* top, const float* weights, float* bottom);
  void (*convolve_to_weights)(const Geometry&, const float* bottom, const float* top, float* weights);
  void (*add_rows)(int rows, int columns, const float* matrix, float* sums);
  void (*add_bias)(int rows, int columns, const float* bias, float* matrix);

  void (*relu)(size_t count, float slope, const float* bottom, float* top);
  void (*relu_backward)(size_t count, float slope, const float* bottom, const float* top_diff, float* bottom_diff);
  void (*max_pool)(const Pool&, int planes, const float* bottom, float* top);
  void (*max_pool_backward)(const Pool&, int planes, const float* bottom, const float* top_diff, float* bottom_diff);
  void (*sum)(size_t count, int terms, const float* const* bottoms, const float* coefficients, float* top);
  void (*softmax)(int images, int channels, int pixels, const float* bottom, float* top);
  void (*sgd)(size_t count, const Sgd&, float* data, float* diff, float* history);
  void (*upsample)(int planes, int height, int width, int kernel, int stride, int pad, const float* weights,
                   ptrdiff_t weights_stride, const float* bottom, float* top);
  void (*upsample_backward)(int planes, int height, int width, int kernel, int stride, int pad, const float* weights,
                            ptrdiff_t weights_stride, const float* top_diff, float* bottom_diff);
};

// The table for this CPU, or null when it has neither AVX-512 nor AVX2 with FMA. FCN_ACCEL_ISA=avx2 asks for less.
const Kernels* kernels();

// Memory of the calling thread for intermediate results, kept from call to call; contents do not last.
float* scratch(size_t floats);

}  // namespace accel

#endif
