// Memory and the choice of an instruction set: the parts compiled for any CPU.
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <new>

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

namespace {

constexpr size_t HUGE_PAGE = 2u << 20;

struct Buffer {
  void* memory = nullptr;
  size_t size = 0;
  ~Buffer() { free(memory); }
  void grow(size_t bytes) {
    if (bytes <= size) return;
    free(memory);
    size = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    memory = aligned_alloc(HUGE_PAGE, size);
    if (!memory) {
      size = 0;
      throw std::bad_alloc();
    }
    madvise(memory, size, MADV_HUGEPAGE);
  }
};

}  // namespace

float* scratch(size_t floats) {
  static thread_local Buffer buffer;
  buffer.grow(floats * sizeof(float) + 4096);
  return static_cast<float*>(buffer.memory);
}

}  // namespace accel
