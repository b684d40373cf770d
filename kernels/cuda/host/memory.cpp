// Device memory. Allocations lie 64 GiB apart, so that an index of 32 bits that leaves its own finds no neighbour.
#include <sys/mman.h>

#include <algorithm>
#include <mutex>

#include "state.h"

namespace emulation {

constexpr uintptr_t kFirstPlace = 0x100000000000, kApart = 1ull << 36;
constexpr unsigned kPlaces = 1024;

static std::mutex guard;
static std::unique_ptr<Allocation> places[kPlaces];
static unsigned next_place;

static size_t pages(size_t bytes) { return (bytes + 65535) & ~(size_t)65535; }

// A place is used again only after all others: what was freed is not soon somebody else's.
cudaError_t allocate(size_t bytes, const char* what, void** out) {
  std::lock_guard<std::mutex> lock(guard);
  *out = nullptr;
  unsigned tried = 0;
  while (places[next_place] && tried++ < kPlaces) next_place = (next_place + 1) % kPlaces;
  if (places[next_place] || bytes > kApart / 2) return cudaErrorMemoryAllocation;
  const int anonymous = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* p = mmap((void*)(kFirstPlace + next_place * kApart), pages(std::max<size_t>(bytes, 1)), PROT_READ | PROT_WRITE,
                 anonymous | MAP_FIXED_NOREPLACE, -1, 0);
  if (p == MAP_FAILED) return cudaErrorMemoryAllocation;
  Stamp* written = nullptr;
  if (EMULATION_CHECKED) {
    void* stamps = mmap(nullptr, pages((bytes / kGranule + 16) * sizeof(Stamp)), PROT_READ | PROT_WRITE, anonymous, -1, 0);
    if (stamps == MAP_FAILED) { munmap(p, pages(std::max<size_t>(bytes, 1))); return cudaErrorMemoryAllocation; }
    written = (Stamp*)stamps;
    memset(p, 0xff, bytes);
  }
  places[next_place] = std::make_unique<Allocation>(Allocation{(uintptr_t)p, bytes, what, written});
  next_place = (next_place + 1) % kPlaces;
  *out = p;
  return cudaSuccess;
}

Allocation* allocation_of(uintptr_t p) {
  const uintptr_t place = (p - kFirstPlace) / kApart;
  return p >= kFirstPlace && place < kPlaces ? places[place].get() : nullptr;
}

cudaError_t release(void* p) {
  if (!p) return cudaSuccess;
  std::lock_guard<std::mutex> lock(guard);
  Allocation* a = allocation_of((uintptr_t)p);
  if (!a || a->from != (uintptr_t)p) return cudaErrorInvalidValue;
  munmap(p, pages(std::max<size_t>(a->bytes, 1)));
  if (a->written) munmap(a->written, pages((a->bytes / kGranule + 16) * sizeof(Stamp)));
  places[(a->from - kFirstPlace) / kApart].reset();
  return cudaSuccess;
}

std::string describe(uintptr_t p) {
  if (const Allocation* a = allocation_of(p)) {
    const uintptr_t at = p - a->from;
    return text("byte %llu of \"%s\", which has %zu", (unsigned long long)at, a->what.c_str(), a->bytes);
  }
  if (p < 4096) return "a null pointer";
  return "memory that no allocation holds, or holds no more";
}

}  // namespace emulation
