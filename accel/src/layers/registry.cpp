// Puts accel's creators into Caffe's registries of layers and solvers, and takes them out again. Nets and solvers made
// in between keep what they were made with.
#include <map>
#include <string>

#include "caffe/layer_factory.hpp"
#include "caffe/solver_factory.hpp"
#include "../parallel.h"
#include "layers.h"

namespace {

typedef caffe::LayerRegistry<float> Layers;
typedef caffe::SolverRegistry<float> Solvers;

template <typename T>
boost::shared_ptr<caffe::Layer<float> > make(const caffe::LayerParameter& param) {
  return boost::shared_ptr<caffe::Layer<float> >(new T(param));
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

int accel_threads() { return accel::threads(); }

}  // extern "C"
