// The exponential function of numbers that are not positive.
#ifndef ACCEL_EXP_H_
#define ACCEL_EXP_H_

#include "simd.h"

namespace accel {
namespace ACCEL_ISA {

// exp(x) for x <= 0 to 2 units in the last place: 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2] (Cephes' coefficients).
static inline vec exp_negative(vec x) {
  const vec lowest = broadcast(-87.f);
  const auto tiny = x < lowest;
  x = tiny ? lowest : x;
  const vec magic = broadcast(12582912.f);  // 1.5 x 2^23: adding it rounds to an integer
  const vec shifted = x * 1.44269504f + magic;
  const vec n = shifted - magic;
  x = x - n * 0.693359375f + n * 2.12194440e-4f;
  vec p = broadcast(1.9875691500e-4f);
  p = p * x + 1.3981999507e-3f;
  p = p * x + 8.3334519073e-3f;
  p = p * x + 4.1665795894e-2f;
  p = p * x + 1.6666665459e-1f;
  p = p * x + 5.0000001201e-1f;
  p = p * x * x + x + 1.f;
  const index exponent = (((index)shifted - (index)magic) + 127) << 23;
  return tiny ? vec{} : p * (vec)exponent;
}

}  // namespace ACCEL_ISA
}  // namespace accel

#endif
