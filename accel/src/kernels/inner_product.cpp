// Inner products of a few rows with a matrix, which is read once.
#include "rows.h"
#include "table.h"

namespace accel {
namespace ACCEL_ISA {

void inner_product(int rows, int outputs, int inputs, const float* bottom, const float* weights, const float* bias,
                   float* top) {
  each(outputs, static_cast<ptrdiff_t>(rows) * inputs, [=](int o) {
    const float* w = weights + static_cast<ptrdiff_t>(o) * inputs;
    for (int r = 0; r < rows; ++r) {
      double sum = bias ? bias[o] : 0;
      total<1>(inputs, &sum, [](vec* sums, vec a, vec b) { sums[0] += a * b; }, w,
               bottom + static_cast<ptrdiff_t>(r) * inputs);
      top[static_cast<ptrdiff_t>(r) * outputs + o] = static_cast<float>(sum);
    }
  });
}

void inner_product_backward(int rows, int outputs, int inputs, const float* bottom, const float* weights,
                            const float* top_diff, float* weights_diff, float* bottom_diff) {
  constexpr int SPAN = 1024;  // inputs at a time: all rows of them stay in the first level cache
  each(ceil_div(inputs, SPAN), static_cast<ptrdiff_t>(rows) * outputs * SPAN, [=](int span) {
    const int first = span * SPAN, length = min(SPAN, inputs - first);
    if (bottom_diff)
      for (int r = 0; r < rows; ++r)
        memset(bottom_diff + static_cast<ptrdiff_t>(r) * inputs + first, 0, length * sizeof(float));
    for (int o = 0; o < outputs; ++o) {
      const ptrdiff_t at = static_cast<ptrdiff_t>(o) * inputs + first;
      for (int r = 0; r < rows; ++r) {
        const float diff = top_diff[static_cast<ptrdiff_t>(r) * outputs + o];
        const ptrdiff_t row = static_cast<ptrdiff_t>(r) * inputs + first;
        const auto add = [=](vec sum, vec x) { return sum + diff * x; };
        if (weights_diff) map(length, weights_diff + at, add, weights_diff + at, bottom + row);
        if (bottom_diff) map(length, bottom_diff + row, add, bottom_diff + row, weights + at);
      }
    }
  });
}

}  // namespace ACCEL_ISA
}  // namespace accel
