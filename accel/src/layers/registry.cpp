// Puts accel's creators into Caffe's registries of layers and solvers, and takes them out again. Nets and solvers made
// in between keep what they were made with.
#include <map>
#include <string>

#include "caffe/layer_factory.hpp"
#include "caffe/solver_factory.hpp"
#include "../parallel.h"
#include "plan.h"

namespace {

typedef caffe::LayerRegistry<float> Layers;
typedef caffe::SolverRegistry<float> Solvers;

template <typename T>
boost::shared_ptr<caffe::Layer<float> > make(const caffe::LayerParameter& param) {
  return boost::shared_ptr<caffe::Layer<float> >(new T(param));
}

boost::shared_ptr<accel::Plan> plan;     // of the net that is being made, if it is to have one
std::map<std::string, Layers::Creator> before_plan;

template <typename T>
boost::shared_ptr<caffe::Layer<float> > make_planned(const caffe::LayerParameter& param) {
  if (plan->is_part(param)) return before_plan[param.type()](param);
  return boost::shared_ptr<caffe::Layer<float> >(new T(param, plan));
}

// Any other layer.
boost::shared_ptr<caffe::Layer<float> > make_noted(const caffe::LayerParameter& param) {
  if (!plan->is_part(param)) plan->add(param);
  return before_plan[param.type()](param);
}

boost::shared_ptr<caffe::Layer<float> > make_concat(const caffe::LayerParameter& param) {
  return (param.bottom_size() > 1 ? make_planned<accel::Planned<accel::Concat> > : make_noted)(param);
}

caffe::Solver<float>* make_sgd(const caffe::SolverParameter& param) { return new accel::SGD(param); }

// Layers that write their tops in memory of their own, or in place.
#define ACCEL_WRITERS(f)                                                                                           \
  f(ReLU) f(Pooling) f(Crop) f(Eltwise) f(Softmax) f(BatchNorm) f(Scale) f(Bias) f(PReLU) f(Clip) \
  f(Sigmoid) f(Swish) f(Power) f(Dropout) f(LRN) f(InnerProduct)

#define ACCEL_MADE(Name) {#Name, make<accel::Name>},
#define ACCEL_PLANNED(Name) {#Name, make_planned<accel::Planned<accel::Name> >},

const std::map<std::string, Layers::Creator> kLayers = {
    ACCEL_WRITERS(ACCEL_MADE) ACCEL_MADE(Convolution) ACCEL_MADE(Deconvolution) ACCEL_MADE(SoftmaxWithLoss) ACCEL_MADE(Concat) ACCEL_MADE(Slice)
    ACCEL_MADE(Split)};

// Those that ask a plan before they compute. All others, and those that share memory, it knows by name.
const std::map<std::string, Layers::Creator> kPlanned = {
    ACCEL_WRITERS(ACCEL_PLANNED) {"Convolution", make_planned<accel::PlannedConvolution>},
    {"Deconvolution", make_planned<accel::PlannedDeconvolution>}, {"Concat", make_concat}};
std::map<std::string, Layers::Creator> caffes_layers;
Solvers::Creator caffes_sgd;

}  // namespace

extern "C" {

// The instruction set in use from now on, or null where there are none for this CPU.
const char* accel_enable() {
  if (!accel::kernels()) return nullptr;
  if (!caffes_sgd) {
    for (const auto& entry : kLayers) {
      caffes_layers[entry.first] = Layers::Registry()[entry.first];
      Layers::Registry()[entry.first] = entry.second;
    }
    caffes_sgd = Solvers::Registry()["SGD"];
    Solvers::Registry()["SGD"] = make_sgd;
  }
  return accel::kernels()->instruction_set;
}

void accel_disable() {
  if (!caffes_sgd) return;
  for (const auto& entry : caffes_layers) Layers::Registry()[entry.first] = entry.second;
  Solvers::Registry()["SGD"] = caffes_sgd;
  caffes_sgd = nullptr;
}

// Nets made until accel_end_plan are passed through whole; blobs of these names can be read after a pass.
void accel_begin_plan(const char* const* kept, int count) {
  plan.reset(new accel::Plan({kept, kept + count}));
  before_plan = Layers::Registry();
  for (auto& entry : Layers::Registry()) {
    const auto planned = kPlanned.find(entry.first), made = kLayers.find(entry.first);
    // Those for a card stay what they are.
    const bool ours = planned != kPlanned.end() && made->second == entry.second;
    entry.second = ours ? planned->second : make_noted;
  }
}

void accel_end_plan() {
  Layers::Registry() = before_plan;
  plan.reset();
}

int accel_threads() { return accel::threads(); }

}  // extern "C"
