// An emulated card: CUDA's runtime over memory of the host that only kernels and copies may touch.
//
// FCN_EMULATED_CARDS        how many there are [1]
// FCN_EMULATED_MEMORY_MB    memory of each [8192]
// FCN_EMULATED_SEED         shuffles the order of blocks and threads, and the places of allocations [0]
// FCN_EMULATED_EXCLUSIVE    a file's name; given, each card serves one process at a time
//
// Every allocation lies between two pages that nobody may touch, its end against the one or its beginning against the
// other, and is never given out again. It is closed but while a kernel runs that was given a pointer into it. So the
// process ends with one line when the host touches it, or a kernel another, one that was freed, or what is beside it.
#include <cuda_runtime.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <numeric>
#include <random>
#include <string>
#include <vector>

namespace emulated {

dim3 thread, block, threads, blocks;

namespace {

constexpr size_t kPage = 4096, kArena = size_t{1} << 42, kStack = 64 << 10, kMostThreads = 1024;
constexpr int kUnwritten = 0xFF;    // a float of these bytes is not a number
constexpr int kBeside = 0xC5;       // what lies between an allocation and the other end of its pages
const dim3 kMostBlocks(INT_MAX, 65535, 65535);

struct Allocation {
  char* pages;        // of which the host never has any open
  size_t length;
  char* begin;
  size_t size;
  int device;
};

long setting(const char* name, long otherwise) {
  const char* text = std::getenv(name);
  return text && *text ? std::strtol(text, nullptr, 10) : otherwise;
}

struct State {
  std::recursive_mutex mutex;       // kernels of all streams run one after the other
  const int cards = static_cast<int>(setting("FCN_EMULATED_CARDS", 1));
  const size_t memory = static_cast<size_t>(setting("FCN_EMULATED_MEMORY_MB", 8192)) << 20;
  std::mt19937_64 random{static_cast<uint64_t>(setting("FCN_EMULATED_SEED", 0))};
  std::map<char*, Allocation> allocations;      // by the first byte
  std::vector<size_t> used = std::vector<size_t>(cards > 0 ? cards : 0);
  std::vector<bool> entered = std::vector<bool>(cards > 0 ? cards : 0);
  char *arena = nullptr, *next = nullptr;
  struct sigaction before[2];
  const char* running = nullptr;    // the kernel
};

State& state() {
  static State* only = new State;   // until the process ends, after all destructors
  return *only;
}

thread_local int current = 0;
thread_local cudaError_t last = cudaSuccess;

cudaError_t note(cudaError_t error) {
  if (error != cudaSuccess) last = error;
  return error;
}

void complain(const char* format, const char* name, size_t a = 0, size_t b = 0) {
  char line[400];
  const int length = std::snprintf(line, sizeof(line), format, name, a, b);
  if (write(2, line, std::min(static_cast<size_t>(length), sizeof(line) - 1)) < 0) return;
}

Allocation* find(const void* pointer) {
  auto& all = state().allocations;
  char* place = static_cast<char*>(const_cast<void*>(pointer));
  auto after = all.upper_bound(place);
  if (after == all.begin()) return nullptr;
  Allocation& found = std::prev(after)->second;
  return place < found.begin + std::max<size_t>(found.size, 1) ? &found : nullptr;
}

bool on_card(const void* pointer) {
  const State& s = state();
  return s.arena && pointer >= s.arena && pointer < s.arena + kArena;
}

void report(int number, siginfo_t* info, void*) {
  State& s = state();
  if (on_card(info->si_addr)) {
    const char* who = s.running ? s.running : "host code";
    const char* place = static_cast<char*>(info->si_addr);
    const Allocation* near = nullptr;
    for (const auto& entry : s.allocations)
      if (place >= entry.second.pages - kPage && place < entry.second.pages + entry.second.length + kPage)
        near = &entry.second;
    if (!near) {
      complain("emulated card: %s touches memory that was freed\n", who);
    } else if (place >= near->begin && place < near->begin + near->size) {
      complain(s.running ? "emulated card: %s touches memory that it was not given\n"
                         : "emulated card: %s touches memory of the card\n", who);
    } else if (place < near->begin) {
      complain("emulated card: %s touches memory %zu bytes before an allocation of %zu\n", who, near->begin - place,
               near->size);
    } else {
      complain("emulated card: %s touches memory %zu bytes after an allocation of %zu\n", who,
               place - near->begin - near->size, near->size);
    }
  }
  sigaction(number, &s.before[number == SIGBUS], nullptr);      // the access is tried again, and ends the process
}

// The first use of a card by this process.
cudaError_t enter() {
  State& s = state();
  if (s.cards < 1) return note(cudaErrorNoDevice);
  if (current >= s.cards) return note(cudaErrorInvalidDevice);
  if (s.entered[current]) return cudaSuccess;
  if (const char* name = std::getenv("FCN_EMULATED_EXCLUSIVE")) {
    const int lock = open((std::string(name) + "." + std::to_string(current)).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock < 0 || flock(lock, LOCK_EX | LOCK_NB)) return note(cudaErrorDevicesUnavailable);
  }
  if (!s.arena) {
    void* arena = mmap(nullptr, kArena, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (arena == MAP_FAILED) return note(cudaErrorMemoryAllocation);
    s.arena = s.next = static_cast<char*>(arena);
    struct sigaction action = {};
    action.sa_sigaction = report;
    action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
    sigaction(SIGSEGV, &action, &s.before[0]);
    sigaction(SIGBUS, &action, &s.before[1]);
  }
  s.entered[current] = true;
  return cudaSuccess;
}

void open_pages(const Allocation& a, bool open) {
  mprotect(a.pages, a.length, open ? PROT_READ | PROT_WRITE : PROT_NONE);
}

// Whether the bytes beside an open allocation are as they were.
bool beside_is_whole(const Allocation& a) {
  for (char* p = a.pages; p < a.begin; ++p)
    if (*p != static_cast<char>(kBeside)) return false;
  for (char* p = a.begin + a.size; p < a.pages + a.length; ++p)
    if (*p != static_cast<char>(kBeside)) return false;
  return true;
}

// Allocations that are open, each once.
class Opened {
 public:
  void add(Allocation* a) {
    if (std::find(all_.begin(), all_.end(), a) != all_.end()) return;
    all_.push_back(a);
    open_pages(*a, true);
  }
  // Whether nothing was written beside them.
  bool close() {
    bool whole = true;
    for (Allocation* a : all_) {
      whole &= beside_is_whole(*a);
      open_pages(*a, false);
    }
    all_.clear();
    return whole;
  }

 private:
  std::vector<Allocation*> all_;
};

// Opens what pointers of the current card point into; says who was given another.
bool open_given(const char* who, std::initializer_list<const void*> pointers, Opened* opened) {
  for (const void* pointer : pointers) {
    if (!pointer) continue;
    Allocation* found = find(pointer);
    if (!found || found->device != current) {
      complain(found ? "emulated card: %s is given a pointer to memory of another card\n"
               : on_card(pointer) ? "emulated card: %s is given a pointer to memory that was freed\n"
                                  : "emulated card: %s is given a pointer to memory of the host\n", who);
      opened->close();
      return false;
    }
    opened->add(found);
  }
  return true;
}

// One of the orders of so many.
Order shuffled(uint64_t count) {
  Order order = {0, 1, static_cast<unsigned>(count)};
  if (count < 2) return order;
  order.first = state().random() % count;
  do order.step = 1 + state().random() % (count - 1); while (std::gcd(uint64_t{order.step}, count) != 1);
  return order;
}

// Calls for each number, in an order.
template <typename Call>
void for_each(Order order, Call call) {
  uint64_t number = order.first;
  for (unsigned i = 0; i < order.count; ++i) {
    call(number);
    number += order.step;
    if (number >= order.count) number -= order.count;
  }
}

// Threads of a block that wait for each other: each has a stack.
struct Fiber {
  ucontext_t context;
  std::vector<char> stack = std::vector<char>(kStack);
  bool finished;
};
std::vector<Fiber> fibers;
ucontext_t scheduler;
Fiber* fiber = nullptr;             // the one that runs
const std::function<void()>* fibers_code = nullptr;
std::vector<void*> shared;          // what this block has shared so far

void run_fiber() {
  (*fibers_code)();
  fiber->finished = true;
  swapcontext(&fiber->context, &scheduler);
}

// Whether all threads of the block came to the same places.
bool run_together(const std::function<void()>& code, uint64_t count) {
  if (fibers.size() < count) fibers.resize(count);
  fibers_code = &code;
  shared.clear();
  for (uint64_t i = 0; i < count; ++i) {
    Fiber& f = fibers[i];
    f.finished = false;
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = f.stack.data();
    f.context.uc_stack.ss_size = f.stack.size();
    f.context.uc_link = nullptr;
    makecontext(&f.context, run_fiber, 0);
  }
  for (;;) {
    uint64_t finished = 0;
    for_each(shuffled(count), [&](uint64_t number) {
      fiber = &fibers[number];
      thread = place(number, threads);
      swapcontext(&scheduler, &fiber->context);
      finished += fiber->finished;
    });
    fiber = nullptr;
    if (finished) return finished == count;
  }
}

}  // namespace

void synchronize_threads() {
  if (fiber) swapcontext(&fiber->context, &scheduler);
}

void share(void* pointer, size_t size) {
  if (std::find(shared.begin(), shared.end(), pointer) != shared.end()) return;
  shared.push_back(pointer);
  std::memset(pointer, kUnwritten, size);
}

void launch(const char* name, bool together, dim3 grid, dim3 block_size, std::initializer_list<const void*> pointers,
            const std::function<void()>& one, const std::function<void(Order)>& all) {
  State& s = state();
  std::lock_guard<std::recursive_mutex> lock(s.mutex);
  if (enter() != cudaSuccess) return;
  const uint64_t count = uint64_t{block_size.x} * block_size.y * block_size.z;
  const uint64_t many = uint64_t{grid.x} * grid.y * grid.z;
  if (!many || many > UINT_MAX || !count || count > kMostThreads || grid.x > kMostBlocks.x || grid.y > kMostBlocks.y ||
      grid.z > kMostBlocks.z) {
    note(cudaErrorInvalidConfiguration);
    return;
  }
  Opened opened;
  if (!open_given(name, pointers, &opened)) {
    note(cudaErrorIllegalAddress);
    return;
  }
  s.running = name;
  blocks = grid;
  threads = block_size;
  bool alike = true;
  const Order order = shuffled(count);
  for_each(shuffled(many), [&](uint64_t number) {
    block = place(number, grid);
    if (!together) all(order);
    else if (alike) alike = run_together(one, count);
  });
  s.running = nullptr;
  if (!alike) {
    complain("emulated card: %s ends in some threads of a block while others wait for them\n", name);
    note(cudaErrorLaunchFailure);
  }
  if (!opened.close()) {
    complain("emulated card: %s writes beside an allocation\n", name);
    note(cudaErrorIllegalAddress);
  }
}

namespace {
thread_local std::vector<Opened> accesses;
}

Access::Access(const char* who, std::initializer_list<const void*> pointers) {
  State& s = state();
  s.mutex.lock();
  Opened opened;
  granted_ = enter() == cudaSuccess && open_given(who, pointers, &opened);
  if (!granted_) {
    note(cudaErrorIllegalAddress);
    s.mutex.unlock();
    return;
  }
  s.running = who;
  accesses.push_back(opened);
}

Access::~Access() {
  if (!granted_) return;
  state().running = nullptr;
  accesses.back().close();
  accesses.pop_back();
  state().mutex.unlock();
}

}  // namespace emulated

using namespace emulated;

struct EmulatedStream {};
struct EmulatedEvent { std::chrono::steady_clock::time_point time; };

extern "C" {

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess: return "no error";
    case cudaErrorInvalidValue: return "invalid argument";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorInvalidConfiguration: return "invalid configuration argument";
    case cudaErrorDevicesUnavailable: return "CUDA-capable device(s) is/are busy or unavailable";
    case cudaErrorNoDevice: return "no CUDA-capable device is detected";
    case cudaErrorInvalidDevice: return "invalid device ordinal";
    case cudaErrorIllegalAddress: return "an illegal memory access was encountered";
    case cudaErrorLaunchFailure: return "unspecified launch failure";
  }
  return "unrecognized error code";
}

