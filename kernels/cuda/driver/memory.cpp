// The device of the driver's stand-in: itself, its memory, and copies.
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "stand_in.h"

namespace stand_in {

constexpr size_t kPage = 4096, kMemoryBytes = 1ull << 30, kPoisonBytes = 16 << 20;

// The device's memory that bytes belong to, and that nobody has freed.
static int range_of(uint64_t at, size_t bytes, const char* what) {
  auto next = memory.upper_bound(at);
  if (next != memory.begin()) {
    const auto& [from, allocation] = *std::prev(next);
    if (at + bytes <= from + allocation.bytes)
      return allocation.ended ? refuse(kInvalidValue, "%s of memory that was freed", what) : kDone;
  }
  return refuse(kInvalidValue, "%s of %zu bytes at %#llx, which no allocation has", what, bytes, (unsigned long long)at);
}
static bool is_locked(const void* at, size_t bytes) {
  auto next = locked.upper_bound((uintptr_t)at);
  if (next == locked.begin()) return false;
  const auto& [from, size] = *std::prev(next);
  return (uintptr_t)at + bytes <= from + size;
}

static size_t pages(size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

static void touched(int signal, siginfo_t* info, void*) {
  // Not everything may be called here; what is written is enough to find the place.
  char line[160];
  const uintptr_t at = (uintptr_t)info->si_addr;
  const char* why = "memory of the host";
  auto next = memory.upper_bound(at);
  if (next != memory.begin() && at < std::prev(next)->first + pages(std::prev(next)->second.bytes) + kPage)
    why = std::prev(next)->second.ended ? "the device's memory after its free" : "the device's memory before its time or beyond its end";
  const int length = snprintf(line, sizeof line, "the driver's stand-in: signal %d at %p: %s\n", signal, info->si_addr, why);
  if (write(2, line, (size_t)length)) {}
  _exit(139);
}

static void watch_signals() {
  struct sigaction action{};
  action.sa_sigaction = touched, action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGSEGV, &action, nullptr), sigaction(SIGBUS, &action, nullptr);
}

}  // namespace stand_in

using namespace stand_in;

