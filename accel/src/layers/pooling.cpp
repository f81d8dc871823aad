// Maxima and averages of windows.
#include "layers.h"

namespace accel {

// Caffe's other ways: a second top with the places of the maxima; windows at random.
bool Pooling::covered(const Blobs& top) const {
  const auto method = layer_param_.pooling_param().pool();
  return method == caffe::PoolingParameter_PoolMethod_AVE ||
         (method == caffe::PoolingParameter_PoolMethod_MAX && top.size() == 1);
}

bool Pooling::averages() const {
  return layer_param_.pooling_param().pool() == caffe::PoolingParameter_PoolMethod_AVE;
}

// The places of the maxima are kept in training only; elsewhere a pass backward looks for them.
bool Pooling::keeps_winners() const { return phase_ == caffe::TRAIN && !halves(shape()); }

Pool Pooling::shape() const {
  return {height_, width_, pooled_height_, pooled_width_, kernel_h_, kernel_w_, stride_h_, stride_w_, pad_h_, pad_w_};
}

void Pooling::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  if (!covered(top)) {
    fall_back(layer_param_, "neither an average nor a maximum with one top");
    return caffe::PoolingLayer<float>::Forward_cpu(bottom, top);
  }
  const int planes = bottom[0]->count(0, 2);
  const float* x = bottom[0]->cpu_data();
  float* y = top[0]->mutable_cpu_data();
  if (averages())
    kernels()->average_pool(shape(), planes, x, y);
  else
    kernels()->max_pool(shape(), planes, x, y, keeps_winners() ? max_idx_.mutable_cpu_data() : nullptr);
}

void Pooling::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) {
  if (!covered(top)) return caffe::PoolingLayer<float>::Backward_cpu(top, propagate_down, bottom);
  if (!propagate_down[0]) return;
  const int planes = bottom[0]->count(0, 2);
  const float* dy = top[0]->cpu_diff();
  float* dx = bottom[0]->mutable_cpu_diff();
  if (averages())
    kernels()->average_pool_backward(shape(), planes, dy, dx);
  else
    kernels()->max_pool_backward(shape(), planes, bottom[0]->cpu_data(),
                                 keeps_winners() ? max_idx_.cpu_data() : nullptr, dy, dx);
}

}  // namespace accel
