// Caffe's layers and solver with other arithmetic inside. Each derives from Caffe's own class, which does the setting
// up, and falls back to its methods where the kernels don't apply. One file a layer has the methods.
#ifndef ACCEL_LAYERS_H_
#define ACCEL_LAYERS_H_

#include <vector>

#include "../kernels.h"
#include "blobs.h"
#include "caffe/layers/conv_layer.hpp"
#include "caffe/layers/crop_layer.hpp"
#include "caffe/layers/deconv_layer.hpp"
#include "caffe/layers/eltwise_layer.hpp"
#include "caffe/layers/pooling_layer.hpp"
#include "caffe/layers/relu_layer.hpp"
#include "caffe/layers/softmax_layer.hpp"
#include "caffe/layers/softmax_loss_layer.hpp"
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

 private:
  bool suits_winograd() const;
  bool depthwise() const;
};

// 2-D deconvolutions of every shape, and quickly those that upsample each channel by itself.
class Deconvolution : public PlanarOnCpu<caffe::DeconvolutionLayer<float> > {
  ACCEL_LAYER(Deconvolution, PlanarOnCpu<caffe::DeconvolutionLayer<float> >)

 private:
  bool upsamples() const;
};

class ReLU : public caffe::ReLULayer<float> {
  ACCEL_LAYER(ReLU, caffe::ReLULayer<float>)
};

// Max pooling without a second top.
class Pooling : public caffe::PoolingLayer<float> {
  ACCEL_LAYER(Pooling, caffe::PoolingLayer<float>)

 private:
  bool max_with_one_top(const Blobs& top) const;
  Pool shape() const;
};

// Crops of 4-D blobs.
class Crop : public caffe::CropLayer<float> {
  ACCEL_LAYER(Crop, caffe::CropLayer<float>)
};

// Weighted sums, forward.
class Eltwise : public caffe::EltwiseLayer<float> {
  ACCEL_LAYER(Eltwise, caffe::EltwiseLayer<float>)
};

// Forward.
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
