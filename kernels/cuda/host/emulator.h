// The emulation of one device: blocks run one after the other, each with a fiber a CUDA thread.
//
// Two builds of everything here. With EMULATION_CHECKED=1 kernels are compiled with the compiler's thread-sanitizer and
// alignment calls, which hooks.cpp answers: every access is looked at. With 0 they are not, and nothing is looked at.
// This header is what kernels and the emulation's own files see; what only the latter need is in state.h.
#pragma once
#include <memory>
#include <source_location>
#include <vector>

#include "types.h"

#ifndef EMULATION_CHECKED
#error "compiled by kernels/build.rs, which says whether this is the checked build"
#endif

// A call from a kernel into the emulation. In the checked build it must not be inlined: the compiler would look at the
// emulation's own memory as if it were the kernel's.
#if EMULATION_CHECKED
#define EMULATED __attribute__((noinline, no_sanitize("thread", "alignment"))) inline
#else
#define EMULATED inline __attribute__((always_inline))
#endif

namespace emulation {

using Site = std::source_location;

struct Window {
  enum Use : uint8_t { kReads, kWrites, kConstant };
  uintptr_t from, to;
  Use use;
};

// One launch: how, and with what. `body` calls the kernel once for one thread.
struct Order {
  const char* name;
  dim3 grid, block;
  size_t shared_bytes;
  bool programmatic;
  std::vector<Window> windows;
  void (*body)(const void* call);
  std::shared_ptr<const void> call;  // the kernel and its arguments
  size_t call_bytes;
};
cudaError_t submit(cudaStream_t stream, Order order);

// ---- what a thread asks. Fixed while it runs, hence `const`.
__attribute__((const)) uint3 thread_index();
__attribute__((const)) uint3 block_index();
__attribute__((const)) dim3 block_size();
__attribute__((const)) dim3 grid_size();
__attribute__((const)) unsigned char* shared_window();
__attribute__((const)) unsigned lane_number();

// ---- barriers and collectives. `site` tells them apart.
void sync_block(Site site);
void sync_named(unsigned barrier, unsigned threads, bool waits, Site site);
void sync_warp(unsigned mask, Site site);
// Each lane of `mask` gives `bytes` (at most 64), and gets back a table of 32 slots of 64 bytes with what all gave.
const uint8_t* exchange(unsigned mask, const void* given, size_t bytes, const char* what, Site site);
[[noreturn]] void collective_source_missing(unsigned lane, const char* what, Site site);
void matrix_load(uint32_t* to, unsigned matrices, bool transposed, const void* row, Site site);
void matrix_multiply(float* d, const uint32_t* a, const uint32_t* b, bool half, Site site);

// ---- asynchronous copies.
void copy_async(void* to, const void* from, unsigned bytes, unsigned valid, Site site);
void copy_commit();
void copy_wait(unsigned groups_left);
void bulk_copy(void* to, const void* from, unsigned bytes, void* barrier, Site site);
void mbarrier_init(void* barrier, unsigned arrivals, Site site);
void mbarrier_arrive(void* barrier, Site site);
void mbarrier_expect(void* barrier, unsigned bytes, bool arrives, Site site);
bool mbarrier_test(void* barrier, unsigned parity, Site site);

// ---- between blocks, and between kernels.
void dependency_wait();
void yield(const char* what, Site site);  // one round of a spin loop
// Says that `bytes` at `p` are read or written as one access of that size; checked build.
void touch(const void* p, unsigned bytes, bool writes, Site site);
void touch_unchanging(const void* p, unsigned bytes, Site site);  // a load of what does not change while a launch runs
// What an atomic operation is between blocks: one that acquires hears what those that release have told.
enum class Orders { kNothing, kHears, kTells, kBoth };
enum class Atomic { kAdd, kMin, kMax, kExchange, kCompare, kIncrement, kAnd, kOr };
uint32_t atomic32(Atomic what, uint32_t* p, uint32_t value, uint32_t compared, bool is_signed, Orders orders, Site site);
uint64_t atomic64(Atomic what, uint64_t* p, uint64_t value, uint64_t compared, Orders orders, Site site);
[[noreturn]] void float_atomic(Site site);
[[noreturn]] void trap(Site site);

}  // namespace emulation
