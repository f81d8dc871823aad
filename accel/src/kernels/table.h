// The kernels of this instruction set, declared: kernel_list.h says what each computes.
#ifndef ACCEL_TABLE_H_
#define ACCEL_TABLE_H_

#include "../kernels.h"
#include "simd.h"

namespace accel {
namespace ACCEL_ISA {

#define KERNEL(name, ...) void name(__VA_ARGS__);
#include "../kernel_list.h"
#undef KERNEL

const Kernels* table();

}  // namespace ACCEL_ISA
}  // namespace accel

#endif
