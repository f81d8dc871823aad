// See plan.h.
#include "plan.h"

#include <algorithm>
#include <climits>
#include <cmath>
#include <cstring>

namespace accel {
namespace {

constexpr int ALWAYS = INT_MAX;

bool joins_channels(const caffe::LayerParameter& param) {
  return param.type() == "Concat" && param.bottom_size() > 1 && param.concat_param().axis() == 1 &&
         !param.concat_param().has_concat_dim();
}

}  // namespace

bool Plan::is_part(const caffe::LayerParameter& param) const {
  return setting_up || (!steps_.empty() && steps_.back().param.name() == param.name());
}

int Plan::add(const caffe::LayerParameter& param) {
  steps_.emplace_back();
  steps_.back().param.CopyFrom(param);
  steps_.back().param.clear_blobs();
  return static_cast<int>(steps_.size()) - 1;
}

void Plan::set_up(int place, caffe::Layer<float>* layer, const Blobs& bottom, const Blobs& top) {
  steps_[place].layer = layer;
  steps_[place].bottom = bottom;
  steps_[place].top = top;
}

void Plan::finish() {
  std::map<std::string, int> newest;
  for (size_t i = 0; i < steps_.size(); ++i) {
    Step& step = steps_[i];
    for (const std::string& name : step.param.bottom()) {
      const auto found = newest.find(name);
      step.in.push_back(found == newest.end() ? -1 : found->second);
      if (step.in.back() >= 0) values_[step.in.back()].consumer = static_cast<int>(i);
    }
    for (int j = 0; j < step.param.top_size(); ++j) {
      Value value;
      value.name = step.param.top(j);
      value.producer = static_cast<int>(i);
      value.number = j;
      value.root = static_cast<int>(values_.size());
      for (int k = 0; k < step.param.bottom_size(); ++k)
        if (step.param.bottom(k) == value.name && step.in[k] >= 0) value.root = values_[step.in[k]].root;
      step.out.push_back(static_cast<int>(values_.size()));
      newest[value.name] = step.out.back();
      values_.push_back(value);
      values_[value.root].newest = step.out.back();
    }
  }
  finished_ = true;
  // Recurrent layers make nets of their own, whose layers stand among these.
  const bool whole = std::none_of(steps_.begin(), steps_.end(), [](const Step& step) {
    return step.param.type() == "RNN" || step.param.type() == "LSTM";
  });
  if (!whole)
    for (Value& value : values_) value.last = ALWAYS;
  if (!whole) return;
  find_readers();
  for (size_t i = 0; i < steps_.size(); ++i) {
    find_behind(static_cast<int>(i));
    find_crop(static_cast<int>(i));
  }
}

// Which layer is the last to read each piece of memory, from the end, so that what the tops need is known.
void Plan::find_readers() {
  for (const Value& value : values_)
    if (value.consumer < 0 || kept_.count(value.name)) values_[value.root].last = ALWAYS;
  for (int i = static_cast<int>(steps_.size()) - 1; i >= 0; --i)
    for (const int in : steps_[i].in) {
      if (in < 0) continue;
      int& last = values_[values_[in].root].last;
      last = std::max(last, i);
      if (!steps_[i].layer)   // may share a bottom's memory with its tops
        for (const int out : steps_[i].out) last = std::max(last, values_[values_[out].root].last);
    }
}

// The Crop behind a deconvolution, if what it crops to is known by then.
void Plan::find_crop(int place) {
  Step& step = steps_[place];
  if (!dynamic_cast<Deconvolution*>(step.layer) || step.out.size() != 1 || kept_.count(values_[step.out[0]].name)) return;
  const int consumer = values_[step.out[0]].consumer;
  if (consumer < 0 || !dynamic_cast<Crop*>(steps_[consumer].layer)) return;
  Step& crop = steps_[consumer];
  const int like = crop.in[1];
  if (crop.in[0] != step.out[0] || crop.param.crop_param().axis() != 2 || (like >= 0 && values_[like].producer >= place))
    return;
  step.behind = {consumer};
  crop.absorbed = true;
}

const Crop* Plan::crop_behind(int place, Blob** top) const {
  const Step& step = steps_[place];
  if (step.behind.empty()) return nullptr;
  *top = steps_[step.behind[0]].top[0];
  return dynamic_cast<const Crop*>(steps_[step.behind[0]].layer);
}

void Plan::leave_crop(int place) {
  if (!finished_) finish();
  for (const int crop : steps_[place].behind) steps_[crop].absorbed = false;
  steps_[place].behind.clear();
}

// The layers behind a convolution that only change each number of its top, as far as an Epilogue can do them.
void Plan::find_behind(int place) {
  Step& conv = steps_[place];
  const Convolution* layer = dynamic_cast<Convolution*>(conv.layer);
  if (!layer || !layer->takes_epilogue() || conv.out.size() != 1) return;
  for (int value = conv.out[0], stage = 0;;) {
    stage = stage_behind(conv, value, stage);
    if (stage < 0) return;
    Step& next = steps_[values_[value].consumer];
    conv.behind.push_back(values_[value].consumer);
    next.absorbed = true;
    value = next.out[0];
  }
}

// How far an epilogue is (0: scale and shift, 1: an addend, 2: limits) with the layer that takes a value, or -1.
int Plan::stage_behind(const Step& conv, int value, int stage) const {
  const int place = values_[value].consumer;
  if (place < 0 || !steps_[place].layer || steps_[place].absorbed || steps_[place].out.size() != 1) return -1;
  const Step& next = steps_[place];
  const caffe::LayerParameter& param = next.param;
  const std::string& type = param.type();
  const bool in_place = values_[next.out[0]].root == values_[value].root;
  if (!in_place && kept_.count(values_[value].name)) return -1;
  const int channels = static_cast<int>(conv.param.convolution_param().num_output());
  if (type == "BatchNorm")
    return stage == 0 && (param.batch_norm_param().has_use_global_stats() ? param.batch_norm_param().use_global_stats()
                                                                          : param.phase() == caffe::TEST) ? 0 : -1;
  if (type == "Scale")
    return stage == 0 && param.bottom_size() == 1 && param.scale_param().axis() == 1 &&
           next.layer->blobs()[0]->count() == channels ? 0 : -1;
  if (type == "Dropout") return param.phase() == caffe::TEST ? stage : -1;
  if (type == "ReLU") return param.relu_param().negative_slope() == 0 ? 2 : -1;
  if (type == "Clip") return 2;
  if (type == "Eltwise") {
    if (stage > 0 || in_place || next.in.size() != 2 || param.eltwise_param().coeff_size() ||
        param.eltwise_param().operation() != caffe::EltwiseParameter_EltwiseOp_SUM)
      return -1;
    const int other = next.in[0] == value ? next.in[1] : next.in[0];
    const int first = values_[conv.out[0]].producer;
    return values_[next.out[0]].root == next.out[0] && (other < 0 || values_[other].producer < first) ? 1 : -1;
  }
  return -1;
}

Blob* Plan::blob_of(int value) const {
  const Value& v = values_[value];
  return steps_[v.producer].layer ? steps_[v.producer].top[v.number] : nullptr;
}

bool Plan::begin(int place) {
  if (caffe::Caffe::mode() != caffe::Caffe::CPU) return true;   // a layer without code for a card
  if (!finished_) finish();
  if (place <= last_) {   // another pass
    rooms_.clear();
    arena_.clear();
  }
  last_ = place;
  leave_rooms_before(place);
  Step& step = steps_[place];
  if (step.absorbed) return false;
  const Step& writer = step.behind.empty() ? step : steps_[step.behind.back()];
  for (const int behind : step.behind) steps_[behind].layer->Reshape(steps_[behind].bottom, steps_[behind].top);
  for (const int out : writer.out) make_room(out);
  return !joins_channels(step.param) || !join(step);
}

// Put what is not there yet into the top of a Concat of one image's channels. False if it is none.
bool Plan::join(const Step& concat) {
  if (concat.bottom[0]->shape(0) != 1) return false;
  float* to = concat.top[0]->mutable_cpu_data();
  for (const Blob* bottom : concat.bottom) {
    if (bottom->cpu_data() != to) std::memcpy(to, bottom->cpu_data(), bottom->count() * sizeof(float));
    to += bottom->count();
  }
  return true;
}

void Plan::make_room(int value) {
  const int root = values_[value].root;
  Blob* const blob = blob_of(root);
  if (!blob || values_[root].last == ALWAYS) return;
  const size_t bytes = blob->count() * sizeof(float);
  const auto found = rooms_.find(root);
  if (found != rooms_.end() && found->second.bytes >= bytes) return point(found->second);
  char* const before = arena_.memory();
  Room room = {blob, 0, bytes, false};
  const int consumer = values_[values_[root].newest].consumer;
  const Step& next = steps_[consumer];
  if (next.layer && joins_channels(next.param) && blob->num_axes() == 4 && blob->shape(0) == 1 &&
      values_[next.out[0]].last != ALWAYS) {
    // A slice of the top of the Concat, whose channels are known before all of its bottoms have been computed.
    size_t channels = 0, first = 0;
    for (size_t i = 0; i < next.bottom.size(); ++i) {
      if (values_[next.in[i]].root == root) first = channels;
      channels += next.bottom[i]->shape(1);
    }
    const size_t plane = bytes / blob->shape(1);
    std::vector<int> shape = blob->shape();
    shape[1] = static_cast<int>(channels);
    next.top[0]->Reshape(shape);
    make_room(next.out[0]);
    room.at = rooms_.at(next.out[0]).at + first * plane;
    room.slice = true;
  } else {
    room.at = arena_.take(bytes);
  }
  rooms_[root] = room;
  if (arena_.memory() == before) return point(room);
  for (const auto& other : rooms_) point(other.second);
}

void Plan::point(const Room& room) const {
  room.blob->set_cpu_data(reinterpret_cast<float*>(arena_.memory() + room.at));
}

void Plan::leave_rooms_before(int place) {
  for (auto room = rooms_.begin(); room != rooms_.end();) {
    if (values_[room->first].last >= place) {
      ++room;
      continue;
    }
    if (!room->second.slice) arena_.give_back(room->second.at);
    room = rooms_.erase(room);
  }
}

Blob* Plan::target(int place, const float* bias, Epilogue* e) {
  const Step& conv = steps_[place];
  const int channels = static_cast<int>(conv.param.convolution_param().num_output());
  scale_.assign(channels, 1.f);
  shift_.assign(channels, 0.f);
  if (bias) std::copy(bias, bias + channels, shift_.begin());
  *e = {scale_.data(), shift_.data(), nullptr, -INFINITY, INFINITY};
  Blob* target = conv.top[0];
  for (const int behind : conv.behind) {
    const Step& step = steps_[behind];
    const std::string& type = step.param.type();
    const auto& blobs = step.layer->blobs();
    if (type == "BatchNorm") {
      const float* total = blobs[2]->cpu_data();
      const float share = total[0] == 0 ? 0 : 1 / total[0], eps = step.param.batch_norm_param().eps();
      for (int c = 0; c < channels; ++c) {
        const float factor = 1 / std::sqrt(blobs[1]->cpu_data()[c] * share + eps);
        scale_[c] *= factor;
        shift_[c] = (shift_[c] - blobs[0]->cpu_data()[c] * share) * factor;
      }
    } else if (type == "Scale") {
      for (int c = 0; c < channels; ++c) {
        const float factor = blobs[0]->cpu_data()[c];
        scale_[c] *= factor;
        shift_[c] = shift_[c] * factor + (blobs.size() > 1 ? blobs[1]->cpu_data()[c] : 0.f);
      }
    } else if (type == "Eltwise") {
      e->addend = (step.bottom[0] == target ? step.bottom[1] : step.bottom[0])->cpu_data();
    } else if (type == "ReLU" || type == "Clip") {
      const float lowest = type == "ReLU" ? 0 : step.param.clip_param().min();
      const float highest = type == "ReLU" ? INFINITY : step.param.clip_param().max();
      e->lowest = std::min(std::max(e->lowest, lowest), highest);
      e->highest = std::min(std::max(e->highest, lowest), highest);
    }
    target = step.top[0];
  }
  return target;
}

}  // namespace accel
