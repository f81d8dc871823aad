// One pass of a convolution over a batch, as numbers that can be compared: what plans are kept by. No Caffe, no CUDA.
#ifndef ACCEL_GPU_SHAPE_H_
#define ACCEL_GPU_SHAPE_H_

#include <array>

namespace accel {
namespace gpu {

// `image` (images x channels x height x width) is what the filters slide over, `columns` (images x outputs x out_height
// x out_width) what they give; weights are outputs x channels/group x kernel_h x kernel_w. A convolution has the image
// below, a deconvolution above.
struct Shape {
  int images, channels, height, width;
  int outputs, out_height, out_width;
  int kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
  int group;
};

enum Pass {
  FORWARD,    // columns from image and weights
  TO_IMAGE,   // image from columns and weights: its gradient
  TO_WEIGHTS  // weights from image and columns: their gradient, added to what is there
};

// What a plan depends on: nothing else may change what is fast, allowed or right.
typedef std::array<int, 19> Key;

inline Key key(Pass pass, const Shape& s, bool tf32, bool aligned) {
  return {{pass, tf32, aligned, s.images, s.channels, s.height, s.width, s.outputs, s.out_height, s.out_width,
           s.kernel_h, s.kernel_w, s.stride_h, s.stride_w, s.pad_h, s.pad_w, s.dilation_h, s.dilation_w, s.group}};
}

}  // namespace gpu
}  // namespace accel

#endif
