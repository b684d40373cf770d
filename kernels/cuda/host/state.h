// What the emulation remembers while a launch runs. One launch at a time: `submit` holds a lock.
#pragma once
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>

#include "emulator.h"

namespace emulation {

constexpr unsigned kThreadsMax = 1024, kSharedMax = 227 * 1024, kStackBytes = 64 * 1024;
constexpr unsigned kGranule = 2;  // bytes of memory that one stamp speaks of

// When and by whom a granule was last written or read: [63] a copy to it is in flight, [62:31] epoch, [30:11] clock,
// [10:0] thread. An epoch ends with every barrier of the whole block, so what has an older one happened before.
using Stamp = uint64_t;
constexpr Stamp kInFlight = 1ull << 63;
constexpr unsigned kBulkAgent = 1024, kAtomicAgent = 1025;  // writers that are no thread
inline uint64_t epoch_of(Stamp s) { return (s & ~kInFlight) >> 31; }
inline unsigned clock_of(Stamp s) { return (s >> 11) & 0xfffff; }
inline unsigned thread_of(Stamp s) { return s & 0x7ff; }
inline Stamp stamp_of(uint64_t epoch, unsigned clock, unsigned thread) { return epoch << 31 | (uint64_t)clock << 11 | thread; }

// How far each thread (and the bulk copies) had got when it last told: what is older happened before. Only threads that
// meet at less than the whole block have one; all are forgotten at a barrier of the whole block.
using Knowledge = std::vector<uint32_t>;

// Between blocks, which run one after the other: at a word (a ticket, a flag) who tells says what it knows, and who hears knows it
// too. A word's tellings are in the order of their epochs.
struct Telling;
struct Heard { const std::vector<Telling>* word; size_t count; Stamp at; };  // the word's first `count` tellings
struct Telling {
  uint64_t first_epoch, epoch;  // of the block that tells, and now
  Knowledge known;              // of this epoch
  std::vector<Heard> heard;     // of other words
};

struct Copy { void* to; const void* from; unsigned bytes, valid, group; Site site; };

struct Thread {
  void* stack = nullptr;
  uint3 index{};
  unsigned number = 0, warp = 0, lane = 0, clock = 1, group = 0;
  bool done = false, depends = false;  // depends: must not touch what the kernel before wrote
  const char* waits = nullptr;         // what for, and where
  Site site;
  Knowledge known;
  std::vector<Copy> copies;
};

struct Warp {
  unsigned arrived = 0, expected = 0, turn = 0;
  const char* what = nullptr;
  Site site;
  unsigned told[32] = {};  // each lane's clock at the last full __syncwarp
  alignas(16) uint8_t given[2][32][64];
  alignas(16) uint8_t made[2][32][16];
};

struct NamedBarrier { unsigned arrived = 0, expected = 0; Knowledge told; std::vector<Thread*> waiting; Site site; };

struct MBarrier {
  void* at;
  unsigned expected, pending;
  Stamp made;
  int64_t bytes = 0;  // that were announced and have not landed
  uint64_t phase = 0;
  Knowledge told{}, known{};  // of the phase that runs; of the one that ended last
  std::vector<Copy> copies{};
};

struct Block {
  const Order* order = nullptr;
  uint3 index{};
  unsigned threads = 0, live = 0, arrived = 0;
  Site barrier_site;
  Thread thread[kThreadsMax];
  Warp warp[kThreadsMax / 32];
  NamedBarrier named[16];
  std::vector<MBarrier> mbarriers;
  uint16_t ready[2048];
  unsigned ready_from = 0, ready_to = 0;
  uint64_t epoch = 1, first_epoch = 1, launch_epoch = 1, spins = 0;
  unsigned bulk_clock = 1;
  std::vector<Heard> heard;
  unsigned char* shared = nullptr;
};
extern Block block;
extern thread_local Thread* me __attribute__((tls_model("initial-exec")));  // none while host code runs

struct Counts { uint64_t barriers, collectives, multiplies, accesses; };
extern thread_local Counts counts __attribute__((tls_model("initial-exec")));  // of launches by this thread

// ---- faults. A name for tests and people, and one sentence. Ends the launch.
[[noreturn]] void fail(const char* name, const std::string& what, const void* address = nullptr, const char* place = nullptr);
std::string line_of(const void* code);
std::string place_of(Site site);
std::string text(const char* format, ...) __attribute__((format(printf, 1, 2)));

// ---- fibers.
void prepare_stacks();
void place_thread(Thread& thread);
void switch_to(Thread& next);
void enter_fibers(Thread& first);
[[noreturn]] void leave_fibers();
bool in_stacks(uintptr_t p);
bool in_own_stack(uintptr_t p);
void make_ready(unsigned thread);
void park();  // runs the next thread that can; returns when this one can again
uint64_t random_below(uint64_t limit);
extern uint64_t seed;

// ---- memory.
struct Allocation {
  uintptr_t from;
  size_t bytes;
  std::string what;
  Stamp* written;          // a stamp a granule
  bool by_kernel = false;  // some kernel has written to it
};
Allocation* allocation_of(uintptr_t p);
std::string describe(uintptr_t p);
cudaError_t allocate(size_t bytes, const char* what, void** out);
cudaError_t release(void* p);

// ---- order of accesses (checked build).
void look(const void* p, unsigned bytes, bool writes, const void* code);
void look_global(uintptr_t p, unsigned bytes, bool writes, bool atomic);
void look_shared(uintptr_t p, unsigned bytes, bool writes, bool atomic);
bool is_written_here(uintptr_t p, unsigned bytes);
void mark_in_flight(void* to, unsigned bytes);
void mark_landed(void* to, unsigned bytes, unsigned agent);
bool happened_before(Stamp s);
void tell(Knowledge& to, Thread& from);
void learn(Thread& to, const Knowledge& from);
void tell_blocks(const void* word);
void hear_blocks(const void* word);
void forget_blocks();
inline bool in_shared(uintptr_t p) { return p - (uintptr_t)block.shared < 256 * 1024; }
extern const void* code;  // the access that is looked at

cudaError_t run(const Order& order);
extern thread_local std::string report;

}  // namespace emulation
