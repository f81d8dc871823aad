// Caffe's convolution and deconvolution in GPU mode with the engine's arithmetic inside. Set up by Caffe's own classes,
// whose methods do what the engine refuses: other than two spatial axes, and shapes without a plan.
#ifndef ACCEL_GPU_LAYERS_H_
#define ACCEL_GPU_LAYERS_H_

#include <vector>

#include "caffe/layers/conv_layer.hpp"
#include "caffe/layers/deconv_layer.hpp"
#include "caffe/util/math_functions.hpp"
#include "layers/planar.h"
#include "reference.h"
#include "engine.h"

namespace accel {
namespace gpu {

template <typename CaffeLayer>
class Layer : public Planar<CaffeLayer, caffe::Caffe::GPU> {
 public:
  explicit Layer(const caffe::LayerParameter& param) : Planar<CaffeLayer, caffe::Caffe::GPU>(param) {}

 protected:
  void Forward_gpu(const Blobs& bottom, const Blobs& top) override;
  void Backward_gpu(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) override;

 private:
  Shape shape(const Blob& bottom, const Blob& top);
  void compute(Pass pass, const Shape& shape, const float* image, const float* weights, const float* columns,
               const Blobs& bottom, const Blobs& top);
};

typedef Layer<caffe::ConvolutionLayer<float> > Convolution;
typedef Layer<caffe::DeconvolutionLayer<float> > Deconvolution;

}  // namespace gpu
}  // namespace accel

#endif
