// Work in pieces that any thread may take, on threads that are kept from call to call.
#ifndef ACCEL_PARALLEL_H_
#define ACCEL_PARALLEL_H_

#include <cstddef>
#include <cstdint>

namespace accel {

// How many threads take pieces, the caller among them: OMP_NUM_THREADS, or one for each core.
int threads();

// Calls piece(context, i, thread) once for each i in [0, count), in no order; `thread` is below threads(), and no two
// pieces that run at a time have the same. Returns when all are done. It waits for pieces that another thread has
// begun, never for a thread that has not come: where other processes keep that one from a core, the caller does its
// share. A piece that asks for pieces itself gets them done by its own thread.
void run_pieces(int count, void (*piece)(const void* context, int i, int thread), const void* context);

// The same for a function object. These templates are `static`, since the linker would merge them across instruction sets.

// Call f(i, thread) for each i in [0, count), each a piece.
template <typename F>
static void parallel(int count, const F& f) {
  run_pieces(count, [](const void* context, int i, int thread) { (*static_cast<const F*>(context))(i, thread); }, &f);
}

// Call f(i) for each i in [0, count), which reads and writes some `size` numbers: some of them make a piece.
template <typename F>
static void each(int count, ptrdiff_t size, const F& f) {
  const int64_t wanted = static_cast<int64_t>(count) * size >> 13, most = 4 * threads() < count ? 4 * threads() : count;
  const int64_t pieces = wanted < 1 ? 1 : wanted < most ? wanted : most;
  parallel(static_cast<int>(pieces), [&](int piece, int) {
    for (int64_t i = count * piece / pieces; i < count * (piece + 1) / pieces; ++i) f(static_cast<int>(i));
  });
}

// Call f(first, last) for contiguous shares of [0, count) numbers that begin on a cache line or page, each a piece.
template <typename F>
static void share(size_t count, const F& f) {
  const size_t grain = 1 << 10, grains = (count + grain - 1) / grain, most = 4 * threads();
  const size_t wanted = count >> 13 < most ? count >> 13 : most, pieces = wanted < 1 ? 1 : wanted;
  parallel(static_cast<int>(pieces), [&](int piece, int) {
    const size_t end = grains * (piece + 1) / pieces * grain;
    f(grains * piece / pieces * grain, end < count ? end : count);
  });
}

}  // namespace accel

#endif
