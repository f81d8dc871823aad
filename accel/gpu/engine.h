// Convolutions on the device in use, by plans that are made once for each shape. The layers call `run`; what makes and
// executes a plan is in cudnn.cpp, or in reference.cpp for the host and for an emulated card.
#ifndef ACCEL_GPU_ENGINE_H_
#define ACCEL_GPU_ENGINE_H_

#include <cstddef>
#include <memory>
#include <string>

#include "shape.h"

namespace accel {
namespace gpu {

struct Options {
  bool tf32;         // let tensor cores round factors to 10 bits
  size_t workspace;  // bytes that a plan may ask for
};

struct Counts {
  long long plans, runs, refused;  // searches made, passes computed, passes left to Caffe
};

// One pass on packed N x C x H x W arrays on the device. False where it can't be done: nothing was written then.
bool run(Pass pass, const Shape& shape, const float* image, const float* weights, const float* columns);

// `count` ones on the device.
const float* ones(int count);

void set_options(const Options& options);  // forgets all plans
Options options();
Counts counts();

// ---- The arithmetic: cudnn.cpp or reference.cpp

// How to compute one pass. Execution returns why it failed, or nothing.
struct Plan {
  size_t workspace = 0;  // bytes
  virtual ~Plan() {}
  virtual std::string execute(float* image, float* weights, float* columns, void* workspace) const = 0;
};

// A plan within the limit, or null and the reason.
std::unique_ptr<Plan> make_plan(Pass pass, const Shape& shape, bool aligned, const Options& limits, std::string* why);

std::string version();           // of the library that computes
std::string probe();             // why it can't, or nothing

// ---- Memory: cuda.cpp, or reference.cpp for the host

int device();                    // number of the device in use
void* allocate(size_t bytes);    // on it; null where there is no room
void release(void* memory);
void fill(float* memory, int count, float value);

}  // namespace gpu
}  // namespace accel

#endif
