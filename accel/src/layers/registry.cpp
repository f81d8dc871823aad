// Puts accel's creators into Caffe's registries of layers and solvers, and takes them out again. Nets and solvers made
// in between keep what they were made with.
#include <map>
#include <string>

#include "caffe/layer_factory.hpp"
#include "caffe/layers/batch_norm_layer.hpp"
#include "caffe/layers/clip_layer.hpp"
#include "caffe/layers/concat_layer.hpp"
#include "caffe/layers/dropout_layer.hpp"
#include "caffe/layers/scale_layer.hpp"
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
  return boost::shared_ptr<caffe::Layer<float> >(new T(param, plan));
}

// Any other layer.
boost::shared_ptr<caffe::Layer<float> > make_noted(const caffe::LayerParameter& param) {
  plan->add(param);
  return before_plan[param.type()](param);
}

caffe::Solver<float>* make_sgd(const caffe::SolverParameter& param) { return new accel::SGD(param); }

const std::map<std::string, Layers::Creator> kLayers = {
    {"Convolution", make<accel::Convolution>}, {"Deconvolution", make<accel::Deconvolution>},
    {"ReLU", make<accel::ReLU>},               {"Pooling", make<accel::Pooling>},
    {"Crop", make<accel::Crop>},               {"Eltwise", make<accel::Eltwise>},
    {"Softmax", make<accel::Softmax>},         {"SoftmaxWithLoss", make<accel::SoftmaxWithLoss>},
    {"BatchNorm", make<accel::BatchNorm>},     {"Scale", make<accel::Scale>},
    {"Bias", make<accel::Bias>},               {"PReLU", make<accel::PReLU>},
    {"Clip", make<accel::Clip>},               {"Sigmoid", make<accel::Sigmoid>},
    {"Swish", make<accel::Swish>},             {"Power", make<accel::Power>},
    {"Dropout", make<accel::Dropout>},         {"LRN", make<accel::LRN>},
    {"Concat", make<accel::Concat>},           {"Slice", make<accel::Slice>},
    {"Split", make<accel::Split>},             {"InnerProduct", make<accel::InnerProduct>},
};
// The same for layers of a plan, and those that do nothing there but what a convolution before them can do.
const std::map<std::string, Layers::Creator> kPlanned = {
    {"Convolution", make_planned<accel::PlannedConvolution>},
    {"Deconvolution", make_planned<accel::Planned<accel::Deconvolution> >},
    {"ReLU", make_planned<accel::Planned<accel::ReLU> >},
    {"Pooling", make_planned<accel::Planned<accel::Pooling> >},
    {"Crop", make_planned<accel::Planned<accel::Crop> >},
    {"Eltwise", make_planned<accel::Planned<accel::Eltwise> >},
    {"Softmax", make_planned<accel::Planned<accel::Softmax> >},
    {"BatchNorm", make_planned<accel::Planned<caffe::BatchNormLayer<float> > >},
    {"Scale", make_planned<accel::Planned<caffe::ScaleLayer<float> > >},
    {"Clip", make_planned<accel::Planned<caffe::ClipLayer<float> > >},
    {"Concat", make_planned<accel::Planned<caffe::ConcatLayer<float> > >},
    {"Dropout", make_planned<accel::Planned<caffe::DropoutLayer<float> > >},
};
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
    const auto planned = kPlanned.find(entry.first);
    entry.second = planned == kPlanned.end() ? make_noted : planned->second;
  }
}

void accel_end_plan() {
  Layers::Registry() = before_plan;
  plan.reset();
}

int accel_threads() { return accel::threads(); }

}  // extern "C"
