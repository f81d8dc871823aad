// Softmax, forward.
#include "layers.h"

namespace accel {

void Softmax::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  kernels()->softmax(outer_num_, bottom[0]->shape(softmax_axis_), inner_num_, bottom[0]->cpu_data(),
                     top[0]->mutable_cpu_data());
}

void Softmax::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) {
  caffe::SoftmaxLayer<float>::Backward_cpu(top, propagate_down, bottom);
}

}  // namespace accel
