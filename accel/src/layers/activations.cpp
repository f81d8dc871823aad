// Layers that compute each number from the one in its place: ReLU, PReLU, Clip, Sigmoid, Swish and Power.
#include "layers.h"

#include <numeric>

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

void PReLU::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  const float* x = bottom[0]->cpu_data();
  float* kept = bottom[0] == top[0] ? bottom_memory_.mutable_cpu_data() : nullptr;
  kernels()->prelu(bottom[0]->shape(0), bottom[0]->shape(1), bottom[0]->count(2), blobs_[0]->cpu_data(),
                   !channel_shared_, x, kept, top[0]->mutable_cpu_data());
}

void PReLU::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) {
  const int channels = bottom[0]->shape(1);
  std::vector<float> shared(channel_shared_ ? channels : 0);    // one gradient for each channel is added up below
  float* to_slopes = nullptr;
  if (param_propagate_down_[0]) to_slopes = channel_shared_ ? shared.data() : blobs_[0]->mutable_cpu_diff();
  kernels()->prelu_backward(bottom[0]->shape(0), channels, bottom[0]->count(2), blobs_[0]->cpu_data(), !channel_shared_,
                            (bottom[0] == top[0] ? bottom_memory_ : *bottom[0]).cpu_data(), top[0]->cpu_diff(),
                            propagate_down[0] ? bottom[0]->mutable_cpu_diff() : nullptr, to_slopes);
  if (to_slopes && channel_shared_)
    blobs_[0]->mutable_cpu_diff()[0] += static_cast<float>(std::accumulate(shared.begin(), shared.end(), 0.));
}

void Clip::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  const caffe::ClipParameter& bounds = layer_param_.clip_param();
  kernels()->clip(bottom[0]->count(), bounds.min(), bounds.max(), bottom[0]->cpu_data(), top[0]->mutable_cpu_data());
}

void Clip::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) {
  const caffe::ClipParameter& bounds = layer_param_.clip_param();
  if (propagate_down[0])
    kernels()->clip_backward(bottom[0]->count(), bounds.min(), bounds.max(), bottom[0]->cpu_data(), top[0]->cpu_diff(),
                             bottom[0]->mutable_cpu_diff());
}

void Sigmoid::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  kernels()->sigmoid(bottom[0]->count(), bottom[0]->cpu_data(), top[0]->mutable_cpu_data());
}

void Sigmoid::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) {
  if (propagate_down[0])
    kernels()->sigmoid_backward(top[0]->count(), top[0]->cpu_data(), top[0]->cpu_diff(), bottom[0]->mutable_cpu_diff());
}

void Swish::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  kernels()->swish(bottom[0]->count(), layer_param_.swish_param().beta(), bottom[0]->cpu_data(),
                   sigmoid_output_->mutable_cpu_data(), top[0]->mutable_cpu_data());
}

void Swish::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) {
  if (propagate_down[0])
    kernels()->swish_backward(top[0]->count(), layer_param_.swish_param().beta(), top[0]->cpu_data(),
                              sigmoid_output_->cpu_data(), top[0]->cpu_diff(), bottom[0]->mutable_cpu_diff());
}

void Power::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  if (diff_scale_ == 0) return caffe::PowerLayer<float>::Forward_cpu(bottom, top);    // the same number everywhere
  kernels()->power(bottom[0]->count(), power_, scale_, shift_, bottom[0]->cpu_data(), top[0]->mutable_cpu_data());
}

void Power::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) {
  if (diff_scale_ == 0) return caffe::PowerLayer<float>::Backward_cpu(top, propagate_down, bottom);
  if (propagate_down[0])
    kernels()->power_backward(bottom[0]->count(), power_, scale_, shift_, bottom[0]->cpu_data(), top[0]->cpu_data(),
                              top[0]->cpu_diff(), bottom[0]->mutable_cpu_diff());
}

}  // namespace accel
