// 2-D convolutions, each group and image by Winograd or as a matrix product.
#include "layers.h"

#include <cmath>

namespace accel {

// Winograd pays where there are enough channels to sum over. Its rounding error needs 3x3.
bool Convolution::suits_winograd() const {
  const int *k = kernel_shape_.cpu_data(), *s = stride_.cpu_data(), *d = dilation_.cpu_data();
  return k[0] == 3 && k[1] == 3 && s[0] == 1 && s[1] == 1 && d[0] == 1 && d[1] == 1 && channels_ / group_ >= 16 &&
         num_output_ / group_ >= 16;
}

// Each channel with filters of its own. Many for a single channel are a product.
bool Convolution::depthwise() const { return group_ == channels_ && (channels_ > 1 || num_output_ == 1); }

bool Convolution::planar() const {
  return PlanarOnCpu<caffe::ConvolutionLayer<float> >::planar() && (products_pay() || suits_winograd() || depthwise());
}

void Convolution::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  if (!planar()) return caffe::ConvolutionLayer<float>::Forward_cpu(bottom, top);
  const int images = bottom[0]->shape(0);
  const float* bias = bias_term_ ? blobs_[1]->cpu_data() : nullptr;
  for (size_t i = 0; i < bottom.size(); ++i) {
    const Geometry g = geometry(*bottom[i], *top[i]);
    const ptrdiff_t in = bottom[i]->count(1), out = top[i]->count(1), weights = blobs_[0]->count() / group_;
    if (depthwise()) {
      const Epilogue e = {nullptr, bias, nullptr, -INFINITY, INFINITY};
      kernels()->depthwise(ungrouped(g), images, bottom[i]->cpu_data(), blobs_[0]->cpu_data(), e,
                           top[i]->mutable_cpu_data());
      continue;
    }
    for (int j = 0; j < group_; ++j) {
      const float* w = blobs_[0]->cpu_data() + j * weights;
      const float* b = bias ? bias + j * g.outputs : nullptr;
      const float* x = bottom[i]->cpu_data() + j * (in / group_);
      float* y = top[i]->mutable_cpu_data() + j * (out / group_);
      if (suits_winograd()) {
        kernels()->winograd(g, images, x, in, w, b, y, out);
      } else {
        for (int n = 0; n < images; ++n) kernels()->convolve(g, x + n * in, w, b, y + n * out);
      }
    }
  }
}

void Convolution::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) {
  if (!planar()) return caffe::ConvolutionLayer<float>::Backward_cpu(top, propagate_down, bottom);
  const int images = bottom[0]->shape(0);
  for (size_t i = 0; i < top.size(); ++i) {
    const Geometry g = geometry(*bottom[i], *top[i]);
    const ptrdiff_t in = bottom[i]->count(1), out = top[i]->count(1), weights = blobs_[0]->count() / group_;
    if (bias_term_ && param_propagate_down_[1])
      for (int n = 0; n < images; ++n)
        kernels()->add_rows(num_output_, top[i]->count(2), top[i]->cpu_diff() + n * out,
                            blobs_[1]->mutable_cpu_diff());
    if (depthwise()) {
      const float *dy = top[i]->cpu_diff(), *w = blobs_[0]->cpu_data();
      if (param_propagate_down_[0])
        kernels()->depthwise_to_weights(ungrouped(g), images, bottom[i]->cpu_data(), dy, blobs_[0]->mutable_cpu_diff());
      if (propagate_down[i])
        kernels()->depthwise_to_bottom(ungrouped(g), images, dy, w, bottom[i]->mutable_cpu_diff());
      continue;
    }
    for (int j = 0; j < group_; ++j) {
      const float* dy = top[i]->cpu_diff() + j * (out / group_);
      if (param_propagate_down_[0]) {
        const float* x = bottom[i]->cpu_data() + j * (in / group_);
        float* dw = blobs_[0]->mutable_cpu_diff() + j * weights;
        if (suits_winograd()) {
          kernels()->winograd_to_weights(g, images, x, in, dy, out, dw);
        } else {
          for (int n = 0; n < images; ++n) kernels()->convolve_to_weights(g, x + n * in, dy + n * out, dw);
        }
      }
      if (propagate_down[i]) {
        const float* w = blobs_[0]->cpu_data() + j * weights;
        float* dx = bottom[i]->mutable_cpu_diff() + j * (in / group_);
        if (suits_winograd() && g.pad_h <= 2 && g.pad_w <= 2) {
          kernels()->winograd_to_bottom(g, images, dy, out, w, dx, in);
        } else {
          for (int n = 0; n < images; ++n) kernels()->convolve_to_bottom(g, dy + n * out, w, dx + n * in);
        }
      }
    }
  }
}

}  // namespace accel
