// One stretch of memory for blobs that live at different times.
#ifndef ACCEL_ARENA_H_
#define ACCEL_ARENA_H_

#include <cstddef>
#include <map>

namespace accel {

class Arena {
 public:
  Arena() = default;
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // The lowest place that is free, in bytes from `memory`, which may move.
  size_t take(size_t bytes);
  void give_back(size_t place);
  // Give back all, and of the memory what was not needed since the last time.
  void clear();
  char* memory() const { return memory_; }

 private:
  void resize(size_t bytes);

  char* memory_ = nullptr;
  size_t size_ = 0, needed_ = 0;
  std::map<size_t, size_t> taken_;  // place -> its end
};

}  // namespace accel

#endif
