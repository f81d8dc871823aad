// CUDA's runtime as far as Caffe's GPU code needs it, on a card that is emulated by the host (card.cpp).
//
// Kernels are functions of the host, which `nvcc` beside this folder has launched by `emulated::kernel`.
#pragma once

#include <algorithm>
#include <cfloat>
#include <climits>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <type_traits>

#include <math.h>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorDevicesUnavailable = 46,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorIllegalAddress = 700,
  cudaErrorLaunchFailure = 719,
};
enum cudaMemcpyKind {
  cudaMemcpyHostToHost, cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice, cudaMemcpyDefault
};
enum cudaDeviceAttr {
  cudaDevAttrClockRate = 13, cudaDevAttrGpuOverlap = 15, cudaDevAttrKernelExecTimeout = 17,
  cudaDevAttrComputeCapabilityMajor = 75, cudaDevAttrComputeCapabilityMinor = 76,
};
#define cudaStreamDefault 0x00      // a flag in one place, the null stream in another
#define cudaStreamNonBlocking 0x01

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

struct cudaDeviceProp {     // without what CUDA 13 dropped
  char name[256];
  size_t totalGlobalMem, sharedMemPerBlock, memPitch, totalConstMem, textureAlignment;
  int major, minor, regsPerBlock, warpSize, maxThreadsPerBlock, maxThreadsDim[3], maxGridSize[3], multiProcessorCount;
};
struct cudaPointerAttributes { int device; };

typedef struct EmulatedStream* cudaStream_t;
typedef struct EmulatedEvent* cudaEvent_t;

extern "C" {
const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError();
cudaError_t cudaPeekAtLastError();
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaDeviceGetAttribute(int* value, int attribute, int device);
cudaError_t cudaDeviceSynchronize();
cudaError_t cudaMemGetInfo(size_t* free, size_t* total);
cudaError_t cudaMalloc(void** pointer, size_t size);
cudaError_t cudaFree(void* pointer);
cudaError_t cudaMallocHost(void** pointer, size_t size);
cudaError_t cudaFreeHost(void* pointer);
cudaError_t cudaMemcpy(void* to, const void* from, size_t size, cudaMemcpyKind kind);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemset(void* pointer, int value, size_t size);
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer);
cudaError_t cudaStreamCreate(cudaStream_t* stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);
cudaError_t cudaEventCreate(cudaEvent_t* event);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream = nullptr);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to);
}

template <typename T>
cudaError_t cudaMalloc(T** pointer, size_t size) { return cudaMalloc(reinterpret_cast<void**>(pointer), size); }
template <typename T>
cudaError_t cudaMallocHost(T** pointer, size_t size) { return cudaMallocHost(reinterpret_cast<void**>(pointer), size); }

namespace emulated {

// The thread that a kernel's code is run for.
extern dim3 thread, block, threads, blocks;

// That of a number among all.
inline dim3 place(uint64_t number, dim3 size) {
  if (number < size.x) return dim3(number);
  return dim3(number % size.x, number / size.x % size.y, number / (uint64_t{size.x} * size.y));
}

// 0 .. count - 1, from `first` on in steps that have no divisor with `count`.
struct Order {
  unsigned first, step, count;
};

// Runs a kernel's code for every thread of a grid, in an order that the seed shuffles. `pointers` are its arguments;
// it sees the memory of those allocations alone. `all` runs the code for the threads of a block, one after the other;
// with `together` they wait for each other where they say so, and `one` runs the code for the thread that is set.
void launch(const char* name, bool together, dim3 grid, dim3 block, std::initializer_list<const void*> pointers,
            const std::function<void()>& one, const std::function<void(Order)>& all);
void synchronize_threads();
// Numbers that nobody wrote are in shared memory when a block begins.
void share(void* pointer, size_t size);

// Memory of the card that the host may touch within a block: for the libraries that stand in for CUDA's.
class Access {
 public:
  Access(const char* who, std::initializer_list<const void*> pointers);
  ~Access();
  Access(const Access&) = delete;
  explicit operator bool() const { return granted_; }

 private:
  bool granted_;
};

}  // namespace emulated

#ifdef __CUDACC__
namespace emulated {

template <typename T>
const void* pointer_of(const T& value) {
  if constexpr (std::is_pointer_v<T>) return value;
  else return nullptr;
}

template <typename Code>
struct Launch {
  const char* name;
  bool together;
  Code code;
  dim3 grid, block;

  template <typename... A>
  void operator()(A... arguments) const {
    launch(name, together, grid, block, {pointer_of(arguments)...}, [&] { code(arguments...); }, [&](Order order) {
      unsigned number = order.first;
      for (unsigned i = 0; i < order.count; ++i) {
        thread = place(number, threads);
        code(arguments...);
        number += order.step;
        if (number >= order.count) number -= order.count;
      }
    });
  }
};

template <typename Code>
Launch<Code> kernel(const char* name, bool together, Code code, dim3 grid, dim3 block, size_t = 0,
                    cudaStream_t = nullptr) {
  return {name, together, code, grid, block};
}

}  // namespace emulated

#define threadIdx (::emulated::thread)
#define blockIdx (::emulated::block)
#define blockDim (::emulated::threads)
#define gridDim (::emulated::blocks)

inline void __syncthreads() { ::emulated::synchronize_threads(); }

// Threads take turns, so that nothing comes between a read and the write after it.
template <typename T>
T atomicAdd(T* address, T value) {
  T old = *address;
  *address = old + value;
  return old;
}
inline unsigned long long atomicCAS(unsigned long long* address, unsigned long long compare, unsigned long long value) {
  unsigned long long old = *address;
  if (old == compare) *address = value;
  return old;
}
template <typename To, typename From>
To emulated_bits(From value) {
  static_assert(sizeof(To) == sizeof(From));
  To bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}
inline long long __double_as_longlong(double value) { return emulated_bits<long long>(value); }
inline double __longlong_as_double(long long value) { return emulated_bits<double>(value); }

// As in CUDA, of numbers of different types too.
template <typename A, typename B>
std::common_type_t<A, B> max(A a, B b) { return a < b ? b : a; }
template <typename A, typename B>
std::common_type_t<A, B> min(A a, B b) { return b < a ? b : a; }
#endif
