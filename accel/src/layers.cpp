#include "layers.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>

namespace accel {

using caffe::LayerParameter;
using std::vector;

namespace {

// One line in the debug log for each layer left to Caffe.
void fall_back(const LayerParameter& param, const char* why) {
  VLOG(1) << param.name() << " (" << param.type() << ") stays Caffe's: " << why;
}

// Shared by both kinds of convolution: sizes from Caffe's blobs. `image` is what filters slide over.
Geometry make_geometry(const Blob& image, const Blob& columns, int group, const caffe::Blob<int>& kernel,
                       const caffe::Blob<int>& stride, const caffe::Blob<int>& pad, const caffe::Blob<int>& dilation) {
  const int *k = kernel.cpu_data(), *s = stride.cpu_data(), *p = pad.cpu_data(), *d = dilation.cpu_data();
  return {image.shape(1) / group, image.shape(2), image.shape(3),
          columns.shape(1) / group, columns.shape(2), columns.shape(3),
          k[0], k[1], s[0], s[1], p[0], p[1], d[0], d[1]};
}

// Winograd pays where there are enough channels to sum over. Its rounding error needs 3x3.
bool suits_winograd(const Geometry& g) {
  return g.kernel_h == 3 && g.kernel_w == 3 && g.stride_h == 1 && g.stride_w == 1 && g.dilation_h == 1 &&
         g.dilation_w == 1 && g.channels >= 16 && g.outputs >= 16;
}

// Whether a convolution is ours: over two axes, on the CPU.
bool planar(int spatial_axes, int channel_axis) {
  return spatial_axes == 2 && channel_axis == 1 && caffe::Caffe::mode() == caffe::Caffe::CPU;
}

// What BaseConvolutionLayer::Reshape does, less the buffers that its own arithmetic needs.
void reshape_tops(const Blobs& bottom, const Blobs& top, int channels, int outputs, const vector<int>& size) {
  CHECK_EQ(bottom[0]->num_axes(), 4) << "bottom num_axes may not change.";
  CHECK_EQ(bottom[0]->shape(1), channels) << "Input size incompatible with convolution kernel.";
  for (size_t i = 1; i < bottom.size(); ++i)
    CHECK(bottom[0]->shape() == bottom[i]->shape()) << "shape mismatch - bottom[0]: " << bottom[0]->shape_string()
                                                    << " vs. bottom[" << i << "]: " << bottom[i]->shape_string();
  for (Blob* blob : top) blob->Reshape({bottom[0]->shape(0), outputs, size[0], size[1]});
}

}  // namespace

// ---- Convolution

bool Convolution::plain() const { return planar(num_spatial_axes_, channel_axis_); }

Geometry Convolution::geometry(const Blob& bottom, const Blob& top) const {
  return make_geometry(bottom, top, group_, kernel_shape_, stride_, pad_, dilation_);
}

void Convolution::Reshape(const Blobs& bottom, const Blobs& top) {
  if (!plain()) {
    fall_back(layer_param_, "not two-dimensional, or on a GPU");
    return caffe::ConvolutionLayer<float>::Reshape(bottom, top);
  }
  bottom_shape_ = &bottom[0]->shape();
  compute_output_shape();
  reshape_tops(bottom, top, channels_, num_output_, output_shape_);
}

void Convolution::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  if (!plain()) return caffe::ConvolutionLayer<float>::Forward_cpu(bottom, top);
  const int images = bottom[0]->shape(0);
  const float* bias = bias_term_ ? blobs_[1]->cpu_data() : nullptr;
  for (size_t i = 0; i < bottom.size(); ++i) {
    const Geometry g = geometry(*bottom[i], *top[i]);
    const ptrdiff_t in = bottom[i]->count(1), out = top[i]->count(1), weights = blobs_[0]->count() / group_;
    for (int j = 0; j < group_; ++j) {
      const float* w = blobs_[0]->cpu_data() + j * weights;
      const float* b = bias ? bias + j * g.outputs : nullptr;
      const float* x = bottom[i]->cpu_data() + j * (in / group_);
      float* y = top[i]->mutable_cpu_data() + j * (out / group_);
      if (suits_winograd(g)) {
        kernels()->winograd(g, images, x, in, w, b, y, out);
      } else {
        for (int n = 0; n < images; ++n) kernels()->convolve(g, x + n * in, w, b, y + n * out);
      }
    }
  }
}

