// The engine's arithmetic on the CPU, as the definition of a convolution says it. For tests.
#include <cstdlib>
#include <algorithm>

#include "engine.h"

namespace accel {
namespace gpu {

namespace {

int refused_passes = 0;        // bit of each pass that is not to be planned
int failing_passes = 0;        // planned, but not executed
size_t room = SIZE_MAX;        // bytes that can be allocated at once
size_t appetite = 0;           // bytes of workspace that a plan takes where it may

struct Loops : Plan {
  Pass pass;
  Shape s;

  std::string execute(float* image, float* weights, float* columns, void*) const override {
    if (failing_passes >> pass & 1) return "it is told to fail";
    const int channels = s.channels / s.group, outputs = s.outputs / s.group;
    const ptrdiff_t in = static_cast<ptrdiff_t>(s.channels) * s.height * s.width * s.images;
    if (pass == TO_IMAGE) std::fill(image, image + in, 0.f);
    for (int n = 0; n < s.images; ++n)
      for (int k = 0; k < s.outputs; ++k)
        for (int y = 0; y < s.out_height; ++y)
          for (int x = 0; x < s.out_width; ++x) {
            float& out = columns[((static_cast<ptrdiff_t>(n) * s.outputs + k) * s.out_height + y) * s.out_width + x];
            double sum = 0;
            for (int c = 0; c < channels; ++c)
              for (int r = 0; r < s.kernel_h; ++r)
                for (int q = 0; q < s.kernel_w; ++q) {
                  const int row = y * s.stride_h - s.pad_h + r * s.dilation_h;
                  const int column = x * s.stride_w - s.pad_w + q * s.dilation_w;
                  if (row < 0 || row >= s.height || column < 0 || column >= s.width) continue;
                  const int channel = k / outputs * channels + c;
                  float& pixel = image[((static_cast<ptrdiff_t>(n) * s.channels + channel) * s.height + row) * s.width +
                                       column];
                  float& weight = weights[((static_cast<ptrdiff_t>(k) * channels + c) * s.kernel_h + r) * s.kernel_w +
                                          q];
                  if (pass == FORWARD) sum += static_cast<double>(pixel) * weight;
                  if (pass == TO_IMAGE) pixel += out * weight;
                  if (pass == TO_WEIGHTS) weight += out * pixel;
                }
            if (pass == FORWARD) out = static_cast<float>(sum);
          }
    return "";
  }
};

}  // namespace

std::unique_ptr<Plan> make_plan(Pass pass, const Shape& shape, bool, const Options& limits, std::string* why) {
  if (refused_passes >> pass & 1) {
    *why = "it is told to refuse";
    return nullptr;
  }
  std::unique_ptr<Loops> plan(new Loops);
  plan->pass = pass;
  plan->s = shape;
  plan->workspace = std::min(limits.workspace, appetite);
  return std::unique_ptr<Plan>(plan.release());
}

int device() { return 0; }
void* allocate(size_t bytes) { return bytes > room ? nullptr : std::malloc(bytes); }
void release(void* memory) { std::free(memory); }
void fill(float* memory, int count, float value) { std::fill(memory, memory + count, value); }
std::string version() { return "rehearsal"; }
std::string probe() { return ""; }

}  // namespace gpu
}  // namespace accel

extern "C" void accel_gpu_rehearse(int refused, int failing, long long room, long long appetite) {
  accel::gpu::refused_passes = refused;
  accel::gpu::failing_passes = failing;
  accel::gpu::room = room;
  accel::gpu::appetite = appetite;
}

// A pass on arrays of the caller's: 1 if it was computed. `shape` has the numbers of Shape in their order.
extern "C" int accel_gpu_run(int pass, const int* shape, float* image, float* weights, float* columns) {
  accel::gpu::Shape s;
  static_assert(sizeof s == 16 * sizeof(int), "all of Shape");
  std::copy(shape, shape + 16, reinterpret_cast<int*>(&s));
  return accel::gpu::run(static_cast<accel::gpu::Pass>(pass), s, image, weights, columns);
}
