#include "engine.h"

#include <glog/logging.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <mutex>

#include "recent.h"

namespace accel {
namespace gpu {

namespace {

constexpr size_t kPlans = 4096;        // some 60 for every size of image FCN-8s is trained on
constexpr std::uintptr_t kAlign = 16;  // bytes; weights may lie anywhere inside one buffer of all parameters

// What is kept for one device. Never freed: at exit the driver may be gone before us.
struct Device {
  Recent<Key, std::unique_ptr<Plan> > plans{kPlans};  // null for a pass that can't be planned
  void* workspace = nullptr;
  size_t workspace_size = 0;
  size_t workspace_limit = SIZE_MAX;  // less than asked for where the card had no room
  float* ones = nullptr;
  int ones_count = 0;
};

std::mutex mutex;
Options settings = {false, size_t(1) << 30};
Counts counters = {0, 0, 0};

std::map<int, Device>& devices() {
  static std::map<int, Device>* all = new std::map<int, Device>;
  return *all;
}

// Room of at least `bytes`, kept from call to call. Contents do not last.
bool reserve(Device* on, size_t bytes) {
  if (bytes <= on->workspace_size) return true;
  release(on->workspace);
  on->workspace = allocate(bytes);
  on->workspace_size = on->workspace ? bytes : 0;
  return on->workspace;
}

bool aligned(const float* image, const float* weights, const float* columns) {
  const auto bits = [](const float* p) { return reinterpret_cast<std::uintptr_t>(p); };
  return (bits(image) | bits(weights) | bits(columns)) % kAlign == 0;
}

// The plan for this pass with room for its workspace, or one that is null. Made on first sight only.
std::unique_ptr<Plan>* find(Device* on, Pass pass, const Shape& shape, bool aligned) {
  for (;;) {
    const Options limits = {settings.tf32, std::min(settings.workspace, on->workspace_limit)};
    const Key name = key(pass, shape, limits.tf32, aligned);
    std::unique_ptr<Plan>* plan = on->plans.find(name);
    if (!plan) {
      std::string why;
      ++counters.plans;
      plan = on->plans.keep(name, make_plan(pass, shape, aligned, limits, &why));
      if (!*plan) LOG(WARNING) << "a convolution stays Caffe's: " << why;
    }
    if (!*plan || reserve(on, (*plan)->workspace)) return plan;
    // The card is full: from now on plans need less. Half of it until it fits ends at none, which always fits.
    on->workspace_limit = (*plan)->workspace / 2;
    LOG(WARNING) << "no room on the card for a workspace of " << ((*plan)->workspace >> 20) << " MB: asking for less";
    on->plans.clear();
  }
}

}  // namespace

bool run(Pass pass, const Shape& shape, const float* image, const float* weights, const float* columns) {
  const std::lock_guard<std::mutex> lock(mutex);
  Device* on = &devices()[device()];
  std::unique_ptr<Plan>* plan = find(on, pass, shape, aligned(image, weights, columns));
  if (*plan) {
    const std::string why = (*plan)->execute(const_cast<float*>(image), const_cast<float*>(weights),
                                             const_cast<float*>(columns), on->workspace);
    if (!why.empty()) {
      LOG(WARNING) << "a convolution stays Caffe's: " << why;
      plan->reset();  // it won't be tried again
    }
  }
  ++(*plan ? counters.runs : counters.refused);
  return *plan != nullptr;
}

const float* ones(int count) {
  const std::lock_guard<std::mutex> lock(mutex);
  Device* on = &devices()[device()];
  if (count > on->ones_count) {
    release(on->ones);
    on->ones = static_cast<float*>(allocate(count * sizeof(float)));
    CHECK(on->ones) << "no memory left on the card for " << count << " numbers";
    fill(on->ones, count, 1);
    on->ones_count = count;
  }
  return on->ones;
}

void set_options(const Options& options) {
  const std::lock_guard<std::mutex> lock(mutex);
  settings = options;
  for (auto& entry : devices()) {
    entry.second.plans.clear();
    entry.second.workspace_limit = SIZE_MAX;
  }
}

Options options() {
  const std::lock_guard<std::mutex> lock(mutex);
  return settings;
}

Counts counts() {
  const std::lock_guard<std::mutex> lock(mutex);
  return counters;
}

}  // namespace gpu
}  // namespace accel
