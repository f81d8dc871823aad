// Weighted sums.
#include "layers.h"

namespace accel {

void Eltwise::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  if (op_ != caffe::EltwiseParameter_EltwiseOp_SUM) {
    fall_back(layer_param_, "not a sum");
    return caffe::EltwiseLayer<float>::Forward_cpu(bottom, top);
  }
  std::vector<const float*> terms;
  for (const Blob* blob : bottom) terms.push_back(blob->cpu_data());
  kernels()->sum(top[0]->count(), terms.size(), terms.data(), coeffs_.data(), top[0]->mutable_cpu_data());
}

void Eltwise::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) {
  caffe::EltwiseLayer<float>::Backward_cpu(top, propagate_down, bottom);
}

}  // namespace accel
