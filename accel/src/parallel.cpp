// Threads that wait for pieces of work: compiled for any CPU.
#include "parallel.h"

#include <linux/futex.h>
#include <omp.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <mutex>
#include <thread>

namespace accel {
namespace {

typedef std::atomic<int> Word;
static_assert(sizeof(Word) == sizeof(int), "a futex is an int");

// How long a thread looks for work, or for the end of a piece, before it gives its core away: a layer's length and no
// time slice.
constexpr int SPINS = 2000;

constexpr int PIECE_BITS = 22, MOST_PIECES = (1 << PIECE_BITS) - 1, MOST_THREADS = 511;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  asm volatile("yield");
#endif
}

void sleep_while(Word& word, int value) {
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
}

void wake_all(Word& word) { syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0); }

thread_local int own = -1;  // the number of this thread while it does pieces

class Pool {
 public:
  // Whether it was free for these pieces and has done them.
  bool run(int count, int threads, void (*piece)(const void*, int, int), const void* context) {
    std::unique_lock<std::mutex> one_caller(busy_, std::try_to_lock);
    if (!one_caller.owns_lock()) return false;
    for (; workers_ < threads - 1; ++workers_) std::thread(&Pool::work, this, workers_ + 1).detach();
    piece_ = piece;
    context_ = context;
    count_ = count;
    unfinished_.store(count);
    untaken_.store(threads << PIECE_BITS | count);
    if (asleep_.load()) wake_all(untaken_);
    own = 0;
    while (take(0)) {}
    own = -1;
    for (int spins = 0, left; (left = unfinished_.load()); ++spins) {
      if (spins < SPINS) {
        pause();
      } else {
        caller_waits_.store(true);
        if ((left = unfinished_.load())) sleep_while(unfinished_, left);
        caller_waits_.store(false);
      }
    }
    return true;
  }

 private:
  // Do one piece, if there is one for this thread. The caller waits for what is taken, so all else is of this call.
  bool take(int thread) {
    int word = untaken_.load();
    do {
      if (!wanted(word, thread)) return false;
    } while (!untaken_.compare_exchange_weak(word, word - 1));
    piece_(context_, count_ - (word & MOST_PIECES), thread);
    if (unfinished_.fetch_sub(1) == 1 && caller_waits_.load()) wake_all(unfinished_);
    return true;
  }

  void work(int thread) {
    own = thread;
    for (int spins = 0;; ++spins) {
      if (take(thread)) {
        spins = 0;
      } else if (spins < SPINS) {
        pause();
      } else {
        asleep_.fetch_add(1);
        const int word = untaken_.load();
        if (!wanted(word, thread)) sleep_while(untaken_, word);
        asleep_.fetch_sub(1);
        spins = 0;
      }
    }
  }

  // More threads than a call wants may be waiting, from a call that wanted more.
  static bool wanted(int word, int thread) { return (word & MOST_PIECES) && thread < word >> PIECE_BITS; }

  std::mutex busy_;
  int workers_ = 0, count_ = 0;
  void (*piece_)(const void*, int, int) = nullptr;
  const void* context_ = nullptr;
  Word untaken_{0};  // how many threads may take pieces, and how many pieces are left to take
  Word unfinished_{0}, asleep_{0};
  std::atomic<bool> caller_waits_{false};
};

// Never destroyed: its threads outlive whatever ends the process. A child of fork has none of them and begins anew.
Pool*& pool() {
  static Pool* pool = [] {
    pthread_atfork(nullptr, nullptr, [] { accel::pool() = new Pool; });
    return new Pool;
  }();
  return pool;
}

}  // namespace

int threads() {
  const int wish = omp_get_max_threads();
  return wish < MOST_THREADS ? wish : MOST_THREADS;
}

void run_pieces(int count, void (*piece)(const void* context, int i, int thread), const void* context) {
  if (count > 1 && count <= MOST_PIECES && own < 0 && threads() > 1 && pool()->run(count, threads(), piece, context)) return;
  for (int i = 0; i < count; ++i) piece(context, i, own < 0 ? 0 : own);
}

}  // namespace accel
