// Sums, products and maxima, element by element; and Split, whose gradient is a sum.
#include "layers.h"

namespace accel {
namespace {

std::vector<const float*> data_of(const Blobs& blobs) {
  std::vector<const float*> result(blobs.size());
  for (size_t i = 0; i < blobs.size(); ++i) result[i] = blobs[i]->cpu_data();
  return result;
}

}  // namespace

void Eltwise::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  const std::vector<const float*> x = data_of(bottom);
  const int count = top[0]->count(), terms = bottom.size();
  float* y = top[0]->mutable_cpu_data();
  if (op_ == caffe::EltwiseParameter_EltwiseOp_SUM)
    kernels()->sum(count, terms, x.data(), coeffs_.data(), y);
  else if (op_ == caffe::EltwiseParameter_EltwiseOp_PROD)
    kernels()->product(count, terms, x.data(), y);
  else
    kernels()->maximum(count, terms, x.data(), y);
}

void Eltwise::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) {
  const int count = top[0]->count(), terms = bottom.size();
  const float* dy = top[0]->cpu_diff();
  std::vector<float*> dx(terms);
  for (int i = 0; i < terms; ++i) dx[i] = propagate_down[i] ? bottom[i]->mutable_cpu_diff() : nullptr;
  if (op_ == caffe::EltwiseParameter_EltwiseOp_SUM)
    return kernels()->sum_backward(count, terms, coeffs_.data(), dy, dx.data());
  const std::vector<const float*> x = data_of(bottom);
  if (op_ == caffe::EltwiseParameter_EltwiseOp_PROD)
    kernels()->product_backward(count, terms, x.data(), stable_prod_grad_ ? nullptr : top[0]->cpu_data(), dy,
                                dx.data());
  else
    kernels()->maximum_backward(count, terms, x.data(), dy, dx.data());
}

void Split::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  caffe::SplitLayer<float>::Forward_cpu(bottom, top);
}

void Split::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) {
  if (!propagate_down[0]) return;
  std::vector<const float*> dy;
  for (const Blob* blob : top) dy.push_back(blob->cpu_diff());
  const std::vector<float> ones(top.size(), 1);
  kernels()->sum(bottom[0]->count(), top.size(), dy.data(), ones.data(), bottom[0]->mutable_cpu_diff());
}

}  // namespace accel
