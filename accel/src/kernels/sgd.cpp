// SGD with momentum and weight decay.
#include "../parallel.h"
#include "table.h"

namespace accel {
namespace ACCEL_ISA {

void sgd(size_t count, const Sgd& s, float* data, float* diff, float* history) {
  share(count, [=](size_t first, size_t last) {
    if (s.l1) {
      for (size_t i = first; i < last; ++i) {
        const float sign = static_cast<float>((data[i] > 0) - (data[i] < 0));
        const float h = s.rate * (diff[i] * s.scale + s.decay * sign) + s.momentum * history[i];
        history[i] = diff[i] = h;
        data[i] -= h;
      }
    } else {
      for (size_t i = first; i < last; ++i) {
        const float h = s.rate * (diff[i] * s.scale + s.decay * data[i]) + s.momentum * history[i];
        history[i] = diff[i] = h;
        data[i] -= h;
      }
    }
  });
}

}  // namespace ACCEL_ISA
}  // namespace accel
