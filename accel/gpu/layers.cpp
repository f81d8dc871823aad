#include "layers.h"

namespace accel {
namespace gpu {

template <typename CaffeLayer>
Shape Layer<CaffeLayer>::shape(const Blob& bottom, const Blob& top) {
  const Blob &image = this->image(bottom, top), &columns = this->columns(bottom, top);
  const int *k = this->kernel_shape_.cpu_data(), *s = this->stride_.cpu_data(), *p = this->pad_.cpu_data(),
            *d = this->dilation_.cpu_data();
  return {image.shape(0), image.shape(1), image.shape(2), image.shape(3),
          columns.shape(1), columns.shape(2), columns.shape(3),
          k[0], k[1], s[0], s[1], p[0], p[1], d[0], d[1], this->group_};
}

// One pass for all images: by the engine, or image by image as Caffe does it.
template <typename CaffeLayer>
void Layer<CaffeLayer>::compute(Pass pass, const Shape& g, const float* image, const float* weights,
                                const float* columns, const Blobs& bottom, const Blobs& top) {
  if (run(pass, g, image, weights, columns)) return;
  CaffeLayer::Reshape(bottom, top);  // its buffers; the blobs have their shapes already
  const ptrdiff_t in = static_cast<ptrdiff_t>(g.channels) * g.height * g.width;
  const ptrdiff_t out = static_cast<ptrdiff_t>(g.outputs) * g.out_height * g.out_width;
  for (int n = 0; n < g.images; ++n, image += in, columns += out) {
    if (pass == FORWARD) this->forward_gpu_gemm(image, weights, const_cast<float*>(columns));
    if (pass == TO_IMAGE) this->backward_gpu_gemm(columns, weights, const_cast<float*>(image));
    if (pass == TO_WEIGHTS) this->weight_gpu_gemm(image, columns, const_cast<float*>(weights));
  }
}

template <typename CaffeLayer>
void Layer<CaffeLayer>::Forward_gpu(const Blobs& bottom, const Blobs& top) {
  if (!this->planar()) return CaffeLayer::Forward_gpu(bottom, top);
  const float* w = this->blobs_[0]->gpu_data();
  for (size_t i = 0; i < bottom.size(); ++i) {
    const Shape g = shape(*bottom[i], *top[i]);
    const float* x = bottom[i]->gpu_data();
    float* y = top[i]->mutable_gpu_data();
    if (this->reverse_dimensions())
      compute(TO_IMAGE, g, y, w, x, bottom, top);
    else
      compute(FORWARD, g, x, w, y, bottom, top);
    if (!this->bias_term_) continue;
    const int pixels = top[i]->count(2);
    for (int n = 0; n < g.images; ++n)  // bias times a row of ones
      caffe::caffe_gpu_gemm<float>(CblasNoTrans, CblasNoTrans, this->num_output_, pixels, 1, 1.f,
                                   this->blobs_[1]->gpu_data(), ones(pixels), 1.f, y + n * top[i]->count(1));
  }
}

template <typename CaffeLayer>
void Layer<CaffeLayer>::Backward_gpu(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) {
  if (!this->planar()) return CaffeLayer::Backward_gpu(top, propagate_down, bottom);
  for (size_t i = 0; i < top.size(); ++i) {
    const Shape g = shape(*bottom[i], *top[i]);
    const float* dy = top[i]->gpu_diff();
    const bool reverse = this->reverse_dimensions();
    if (this->bias_term_ && this->param_propagate_down_[1]) {
      const int pixels = top[i]->count(2);
      for (int n = 0; n < g.images; ++n)
        caffe::caffe_gpu_gemv<float>(CblasNoTrans, this->num_output_, pixels, 1.f, dy + n * top[i]->count(1),
                                     ones(pixels), 1.f, this->blobs_[1]->mutable_gpu_diff());
    }
    if (this->param_propagate_down_[0]) {
      const float* x = bottom[i]->gpu_data();
      compute(TO_WEIGHTS, g, reverse ? dy : x, this->blobs_[0]->mutable_gpu_diff(), reverse ? x : dy, bottom, top);
    }
    if (propagate_down[i]) {
      const float* w = this->blobs_[0]->gpu_data();
      float* dx = bottom[i]->mutable_gpu_diff();
      compute(reverse ? FORWARD : TO_IMAGE, g, reverse ? dy : dx, w, reverse ? dx : dy, bottom, top);
    }
  }
}

template class Layer<caffe::ConvolutionLayer<float> >;
template class Layer<caffe::DeconvolutionLayer<float> >;

}  // namespace gpu
}  // namespace accel
