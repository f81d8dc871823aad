// The engine's arithmetic by cuDNN's graph interface, which is the current one: 8.9 and 9 have it, while the older
// cudnnConvolutionForward and its kin are deprecated in 9. A graph of one operation is offered to cuDNN's heuristics,
// and the first engine of their list is taken that computes what we mean by float, repeats its results, and gets along
// with the memory it may have. Nothing is timed: almost every image has a size of its own.
#include <cuda_runtime.h>
#include <cudnn.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <utility>
#include <vector>

#include "engine.h"

namespace accel {
namespace gpu {

namespace {

// Thrown where cuDNN says no.
struct Refusal {
  std::string why;
};

void check(cudnnStatus_t status, const char* what) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  cudaGetLastError();  // or Caffe would find what cuDNN met with, and stop
  throw Refusal{std::string(what) + ": " + cudnnGetErrorString(status)};
}

// One object of the interface.
class Descriptor {
 public:
  explicit Descriptor(cudnnBackendDescriptorType_t type) {
    check(cudnnBackendCreateDescriptor(type, &raw_), "cudnnBackendCreateDescriptor");
  }
  Descriptor(Descriptor&& other) noexcept : raw_(other.raw_) { other.raw_ = nullptr; }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (raw_) cudnnBackendDestroyDescriptor(raw_);
  }

  Descriptor& set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count, const void* value) {
    check(cudnnBackendSetAttribute(raw_, name, type, count, value), "cudnnBackendSetAttribute");
    return *this;
  }
  Descriptor& integers(cudnnBackendAttributeName_t name, const std::vector<int64_t>& values) {
    return set(name, CUDNN_TYPE_INT64, values.size(), values.data());
  }
  Descriptor& set(cudnnBackendAttributeName_t name, const Descriptor& value) {
    return set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value.raw_);
  }
  Descriptor& number(cudnnBackendAttributeName_t name, float value) { return set(name, CUDNN_TYPE_FLOAT, 1, &value); }
  Descriptor& set(cudnnBackendAttributeName_t name, cudnnHandle_t value) {
    return set(name, CUDNN_TYPE_HANDLE, 1, &value);
  }
  Descriptor& set(cudnnBackendAttributeName_t name, cudnnDataType_t value) {
    return set(name, CUDNN_TYPE_DATA_TYPE, 1, &value);
  }
  Descriptor& finalize(const char* what) {
    check(cudnnBackendFinalize(raw_), what);
    return *this;
  }

  // How many values `name` has.
  int64_t count(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type) const {
    int64_t found = 0;
    check(cudnnBackendGetAttribute(raw_, name, type, 0, &found, nullptr), "cudnnBackendGetAttribute");
    return found;
  }
  // Up to `count` values into `value`; how many there were.
  int64_t get(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count, void* value) const {
    int64_t found = 0;
    if (count) check(cudnnBackendGetAttribute(raw_, name, type, count, &found, value), "cudnnBackendGetAttribute");
    return std::min(count, found);
  }
  // All values of an enumeration.
  template <typename T>
  std::vector<T> all(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type) const {
    std::vector<T> values(count(name, type));
    values.resize(get(name, type, values.size(), values.data()));
    return values;
  }

  cudnnBackendDescriptor_t raw() const { return raw_; }

 private:
  cudnnBackendDescriptor_t raw_ = nullptr;
};

// cuDNN's handle for the device in use. It is made on first use and stays; where that fails, each use says why.
cudnnHandle_t handle() {
  static std::map<int, cudnnHandle_t>* all = new std::map<int, cudnnHandle_t>;
  cudnnHandle_t& found = (*all)[device()];
  if (!found) check(cudnnCreate(&found), "cudnnCreate");
  return found;
}

// These descriptors name a device: the one in use. With ACCEL_DESCRIBED, the file that includes this one names another.
enum Stage { GRAPH, HEURISTICS, PLAN };
void name_device(Stage stage, Descriptor* part);
#ifndef ACCEL_DESCRIBED
void name_device(Stage stage, Descriptor* part) {
  if (stage == GRAPH) part->set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, handle());
  if (stage == PLAN) part->set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, handle());
}
#endif

// ---- A pass as a graph

Descriptor tensor(int64_t id, bool aligned, int64_t n, int64_t c, int64_t h, int64_t w) {
  Descriptor built(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  built.integers(CUDNN_ATTR_TENSOR_UNIQUE_ID, {id})
      .set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_DATA_FLOAT)
      .integers(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, {aligned ? 16 : 4})
      .integers(CUDNN_ATTR_TENSOR_DIMENSIONS, {n, c, h, w})
      .integers(CUDNN_ATTR_TENSOR_STRIDES, {c * h * w, h * w, w, 1})
      .finalize("tensor");
  return built;
}

Descriptor convolution(const Shape& s) {
  Descriptor built(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
  built.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_FLOAT)
      .set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode)
      .integers(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, {2})
      .integers(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, {s.pad_h, s.pad_w})
      .integers(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, {s.pad_h, s.pad_w})
      .integers(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, {s.stride_h, s.stride_w})
      .integers(CUDNN_ATTR_CONVOLUTION_DILATIONS, {s.dilation_h, s.dilation_w})
      .finalize("convolution");
  return built;
}