void Convolution::Backward_cpu(const Blobs& top, const vector<bool>& propagate_down, const Blobs& bottom) {
  if (!plain()) return caffe::ConvolutionLayer<float>::Backward_cpu(top, propagate_down, bottom);
  const int images = bottom[0]->shape(0);
  for (size_t i = 0; i < top.size(); ++i) {
    const Geometry g = geometry(*bottom[i], *top[i]);
    const ptrdiff_t in = bottom[i]->count(1), out = top[i]->count(1), weights = blobs_[0]->count() / group_;
    if (bias_term_ && param_propagate_down_[1])
      for (int n = 0; n < images; ++n)
        kernels()->add_rows(num_output_, top[i]->count(2), top[i]->cpu_diff() + n * out,
                            blobs_[1]->mutable_cpu_diff());
    for (int j = 0; j < group_; ++j) {
      const float* dy = top[i]->cpu_diff() + j * (out / group_);
      if (param_propagate_down_[0]) {
        const float* x = bottom[i]->cpu_data() + j * (in / group_);
        float* dw = blobs_[0]->mutable_cpu_diff() + j * weights;
        if (suits_winograd(g)) {
          kernels()->winograd_to_weights(g, images, x, in, dy, out, dw);
        } else {
          for (int n = 0; n < images; ++n) kernels()->convolve_to_weights(g, x + n * in, dy + n * out, dw);
        }
      }
      if (propagate_down[i]) {
        const float* w = blobs_[0]->cpu_data() + j * weights;
        float* dx = bottom[i]->mutable_cpu_diff() + j * (in / group_);
        if (suits_winograd(g) && g.pad_h <= 2 && g.pad_w <= 2) {
          kernels()->winograd_to_bottom(g, images, dy, out, w, dx, in);
        } else {
          for (int n = 0; n < images; ++n) kernels()->convolve_to_bottom(g, dy + n * out, w, dx + n * in);
        }
      }
    }
  }
}

// ---- Deconvolution: a convolution with bottom and top exchanged

bool Deconvolution::plain() const { return planar(num_spatial_axes_, channel_axis_); }

Geometry Deconvolution::geometry(const Blob& bottom, const Blob& top) const {
  return make_geometry(top, bottom, group_, kernel_shape_, stride_, pad_, dilation_);
}

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

void Deconvolution::Reshape(const Blobs& bottom, const Blobs& top) {
  if (!plain()) {
    fall_back(layer_param_, "not two-dimensional, or on a GPU");
    return caffe::DeconvolutionLayer<float>::Reshape(bottom, top);
  }
  bottom_shape_ = &bottom[0]->shape();
  compute_output_shape();
  reshape_tops(bottom, top, channels_, num_output_, output_shape_);
}

void Deconvolution::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  if (!plain()) return caffe::DeconvolutionLayer<float>::Forward_cpu(bottom, top);
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
        for (int j = 0; j < group_; ++j)
          kernels()->convolve_to_bottom(g, x + j * (in / group_), w + j * (blobs_[0]->count() / group_),
                                        y + j * (out / group_));
      }
      if (bias_term_) kernels()->add_bias(num_output_, top[i]->count(2), blobs_[1]->cpu_data(), y);
    }
  }
}

void Deconvolution::Backward_cpu(const Blobs& top, const vector<bool>& propagate_down, const Blobs& bottom) {
  if (!plain()) return caffe::DeconvolutionLayer<float>::Backward_cpu(top, propagate_down, bottom);
  const int images = bottom[0]->shape(0), kernel = kernel_shape_.cpu_data()[0];
  const ptrdiff_t size = kernel * kernel;
  const bool planewise = upsamples();
  for (size_t i = 0; i < top.size(); ++i) {
    const Geometry g = geometry(*bottom[i], *top[i]);
    const ptrdiff_t in = bottom[i]->count(1), out = top[i]->count(1), weights = blobs_[0]->count() / group_;
    for (int n = 0; n < images; ++n) {
      const float* dy = top[i]->cpu_diff() + n * out;
      if (bias_term_ && param_propagate_down_[1])
        kernels()->add_rows(num_output_, top[i]->count(2), dy, blobs_[1]->mutable_cpu_diff());
      if (param_propagate_down_[0])
        for (int j = 0; j < group_; ++j)
          kernels()->convolve_to_weights(g, dy + j * (out / group_),
                                         bottom[i]->cpu_data() + n * in + j * (in / group_),
                                         blobs_[0]->mutable_cpu_diff() + j * weights);
      if (!propagate_down[i]) continue;
      const float* w = blobs_[0]->cpu_data();
      float* dx = bottom[i]->mutable_cpu_diff() + n * in;
      if (planewise) {
        kernels()->upsample_backward(channels_, g.out_height, g.out_width, kernel, g.stride_h, g.pad_h, w,
                                     group_ == 1 ? (channels_ + 1) * size : size, dy, dx);
      } else {
        for (int j = 0; j < group_; ++j)
          kernels()->convolve(g, dy + j * (out / group_), w + j * weights, nullptr, dx + j * (in / group_));
      }
    }
  }
}

