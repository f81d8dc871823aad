// Factors, and biases, of channels or whatever axes they are said to have: one pass for both.
#include "layers.h"

#include <algorithm>

namespace accel {

void Scale::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  const float* factors = (bottom.size() > 1 ? bottom[1] : blobs_[0].get())->cpu_data();
  const float* x = bottom[0]->cpu_data();
  float* kept = bottom[0] == top[0] ? temp_.mutable_cpu_data() : nullptr;   // for the gradient of the factors
  kernels()->scale(outer_dim_, scale_dim_, inner_dim_, nullptr, factors,
                   bias_layer_ ? blobs_[bias_param_id_]->cpu_data() : nullptr, x, kept, top[0]->mutable_cpu_data());
}

void Scale::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) {
  const bool learned = bottom.size() == 1;
  Blob* factors = learned ? blobs_[0].get() : bottom[1];
  float *to_factors = nullptr, *to_biases = nullptr;
  if (learned ? param_propagate_down_[0] : propagate_down[1]) {
    to_factors = factors->mutable_cpu_diff();
    // Caffe adds to the gradient of a parameter only where it has a sum to make over the axes before the factors'.
    const bool added = learned && (outer_dim_ > 1 || (scale_dim_ == 1 && inner_dim_ > 1));
    if (!added) std::fill_n(to_factors, factors->count(), 0.f);
  }
  if (bias_layer_ && param_propagate_down_[param_propagate_down_.size() - 1])
    to_biases = blobs_[bias_param_id_]->mutable_cpu_diff();
  const Blob& x = bottom[0] == top[0] ? temp_ : *bottom[0];
  kernels()->scale_backward(outer_dim_, scale_dim_, inner_dim_, to_factors ? x.cpu_data() : nullptr,
                            factors->cpu_data(), top[0]->cpu_diff(),
                            propagate_down[0] ? bottom[0]->mutable_cpu_diff() : nullptr, to_factors, to_biases);
}

void Bias::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  const Sizes s = sizes(bottom);
  kernels()->scale(s.outer, s.biases, s.inner, nullptr, nullptr,
                   (bottom.size() > 1 ? bottom[1] : blobs_[0].get())->cpu_data(), bottom[0]->cpu_data(), nullptr,
                   top[0]->mutable_cpu_data());
}

void Bias::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) {
  const Sizes s = sizes(bottom);
  const bool learned = bottom.size() == 1;
  float* to_biases = nullptr;
  if (learned ? param_propagate_down_[0] : propagate_down[1]) {
    to_biases = (learned ? blobs_[0].get() : bottom[1])->mutable_cpu_diff();
    if (!learned) std::fill_n(to_biases, s.biases, 0.f);
  }
  float* dx = propagate_down[0] && bottom[0] != top[0] ? bottom[0]->mutable_cpu_diff() : nullptr;
  if (dx || to_biases)
    kernels()->scale_backward(s.outer, s.biases, s.inner, nullptr, nullptr, top[0]->cpu_diff(), dx, nullptr, to_biases);
}

// Caffe's own are private: the axes before the bias, its numbers, the axes behind.
Bias::Sizes Bias::sizes(const Blobs& bottom) const {
  const Blob& bias = *(bottom.size() > 1 ? bottom[1] : blobs_[0].get());
  const int axis = bias.num_axes() == 0 ? 0 : bottom[0]->CanonicalAxisIndex(layer_param_.bias_param().axis());
  return {bottom[0]->count(0, axis), bias.count(), bottom[0]->count(axis + bias.num_axes())};
}

}  // namespace accel
