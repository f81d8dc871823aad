// Softmax and the multinomial logistic loss of its logarithms.
#include "../parallel.h"
#include "layers.h"

#include <algorithm>
#include <cfloat>
#include <cmath>

namespace accel {

void SoftmaxWithLoss::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  softmax_layer_->Forward(softmax_bottom_vec_, softmax_top_vec_);
  const float *prob = prob_.cpu_data(), *label = bottom[1]->cpu_data();
  const int classes = prob_.shape(softmax_axis_), images = outer_num_, pixels = inner_num_;
  float loss = 0;  // added up in Caffe's order and precision: the sum over many pixels shows them
  int count = 0;
  for (int n = 0; n < images; ++n)
    for (int j = 0; j < pixels; ++j) {
      const int value = static_cast<int>(label[n * pixels + j]);
      if (has_ignore_label_ && value == ignore_label_) continue;
      CHECK(value >= 0 && value < classes) << layer_param_.name() << ": label " << value << " of " << classes;
      loss -= std::log(std::max(prob[(static_cast<ptrdiff_t>(n) * classes + value) * pixels + j], FLT_MIN));
      ++count;
    }
  top[0]->mutable_cpu_data()[0] = loss / get_normalizer(normalization_, count);
  if (top.size() == 2) top[1]->ShareData(prob_);
}

void SoftmaxWithLoss::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) {
  CHECK(!propagate_down[1]) << type() << " Layer cannot backpropagate to label inputs.";
  if (!propagate_down[0]) return;
  const float *prob = prob_.cpu_data(), *label = bottom[1]->cpu_data();
  float* diff = bottom[0]->mutable_cpu_diff();
  const int classes = prob_.shape(softmax_axis_), images = outer_num_, pixels = inner_num_;
  const bool ignore = has_ignore_label_;
  const int ignored = ignore_label_;
  const int count = !ignore ? images * pixels
                            : images * pixels - std::count_if(label, label + images * pixels, [ignored](float x) {
                                return static_cast<int>(x) == ignored;
                              });
  const float scale = top[0]->cpu_diff()[0] / get_normalizer(normalization_, count);
  each(images * classes, pixels, [&](int i) {
    const int c = i % classes;
    const float *p = prob + static_cast<ptrdiff_t>(i) * pixels, *l = label + static_cast<ptrdiff_t>(i / classes) * pixels;
    float* d = diff + static_cast<ptrdiff_t>(i) * pixels;
    for (int j = 0; j < pixels; ++j) {
      const int value = static_cast<int>(l[j]);
      d[j] = ignore && value == ignored ? 0.f : scale * (p[j] - (value == c ? 1.f : 0.f));
    }
  });
}

}  // namespace accel
