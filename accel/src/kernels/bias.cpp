// Biases, added and their gradients.
#include "../parallel.h"
#include "table.h"

namespace accel {
namespace ACCEL_ISA {

void add_rows(int rows, int columns, const float* matrix, float* sums) {
  each(rows, columns, [&](int r) {
    const float* row = matrix + static_cast<ptrdiff_t>(r) * columns;
    // Blocks keep the rounding error of a plane of a million pixels at that of a thousand.
    double total = 0;
    for (int begin = 0; begin < columns; begin += 64 * W) {
      const int end = min(begin + 64 * W, columns);
      vec sum = {};
      int j = begin;
      for (; j + W <= end; j += W) sum += load(row + j);
      for (int i = 0; i < W; ++i) total += sum[i];
      for (; j < end; ++j) total += row[j];
    }
    sums[r] += static_cast<float>(total);
  });
}

void add_bias(int rows, int columns, const float* bias, float* matrix) {
  each(rows, columns, [&](int r) {
    float* row = matrix + static_cast<ptrdiff_t>(r) * columns;
    for (int j = 0; j < columns; ++j) row[j] += bias[r];
  });
}

}  // namespace ACCEL_ISA
}  // namespace accel
