// Caffe's layers and solver with other arithmetic inside. Each derives from Caffe's own class, which does the setting
// up, and falls back to its methods where the kernels don't apply.
#ifndef ACCEL_LAYERS_H_
#define ACCEL_LAYERS_H_

#include <vector>

#include "caffe/layers/conv_layer.hpp"
#include "caffe/layers/crop_layer.hpp"
#include "caffe/layers/deconv_layer.hpp"
#include "caffe/layers/eltwise_layer.hpp"
#include "caffe/layers/pooling_layer.hpp"
#include "caffe/layers/relu_layer.hpp"
#include "caffe/layers/softmax_layer.hpp"
#include "caffe/layers/softmax_loss_layer.hpp"
#include "caffe/sgd_solvers.hpp"
#include "kernels.h"

namespace accel {

typedef caffe::Blob<float> Blob;
typedef std::vector<Blob*> Blobs;

// What each layer overrides. Construction is Caffe's.
#define ACCEL_LAYER(Name)                                                                                    \
 public:                                                                                                     \
  explicit Name(const caffe::LayerParameter& param) : caffe::Name##Layer<float>(param) {}                    \
                                                                                                             \
 protected:                                                                                                  \
  void Forward_cpu(const Blobs& bottom, const Blobs& top) override;                                          \
  void Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) override;

// 2-D convolutions of every shape; others are Caffe's.
class Convolution : public caffe::ConvolutionLayer<float> {
  ACCEL_LAYER(Convolution)
  void Reshape(const Blobs& bottom, const Blobs& top) override;

 private:
  bool plain() const;
  Geometry geometry(const Blob& bottom, const Blob& top) const;
};

// 2-D deconvolutions of every shape, and quickly those that upsample each channel by itself.
class Deconvolution : public caffe::DeconvolutionLayer<float> {
  ACCEL_LAYER(Deconvolution)
  void Reshape(const Blobs& bottom, const Blobs& top) override;

 private:
  bool plain() const;
  bool upsamples() const;
  Geometry geometry(const Blob& bottom, const Blob& top) const;
};

class ReLU : public caffe::ReLULayer<float> {
  ACCEL_LAYER(ReLU)
};

// Max pooling without a second top.
class Pooling : public caffe::PoolingLayer<float> {
  ACCEL_LAYER(Pooling)

 private:
  bool plain(const Blobs& top) const;
  Pool shape() const;
};

// Crops of four axes.
class Crop : public caffe::CropLayer<float> {
  ACCEL_LAYER(Crop)
};

// Weighted sums, forward.
class Eltwise : public caffe::EltwiseLayer<float> {
  ACCEL_LAYER(Eltwise)
};

// Forward.
class Softmax : public caffe::SoftmaxLayer<float> {
  ACCEL_LAYER(Softmax)
};

class SoftmaxWithLoss : public caffe::SoftmaxWithLossLayer<float> {
  ACCEL_LAYER(SoftmaxWithLoss)
};

// One pass over the parameters where Caffe makes six. State and snapshots are Caffe's.
class SGD : public caffe::SGDSolver<float> {
 public:
  explicit SGD(const caffe::SolverParameter& param) : caffe::SGDSolver<float>(param) {}
  void ApplyUpdate() override;
};

}  // namespace accel

#endif
