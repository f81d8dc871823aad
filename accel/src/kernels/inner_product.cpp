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

namespace {

// Both gradients of R rows for N outputs and a span of the inputs: each number of either matrix is read once.
template <int R, int N>
void gradients(ptrdiff_t inputs, int outputs, int length, const float* bottom, const float* weights,
               const float* top_diff, float* weights_diff, float* bottom_diff) {
  float diff[N][R];
  for (int o = 0; o < N; ++o)
    for (int r = 0; r < R; ++r) diff[o][r] = top_diff[static_cast<ptrdiff_t>(r) * outputs + o];
  const auto step = [=](int j, const auto& load, const auto& store) {
    if (weights_diff) {
      vec x[R];
      for (int r = 0; r < R; ++r) x[r] = load(bottom + r * inputs + j);
      for (int o = 0; o < N; ++o) {
        vec sum = load(weights_diff + o * inputs + j);
        for (int r = 0; r < R; ++r) sum += diff[o][r] * x[r];
        store(weights_diff + o * inputs + j, sum);
      }
    }
    if (bottom_diff) {
      vec w[N];
      for (int o = 0; o < N; ++o) w[o] = load(weights + o * inputs + j);
      for (int r = 0; r < R; ++r) {
        vec sum = load(bottom_diff + r * inputs + j);
        for (int o = 0; o < N; ++o) sum += diff[o][r] * w[o];
        store(bottom_diff + r * inputs + j, sum);
      }
    }
  };
  int j = 0;
  for (; j + W <= length; j += W)
    step(j, [](const float* p) { return load(p); }, [](float* p, vec v) { store(p, v); });
  const int left = length - j;
  if (left)
    step(j, [=](const float* p) { return load_part(p, left); }, [=](float* p, vec v) { store_part(p, v, left); });
}

template <int R>
void span_gradients(ptrdiff_t inputs, int outputs, int length, const float* bottom, const float* weights,
                    const float* top_diff, float* weights_diff, float* bottom_diff) {
  const auto at = [=](float* p, int o) { return p ? p + o * inputs : nullptr; };
  int o = 0;
  for (; o + 4 <= outputs; o += 4)
    gradients<R, 4>(inputs, outputs, length, bottom, weights + o * inputs, top_diff + o, at(weights_diff, o),
                    bottom_diff);
  for (; o < outputs; ++o)
    gradients<R, 1>(inputs, outputs, length, bottom, weights + o * inputs, top_diff + o, at(weights_diff, o),
                    bottom_diff);
}

}  // namespace

void inner_product_backward(int rows, int outputs, int inputs, const float* bottom, const float* weights,
                            const float* top_diff, float* weights_diff, float* bottom_diff) {
  constexpr int SPAN = 2048;  // inputs at a time: those of some rows stay in the second level cache
  each(ceil_div(inputs, SPAN), static_cast<ptrdiff_t>(rows) * outputs * SPAN, [=](int span) {
    const int first = span * SPAN, length = min(SPAN, inputs - first);
    for (int r = 0; bottom_diff && r < rows; ++r)
      memset(bottom_diff + static_cast<ptrdiff_t>(r) * inputs + first, 0, length * sizeof(float));
    for (int r = 0; r < rows;) {
      const ptrdiff_t at = static_cast<ptrdiff_t>(r) * inputs + first;
      const auto call = rows - r >= 4 ? span_gradients<4> : rows - r >= 2 ? span_gradients<2> : span_gradients<1>;
      call(inputs, outputs, length, bottom + at, weights + first, top_diff + static_cast<ptrdiff_t>(r) * outputs,
           weights_diff ? weights_diff + first : nullptr, bottom_diff ? bottom_diff + at : nullptr);
      r += rows - r >= 4 ? 4 : rows - r >= 2 ? 2 : 1;
    }
  });
}

}  // namespace ACCEL_ISA
}  // namespace accel
