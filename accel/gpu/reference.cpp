// The engine's arithmetic on the host, as the definition of a convolution says it: the reference in tests, which can be
// made to refuse, to fail and to be short of memory. Compiled with ACCEL_EMULATED, the same on memory of an emulated card.
#include <cstdlib>
#include <algorithm>

#ifdef ACCEL_EMULATED
#include <cuda_runtime.h>
#endif

#include "engine.h"

namespace accel {
namespace gpu {

namespace {

int refused_passes = 0;       // bit of each pass that is not to be planned
int failing_passes = 0;       // planned, but not executed
size_t memory = SIZE_MAX;     // bytes that can be allocated at once
size_t wanted_workspace = 0;  // bytes that a plan takes where it may

struct ReferencePlan : Plan {
  Pass pass;
  Shape s;

  std::string execute(float* image, float* weights, float* columns, void*) const override {
    if (failing_passes >> pass & 1) return "told to fail";
#ifdef ACCEL_EMULATED
    const emulated::Access access("a convolution", {image, weights, columns});
    if (!access) return "not memory of this card";
#endif
    const ptrdiff_t in = static_cast<ptrdiff_t>(s.height) * s.width;
    const ptrdiff_t out = static_cast<ptrdiff_t>(s.out_height) * s.out_width;
    if (pass == TO_IMAGE) std::fill(image, image + s.images * s.channels * in, 0.f);
    if (pass == FORWARD) std::fill(columns, columns + s.images * s.outputs * out, 0.f);
    const int channels = s.channels / s.group, outputs = s.outputs / s.group;
    for (int n = 0; n < s.images; ++n)
      for (int k = 0; k < s.outputs; ++k)
        for (int c = 0; c < channels; ++c)
          planes(image + (static_cast<ptrdiff_t>(n) * s.channels + k / outputs * channels + c) * in,
                 weights + (static_cast<ptrdiff_t>(k) * channels + c) * s.kernel_h * s.kernel_w,
                 columns + (static_cast<ptrdiff_t>(n) * s.outputs + k) * out);
    return "";
  }

  // One channel and one output.
  void planes(float* image, float* weights, float* columns) const {
    for (int r = 0; r < s.kernel_h; ++r)
      for (int q = 0; q < s.kernel_w; ++q, ++weights) {
        // The columns that this weight sees inside the image.
        const int left = s.pad_w - q * s.dilation_w, right = s.width - 1 + left;
        const int first = left > 0 ? (left + s.stride_w - 1) / s.stride_w : 0;
        const int last = right < 0 ? 0 : std::min(right / s.stride_w + 1, s.out_width);
        for (int y = 0; y < s.out_height; ++y) {
          const int row = y * s.stride_h - s.pad_h + r * s.dilation_h;
          if (row < 0 || row >= s.height) continue;
          line(image + static_cast<ptrdiff_t>(row) * s.width + first * s.stride_w - left, weights,
               columns + static_cast<ptrdiff_t>(y) * s.out_width + first, last - first);
        }
      }
  }

  void line(float* image, float* weight, float* columns, int count) const {
    const float w = *weight;
    double sum = 0;
    for (int x = 0; x < count; ++x) {
      if (pass == FORWARD) columns[x] += w * image[x * s.stride_w];
      if (pass == TO_IMAGE) image[x * s.stride_w] += w * columns[x];
      if (pass == TO_WEIGHTS) sum += static_cast<double>(columns[x]) * image[x * s.stride_w];
    }
    if (pass == TO_WEIGHTS) *weight += static_cast<float>(sum);
  }
};

}  // namespace

std::unique_ptr<Plan> make_plan(Pass pass, const Shape& shape, bool, const Options& limits, std::string* why) {
  if (refused_passes >> pass & 1) {
    *why = "told to refuse";
    return nullptr;
  }
  std::unique_ptr<ReferencePlan> plan(new ReferencePlan);
  plan->pass = pass;
  plan->s = shape;
  plan->workspace = std::min(limits.workspace, wanted_workspace);
  return std::unique_ptr<Plan>(plan.release());
}

std::string version() { return "reference"; }
std::string probe() { return ""; }

#ifndef ACCEL_EMULATED
int device() { return 0; }
void* allocate(size_t bytes) { return bytes > memory ? nullptr : std::malloc(bytes); }
void release(void* block) { std::free(block); }
void fill(float* block, int count, float value) { std::fill(block, block + count, value); }
#endif

}  // namespace gpu
}  // namespace accel

// Which passes to refuse and to fail (bits), bytes of memory on the device, and bytes of workspace that plans ask for.
extern "C" void accel_reference_options(int refused, int failing, long long memory, long long workspace) {
  accel::gpu::refused_passes = refused;
  accel::gpu::failing_passes = failing;
  accel::gpu::memory = memory;
  accel::gpu::wanted_workspace = workspace;
}

// A pass on arrays of the caller's: 1 if it was computed. `shape` has the numbers of Shape in their order.
extern "C" int accel_gpu_run(int pass, const int* shape, float* image, float* weights, float* columns) {
  accel::gpu::Shape s;
  static_assert(sizeof s == 16 * sizeof(int), "all of Shape");
  std::copy(shape, shape + 16, reinterpret_cast<int*>(&s));
  return accel::gpu::run(static_cast<accel::gpu::Pass>(pass), s, image, weights, columns);
}
