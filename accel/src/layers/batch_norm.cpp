// Batch normalisation. In training Caffe keeps the normalised numbers and the deviations of all of them for backward;
// here the deviation of each channel is kept, and in place the bottom, in the blobs that Caffe has for that.
#include <cmath>

#include "layers.h"

namespace accel {

void BatchNorm::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  const int images = bottom[0]->shape(0), pixels = bottom[0]->count(2);
  const float* x = bottom[0]->cpu_data();
  float *y = top[0]->mutable_cpu_data(), *mean = mean_.mutable_cpu_data(), *deviation = variance_.mutable_cpu_data();
  if (use_global_stats_) {
    const float total = blobs_[2]->cpu_data()[0], scale = total == 0 ? 0 : 1 / total;
    std::vector<float> factors(channels_);
    for (int c = 0; c < channels_; ++c) {
      mean[c] = scale * blobs_[0]->cpu_data()[c];
      deviation[c] = std::sqrt(scale * blobs_[1]->cpu_data()[c] + eps_);
      factors[c] = 1 / deviation[c];
    }
    return kernels()->scale(images, channels_, pixels, mean, factors.data(), nullptr, x, nullptr, y);
  }
  float* kept = bottom[0] == top[0] ? temp_.mutable_cpu_data() : nullptr;
  kernels()->batch_norm(images, channels_, pixels, eps_, x, mean, deviation, kept, y);
  // The moving averages: sums, with how much they are of in the third blob.
  float *means = blobs_[0]->mutable_cpu_data(), *variances = blobs_[1]->mutable_cpu_data();
  float* total = blobs_[2]->mutable_cpu_data();
  const int count = images * pixels;
  const float unbiased = count > 1 ? static_cast<float>(count) / (count - 1) : 1;
  *total = *total * moving_average_fraction_ + 1;
  for (int c = 0; c < channels_; ++c) {
    means[c] = mean[c] + moving_average_fraction_ * means[c];
    variances[c] = unbiased * deviation[c] + moving_average_fraction_ * variances[c];
    deviation[c] = std::sqrt(deviation[c] + eps_);
  }
}

void BatchNorm::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) {
  if (!propagate_down[0]) return;
  const int images = bottom[0]->shape(0), pixels = bottom[0]->count(2);
  const float *dy = top[0]->cpu_diff(), *deviation = variance_.cpu_data();
  float* dx = bottom[0]->mutable_cpu_diff();
  if (use_global_stats_) {
    std::vector<float> factors(channels_);
    for (int c = 0; c < channels_; ++c) factors[c] = 1 / deviation[c];
    return kernels()->scale(images, channels_, pixels, nullptr, factors.data(), nullptr, dy, nullptr, dx);
  }
  kernels()->batch_norm_backward(images, channels_, pixels, mean_.cpu_data(), deviation,
                                 (bottom[0] == top[0] ? temp_ : *bottom[0]).cpu_data(), dy, dx);
}

}  // namespace accel
