// ReLU, leaky or not.
#include "layers.h"

namespace accel {

void ReLU::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  kernels()->relu(bottom[0]->count(), layer_param_.relu_param().negative_slope(), bottom[0]->cpu_data(),
                  top[0]->mutable_cpu_data());
}

void ReLU::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) {
  if (propagate_down[0])
    kernels()->relu_backward(bottom[0]->count(), layer_param_.relu_param().negative_slope(), bottom[0]->cpu_data(),
                             top[0]->cpu_diff(), bottom[0]->mutable_cpu_diff());
}

}  // namespace accel