cudaError_t cudaPeekAtLastError() { return last; }

cudaError_t cudaGetLastError() {
  const cudaError_t error = last;
  if (error < cudaErrorIllegalAddress) last = cudaSuccess;      // after the others a process cannot go on
  return error;
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = std::max(state().cards, 0);
  return *count ? cudaSuccess : note(cudaErrorNoDevice);
}

cudaError_t cudaGetDevice(int* device) {
  *device = current;
  return state().cards > 0 ? cudaSuccess : note(cudaErrorNoDevice);
}

cudaError_t cudaSetDevice(int device) {
  if (state().cards < 1) return note(cudaErrorNoDevice);
  if (device < 0 || device >= state().cards) return note(cudaErrorInvalidDevice);
  current = device;
  return enter();
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device < 0 || device >= state().cards) return note(cudaErrorInvalidDevice);
  *properties = {};
  std::snprintf(properties->name, sizeof(properties->name), "emulated card");
  properties->totalGlobalMem = state().memory;
  properties->sharedMemPerBlock = 48 << 10;
  properties->major = 9;
  properties->regsPerBlock = 65536;
  properties->warpSize = 32;
  properties->maxThreadsPerBlock = kMostThreads;
  const int most_threads[] = {1024, 1024, 64};
  std::copy_n(most_threads, 3, properties->maxThreadsDim);
  const unsigned most_blocks[] = {kMostBlocks.x, kMostBlocks.y, kMostBlocks.z};
  std::copy_n(most_blocks, 3, properties->maxGridSize);
  properties->multiProcessorCount = 1;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, int attribute, int device) {
  if (device < 0 || device >= state().cards) return note(cudaErrorInvalidDevice);
  *value = attribute == cudaDevAttrComputeCapabilityMajor ? 9 : 0;
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() { return last; }

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  std::lock_guard<std::recursive_mutex> lock(state().mutex);
  if (cudaError_t error = enter()) return error;
  *total = state().memory;
  *free = *total - state().used[current];
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** pointer, size_t size) {
  State& s = state();
  std::lock_guard<std::recursive_mutex> lock(s.mutex);
  *pointer = nullptr;
  if (cudaError_t error = enter()) return error;
  if (!size) return cudaSuccess;
  const size_t length = (size + kPage - 1) / kPage * kPage;
  if (size > s.memory - s.used[current] || s.next + length + 2 * kPage > s.arena + kArena)
    return note(cudaErrorMemoryAllocation);
  char* pages = s.next + kPage;
  if (mprotect(pages, length, PROT_READ | PROT_WRITE)) return note(cudaErrorMemoryAllocation);
  // The end lies against the next page, as reads go too far more often than too low, but for one in four.
  char* begin = pages + (s.random() % 4 ? length - size : 0);
  std::memset(pages, kBeside, begin - pages);
  std::memset(begin, kUnwritten, size);
  std::memset(begin + size, kBeside, pages + length - begin - size);
  const Allocation made = {pages, length, begin, size, current};
  open_pages(made, false);
  s.next = pages + length + kPage;
  s.used[current] += size;
  s.allocations[begin] = made;
  *pointer = begin;
  return cudaSuccess;
}

