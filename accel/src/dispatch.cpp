// The choice of an instruction set: compiled for any CPU.
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

namespace accel {

#if defined(__aarch64__)
namespace neon { const Kernels* table(); }

const Kernels* kernels() { return neon::table(); }   // every 64-bit ARM has it

bool products_pay() { return true; }
#else
namespace avx512 { const Kernels* table(); }
namespace avx2 { const Kernels* table(); }
namespace sse4 { const Kernels* table(); }

const Kernels* kernels() {
  static const Kernels* const chosen = []() -> const Kernels* {
    const char* wish = getenv("FCN_ACCEL_ISA");
    const bool no_more_than_sse4 = wish && strcmp(wish, "sse4") == 0;
    const bool no_more_than_avx2 = no_more_than_sse4 || (wish && strcmp(wish, "avx2") == 0);
    if (!no_more_than_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
      return avx512::table();
    if (!no_more_than_sse4 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return avx2::table();
    if (__builtin_cpu_supports("sse4.2")) return sse4::table();
    return nullptr;
  }();
  return chosen;
}

bool products_pay() { return kernels() != sse4::table(); }
#endif

}  // namespace accel
