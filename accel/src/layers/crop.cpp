// Crops of 4-D blobs, row by row.
#include "../parallel.h"
#include "layers.h"

#include <cstring>

namespace accel {

void Crop::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  if (top[0]->num_axes() != 4) {
    fall_back(layer_param_, "not 4-D");
    return caffe::CropLayer<float>::Forward_cpu(bottom, top);
  }
  const int* o = offsets.cpu_data();
  const float* in = bottom[0]->cpu_data();
  float* out = top[0]->mutable_cpu_data();
  const size_t width = top[0]->shape(3);
  const int channels = top[0]->shape(1);
  each(top[0]->shape(0) * channels, top[0]->count(2), [&](int i) {
    const int n = i / channels, c = i % channels;
    for (int y = 0; y < top[0]->shape(2); ++y)
      std::memcpy(out + top[0]->offset(n, c, y), in + bottom[0]->offset(n + o[0], c + o[1], y + o[2], o[3]),
                  width * sizeof(float));
  });
}

void Crop::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) {
  if (top[0]->num_axes() != 4) return caffe::CropLayer<float>::Backward_cpu(top, propagate_down, bottom);
  if (!propagate_down[0]) return;
  const int* o = offsets.cpu_data();
  const float* in = top[0]->cpu_diff();
  float* out = bottom[0]->mutable_cpu_diff();
  const size_t width = top[0]->shape(3), plane = bottom[0]->count(2);
  const int channels = bottom[0]->shape(1);
  each(bottom[0]->shape(0) * channels, plane, [&](int i) {
    const int n = i / channels, c = i % channels;
    std::memset(out + bottom[0]->offset(n, c), 0, plane * sizeof(float));
    if (n < o[0] || n >= o[0] + top[0]->shape(0) || c < o[1] || c >= o[1] + top[0]->shape(1)) return;
    for (int y = 0; y < top[0]->shape(2); ++y)
      std::memcpy(out + bottom[0]->offset(n, c, y + o[2], o[3]), in + top[0]->offset(n - o[0], c - o[1], y),
                  width * sizeof(float));
  });
}

}  // namespace accel
