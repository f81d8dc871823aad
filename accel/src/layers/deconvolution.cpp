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

const char* Deconvolution::left_in_part(const Blob& bottom, const Blob& top) const {
  return few_pixels(bottom) ? "few pixels, unless it upsamples" : nullptr;
}

void Deconvolution::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  if (!planar()) return caffe::DeconvolutionLayer<float>::Forward_cpu(bottom, top);
  const bool planewise = upsamples();
  if (!planewise && few_pixels(*bottom[0])) return caffe::DeconvolutionLayer<float>::Forward_cpu(bottom, top);
  for (size_t i = 0; i < bottom.size(); ++i) {
    const Geometry g = geometry(*bottom[i], *top[i]);
    if (planewise) {
      upsample(*bottom[i], g, {0, 0, g.height, g.width}, top[i]);
      continue;
    }
    float* y = top[i]->mutable_cpu_data();
    kernels()->convolve_to_bottom(g, bottom[i]->shape(0), group_, bottom[i]->cpu_data(), blobs_[0]->cpu_data(), y);
    for (int n = 0; bias_term_ && n < bottom[i]->shape(0); ++n, y += top[i]->count(1))
      kernels()->add_bias(num_output_, top[i]->count(2), blobs_[1]->cpu_data(), y);
  }
}

void Deconvolution::upsample(const Blob& bottom, const Geometry& g, const Window& window, Blob* top) {
  const ptrdiff_t size = blobs_[0]->count(2);
  kernels()->upsample(ungrouped(g), bottom.shape(0), blobs_[0]->cpu_data(), group_ == 1 ? (channels_ + 1) * size : size,
                      bias_term_ ? blobs_[1]->cpu_data() : nullptr, window, bottom.cpu_data(),
                      top->mutable_cpu_data());
}

void Deconvolution::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) {
  if (!planar()) return caffe::DeconvolutionLayer<float>::Backward_cpu(top, propagate_down, bottom);
  const int images = bottom[0]->shape(0);
  const ptrdiff_t size = blobs_[0]->count(2);
  const bool planewise = upsamples();
  if (!planewise && few_pixels(*bottom[0]))
    return caffe::DeconvolutionLayer<float>::Backward_cpu(top, propagate_down, bottom);
  for (size_t i = 0; i < top.size(); ++i) {
    const Geometry g = geometry(*bottom[i], *top[i]);
    const ptrdiff_t out = top[i]->count(1);
    const float *w = blobs_[0]->cpu_data(), *x = bottom[i]->cpu_data(), *dy = top[i]->cpu_diff();
    if (bias_term_ && param_propagate_down_[1])
      for (int n = 0; n < images; ++n)
        kernels()->add_rows(num_output_, top[i]->count(2), dy + n * out, blobs_[1]->mutable_cpu_diff());
    if (param_propagate_down_[0]) {
      float* dw = blobs_[0]->mutable_cpu_diff();
      if (planewise && group_ > 1)
        kernels()->depthwise_to_weights(ungrouped(g), images, dy, x, dw);
      else
        kernels()->convolve_to_weights(g, images, group_, dy, x, dw);
    }
    if (!propagate_down[i]) continue;
    float* dx = bottom[i]->mutable_cpu_diff();
    if (planewise)
      kernels()->upsample_backward(ungrouped(g), images, w, group_ == 1 ? (channels_ + 1) * size : size, dy, dx);
    else
      kernels()->convolve(g, images, group_, dy, w, NO_EPILOGUE, dx);
  }
}

}  // namespace accel
