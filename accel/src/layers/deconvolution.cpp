// 2-D deconvolutions: convolutions with bottom and top exchanged.
#include "layers.h"

namespace accel {

// Whether each channel is upsampled by itself: one group for each, or dense weights that are zero off the diagonal.
bool Deconvolution::upsamples() const {
  if (channels_ != num_output_) return false;
  if (group_ == channels_) return true;
  if (group_ != 1) return false;
  bool diagonal;
  kernels()->is_diagonal(channels_, blobs_[0]->count(2), blobs_[0]->cpu_data(), &diagonal);
  return diagonal;
}

void Deconvolution::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  if (!planar()) return caffe::DeconvolutionLayer<float>::Forward_cpu(bottom, top);
  const int images = bottom[0]->shape(0);
  const ptrdiff_t size = blobs_[0]->count(2);
  const bool planewise = upsamples();
  const float *w = blobs_[0]->cpu_data(), *bias = bias_term_ ? blobs_[1]->cpu_data() : nullptr;
  for (size_t i = 0; i < bottom.size(); ++i) {
    const Geometry g = geometry(*bottom[i], *top[i]);
    const float* x = bottom[i]->cpu_data();
    float* y = top[i]->mutable_cpu_data();
    if (planewise) {
      kernels()->upsample(ungrouped(g), images, w, group_ == 1 ? (channels_ + 1) * size : size, bias,
                          {0, 0, g.height, g.width}, x, y);
      continue;
    }
    const ptrdiff_t in = bottom[i]->count(1), out = top[i]->count(1);
    for (int n = 0; n < images; ++n, x += in, y += out) {
      for (int j = 0; j < group_; ++j)
        kernels()->convolve_to_bottom(g, x + j * (in / group_), w + j * (blobs_[0]->count() / group_),
                                      y + j * (out / group_));
      if (bias) kernels()->add_bias(num_output_, top[i]->count(2), bias, y);
    }
  }
}

void Deconvolution::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) {
  if (!planar()) return caffe::DeconvolutionLayer<float>::Backward_cpu(top, propagate_down, bottom);
  const int images = bottom[0]->shape(0);
  const ptrdiff_t size = blobs_[0]->count(2);
  const bool planewise = upsamples();
  for (size_t i = 0; i < top.size(); ++i) {
    const Geometry g = geometry(*bottom[i], *top[i]);
    const ptrdiff_t in = bottom[i]->count(1), out = top[i]->count(1), weights = blobs_[0]->count() / group_;
    const float *w = blobs_[0]->cpu_data(), *x = bottom[i]->cpu_data(), *dy = top[i]->cpu_diff();
    if (bias_term_ && param_propagate_down_[1])
      for (int n = 0; n < images; ++n)
        kernels()->add_rows(num_output_, top[i]->count(2), dy + n * out, blobs_[1]->mutable_cpu_diff());
    if (param_propagate_down_[0]) {
      float* dw = blobs_[0]->mutable_cpu_diff();
      if (planewise && group_ > 1)
        kernels()->depthwise_to_weights(ungrouped(g), images, dy, x, dw);
      else
        for (int n = 0; n < images; ++n)
          for (int j = 0; j < group_; ++j)
            kernels()->convolve_to_weights(g, dy + n * out + j * (out / group_), x + n * in + j * (in / group_),
                                           dw + j * weights);
    }
    if (!propagate_down[i]) continue;
    float* dx = bottom[i]->mutable_cpu_diff();
    if (planewise)
      kernels()->upsample_backward(ungrouped(g), images, w, group_ == 1 ? (channels_ + 1) * size : size, dy, dx);
    else
      for (int n = 0; n < images; ++n)
        for (int j = 0; j < group_; ++j)
          kernels()->convolve(g, dy + n * out + j * (out / group_), w + j * weights, nullptr,
                              dx + n * in + j * (in / group_));
  }
}

}  // namespace accel
