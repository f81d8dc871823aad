// Softmax.
#include "layers.h"

namespace accel {

void Softmax::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  kernels()->softmax(outer_num_, bottom[0]->shape(softmax_axis_), inner_num_, bottom[0]->cpu_data(),
                     top[0]->mutable_cpu_data());
}

void Softmax::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) {
  if (propagate_down[0])
    kernels()->softmax_backward(outer_num_, top[0]->shape(softmax_axis_), inner_num_, top[0]->cpu_data(),
                                top[0]->cpu_diff(), bottom[0]->mutable_cpu_diff());
}

}  // namespace accel
