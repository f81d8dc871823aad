// Concat and Slice, each the reverse of the other: several blobs with an axis of their own, and one that has them all.
#include "layers.h"

#include <algorithm>
#include <cstring>

#include "../parallel.h"

namespace accel {
namespace {

// Copies between `whole`, which has `rows` rows, and parts of each row that follow each other. f(number of the part,
// offset in it, offset in the whole, count) for each piece of memory.
template <typename F>
void each_part(int rows, const std::vector<ptrdiff_t>& lengths, const F& f) {
  ptrdiff_t row = 0;
  for (ptrdiff_t length : lengths) row += length;
  if (row == 0) return;
  share(rows * row, [&](ptrdiff_t first, ptrdiff_t last) {
    for (ptrdiff_t n = first / row; n * row < last; ++n) {
      ptrdiff_t begin = n * row;
      for (size_t i = 0; i < lengths.size(); begin += lengths[i++]) {
        const ptrdiff_t from = std::max(first, begin), to = std::min(last, begin + lengths[i]);
        if (from < to) f(i, n * lengths[i] + from - begin, from, to - from);
      }
    }
  });
}

std::vector<ptrdiff_t> lengths(const Blobs& parts, int axis) {
  std::vector<ptrdiff_t> result(parts.size());
  for (size_t i = 0; i < parts.size(); ++i) result[i] = parts[i]->count(axis);
  return result;
}

// So little that it is a single piece: Caffe's own loop begins sooner.
bool little(const Blob& whole) { return whole.count() < 1 << 14; }

void copy(float* to, const float* from, ptrdiff_t count) { std::memcpy(to, from, count * sizeof(float)); }

}  // namespace

void Concat::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  if (little(*top[0])) return caffe::ConcatLayer<float>::Forward_cpu(bottom, top);
  if (bottom.size() == 1) return;   // shared
  std::vector<const float*> parts;
  for (const Blob* blob : bottom) parts.push_back(blob->cpu_data());
  float* whole = top[0]->mutable_cpu_data();
  each_part(num_concats_, lengths(bottom, concat_axis_), [&](int i, ptrdiff_t part, ptrdiff_t at, ptrdiff_t count) {
    copy(whole + at, parts[i] + part, count);
  });
}

void Concat::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) {
  if (little(*top[0])) return caffe::ConcatLayer<float>::Backward_cpu(top, propagate_down, bottom);
  if (bottom.size() == 1) return;
  std::vector<float*> parts;
  for (size_t i = 0; i < bottom.size(); ++i)
    parts.push_back(propagate_down[i] ? bottom[i]->mutable_cpu_diff() : nullptr);
  const float* whole = top[0]->cpu_diff();
  each_part(num_concats_, lengths(bottom, concat_axis_), [&](int i, ptrdiff_t part, ptrdiff_t at, ptrdiff_t count) {
    if (parts[i]) copy(parts[i] + part, whole + at, count);
  });
}

void Slice::Forward_cpu(const Blobs& bottom, const Blobs& top) {
  if (little(*bottom[0])) return caffe::SliceLayer<float>::Forward_cpu(bottom, top);
  if (top.size() == 1) return;
  std::vector<float*> parts;
  for (Blob* blob : top) parts.push_back(blob->mutable_cpu_data());
  const float* whole = bottom[0]->cpu_data();
  each_part(num_slices_, lengths(top, slice_axis_), [&](int i, ptrdiff_t part, ptrdiff_t at, ptrdiff_t count) {
    copy(parts[i] + part, whole + at, count);
  });
}

void Slice::Backward_cpu(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) {
  if (little(*bottom[0])) return caffe::SliceLayer<float>::Backward_cpu(top, propagate_down, bottom);
  if (!propagate_down[0] || top.size() == 1) return;
  std::vector<const float*> parts;
  for (const Blob* blob : top) parts.push_back(blob->cpu_diff());
  float* whole = bottom[0]->mutable_cpu_diff();
  each_part(num_slices_, lengths(top, slice_axis_), [&](int i, ptrdiff_t part, ptrdiff_t at, ptrdiff_t count) {
    copy(whole + at, parts[i] + part, count);
  });
}

}  // namespace accel