extern "C" {

bool loam_stand_in_holds(const void* at, size_t bytes, const char* what) {
  ALONE;
  return !bytes || range_of((uint64_t)at, bytes, what) == kDone;
}

// ---- the device

int cuDeviceGetCount(int* out) { return *out = 1, kDone; }
int cuDeviceGet(int* out, int ordinal) { return *out = ordinal, ordinal == 0 ? kDone : kInvalidDevice; }
int cuDeviceGetName(char* out, int length, int) { return snprintf(out, (size_t)length, "stand-in"), kDone; }
int cuDeviceGetAttribute(int* out, int which, int) {
  switch (which) {
    case 16: return *out = 4, kDone;        // multiprocessors: few, so that a test's matrices have too few tiles for them
    case 75: return *out = 9, kDone;        // compute capability
    case 76: return *out = 0, kDone;
    case 97: return *out = 232448, kDone;   // shared memory of a block
    default: return refuse(kInvalidValue, "an attribute that nobody was known to ask for: %d", which);
  }
}
int cuDevicePrimaryCtxRetain(void** out, int) { return *out = &guard, kDone; }
int cuCtxSetCurrent(void* context) { return has_context = context == &guard, has_context ? kDone : kInvalidContext; }
int cuDeviceGetDefaultMemPool(void** out, int) { return *out = &memory, kDone; }

// ---- memory

int cuMemPoolSetAttribute(void* pool, int, void*) { return pool == &memory ? kDone : kInvalidHandle; }
int cuMemPoolGetAttribute(void* pool, int which, void* out) {
  ALONE;
  if (pool != &memory || (which != 5 && which != 7)) return refuse(kInvalidValue, "an attribute of a pool: %d", which);
  const uint64_t bytes = which == 5 ? reserved_bytes : used_bytes;
  return memcpy(out, &bytes, sizeof bytes), kDone;
}
int cuMemPoolTrimTo(void*, size_t least) {
  ALONE;
  reserved_bytes = std::max(used_bytes, std::min(least, reserved_bytes));
  return kDone;
}
int cuMemGetInfo_v2(size_t* free, size_t* total) {
  ALONE;
  if (const int e = usable("cuMemGetInfo")) return e;
  return *free = kMemoryBytes - reserved_bytes, *total = kMemoryBytes, kDone;
}
// A page that nobody may touch follows each.
int cuMemAllocAsync(uint64_t* out, size_t bytes, void* handle) {
  ALONE;
  Stream* stream;
  if (const int e = stream_of(handle, &stream, "cuMemAllocAsync")) return e;
  if (const int e = uncaptured("cuMemAllocAsync")) return e;
  if (stream->capture) return break_capture(*stream, "cuMemAllocAsync");
  if (!bytes) return refuse(kInvalidValue, "an allocation of no bytes");
  const size_t size = pages(bytes);
  if (size > kMemoryBytes || used_bytes + size > kMemoryBytes) return kOutOfMemory;
  void* at = mmap(nullptr, size + kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) return kOutOfMemory;
  static std::once_flag watched;
  std::call_once(watched, watch_signals);
  used_bytes += size, reserved_bytes = std::max(reserved_bytes, used_bytes);
  memory[(uintptr_t)at] = {bytes, false};
  *out = (uintptr_t)at;
  return put(*stream, {Work::kOther, "cuMemAllocAsync", [at, size] {
    if (mprotect(at, size, PROT_READ | PROT_WRITE)) return 1;
    // A number that is read before it is written is none. Of much memory, its ends.
    memset(at, 0xff, std::min(size, kPoisonBytes));
    if (size > kPoisonBytes) memset((char*)at + size - kPage, 0xff, kPage);
    return 0;
  }, nullptr});
}
// Addresses are not given twice, so that whoever is late is seen.
int cuMemFreeAsync(uint64_t at, void* handle) {
  ALONE;
  Stream* stream;
  if (const int e = stream_of(handle, &stream, "cuMemFreeAsync")) return e;
  if (stream->capture) return break_capture(*stream, "cuMemFreeAsync");
  auto found = memory.find(at);
  if (found == memory.end()) return refuse(kInvalidValue, "a free of what is no allocation's beginning");
  if (found->second.ended) return refuse(kInvalidValue, "a second free");
  found->second.ended = true;
  const size_t size = pages(found->second.bytes);
  return put(*stream, {Work::kOther, "cuMemFreeAsync", [at, size] {
    used_bytes -= size;
    return mmap((void*)at, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED;
  }, nullptr});
}
int cuMemHostAlloc(void** out, size_t bytes, unsigned) {
  ALONE;
  if (const int e = usable("cuMemHostAlloc")) return e;
  if (const int e = uncaptured("cuMemHostAlloc")) return e;
  *out = aligned_alloc(kPage, pages(bytes));
  if (!*out) return kOutOfMemory;
  memset(*out, 0xff, bytes);
  locked[(uintptr_t)*out] = bytes;
  return kDone;
}

// ---- copies

// From other memory than what is locked a copy is done, or at least has its bytes, when the call returns.
int cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t bytes, void* handle) {
  ALONE;
  Stream* stream;
  if (const int e = stream_of(handle, &stream, "cuMemcpyHtoDAsync")) return e;
  if (const int e = range_of(to, bytes, "cuMemcpyHtoDAsync")) return e;
  if (is_locked(from, bytes))
    return put(*stream, {Work::kCopy, "copy", [=] { return memcpy((void*)to, from, bytes), 0; }, nullptr});
  if (stream->capture) return break_capture(*stream, "a copy from memory that is not locked");
  if (const int e = uncaptured("a copy from memory that is not locked")) return e;
  auto taken = std::make_shared<std::vector<char>>((const char*)from, (const char*)from + bytes);
  return put(*stream, {Work::kCopy, "copy", [=] { return memcpy((void*)to, taken->data(), bytes), 0; }, nullptr});
}
int cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t bytes, void* handle) {
  ALONE;
  Stream* stream;
  if (const int e = stream_of(handle, &stream, "cuMemcpyDtoHAsync")) return e;
  if (const int e = range_of(from, bytes, "cuMemcpyDtoHAsync")) return e;
  const bool later = is_locked(to, bytes);
  if (stream->capture && !later) return break_capture(*stream, "a copy to memory that is not locked");
  if (!later) if (const int e = uncaptured("a copy to memory that is not locked")) return e;
  const int e = put(*stream, {Work::kCopy, "copy", [=] { return memcpy(to, (void*)from, bytes), 0; }, nullptr});
  if (!later) do_all(*stream);
  return e ? e : lost;
}
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void* handle) {
  ALONE;
  Stream* stream;
  if (const int e = stream_of(handle, &stream, "cuMemcpyDtoDAsync")) return e;
  if (const int e = range_of(to, bytes, "cuMemcpyDtoDAsync")) return e;
  if (const int e = range_of(from, bytes, "cuMemcpyDtoDAsync")) return e;
  return put(*stream, {Work::kCopy, "copy", [=] { return memcpy((void*)to, (void*)from, bytes), 0; }, nullptr});
}
int cuMemsetD8Async(uint64_t at, unsigned char value, size_t bytes, void* handle) {
  ALONE;
  Stream* stream;
  if (const int e = stream_of(handle, &stream, "cuMemsetD8Async")) return e;
  if (const int e = range_of(at, bytes, "cuMemsetD8Async")) return e;
  return put(*stream, {Work::kFill, "fill", [=] { return memset((void*)at, value, bytes), 0; }, nullptr});
}
}
