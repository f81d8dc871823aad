#include "arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>

namespace accel {
namespace {

constexpr size_t PAGE = 2u << 20;   // large ones, where the system has them: a net's planes are many small pages

size_t round_up(size_t bytes, size_t multiple) { return (bytes + multiple - 1) / multiple * multiple; }

}  // namespace

Arena::~Arena() {
  if (memory_) munmap(memory_, size_);
}

size_t Arena::take(size_t bytes) {
  bytes = round_up(std::max<size_t>(bytes, 1), 4096);
  size_t place = 0;
  for (const auto& other : taken_) {
    if (other.first - place >= bytes) break;
    place = other.second;
  }
  const size_t end = place + bytes;
  if (end > size_) resize(round_up(end, PAGE));
  needed_ = std::max(needed_, end);
  taken_[place] = end;
  return place;
}

void Arena::give_back(size_t place) { taken_.erase(place); }

void Arena::clear() {
  taken_.clear();
  if (needed_ && round_up(needed_, PAGE) < size_) resize(round_up(needed_, PAGE));
  needed_ = 0;
}

void Arena::resize(size_t bytes) {
  void* moved = memory_ ? mremap(memory_, size_, bytes, MREMAP_MAYMOVE)
                        : mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (moved == MAP_FAILED) throw std::bad_alloc();
  memory_ = static_cast<char*>(moved);
  size_ = bytes;
  madvise(memory_, size_, MADV_HUGEPAGE);
}

}  // namespace accel
