// Caffe's layers and solver with other arithmetic inside. Each derives from Caffe's own class, which does the setting
// up, and falls back to its methods where the kernels don't apply. One file a layer has the methods.
#ifndef ACCEL_LAYERS_H_
#define ACCEL_LAYERS_H_

#include <vector>

#include "../kernels.h"
#include "blobs.h"
#include "caffe/layers/batch_norm_layer.hpp"
#include "caffe/layers/bias_layer.hpp"
#include "caffe/layers/clip_layer.hpp"
#include "caffe/layers/concat_layer.hpp"
#include "caffe/layers/conv_layer.hpp"
#include "caffe/layers/crop_layer.hpp"
#include "caffe/layers/deconv_layer.hpp"
#include "caffe/layers/dropout_layer.hpp"
#include "caffe/layers/eltwise_layer.hpp"
#include "caffe/layers/inner_product_layer.hpp"
#include "caffe/layers/lrn_layer.hpp"
#include "caffe/layers/pooling_layer.hpp"
#include "caffe/layers/power_layer.hpp"
#include "caffe/layers/prelu_layer.hpp"
#include "caffe/layers/relu_layer.hpp"
#include "caffe/layers/scale_layer.hpp"
#include "caffe/layers/sigmoid_layer.hpp"
#include "caffe/layers/slice_layer.hpp"
#include "caffe/layers/softmax_layer.hpp"
#include "caffe/layers/softmax_loss_layer.hpp"
#include "caffe/layers/split_layer.hpp"
#include "caffe/layers/swish_layer.hpp"
#include "caffe/sgd_solvers.hpp"
#include "planar.h"

namespace accel {

// What each layer overrides. Construction is Caffe's.
#define ACCEL_LAYER(Name, Base)                                                                              \
 public:                                                                                                     \
  explicit Name(const caffe::LayerParameter& param) : Base(param) {}                                         \
                                                                                                             \
 protected:                                                                                                  \
  void Forward_cpu(const Blobs& bottom, const Blobs& top) override;                                          \
  void Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) override;

// Either convolution on the CPU: with its sizes as the kernels take them.
template <typename CaffeLayer>
class PlanarOnCpu : public Planar<CaffeLayer, caffe::Caffe::CPU> {
 protected:
  explicit PlanarOnCpu(const caffe::LayerParameter& param) : Planar<CaffeLayer, caffe::Caffe::CPU>(param) {}

  Geometry geometry(const Blob& bottom, const Blob& top) {
    const Blob &image = this->image(bottom, top), &columns = this->columns(bottom, top);
    const int *k = this->kernel_shape_.cpu_data(), *s = this->stride_.cpu_data(), *p = this->pad_.cpu_data(),
              *d = this->dilation_.cpu_data();
    return {image.shape(1) / this->group_, image.shape(2), image.shape(3),
            columns.shape(1) / this->group_, columns.shape(2), columns.shape(3),
            k[0], k[1], s[0], s[1], p[0], p[1], d[0], d[1]};
  }

  // All groups in one, for kernels that take each plane by itself.
  Geometry ungrouped(Geometry g) const {
    g.channels *= this->group_;
    g.outputs *= this->group_;
    return g;
  }
};

// 2-D convolutions of every shape, but only those for Winograd where products do not pay; others are Caffe's.
class Convolution : public PlanarOnCpu<caffe::ConvolutionLayer<float> > {
  ACCEL_LAYER(Convolution, PlanarOnCpu<caffe::ConvolutionLayer<float> >)
  bool planar() const override;
  const char* left_in_part(const Blob& bottom, const Blob& top) const override;

 public:
  bool takes_epilogue() const { return planar() && layer_param_.bottom_size() == 1; }
  // The epilogue has all that is added, the bias too.
  void convolve(const Blob& bottom, const Epilogue& e, Blob* top);
  const float* bias() { return this->bias_term_ ? this->blobs_[1]->cpu_data() : nullptr; }

 private:
  bool takes_winograd() const;
  bool suits_winograd(const Blob& tiled, const Blob& top) const;
  bool suits_winograd_to_weights(const Blob& top) const;
  bool left_to_caffe(const Blob& top) const;
  bool gradients_left_to_caffe(const Blob& top) const;
  bool depthwise() const;
};

