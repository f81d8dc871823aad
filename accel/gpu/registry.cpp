// Puts accel's creators into Caffe's registry of layers, over whichever are there, and takes them out again. They make
// accel's layers in GPU mode, unless a prototxt asks for Caffe's engine, and leave the rest to those they cover.
#include <map>
#include <string>

#include "caffe/layer_factory.hpp"
#include "layers.h"

namespace {

typedef caffe::LayerRegistry<float> Layers;
typedef boost::shared_ptr<caffe::Layer<float> > LayerPtr;

std::map<std::string, Layers::Creator> covered;

template <typename T>
LayerPtr make(const caffe::LayerParameter& param) {
  const bool wanted = param.convolution_param().engine() != caffe::ConvolutionParameter_Engine_CAFFE;
  if (wanted && caffe::Caffe::mode() == caffe::Caffe::GPU) return LayerPtr(new T(param));
  return covered[param.type()](param);
}

}  // namespace

extern "C" {

void accel_gpu_enable() {
  if (!covered.empty()) return;
  auto& registry = Layers::Registry();
  covered["Convolution"] = registry["Convolution"];
  covered["Deconvolution"] = registry["Deconvolution"];
  registry["Convolution"] = make<accel::gpu::Convolution>;
  registry["Deconvolution"] = make<accel::gpu::Deconvolution>;
}

void accel_gpu_disable() {
  for (const auto& entry : covered) Layers::Registry()[entry.first] = entry.second;
  covered.clear();
}

void accel_gpu_options(int tf32, long long workspace) {
  accel::gpu::set_options({tf32 != 0, static_cast<size_t>(workspace)});
}

void accel_gpu_counts(long long* plans, long long* runs, long long* refused) {
  const accel::gpu::Counts counts = accel::gpu::counts();
  *plans = counts.plans;
  *runs = counts.runs;
  *refused = counts.refused;
}

const char* accel_gpu_version() {
  static const std::string text = accel::gpu::version();
  return text.c_str();
}

// Why nothing can be computed, or an empty string. Valid until the next call.
const char* accel_gpu_probe() {
  static std::string text;
  text = accel::gpu::probe();
  return text.c_str();
}

}  // extern "C"
