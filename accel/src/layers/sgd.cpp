// Caffe's SGD with momentum: one pass over the parameters.
#include "layers.h"

namespace accel {

void SGD::ApplyUpdate() {
  const std::string& regularization = param_.regularization_type();
  if (caffe::Caffe::mode() != caffe::Caffe::CPU || (regularization != "L1" && regularization != "L2"))
    return caffe::SGDSolver<float>::ApplyUpdate();
  const float rate = GetLearningRate();
  if (param_.display() && iter_ % param_.display() == 0)
    LOG_IF(INFO, caffe::Caffe::root_solver()) << "Iteration " << iter_ << ", lr = " << rate;
  ClipGradients();
  const Blobs& params = net_->learnable_params();
  for (size_t i = 0; i < params.size(); ++i) {
    const float lr = net_->params_lr()[i];
    if (lr == 0 && history_[i]->data()->head() == caffe::SyncedMemory::UNINITIALIZED) continue;  // never moved
    const Sgd update = {1.f / param_.iter_size(), static_cast<float>(param_.weight_decay() *
                        net_->params_weight_decay()[i]), rate * lr, static_cast<float>(param_.momentum()),
                        regularization == "L1"};
    kernels()->sgd(params[i]->count(), update, params[i]->mutable_cpu_data(), params[i]->mutable_cpu_diff(),
                   history_[i]->mutable_cpu_data());
  }
  ++iter_;
}

}  // namespace accel
