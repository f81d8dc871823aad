// A net that is only ever passed through whole, and of which only the last blobs are read, may compute less and keep
// less: a convolution does what the layers behind it do to each number, before it writes it, and a blob's memory serves
// another once its last reader is done. `accel.inference` in Python is where a caller promises that of a net.
#ifndef ACCEL_PLAN_H_
#define ACCEL_PLAN_H_

#include <map>
#include <set>
#include <string>
#include <vector>

#include "../kernels.h"
#include "arena.h"
#include "blobs.h"
#include "layers.h"

namespace accel {

// The layers of one net, in their order, and what each does in this net.
class Plan {
 public:
  // Blobs of the names `kept` hold their numbers after a pass, as do those that no layer takes.
  explicit Plan(const std::set<std::string>& kept) : kept_(kept) {}
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  // Whether a layer that is about to be made is a part of another one, as Scale has a Bias and a loss its Softmax.
  bool is_part(const caffe::LayerParameter& param) const;
  // Whether layers that are made are parts of one that is being set up.
  bool setting_up = false;

  // A layer is about to be made: its place among the layers. Those of Caffe's own are known by their parameters alone.
  int add(const caffe::LayerParameter& param);
  // What was made, and set up with these blobs, if it is to ask `begin`.
  void set_up(int place, caffe::Layer<float>* layer, const Blobs& bottom, const Blobs& top);

  // Before a layer computes: finds memory for what it writes. Returns whether anything is left for it to do.
  bool begin(int place);

  // For a convolution that adds `bias` (or null): the blob to write instead of its top, and what to do on the way.
  Blob* target(int place, const float* bias, Epilogue* e);
  // For a deconvolution: the Crop behind it and its top, if it may write only what that keeps; and that it won't.
  const Crop* crop_behind(int place, Blob** top) const;
  void leave_crop(int place);

 private:
  // What a layer gives. Layers in place give a new value in the same memory, that of the first, the `root`.
  struct Value {
    std::string name;
    int producer = -1, number = 0;  // the layer, and which of its tops
    int root = -1;
    int consumer = -1;          // Caffe splits what several layers take, so there is no more than one
    int last = -1;              // the last layer that may read this memory; of a root
    int newest = -1;            // the last value in this memory; of a root
  };
  struct Step {
    caffe::LayerParameter param;
    caffe::Layer<float>* layer = nullptr;   // null: Caffe's own
    Blobs bottom, top;
    std::vector<int> in, out;   // values; -1 for what no layer gives
    std::vector<int> behind;    // of a convolution or deconvolution: the layers that it does as well
    bool absorbed = false;      // done by another
  };
  struct Room {
    Blob* blob;
    size_t at, bytes;           // in the arena
    bool slice;                 // of the room of a Concat's top
  };

  void finish();
  void find_readers();
  void find_behind(int place);
  void find_crop(int place);
  int stage_behind(const Step& conv, int value, int stage) const;
  Blob* blob_of(int value) const;
  void make_room(int value);
  void point(const Room& room) const;
  void leave_rooms_before(int place);
  bool join(const Step& concat);

  const std::set<std::string> kept_;
  std::vector<Step> steps_;
  std::vector<Value> values_;
  bool finished_ = false;
  int last_ = -1;
  Arena arena_;
  std::map<int, Room> rooms_;   // of roots
  std::vector<float> scale_, shift_;
};

// A layer of class Layer as a part of a plan.
template <typename Layer>
class Planned : public Layer {
 public:
  Planned(const caffe::LayerParameter& param, const boost::shared_ptr<Plan>& plan)
      : Layer(param), plan_(plan), place_(plan->add(param)) {}

  void LayerSetUp(const Blobs& bottom, const Blobs& top) override {
    plan_->setting_up = true;
    Layer::LayerSetUp(bottom, top);
    plan_->setting_up = false;
    plan_->set_up(place_, this, bottom, top);
  }

 protected:
  void Forward_cpu(const Blobs& bottom, const Blobs& top) override {
    if (plan_->begin(place_)) Layer::Forward_cpu(bottom, top);
  }

  const boost::shared_ptr<Plan> plan_;
  const int place_;
};

// A convolution does what is behind it.
class PlannedConvolution : public Planned<Convolution> {
 public:
  using Planned<Convolution>::Planned;

 protected:
  void Forward_cpu(const Blobs& bottom, const Blobs& top) override {
    if (!takes_epilogue()) return Planned<Convolution>::Forward_cpu(bottom, top);
    if (!plan_->begin(place_)) return;
    Epilogue e;
    Blob* const target = plan_->target(place_, bias(), &e);
    convolve(*bottom[0], e, target);
  }
};

// A deconvolution that upsamples writes only what a Crop behind it keeps.
class PlannedDeconvolution : public Planned<Deconvolution> {
 public:
  using Planned<Deconvolution>::Planned;

 protected:
  void Forward_cpu(const Blobs& bottom, const Blobs& top) override {
    if (!planar() || !upsamples()) plan_->leave_crop(place_);
    if (!plan_->begin(place_)) return;
    Blob* target;
    const Crop* const crop = plan_->crop_behind(place_, &target);
    if (!crop) return Deconvolution::Forward_cpu(bottom, top);
    upsample(*bottom[0], geometry(*bottom[0], *top[0]), crop->window(*target), target);
  }
};

}  // namespace accel

#endif
