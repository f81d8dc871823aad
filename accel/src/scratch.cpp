// Memory for intermediate results: compiled for any CPU.
#include <stdlib.h>
#include <sys/mman.h>

#include <new>

#include "kernels.h"

namespace accel {
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

float* scratch(size_t floats, int which) {
  static thread_local Buffer buffers[2];
  buffers[which].grow(floats * sizeof(float) + 4096);
  return static_cast<float*>(buffers[which].memory);
}

}  // namespace accel
