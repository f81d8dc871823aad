// 2-D convolutions, each group and image by Winograd or as a matrix product.
#include "layers.h"

namespace accel {

namespace {

int tiles(const Blob& planes) { return planes.shape(0) * ((planes.shape(2) + 3) / 4) * ((planes.shape(3) + 3) / 4); }

}  // namespace

// Winograd pays where there are enough channels to sum over. Kernels are 3x3, or cut into pieces of 3x3, since that is
// what its rounding error needs. Where a BLAS does the products, only the former.
bool Convolution::takes_winograd() const {
  const int *k = kernel_shape_.cpu_data(), *s = stride_.cpu_data(), *d = dilation_.cpu_data();
  const int most = products_pay() ? 9 : 3;
  return k[0] >= 3 && k[1] >= 3 && k[0] <= most && k[1] <= most && s[0] == 1 && s[1] == 1 && d[0] == 1 && d[1] == 1 &&
         channels_ / group_ >= 16 && num_output_ / group_ >= 16;
}

// And where there are tiles enough for what its filters cost, which are four times as large as the weights, and fewer
// products: 36 for each piece and tile. The tiles lie in the top, or for the gradient in the bottom.
bool Convolution::suits_winograd(const Blob& tiled, const Blob& top) const {
  if (!takes_winograd()) return false;
  if (!products_pay()) return true;
  const int *k = kernel_shape_.cpu_data(), pieces = (k[0] + 2) / 3 * ((k[1] + 2) / 3);
  const double direct = static_cast<double>(k[0]) * k[1] * top.shape(0) * top.count(2);
  return tiles(tiled) >= 12 && 36. * pieces * tiles(tiled) <= 0.6 * direct;
}

// The gradient to the weights is for 3x3.
bool Convolution::suits_winograd_to_weights(const Blob& top) const {
  return takes_winograd() && kernel_shape_.cpu_data()[0] == 3 && kernel_shape_.cpu_data()[1] == 3 &&
         (tiles(top) >= 24 || !products_pay());
}

// Each channel with filters of its own. Many for a single channel are a product.
bool Convolution::depthwise() const { return group_ == channels_ && (channels_ > 1 || num_output_ == 1); }

bool Convolution::left_to_caffe(const Blob& top) const {
  return few_pixels(top) && !depthwise() && !suits_winograd(top, top);
}

// Both gradients put such weights in order, or sum over so few pixels, that a BLAS is as quick or quicker.
bool Convolution::gradients_left_to_caffe(const Blob& top) const {
  return left_to_caffe(top) ||
         (is_1x1_ && group_ == 1 && top.count(2) <= 256 && blobs_[0]->count() >= 12 << 10);
}

const char* Convolution::left_in_part(const Blob& bottom, const Blob& top) const {
  return left_to_caffe(top) ? "few pixels" : gradients_left_to_caffe(top) ? "in its gradients, 1x1 and few pixels" : nullptr;
}

bool Convolution::planar() const {
  const int *k = kernel_shape_.cpu_data(), *s = stride_.cpu_data();
  const bool picks = depthwise() && k[0] * k[1] == 1 && s[0] * s[1] > 1;                        // which is no work
  const bool one_row = group_ > 1 && num_output_ == group_ && channels_ > group_;               // where rows share columns
  return PlanarOnCpu<caffe::ConvolutionLayer<float> >::planar() && !picks && !one_row &&
         (products_pay() || takes_winograd() || depthwise());
}

void Convolution::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  if (!planar()) return caffe::ConvolutionLayer<float>::Forward_cpu(bottom, top);
  if (left_to_caffe(*top[0])) return caffe::ConvolutionLayer<float>::Forward_cpu(bottom, top);
  Epilogue e = NO_EPILOGUE;
  if (bias_term_) e.shift = blobs_[1]->cpu_data();
  for (size_t i = 0; i < bottom.size(); ++i) convolve(*bottom[i], e, top[i]);
}

void Convolution::convolve(const Blob& bottom, const Epilogue& e, Blob* top) {
  const Geometry g = geometry(bottom, *top);
  const int images = bottom.shape(0);
  const float *x = bottom.cpu_data(), *w = blobs_[0]->cpu_data();
  float* y = top->mutable_cpu_data();
  if (depthwise()) return kernels()->depthwise(ungrouped(g), images, x, w, e, y);
  if (!suits_winograd(*top, *top)) return kernels()->convolve(g, images, group_, x, w, e, y);
  const ptrdiff_t in = bottom.count(1), out = top->count(1);
  for (int j = 0; j < group_; ++j) {
    kernels()->winograd(g, images, x + j * (in / group_), in, w + j * (blobs_[0]->count() / group_),
                        e.at(j * g.outputs, j * (out / group_)), y + j * (out / group_), out);
  }
}

void Convolution::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) {
  if (!planar()) return caffe::ConvolutionLayer<float>::Backward_cpu(top, propagate_down, bottom);
  if (gradients_left_to_caffe(*top[0]))
    return caffe::ConvolutionLayer<float>::Backward_cpu(top, propagate_down, bottom);
  const int images = bottom[0]->shape(0);
  for (size_t i = 0; i < top.size(); ++i) {
    const Geometry g = geometry(*bottom[i], *top[i]);
    const ptrdiff_t in = bottom[i]->count(1), out = top[i]->count(1), weights = blobs_[0]->count() / group_;
    const float *x = bottom[i]->cpu_data(), *dy = top[i]->cpu_diff(), *w = blobs_[0]->cpu_data();
    if (bias_term_ && param_propagate_down_[1])
      for (int n = 0; n < images; ++n)
        kernels()->add_rows(num_output_, top[i]->count(2), dy + n * out, blobs_[1]->mutable_cpu_diff());
    if (depthwise()) {
      if (param_propagate_down_[0])
        kernels()->depthwise_to_weights(ungrouped(g), images, x, dy, blobs_[0]->mutable_cpu_diff());
      if (propagate_down[i])
        kernels()->depthwise_to_bottom(ungrouped(g), images, dy, w, bottom[i]->mutable_cpu_diff());
      continue;
    }
    if (param_propagate_down_[0]) {
      float* dw = blobs_[0]->mutable_cpu_diff();
      if (suits_winograd_to_weights(*top[i]))
        for (int j = 0; j < group_; ++j)
          kernels()->winograd_to_weights(g, images, x + j * (in / group_), in, dy + j * (out / group_), out,
                                         dw + j * weights);
      else
        kernels()->convolve_to_weights(g, images, group_, x, dy, dw);
    }
    if (propagate_down[i]) {
      float* dx = bottom[i]->mutable_cpu_diff();
      if (suits_winograd(*bottom[i], *top[i]) && g.pad_h < g.kernel_h && g.pad_w < g.kernel_w)
        for (int j = 0; j < group_; ++j)
          kernels()->winograd_to_bottom(g, images, dy + j * (out / group_), out, w + j * weights,
                                        dx + j * (in / group_), in);
      else
        kernels()->convolve_to_bottom(g, images, group_, dy, w, dx);
    }
  }
}

}  // namespace accel
