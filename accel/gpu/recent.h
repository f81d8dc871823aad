// A map that forgets what has not been used for longest.
#ifndef ACCEL_GPU_RECENT_H_
#define ACCEL_GPU_RECENT_H_

#include <cstddef>
#include <list>
#include <map>
#include <utility>

namespace accel {

template <typename K, typename V>
class Recent {
 public:
  explicit Recent(size_t capacity) : capacity_(capacity) {}

  // The value kept for `key`, or null.
  V* find(const K& key) {
    const auto found = where_.find(key);
    if (found == where_.end()) return nullptr;
    entries_.splice(entries_.begin(), entries_, found->second);
    return &entries_.front().second;
  }

  // Keep `value` for `key`, which has none.
  V* keep(const K& key, V value) {
    if (entries_.size() == capacity_) {
      where_.erase(entries_.back().first);
      entries_.pop_back();
    }
    entries_.emplace_front(key, std::move(value));
    where_[key] = entries_.begin();
    return &entries_.front().second;
  }

  void clear() {
    where_.clear();
    entries_.clear();
  }

  size_t size() const { return entries_.size(); }

 private:
  typedef std::list<std::pair<K, V> > Entries;
  const size_t capacity_;
  Entries entries_;  // the latest first
  std::map<K, typename Entries::iterator> where_;
};

}  // namespace accel

#endif
