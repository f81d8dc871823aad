// Products with a mask of zeros and ones.
#include "rows.h"
#include "table.h"

namespace accel {
namespace ACCEL_ISA {

void dropout(size_t count, const unsigned* mask, float scale, const float* bottom, float* top) {
  share(count, [=](size_t first, size_t last) {
    map(last - first, top + first, [=](vec x, vec m) { return x * __builtin_convertvector((index)m, vec) * scale; },
        bottom + first, reinterpret_cast<const float*>(mask) + first);
  });
}

}  // namespace ACCEL_ISA
}  // namespace accel
