// Dropout, whose random numbers are Caffe's own, one after the other: a run that is repeated drops the same.
#include "layers.h"

#include <cstring>

#include "../parallel.h"
#include "caffe/util/math_functions.hpp"

namespace accel {
namespace {

void copy(size_t count, const float* from, float* to) {
  if (from == to) return;
  share(count, [=](size_t first, size_t last) {
    std::memcpy(to + first, from + first, (last - first) * sizeof(float));
  });
}

}  // namespace

void Dropout::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  const int count = bottom[0]->count();
  if (phase_ != caffe::TRAIN) return copy(count, bottom[0]->cpu_data(), top[0]->mutable_cpu_data());
  unsigned* mask = rand_vec_.mutable_cpu_data();
  caffe::caffe_rng_bernoulli(count, 1. - threshold_, mask);
  kernels()->dropout(count, mask, scale_, bottom[0]->cpu_data(), top[0]->mutable_cpu_data());
}

void Dropout::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) {
  if (!propagate_down[0]) return;
  const int count = bottom[0]->count();
  if (phase_ != caffe::TRAIN) return copy(count, top[0]->cpu_diff(), bottom[0]->mutable_cpu_diff());
  kernels()->dropout(count, rand_vec_.cpu_data(), scale_, top[0]->cpu_diff(), bottom[0]->mutable_cpu_diff());
}

}  // namespace accel
