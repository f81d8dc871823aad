// Max pooling, which keeps no index of its maxima.
#include "layers.h"

namespace accel {

bool Pooling::max_with_one_top(const Blobs& top) const {
  return layer_param_.pooling_param().pool() == caffe::PoolingParameter_PoolMethod_MAX && top.size() == 1;
}

Pool Pooling::shape() const {
  return {height_, width_, pooled_height_, pooled_width_, kernel_h_, kernel_w_, stride_h_, stride_w_, pad_h_, pad_w_};
}

void Pooling::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  if (!max_with_one_top(top)) {
    fall_back(layer_param_, "not max pooling with one top");
    return caffe::PoolingLayer<float>::Forward_cpu(bottom, top);
  }
  kernels()->max_pool(shape(), bottom[0]->count(0, 2), bottom[0]->cpu_data(), top[0]->mutable_cpu_data());
}

void Pooling::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) {
  if (!max_with_one_top(top)) return caffe::PoolingLayer<float>::Backward_cpu(top, propagate_down, bottom);
  if (propagate_down[0])
    kernels()->max_pool_backward(shape(), bottom[0]->count(0, 2), bottom[0]->cpu_data(), top[0]->cpu_diff(),
                                 bottom[0]->mutable_cpu_diff());
}

}  // namespace accel
