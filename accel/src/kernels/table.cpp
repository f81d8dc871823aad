#include "table.h"

namespace accel {
namespace ACCEL_ISA {
namespace {

// By name, so the order of the list doesn't matter.
Kernels filled() {
  Kernels kernels = {};
  kernels.instruction_set = ACCEL_ISA_NAME;
#define KERNEL(name, ...) kernels.name = name;
#include "../kernel_list.h"
#undef KERNEL
  return kernels;
}

}  // namespace

const Kernels* table() {
  static const Kernels kernels = filled();
  return &kernels;
}

}  // namespace ACCEL_ISA
}  // namespace accel