// 2-D deconvolutions of every shape, and quickly those that upsample each channel by itself.
class Deconvolution : public PlanarOnCpu<caffe::DeconvolutionLayer<float> > {
  ACCEL_LAYER(Deconvolution, PlanarOnCpu<caffe::DeconvolutionLayer<float> >)
  const char* left_in_part(const Blob& bottom, const Blob& top) const override;

 public:
  bool upsamples() const;
  // Of what it upsamples to, a window.
  void upsample(const Blob& bottom, const Geometry& g, const Window& window, Blob* top);
};

class ReLU : public caffe::ReLULayer<float> {
  ACCEL_LAYER(ReLU, caffe::ReLULayer<float>)
};

class PReLU : public caffe::PReLULayer<float> {
  ACCEL_LAYER(PReLU, caffe::PReLULayer<float>)
};

class Clip : public caffe::ClipLayer<float> {
  ACCEL_LAYER(Clip, caffe::ClipLayer<float>)
};

class Sigmoid : public caffe::SigmoidLayer<float> {
  ACCEL_LAYER(Sigmoid, caffe::SigmoidLayer<float>)
};

class Swish : public caffe::SwishLayer<float> {
  ACCEL_LAYER(Swish, caffe::SwishLayer<float>)
};

class Power : public caffe::PowerLayer<float> {
  ACCEL_LAYER(Power, caffe::PowerLayer<float>)
};

class Dropout : public caffe::DropoutLayer<float> {
  ACCEL_LAYER(Dropout, caffe::DropoutLayer<float>)
};

class BatchNorm : public caffe::BatchNormLayer<float> {
  ACCEL_LAYER(BatchNorm, caffe::BatchNormLayer<float>)
};

class Scale : public caffe::ScaleLayer<float> {
  ACCEL_LAYER(Scale, caffe::ScaleLayer<float>)
};

class Bias : public caffe::BiasLayer<float> {
  ACCEL_LAYER(Bias, caffe::BiasLayer<float>)

 private:
  struct Sizes { int outer, biases, inner; };
  Sizes sizes(const Blobs& bottom) const;
};

// Averages, and maxima without a second top.
class Pooling : public caffe::PoolingLayer<float> {
  ACCEL_LAYER(Pooling, caffe::PoolingLayer<float>)

 private:
  bool covered(const Blobs& top) const;
  bool averages() const;
  bool keeps_winners() const;
  Pool shape() const;
};

// Across channels.
class LRN : public caffe::LRNLayer<float> {
  ACCEL_LAYER(LRN, caffe::LRNLayer<float>)

 private:
  bool one_pass(const Blobs& bottom, const Blobs& top) const;
  Lrn constants() const;
};

// Crops of 4-D blobs.
class Crop : public caffe::CropLayer<float> {
  ACCEL_LAYER(Crop, caffe::CropLayer<float>)

 public:
  // What it keeps of each plane, once it has been reshaped.
  Window window(const Blob& top) const {
    return {offsets.cpu_data()[2], offsets.cpu_data()[3], top.shape(2), top.shape(3)};
  }
};

class Concat : public caffe::ConcatLayer<float> {
  ACCEL_LAYER(Concat, caffe::ConcatLayer<float>)
};

class Slice : public caffe::SliceLayer<float> {
  ACCEL_LAYER(Slice, caffe::SliceLayer<float>)
};

class Split : public caffe::SplitLayer<float> {
  ACCEL_LAYER(Split, caffe::SplitLayer<float>)
};

class Eltwise : public caffe::EltwiseLayer<float> {
  ACCEL_LAYER(Eltwise, caffe::EltwiseLayer<float>)
};

// Of a few rows.
class InnerProduct : public caffe::InnerProductLayer<float> {
  ACCEL_LAYER(InnerProduct, caffe::InnerProductLayer<float>)

 private:
  bool few() const;
};

class Softmax : public caffe::SoftmaxLayer<float> {
  ACCEL_LAYER(Softmax, caffe::SoftmaxLayer<float>)
};

class SoftmaxWithLoss : public caffe::SoftmaxWithLossLayer<float> {
  ACCEL_LAYER(SoftmaxWithLoss, caffe::SoftmaxWithLossLayer<float>)
};

// One pass over the parameters where Caffe makes six. State and snapshots are Caffe's.
class SGD : public caffe::SGDSolver<float> {
 public:
  explicit SGD(const caffe::SolverParameter& param) : caffe::SGDSolver<float>(param) {}
  void ApplyUpdate() override;
};

}  // namespace accel

#endif
