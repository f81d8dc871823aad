// Weighted sums.
#include "../parallel.h"
#include "table.h"

namespace accel {
namespace ACCEL_ISA {

void sum(size_t count, int terms, const float* const* bottoms, const float* coefficients, float* top) {
  share(count, [=](size_t first, size_t last) {
    for (size_t i = first; i < last; ++i) {
      float x = 0;
      for (int t = 0; t < terms; ++t) x += coefficients[t] * bottoms[t][i];
      top[i] = x;
    }
  });
}

}  // namespace ACCEL_ISA
}  // namespace accel
