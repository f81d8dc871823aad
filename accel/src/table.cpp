// The table of this instruction set. kernels.h says what each function does.
#include "kernels.h"
#include "simd.h"

namespace accel {
namespace ACCEL_ISA {

void winograd(const Geometry&, int, const float*, ptrdiff_t, const float*, const float*, float*, ptrdiff_t);
void winograd_to_bottom(const Geometry&, int, const float*, ptrdiff_t, const float*, float*, ptrdiff_t);
void winograd_to_weights(const Geometry&, int, const float*, ptrdiff_t, const float*, ptrdiff_t, float*);
void convolve(const Geometry&, const float*, const float*, const float*, float*);
void convolve_to_bottom(const Geometry&, const float*, const float*, float*);
void convolve_to_weights(const Geometry&, const float*, const float*, float*);
void add_rows(int, int, const float*, float*);
void add_bias(int, int, const float*, float*);
void relu(size_t, float, const float*, float*);
void relu_backward(size_t, float, const float*, const float*, float*);
void max_pool(const Pool&, int, const float*, float*);
void max_pool_backward(const Pool&, int, const float*, const float*, float*);
void sum(size_t, int, const float* const*, const float*, float*);
void softmax(int, int, int, const float*, float*);
void sgd(size_t, const Sgd&, float*, float*, float*);
void upsample(int, int, int, int, int, int, const float*, ptrdiff_t, const float*, float*);
void upsample_backward(int, int, int, int, int, int, const float*, ptrdiff_t, const float*, float*);

const Kernels* table() {
  static const Kernels kernels = {
      W == 16 ? "AVX-512" : "AVX2",
      winograd, winograd_to_bottom, winograd_to_weights, convolve, convolve_to_bottom, convolve_to_weights, add_rows,
      add_bias, relu, relu_backward, max_pool, max_pool_backward, sum, softmax, sgd, upsample, upsample_backward};
  return &kernels;
}

}  // namespace ACCEL_ISA
}  // namespace accel
