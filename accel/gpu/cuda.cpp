// Memory on a card, by CUDA's runtime.
#include <cuda_runtime.h>

#include <vector>

#include "engine.h"

namespace accel {
namespace gpu {

int device() {
  int found = 0;
  cudaGetDevice(&found);
  return found;
}

void* allocate(size_t bytes) {
  void* memory = nullptr;
  if (cudaMalloc(&memory, bytes) == cudaSuccess) return memory;
  cudaGetLastError();
  return nullptr;
}

void release(void* memory) { cudaFree(memory); }

void fill(float* memory, int count, float value) {
  const std::vector<float> values(count, value);
  cudaMemcpy(memory, values.data(), count * sizeof(float), cudaMemcpyHostToDevice);
}

}  // namespace gpu
}  // namespace accel