cudaError_t cudaFree(void* pointer) {
  State& s = state();
  std::lock_guard<std::recursive_mutex> lock(s.mutex);
  if (cudaError_t error = enter()) return error;
  if (!pointer) return cudaSuccess;
  auto found = s.allocations.find(static_cast<char*>(pointer));
  if (found == s.allocations.end()) return note(cudaErrorInvalidValue);
  const Allocation freed = found->second;
  s.used[freed.device] -= freed.size;
  s.allocations.erase(found);
  // Nobody gets these addresses again, and their memory goes back.
  mmap(freed.pages, freed.length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void** pointer, size_t size) {
  *pointer = std::malloc(std::max<size_t>(size, 1));
  return *pointer ? cudaSuccess : note(cudaErrorMemoryAllocation);
}

cudaError_t cudaFreeHost(void* pointer) {
  std::free(pointer);
  return cudaSuccess;
}

// Opens what a side of a copy lies in, and sees that it lies in there as a whole.
static bool open_side(const void* place, size_t size, Opened* opened) {
  if (!on_card(place)) return true;
  Allocation* found = find(place);
  if (!found || static_cast<const char*>(place) + size > found->begin + found->size) return false;
  opened->add(found);
  return true;
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t size, cudaMemcpyKind kind) {
  std::lock_guard<std::recursive_mutex> lock(state().mutex);
  if (cudaError_t error = enter()) return error;
  if (!size) return cudaSuccess;
  const bool fits[] = {true, on_card(to) && !on_card(from), !on_card(to) && on_card(from),
                       on_card(to) && on_card(from), true};
  Opened opened;
  if (!fits[kind] || !open_side(to, size, &opened) || !open_side(from, size, &opened)) {
    opened.close();
    return note(cudaErrorInvalidValue);
  }
  std::memmove(to, from, size);
  opened.close();
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size, cudaMemcpyKind kind, cudaStream_t) {
  return cudaMemcpy(to, from, size, kind);
}

cudaError_t cudaMemset(void* pointer, int value, size_t size) {
  std::lock_guard<std::recursive_mutex> lock(state().mutex);
  if (cudaError_t error = enter()) return error;
  if (!size) return cudaSuccess;
  Opened opened;
  if (!on_card(pointer) || !open_side(pointer, size, &opened)) return note(cudaErrorInvalidValue);
  std::memset(pointer, value, size);
  opened.close();
  return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  std::lock_guard<std::recursive_mutex> lock(state().mutex);
  const Allocation* found = find(pointer);
  if (!found) return note(cudaErrorInvalidValue);
  attributes->device = found->device;
  return cudaSuccess;
}

// Streams and events: everything is done when the call returns.
cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  *stream = new EmulatedStream;
  return enter();
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) { return cudaStreamCreate(stream); }
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t) { return last; }
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return cudaSuccess; }
cudaError_t cudaEventCreate(cudaEvent_t* event) {
  *event = new EmulatedEvent;
  return enter();
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  event->time = std::chrono::steady_clock::now();
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t) { return last; }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  *milliseconds = std::chrono::duration<float, std::milli>(to->time - from->time).count();
  return cudaSuccess;
}

}
