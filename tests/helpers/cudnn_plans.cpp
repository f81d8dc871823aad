// What cuDNN would compute on a card that is described but not there, which 9.8 and later can tell.
//
//     cudnn_plans CARD.json    reads lines of pass, tf32, megabytes of workspace and the 16 numbers of a Shape;
//                              prints for each: engine, workspace, microseconds of planning, and what the engine notes
#include <chrono>
#include <fstream>
#include <iostream>
#include <sstream>

#define ACCEL_DESCRIBED
#include "../../accel/gpu/cudnn.cpp"

using namespace accel::gpu;

namespace {
std::string card;
}

namespace accel {
namespace gpu {
namespace {

void name_device(Stage stage, Descriptor* part) {
  static Descriptor* properties = nullptr;
  if (!properties) {
    properties = new Descriptor(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
    properties->set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, card.size(), card.data());
    properties->finalize("description of the card");
  }
  if (stage == HEURISTICS) part->set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, *properties);
  if (stage == PLAN) part->set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, *properties);
}

}  // namespace
}  // namespace gpu
}  // namespace accel

int main(int, char** arguments) {
  std::ifstream file(arguments[1]);
  std::stringstream text;
  text << file.rdbuf();
  card = text.str();
  int pass, tf32, megabytes;
  while (std::cin >> pass >> tf32 >> megabytes) {
    Shape s;
    for (int i = 0; i < 16; ++i) std::cin >> reinterpret_cast<int*>(&s)[i];
    std::string why;
    const auto begin = std::chrono::steady_clock::now();
    const std::unique_ptr<Plan> plan =
        make_plan(static_cast<Pass>(pass), s, true, {tf32 != 0, static_cast<size_t>(megabytes) << 20}, &why);
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - begin;
    if (!plan) {
      std::cout << "none: " << why << "\n";
      continue;
    }
    const Descriptor& config = static_cast<const CudnnPlan&>(*plan).parts[0];
    Descriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    cudnnBackendDescriptor_t raw = engine.raw();
    int64_t number = -1;
    config.get(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &raw);
    engine.get(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &number);
    const Notes notes(config);
    std::cout << number << " " << plan->workspace << " " << static_cast<int>(took.count())
              << (notes.tensor_cores ? " tensor_cores" : "") << (notes.rounds ? " rounds" : "")
              << (notes.varies ? " varies" : "") << (notes.compiles ? " compiles" : "") << std::endl;
  }
}
