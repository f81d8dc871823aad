// Between the layers, which know Caffe (layers/), and the kernels, which are compiled once for each instruction set
// (kernels/): one table of functions for each set, all on Caffe's N x C x H x W layout.
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

// Windows of 2x2 side by side, in rows so long that their maxima are found again more quickly than their places are read.
static inline bool halves(const Pool& p) {
  return p.kernel_h == 2 && p.kernel_w == 2 && p.stride_h == 2 && p.stride_w == 2 && p.pad_h == 0 && p.pad_w == 0 &&
         p.width >= 160;
}

// Local response normalisation over `size` channels, an odd number: x (k + alpha / size times their squares)^-beta.
struct Lrn {
  int size;
  float alpha, beta, k;
};

// One SGD update: g = scale diff + decay regulariser'(data), history = rate g + momentum history,
// diff = history, data -= history.
struct Sgd {
  float scale, decay, rate, momentum;
  bool l1;
};

// What becomes of each number of a convolution's top before it is written, in this order: y scale + shift of its output,
// + the number of `addend` at its place, at least `lowest`, at most `highest`. A NaN stays one.
struct Epilogue {
  const float *scale, *shift;   // one for each output, or null: 1 and 0
  const float* addend;          // laid out as the top, or null
  float lowest, highest;

  // The same from an output on, whose numbers begin `place` further in the top.
  Epilogue at(int output, ptrdiff_t place) const {
    return {scale ? scale + output : nullptr, shift ? shift + output : nullptr, addend ? addend + place : nullptr, lowest,
            highest};
  }
};

constexpr Epilogue NO_EPILOGUE = {nullptr, nullptr, nullptr, -__builtin_inff(), __builtin_inff()};

// The part of a plane that is written, densely.
struct Window {
  int y, x, height, width;
};

struct Kernels {
  const char* instruction_set;
#define KERNEL(name, ...) void (*name)(__VA_ARGS__);
#include "kernel_list.h"
#undef KERNEL
};

// The table for this CPU, or null when it is an x86 without SSE4.2. FCN_ACCEL_ISA=avx2 and =sse4 ask for less.
const Kernels* kernels();

// Whether `convolve` and its gradients, matrix products, keep up with the BLAS that Caffe calls. SSE4.2's do not.
bool products_pay();

// Memory of the calling thread for intermediate results, kept from call to call; contents do not last. There are two,
// 0 and 1, each good until it is asked for again.
float* scratch(size_t floats, int which = 0);

}  // namespace accel

#endif
