// The choice of an instruction set: compiled for any CPU.
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

namespace accel {

namespace avx512 { const Kernels* table(); }
namespace avx2 { const Kernels* table(); }

const Kernels* kernels() {
  static const Kernels* const chosen = []() -> const Kernels* {
    const char* wish = getenv("FCN_ACCEL_ISA");
    const bool less = wish && strcmp(wish, "avx2") == 0;
    if (!less && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
      return avx512::table();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return avx2::table();
    return nullptr;
  }();
  return chosen;
}

}  // namespace accel
