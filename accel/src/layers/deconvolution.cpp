// 2-D deconvolutions: convolutions with bottom and top exchanged.
#include "layers.h"

#include <algorithm>

namespace accel {

// Whether each channel is upsampled by itself: one group for each, or dense weights that are zero off the diagonal.
bool Deconvolution::upsamples() const {
  const int *k = kernel_shape_.cpu_data(), *s = stride_.cpu_data(), *p = pad_.cpu_data(), *d = dilation_.cpu_data();
  if (k[0] != k[1] || s[0] != s[1] || p[0] != p[1] || d[0] != 1 || d[1] != 1 || channels_ != num_output_) return false;
  if (group_ == channels_) return true;
  if (group_ != 1) return false;
  const float* w = blobs_[0]->cpu_data();
  const ptrdiff_t size = k[0] * k[1];
  // From the end of one diagonal kernel to the beginning of the next.
  for (int c = 0; c + 1 < channels_; ++c) {
    const float* begin = w + (static_cast<ptrdiff_t>(c) * channels_ + c + 1) * size;
    if (!std::all_of(begin, begin + channels_ * size, [](float x) { return x == 0; })) return false;
  }
  return true;
}

void Deconvolution::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  if (!planar()) return caffe::DeconvolutionLayer<float>::Forward_cpu(bottom, top);
  const int images = bottom[0]->shape(0), kernel = kernel_shape_.cpu_data()[0];
  const ptrdiff_t size = kernel * kernel;
  const bool planewise = upsamples();
  for (size_t i = 0; i < bottom.size(); ++i) {
    const Geometry g = geometry(*bottom[i], *top[i]);
    const ptrdiff_t in = bottom[i]->count(1), out = top[i]->count(1);
    for (int n = 0; n < images; ++n) {
      const float *w = blobs_[0]->cpu_data(), *x = bottom[i]->cpu_data() + n * in;
      float* y = top[i]->mutable_cpu_data() + n * out;
      if (planewise) {
        kernels()->upsample(channels_, g.out_height, g.out_width, kernel, g.stride_h, g.pad_h, w,
                            group_ == 1 ? (channels_ + 1) * size : size, x, y);
      } else {
        kernels()->convolve_to_bottom(g, 1, group_, x, w, y);
      }
      if (bias_term_) kernels()->add_bias(num_output_, top[i]->count(2), blobs_[1]->cpu_data(), y);
    }
  }
}

void Deconvolution::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) {
  if (!planar()) return caffe::DeconvolutionLayer<float>::Backward_cpu(top, propagate_down, bottom);
  const int images = bottom[0]->shape(0), kernel = kernel_shape_.cpu_data()[0];
  const ptrdiff_t size = kernel * kernel;
  const bool planewise = upsamples();
  for (size_t i = 0; i < top.size(); ++i) {
    const Geometry g = geometry(*bottom[i], *top[i]);
    const ptrdiff_t in = bottom[i]->count(1), out = top[i]->count(1);
    for (int n = 0; n < images; ++n) {
      const float* dy = top[i]->cpu_diff() + n * out;
      if (bias_term_ && param_propagate_down_[1])
        kernels()->add_rows(num_output_, top[i]->count(2), dy, blobs_[1]->mutable_cpu_diff());
      if (param_propagate_down_[0])
        kernels()->convolve_to_weights(g, 1, group_, dy, bottom[i]->cpu_data() + n * in, blobs_[0]->mutable_cpu_diff());
      if (!propagate_down[i]) continue;
      const float* w = blobs_[0]->cpu_data();
      float* dx = bottom[i]->mutable_cpu_diff() + n * in;
      if (planewise) {
        kernels()->upsample_backward(channels_, g.out_height, g.out_width, kernel, g.stride_h, g.pad_h, w,
                                     group_ == 1 ? (channels_ + 1) * size : size, dy, dx);
      } else {
        kernels()->convolve(g, 1, group_, dy, w, NO_EPILOGUE, dx);
      }
    }
  }
}

}  // namespace accel
