// Local response normalisation across channels.
#include "layers.h"

namespace accel {

// In place a number would be gone before its neighbours have asked for it.
bool LRN::one_pass(const Blobs& bottom, const Blobs& top) const {
  return layer_param_.lrn_param().norm_region() == caffe::LRNParameter_NormRegion_ACROSS_CHANNELS && bottom[0] != top[0];
}

Lrn LRN::constants() const { return {size_, alpha_, beta_, k_}; }

void LRN::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  if (!one_pass(bottom, top)) {
    fall_back(layer_param_, "within a channel, or in place");
    return caffe::LRNLayer<float>::Forward_cpu(bottom, top);
  }
  kernels()->lrn(constants(), num_, channels_, height_ * width_, bottom[0]->cpu_data(), top[0]->mutable_cpu_data());
}

void LRN::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) {
  if (!one_pass(bottom, top)) return caffe::LRNLayer<float>::Backward_cpu(top, propagate_down, bottom);
  if (propagate_down[0])
    kernels()->lrn_backward(constants(), num_, channels_, height_ * width_, bottom[0]->cpu_data(), top[0]->cpu_data(),
                            top[0]->cpu_diff(), bottom[0]->mutable_cpu_diff());
}

}  // namespace accel
