// Clip: numbers between two bounds, such as ReLU6.
#include "rows.h"
#include "table.h"

namespace accel {
namespace ACCEL_ISA {

void clip(size_t count, float lowest, float highest, const float* bottom, float* top) {
  share(count, [=](size_t first, size_t last) {
    const vec low = broadcast(lowest), high = broadcast(highest);
    // NaN becomes the lower bound, as in Caffe.
    map(last - first, top + first, [=](vec x) { return max(min(high, x), low); }, bottom + first);
  });
}

void clip_backward(size_t count, float lowest, float highest, const float* bottom, const float* top_diff,
                   float* bottom_diff) {
  share(count, [=](size_t first, size_t last) {
    const vec low = broadcast(lowest), high = broadcast(highest), one = broadcast(1.f);
    map(last - first, bottom_diff + first, [=](vec d, vec x) { return d * ((x >= low) & (x <= high) ? one : vec{}); },
        top_diff + first, bottom + first);
  });
}

}  // namespace ACCEL_ISA
}  // namespace accel