// result = convolution + beta result
Descriptor operation(Pass pass, const Descriptor& conv, const Descriptor& image, const Descriptor& weights,
                     const Descriptor& columns) {
  // The names of the three kinds of operation, which differ in nothing else.
  static const struct {
    cudnnBackendDescriptorType_t type;
    cudnnBackendAttributeName_t conv, image, weights, columns, alpha, beta;
    float add;
  } names[] = {
      {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
       CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
       CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
       CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, 0},
      {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA, 0},
      {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA, 1},
  };
  const auto& name = names[pass];
  Descriptor built(name.type);
  built.set(name.conv, conv).set(name.image, image).set(name.weights, weights).set(name.columns, columns)
      .number(name.alpha, 1.f).number(name.beta, name.add).finalize("operation");
  return built;
}

// ---- Which engine

std::vector<Descriptor> suggestions(cudnnBackendHeurMode_t mode, const Descriptor& graph) {
  Descriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  name_device(HEURISTICS, &heuristics);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph)
      .set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode)
      .finalize("heuristics");
  const int64_t count = heuristics.count(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR);
  std::vector<Descriptor> configs;
  std::vector<cudnnBackendDescriptor_t> raw;
  for (int64_t i = 0; i < count; ++i) {
    configs.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    raw.push_back(configs.back().raw());
  }
  const size_t found = heuristics.get(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, count, raw.data());
  while (configs.size() > found) configs.pop_back();
  return configs;
}

// What an engine says of itself.
struct Notes {
  bool tensor_cores = false, rounds = false, varies = false, compiles = false;

  explicit Notes(const Descriptor& config) {
    Descriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    cudnnBackendDescriptor_t raw = engine.raw();
    config.get(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &raw);
    for (const auto note : engine.all<cudnnBackendNumericalNote_t>(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
                                                                   CUDNN_TYPE_NUMERICAL_NOTE)) {
      tensor_cores |= note == CUDNN_NUMERICAL_NOTE_TENSOR_CORE;
      rounds |= note == CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS ||
                note == CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION ||
                note == CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13;
      varies |= note == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC;
    }
    for (const auto note : engine.all<cudnnBackendBehaviorNote_t>(CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE,
                                                                  CUDNN_TYPE_BEHAVIOR_NOTE))
      compiles |= note == CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION;
  }
};

// ---- Plans

struct CudnnPlan : Plan {
  std::vector<Descriptor> parts;  // what the plan was made of
  Descriptor plan{CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR};

  std::string execute(float* image, float* weights, float* columns, void* memory) const override {
    try {
      void* data[] = {image, weights, columns};
      Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
      pack.integers(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, {'x', 'w', 'y'})
          .set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 3, data)
          .set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &memory)
          .finalize("variant pack");
      check(cudnnBackendExecute(handle(), plan.raw(), pack.raw()), "cudnnBackendExecute");
    } catch (const Refusal& refusal) {
      return refusal.why;
    }
    return "";
  }
};

// A plan for an engine's configuration; null where none fits.
std::unique_ptr<CudnnPlan> try_plan(const Descriptor& config, size_t limit) {
  try {
    std::unique_ptr<CudnnPlan> built(new CudnnPlan);
    name_device(PLAN, &built->plan);
    built->plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config).finalize("plan");
    int64_t bytes = 0;
    built->plan.get(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &bytes);
    built->workspace = bytes;
    if (built->workspace <= limit) return built;
  } catch (const Refusal&) {  // the heuristics list engines that turn out not to support the case
  }
  return nullptr;
}

// The first configuration that will do. Engines compiled for the very shape take seconds: they come last.
std::unique_ptr<CudnnPlan> choose(std::vector<Descriptor>* configs, const Options& limits) {
  for (const bool compiled : {false, true})
    for (Descriptor& config : *configs) {
      const Notes notes(config);
      if (notes.rounds || notes.varies || notes.compiles != compiled || (notes.tensor_cores && !limits.tf32)) continue;
      std::unique_ptr<CudnnPlan> built = try_plan(config, limits.workspace);
      if (!built) continue;
      built->parts.push_back(std::move(config));
      return built;
    }
  return nullptr;
}

}  // namespace

std::unique_ptr<Plan> make_plan(Pass pass, const Shape& s, bool aligned, const Options& limits, std::string* why) {
  try {
    // Groups are known by the channels that a filter has fewer than the image.
    std::vector<Descriptor> parts;
    parts.push_back(tensor('x', aligned, s.images, s.channels, s.height, s.width));
    parts.push_back(tensor('w', aligned, s.outputs, s.channels / s.group, s.kernel_h, s.kernel_w));
    parts.push_back(tensor('y', aligned, s.images, s.outputs, s.out_height, s.out_width));
    parts.push_back(convolution(s));
    parts.push_back(operation(pass, parts[3], parts[0], parts[1], parts[2]));
    Descriptor graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    name_device(GRAPH, &graph);
    graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, parts[4]).finalize("operation graph");
    for (const auto mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
      std::vector<Descriptor> configs = suggestions(mode, graph);
      std::unique_ptr<CudnnPlan> built = choose(&configs, limits);
      if (!built) continue;
      for (Descriptor& part : parts) built->parts.push_back(std::move(part));
      built->parts.push_back(std::move(graph));
      return built;
    }
    *why = "cuDNN has no deterministic engine for it within the workspace";
  } catch (const Refusal& refusal) {
    *why = refusal.why;
  }
  return nullptr;
}

std::string version() {
  const size_t number = cudnnGetVersion(), major = number >= 90000 ? number / 10000 : number / 1000;
  const size_t rest = number % (number >= 90000 ? 10000 : 1000);
  return "cuDNN " + std::to_string(major) + "." + std::to_string(rest / 100) + "." + std::to_string(rest % 100);
}

std::string probe() {
  try {
    handle();
  } catch (const Refusal& refusal) {
    return refusal.why;
  }
  return "";
}

}  // namespace gpu
}  // namespace accel