// ---- ReLU

void ReLU::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  kernels()->relu(bottom[0]->count(), layer_param_.relu_param().negative_slope(), bottom[0]->cpu_data(),
                  top[0]->mutable_cpu_data());
}

void ReLU::Backward_cpu(const Blobs& top, const vector<bool>& propagate_down, const Blobs& bottom) {
  if (propagate_down[0])
    kernels()->relu_backward(bottom[0]->count(), layer_param_.relu_param().negative_slope(), bottom[0]->cpu_data(),
                             top[0]->cpu_diff(), bottom[0]->mutable_cpu_diff());
}

// ---- Pooling

bool Pooling::plain(const Blobs& top) const {
  return layer_param_.pooling_param().pool() == caffe::PoolingParameter_PoolMethod_MAX && top.size() == 1;
}

Pool Pooling::shape() const {
  return {height_, width_, pooled_height_, pooled_width_, kernel_h_, kernel_w_, stride_h_, stride_w_, pad_h_, pad_w_};
}

void Pooling::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  if (!plain(top)) {
    fall_back(layer_param_, "not max pooling with one top");
    return caffe::PoolingLayer<float>::Forward_cpu(bottom, top);
  }
  kernels()->max_pool(shape(), bottom[0]->count(0, 2), bottom[0]->cpu_data(), top[0]->mutable_cpu_data());
}

void Pooling::Backward_cpu(const Blobs& top, const vector<bool>& propagate_down, const Blobs& bottom) {
  if (!plain(top)) return caffe::PoolingLayer<float>::Backward_cpu(top, propagate_down, bottom);
  if (propagate_down[0])
    kernels()->max_pool_backward(shape(), bottom[0]->count(0, 2), bottom[0]->cpu_data(), top[0]->cpu_diff(),
                                 bottom[0]->mutable_cpu_diff());
}

// ---- Crop

void Crop::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  if (top[0]->num_axes() != 4) {
    fall_back(layer_param_, "not four axes");
    return caffe::CropLayer<float>::Forward_cpu(bottom, top);
  }
  const int* o = offsets.cpu_data();
  const float* in = bottom[0]->cpu_data();
  float* out = top[0]->mutable_cpu_data();
  const size_t width = top[0]->shape(3);
#pragma omp parallel for collapse(2) schedule(static)
  for (int n = 0; n < top[0]->shape(0); ++n)
    for (int c = 0; c < top[0]->shape(1); ++c)
      for (int y = 0; y < top[0]->shape(2); ++y)
        std::memcpy(out + top[0]->offset(n, c, y), in + bottom[0]->offset(n + o[0], c + o[1], y + o[2], o[3]),
                    width * sizeof(float));
}

void Crop::Backward_cpu(const Blobs& top, const vector<bool>& propagate_down, const Blobs& bottom) {
  if (top[0]->num_axes() != 4) return caffe::CropLayer<float>::Backward_cpu(top, propagate_down, bottom);
  if (!propagate_down[0]) return;
  const int* o = offsets.cpu_data();
  const float* in = top[0]->cpu_diff();
  float* out = bottom[0]->mutable_cpu_diff();
  const size_t width = top[0]->shape(3), plane = bottom[0]->count(2);
#pragma omp parallel for collapse(2) schedule(static)
  for (int n = 0; n < bottom[0]->shape(0); ++n)
    for (int c = 0; c < bottom[0]->shape(1); ++c) {
      std::memset(out + bottom[0]->offset(n, c), 0, plane * sizeof(float));
      if (n < o[0] || n >= o[0] + top[0]->shape(0) || c < o[1] || c >= o[1] + top[0]->shape(1)) continue;
      for (int y = 0; y < top[0]->shape(2); ++y)
        std::memcpy(out + bottom[0]->offset(n, c, y + o[2], o[3]), in + top[0]->offset(n - o[0], c - o[1], y),
                    width * sizeof(float));
    }
}

// ---- Eltwise

void Eltwise::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  if (op_ != caffe::EltwiseParameter_EltwiseOp_SUM) {
    fall_back(layer_param_, "not a sum");
    return caffe::EltwiseLayer<float>::Forward_cpu(bottom, top);
  }
  vector<const float*> terms;
  for (const Blob* blob : bottom) terms.push_back(blob->cpu_data());
  kernels()->sum(top[0]->count(), terms.size(), terms.data(), coeffs_.data(), top[0]->mutable_cpu_data());
}

