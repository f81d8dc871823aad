// Stands in for NCCL between processes of one machine: they meet in a file of shared memory, which the unique id names.
//
// Sums are made in the order of the ranks, so that all have the same bytes.
#include <nccl.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <random>
#include <string>
#include <thread>

constexpr size_t kPiece = 1 << 20;      // bytes of each rank that travel at a time

struct Meeting {
  std::atomic<uint32_t> arrived, round;
};

struct EmulatedRanks {
  int ranks, rank;
  Meeting* meeting;
  size_t size;

  char* piece(int of) const { return reinterpret_cast<char*>(meeting) + 4096 + of * kPiece; }

  void wait() const {
    const uint32_t round = meeting->round;
    if (++meeting->arrived == static_cast<uint32_t>(ranks)) {
      meeting->arrived = 0;
      ++meeting->round;
      return;
    }
    while (meeting->round == round) std::this_thread::yield();
  }
};

template <typename T>
static void add_up(const EmulatedRanks& comm, T* to, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    T sum = 0;
    for (int rank = 0; rank < comm.ranks; ++rank) sum += reinterpret_cast<const T*>(comm.piece(rank))[i];
    to[i] = sum;
  }
}

extern "C" {

const char* ncclGetErrorString(ncclResult_t result) {
  switch (result) {
    case ncclSuccess: return "no error";
    case ncclUnhandledCudaError: return "unhandled cuda error";
    case ncclSystemError: return "unhandled system error";
    case ncclInvalidUsage: return "invalid usage";
  }
  return "unknown result code";
}

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  *id = {};     // a name, and zero bytes, as NCCL's has
  std::random_device random;
  std::snprintf(id->internal + 1, sizeof(id->internal) - 1, "/fcn-emulated-%08x%08x", random(), random());
  return ncclSuccess;
}

ncclResult_t ncclCommInitRank(ncclComm_t* comm, int ranks, ncclUniqueId id, int rank) {
  if (ranks < 1 || rank < 0 || rank >= ranks) return ncclInvalidUsage;
  const size_t size = 4096 + ranks * kPiece;
  const int file = shm_open(id.internal + 1, O_RDWR | O_CREAT, 0600);
  if (file < 0 || ftruncate(file, size)) return ncclSystemError;
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (memory == MAP_FAILED) return ncclSystemError;
  *comm = new EmulatedRanks{ranks, rank, static_cast<Meeting*>(memory), size};
  (*comm)->wait();
  if (!rank) shm_unlink(id.internal + 1);
  return ncclSuccess;
}

// Cards of several threads of a process: of no use to Python.
ncclResult_t ncclCommInitAll(ncclComm_t*, int, const int*) { return ncclInvalidUsage; }

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  munmap(comm->meeting, comm->size);
  delete comm;
  return ncclSuccess;
}

ncclResult_t ncclAllReduce(const void* from, void* to, size_t count, ncclDataType_t type, ncclRedOp_t, ncclComm_t comm,
                           cudaStream_t) {
  const size_t width = type == ncclFloat ? sizeof(float) : sizeof(double);
  for (size_t at = 0; at < count * width; at += kPiece) {
    const size_t size = std::min(kPiece, count * width - at);
    const emulated::Access access("ncclAllReduce", {from, to});
    if (!access) return ncclUnhandledCudaError;
    std::memcpy(comm->piece(comm->rank), static_cast<const char*>(from) + at, size);
    comm->wait();
    char* place = static_cast<char*>(to) + at;
    if (type == ncclFloat) add_up(*comm, reinterpret_cast<float*>(place), size / width);
    else add_up(*comm, reinterpret_cast<double*>(place), size / width);
    comm->wait();
  }
  return ncclSuccess;
}

ncclResult_t ncclBcast(void* data, size_t count, ncclDataType_t type, int root, ncclComm_t comm, cudaStream_t) {
  const size_t bytes = count * (type == ncclFloat ? sizeof(float) : sizeof(double));
  for (size_t at = 0; at < bytes; at += kPiece) {
    const size_t size = std::min(kPiece, bytes - at);
    const emulated::Access access("ncclBcast", {data});
    if (!access) return ncclUnhandledCudaError;
    if (comm->rank == root) std::memcpy(comm->piece(root), static_cast<char*>(data) + at, size);
    comm->wait();
    if (comm->rank != root) std::memcpy(static_cast<char*>(data) + at, comm->piece(root), size);
    comm->wait();
  }
  return ncclSuccess;
}

}
