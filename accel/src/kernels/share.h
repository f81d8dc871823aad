// Kernels that do little with each number run at the speed of memory: one pass and all threads are what counts.
#ifndef ACCEL_SHARE_H_
#define ACCEL_SHARE_H_

#include <omp.h>

#include <cstddef>

#include "simd.h"

namespace accel {
namespace ACCEL_ISA {

// Call f(first, last) for one contiguous share of [0, count) in each thread; shares begin on a cache line or page.
template <typename F>
static void share(size_t count, const F& f) {
  if (count < 1 << 14) return f(0, count);
#pragma omp parallel
  {
    const size_t grain = 1 << 10, threads = omp_get_num_threads(), grains = (count + grain - 1) / grain;
    const size_t first = grains * omp_get_thread_num() / threads * grain;
    const size_t last = grains * (omp_get_thread_num() + 1) / threads * grain;
    if (first < count) f(first, last < count ? last : count);
  }
}

}  // namespace ACCEL_ISA
}  // namespace accel

#endif