void Eltwise::Backward_cpu(const Blobs& top, const vector<bool>& propagate_down, const Blobs& bottom) {
  caffe::EltwiseLayer<float>::Backward_cpu(top, propagate_down, bottom);
}

// ---- Softmax and its loss

void Softmax::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  kernels()->softmax(outer_num_, bottom[0]->shape(softmax_axis_), inner_num_, bottom[0]->cpu_data(),
                     top[0]->mutable_cpu_data());
}

void Softmax::Backward_cpu(const Blobs& top, const vector<bool>& propagate_down, const Blobs& bottom) {
  caffe::SoftmaxLayer<float>::Backward_cpu(top, propagate_down, bottom);
}

void SoftmaxWithLoss::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  softmax_layer_->Forward(softmax_bottom_vec_, softmax_top_vec_);
  const float *prob = prob_.cpu_data(), *label = bottom[1]->cpu_data();
  const int classes = prob_.shape(softmax_axis_), images = outer_num_, pixels = inner_num_;
  float loss = 0;  // added up in Caffe's order and precision: the sum over many pixels shows them
  int count = 0;
  for (int n = 0; n < images; ++n)
    for (int j = 0; j < pixels; ++j) {
      const int value = static_cast<int>(label[n * pixels + j]);
      if (has_ignore_label_ && value == ignore_label_) continue;
      CHECK(value >= 0 && value < classes) << layer_param_.name() << ": label " << value << " of " << classes;
      loss -= std::log(std::max(prob[(static_cast<ptrdiff_t>(n) * classes + value) * pixels + j], FLT_MIN));
      ++count;
    }
  top[0]->mutable_cpu_data()[0] = loss / get_normalizer(normalization_, count);
  if (top.size() == 2) top[1]->ShareData(prob_);
}

void SoftmaxWithLoss::Backward_cpu(const Blobs& top, const vector<bool>& propagate_down, const Blobs& bottom) {
  CHECK(!propagate_down[1]) << type() << " Layer cannot backpropagate to label inputs.";
  if (!propagate_down[0]) return;
  const float *prob = prob_.cpu_data(), *label = bottom[1]->cpu_data();
  float* diff = bottom[0]->mutable_cpu_diff();
  const int classes = prob_.shape(softmax_axis_), images = outer_num_, pixels = inner_num_;
  const bool ignore = has_ignore_label_;
  const int ignored = ignore_label_;
  const int count = !ignore ? images * pixels
                            : images * pixels - std::count_if(label, label + images * pixels, [ignored](float x) {
                                return static_cast<int>(x) == ignored;
                              });
  const float scale = top[0]->cpu_diff()[0] / get_normalizer(normalization_, count);
#pragma omp parallel for collapse(2) schedule(static)
  for (int n = 0; n < images; ++n)
    for (int c = 0; c < classes; ++c) {
      const float *p = prob + (static_cast<ptrdiff_t>(n) * classes + c) * pixels, *l = label + n * pixels;
      float* d = diff + (static_cast<ptrdiff_t>(n) * classes + c) * pixels;
      for (int j = 0; j < pixels; ++j) {
        const int value = static_cast<int>(l[j]);
        d[j] = ignore && value == ignored ? 0.f : scale * (p[j] - (value == c ? 1.f : 0.f));
      }
    }
}

// ---- Solver

void SGD::ApplyUpdate() {
  const std::string& regularization = param_.regularization_type();
  if (caffe::Caffe::mode() != caffe::Caffe::CPU || (regularization != "L1" && regularization != "L2"))
    return caffe::SGDSolver<float>::ApplyUpdate();
  const float rate = GetLearningRate();
  if (param_.display() && iter_ % param_.display() == 0)
    LOG_IF(INFO, caffe::Caffe::root_solver()) << "Iteration " << iter_ << ", lr = " << rate;
  ClipGradients();
  const Blobs& params = net_->learnable_params();
  for (size_t i = 0; i < params.size(); ++i) {
    const float lr = net_->params_lr()[i];
    if (lr == 0 && history_[i]->data()->head() == caffe::SyncedMemory::UNINITIALIZED) continue;  // never moved
    const Sgd update = {1.f / param_.iter_size(), static_cast<float>(param_.weight_decay() *
                        net_->params_weight_decay()[i]), rate * lr, static_cast<float>(param_.momentum()),
                        regularization == "L1"};
    kernels()->sgd(params[i]->count(), update, params[i]->mutable_cpu_data(), params[i]->mutable_cpu_diff(),
                   history_[i]->mutable_cpu_data());
  }
  ++iter_;
}

}  // namespace accel
