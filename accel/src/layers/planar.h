// What the convolutions for the CPU (convolution.cpp, deconvolution.cpp) and those for cuDNN (accel/gpu) share.
#ifndef ACCEL_PLANAR_H_
#define ACCEL_PLANAR_H_

#include "blobs.h"
#include "caffe/common.hpp"

namespace accel {

// Caffe's ConvolutionLayer or DeconvolutionLayer with other arithmetic over two axes, on the processor `kMode`. Where
// `planar` is false, over other axes or on the other processor, all of it is Caffe's.
template <typename CaffeLayer, caffe::Caffe::Brew kMode>
class Planar : public CaffeLayer {
 public:
  explicit Planar(const caffe::LayerParameter& param) : CaffeLayer(param) {}

  // What BaseConvolutionLayer::Reshape does, less the buffers that its own arithmetic needs. One of them it fills on
  // the CPU each time, and each time it would go to the card.
  void Reshape(const Blobs& bottom, const Blobs& top) override {
    if (!planar()) {
      fall_back(this->layer_param_, kMode == caffe::Caffe::CPU ? "not two-dimensional, or on a GPU, or faster there"
                                                               : "not two-dimensional, or on the CPU");
      return CaffeLayer::Reshape(bottom, top);
    }
    CHECK_EQ(bottom[0]->num_axes(), 4) << "bottom num_axes may not change.";
    CHECK_EQ(bottom[0]->shape(1), this->channels_) << "Input size incompatible with convolution kernel.";
    for (size_t i = 1; i < bottom.size(); ++i)
      CHECK(bottom[0]->shape() == bottom[i]->shape()) << "shape mismatch - bottom[0]: " << bottom[0]->shape_string()
                                                      << " vs. bottom[" << i << "]: " << bottom[i]->shape_string();
    this->bottom_shape_ = &bottom[0]->shape();
    this->compute_output_shape();
    for (Blob* blob : top)
      blob->Reshape({bottom[0]->shape(0), this->num_output_, this->output_shape_[0], this->output_shape_[1]});
    if (const char* why = left_in_part(*bottom[0], *top[0])) {
      fall_back(this->layer_param_, why);
      CaffeLayer::Reshape(bottom, top);
    }
  }

 protected:
  virtual bool planar() const {
    return this->num_spatial_axes_ == 2 && this->channel_axis_ == 1 && caffe::Caffe::mode() == kMode;
  }

  // Whether the products are over before the weights are in the kernels' order, which a BLAS has other ways for.
  static bool few_pixels(const Blob& columns) { return columns.count(2) <= 96; }

  // Why some passes over blobs of these shapes are Caffe's own, which then needs its buffers; null where none is.
  virtual const char* left_in_part(const Blob& bottom, const Blob& top) const { return nullptr; }

  // What the filters slide over, and what they give. A deconvolution has its image above.
  const Blob& image(const Blob& bottom, const Blob& top) { return this->reverse_dimensions() ? top : bottom; }
  const Blob& columns(const Blob& bottom, const Blob& top) { return this->reverse_dimensions() ? bottom : top; }
};

}  // namespace accel

#endif
