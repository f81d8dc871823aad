// Inner products of a few rows, which take as long as reading the matrix; those of many rows stay the BLAS's.
#include "layers.h"

namespace accel {

// How many depends on the vectors. Of short rows each sum costs more to begin and end than to make.
bool InnerProduct::few() const { return !transpose_ && M_ <= (products_pay() ? 4 : 2) && K_ >= 64; }

void InnerProduct::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  if (!few()) {
    fall_back(layer_param_, "many rows or short ones, or transposed weights");
    return caffe::InnerProductLayer<float>::Forward_cpu(bottom, top);
  }
  kernels()->inner_product(M_, N_, K_, bottom[0]->cpu_data(), blobs_[0]->cpu_data(),
                           bias_term_ ? blobs_[1]->cpu_data() : nullptr, top[0]->mutable_cpu_data());
}

void InnerProduct::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) {
  if (!few()) return caffe::InnerProductLayer<float>::Backward_cpu(top, propagate_down, bottom);
  const float* dy = top[0]->cpu_diff();
  if (bias_term_ && param_propagate_down_[1]) {
    float* to_bias = blobs_[1]->mutable_cpu_diff();
    for (int i = 0; i < M_ * N_; ++i) to_bias[i % N_] += dy[i];
  }
  kernels()->inner_product_backward(M_, N_, K_, bottom[0]->cpu_data(), blobs_[0]->cpu_data(), dy,
                                    param_propagate_down_[0] ? blobs_[0]->mutable_cpu_diff() : nullptr,
                                    propagate_down[0] ? bottom[0]->mutable_cpu_diff() : nullptr);
}

}  // namespace accel
