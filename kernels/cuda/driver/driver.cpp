// A stand-in for NVIDIA's driver, as libcuda: what kernels/src/cuda/device calls of it, with the host's memory as a GPU's.
//
// It keeps what CUDA promises and nothing that CUDA does not. What is asked of a stream is done when somebody waits for it,
// or at some other moment before; streams that wait for nothing of each other go in any order; a graph's nodes go in any
// order that its edges allow. Memory can be touched from the moment at which its allocation is reached in its stream until
// the one at which its free is, and never again: whoever is early or late ends by a signal, with a line that says why. Copies
// from and to locked memory read and write it when they are done, not when they are asked for. What a driver would refuse, or
// might, is refused, and said on stderr.
//
// LOAM_DRIVER_PACE: `late` does what is waited for and no more, `at_once` does everything at once, a number seeds a mixture.
// LOAM_DRIVER_LAUNCHES: a launch after so many fails as a fault of a kernel does, and the device is lost.
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "driver.h"

namespace {

enum Code : int {
  kDone = 0, kInvalidValue = 1, kOutOfMemory = 2, kInvalidDevice = 101, kInvalidContext = 201,
  kInvalidHandle = 400, kLaunchFailed = 719, kCaptureUnsupported = 900, kCaptureInvalidated = 901, kCaptureUnmatched = 903,
  kCaptureUnjoined = 904, kCaptureIsolation = 905, kCapturedEvent = 907, kCaptureWrongThread = 908,
};

constexpr size_t kPage = 4096, kMemoryBytes = 1ull << 30, kPoisonBytes = 16 << 20;

using Clock = std::chrono::steady_clock;

// ---- what is asked of streams

struct Stream;
// A place in a stream.
struct Mark {
  Stream* stream;
  bool reached = false;
  Clock::time_point at;
};
struct Work {
  enum Kind { kKernel, kCopy, kFill, kOther } kind = kOther;
  std::string name;
  std::function<int()> run;
  std::shared_ptr<Mark> waits;  // for another stream's place
};
struct Node {
  Work work;
  std::vector<unsigned> after;  // nodes that must have ended
};
struct Graph {
  std::vector<Node> nodes;
  bool broken = false;  // by something that no capture can hold
};
struct Stream {
  std::deque<Work> asked;
  std::shared_ptr<Graph> capture;
  bool origin = false;
  std::thread::id capturer;
  std::vector<unsigned> last;  // what the next node comes after
};
struct Event {
  std::shared_ptr<Mark> mark;
  std::shared_ptr<Graph> capture;
  std::vector<unsigned> last;
};
struct Ready { std::shared_ptr<Graph> graph; };
struct Allocation {
  size_t bytes;
  bool ended = false;  // a free was asked for
};

std::recursive_mutex guard;  // one thing at a time
std::set<Stream*> streams;
std::set<Event*> events;
std::map<Graph*, std::shared_ptr<Graph>> held;  // what captures made and nobody has ended
std::set<Ready*> ready;
std::map<uintptr_t, Allocation> memory;   // of the device, what was freed included
std::map<uintptr_t, size_t> locked;       // of the host
size_t used_bytes, reserved_bytes;
int lost;  // what every later call answers
bool is_running;
thread_local bool has_context;
thread_local int captures;  // that this thread has begun

int refuse(int code, const char* format, ...) {
  char line[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  fprintf(stderr, "the driver's stand-in refuses (%d): %s\n", code, line);
  return code;
}

// ---- pace

struct Pace {
  enum { kLate, kAtOnce, kMixed } kind = kMixed;
  uint64_t state = 0x9e3779b97f4a7c15;
  Pace() {
    const char* said = getenv("LOAM_DRIVER_PACE");
    if (!said) return;
    if (!strcmp(said, "late")) kind = kLate;
    else if (!strcmp(said, "at_once")) kind = kAtOnce;
    else state ^= strtoull(said, nullptr, 10) * 0xbf58476d1ce4e5b9;
  }
  uint64_t below(uint64_t limit) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (state >> 11) % limit;
  }
} pace;

void reach(Mark& mark);

// Launches that still succeed before one fails.
uint64_t launches_left = getenv("LOAM_DRIVER_LAUNCHES") ? strtoull(getenv("LOAM_DRIVER_LAUNCHES"), nullptr, 10) : ~0ull;

// Does the first thing that a stream was asked for.
void do_next(Stream& stream) {
  Work work = std::move(stream.asked.front());
  stream.asked.pop_front();
  if (work.waits) reach(*work.waits);
  if (!work.run || lost) return;
  is_running = true;
  const int failed = (work.kind == Work::kKernel && launches_left-- == 0) || work.run();
  is_running = false;
  if (failed) lost = refuse(kLaunchFailed, "%s failed: the device is lost", work.name.c_str());
}
void do_all(Stream& stream) { while (!stream.asked.empty()) do_next(stream); }
void reach(Mark& mark) { while (!mark.reached && !lost) do_next(*mark.stream); }

// Some of what was asked for is done now.
void pass_time() {
  if (pace.kind == Pace::kLate || is_running) return;
  if (pace.kind == Pace::kAtOnce) {
    for (Stream* stream : streams) do_all(*stream);
    return;
  }
  if (pace.below(3)) return;
  std::vector<Stream*> busy;
  for (Stream* stream : streams) if (!stream->asked.empty()) busy.push_back(stream);
  if (busy.empty()) return;
  Stream& stream = *busy[pace.below(busy.size())];
  for (uint64_t n = 1 + pace.below(8); n && !stream.asked.empty(); --n) do_next(stream);
}

// ---- what may be asked

#define ALONE std::lock_guard<std::recursive_mutex> alone(guard)

int usable(const char* what) {
  if (lost) return lost;
  return has_context ? kDone : refuse(kInvalidContext, "%s by a thread with no context", what);
}
// What may synchronize is refused to a thread that captures; cuStreamBeginCapture says so of its modes.
int uncaptured(const char* what) { return captures ? refuse(kCaptureUnsupported, "%s by a thread that captures", what) : kDone; }

int stream_of(void* handle, Stream** out, const char* what) {
  if (const int e = usable(what)) return e;
  *out = (Stream*)handle;
  if (!handle) return refuse(kInvalidHandle, "%s in the legacy stream, which orders all others", what);
  return streams.count(*out) ? kDone : refuse(kInvalidHandle, "%s in a stream that is none", what);
}
int event_of(void* handle, Event** out, const char* what) {
  if (const int e = usable(what)) return e;
  *out = (Event*)handle;
  return events.count(*out) ? kDone : refuse(kInvalidHandle, "%s of an event that is none", what);
}

// The device's memory that bytes belong to, and that nobody has freed.
int range_of(uint64_t at, size_t bytes, const char* what) {
  auto next = memory.upper_bound(at);
  if (next != memory.begin()) {
    const auto& [from, allocation] = *std::prev(next);
    if (at + bytes <= from + allocation.bytes)
      return allocation.ended ? refuse(kInvalidValue, "%s of memory that was freed", what) : kDone;
  }
  return refuse(kInvalidValue, "%s of %zu bytes at %#llx, which no allocation has", what, bytes, (unsigned long long)at);
}
bool is_locked(const void* at, size_t bytes) {
  auto next = locked.upper_bound((uintptr_t)at);
  if (next == locked.begin()) return false;
  const auto& [from, size] = *std::prev(next);
  return (uintptr_t)at + bytes <= from + size;
}

int put(Stream& stream, Work work) {
  if (!stream.capture) {
    stream.asked.push_back(std::move(work));
    pass_time();
    return lost;
  }
  if (stream.capturer != std::this_thread::get_id())
    return refuse(kCaptureWrongThread, "%s in a stream that another thread captures", work.name.c_str());
  if (stream.capture->broken) return kCaptureInvalidated;
  Graph& graph = *stream.capture;
  graph.nodes.push_back({std::move(work), stream.last});
  stream.last = {(unsigned)graph.nodes.size() - 1};
  return kDone;
}
int break_capture(Stream& stream, const char* what) {
  stream.capture->broken = true;
  return refuse(kCaptureUnsupported, "%s within a capture", what);
}

// Runs a graph's nodes in an order that its edges allow.
int replay(const Graph& graph) {
  std::vector<unsigned> left(graph.nodes.size());
  std::vector<std::vector<unsigned>> before(graph.nodes.size());
  std::vector<unsigned> can;
  for (unsigned n = 0; n < graph.nodes.size(); ++n) {
    left[n] = (unsigned)graph.nodes[n].after.size();
    for (unsigned a : graph.nodes[n].after) before[a].push_back(n);
    if (!left[n]) can.push_back(n);
  }
  while (!can.empty()) {
    std::swap(can[pace.below(can.size())], can.back());
    const unsigned n = can.back();
    can.pop_back();
    if (const int failed = graph.nodes[n].work.run()) return failed;
    for (unsigned next : before[n]) if (!--left[next]) can.push_back(next);
  }
  return 0;
}

// ---- the device's memory

size_t pages(size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

void touched(int signal, siginfo_t* info, void*) {
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

void watch_signals() {
  struct sigaction action{};
  action.sa_sigaction = touched, action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGSEGV, &action, nullptr), sigaction(SIGBUS, &action, nullptr);
}

}  // namespace

extern "C" {

int loam_stand_in_put(void* handle, const char* name, int (*run)(void*), void (*end)(void*), void* work) {
  ALONE;
  const std::shared_ptr<void> kept(work, end);
  Stream* stream;
  if (const int e = stream_of(handle, &stream, name)) return e;
  return put(*stream, {Work::kKernel, name, [kept, run] { return run(kept.get()); }, nullptr});
}

int cuInit(unsigned) { return kDone; }
int cuDriverGetVersion(int* out) { return *out = 13000, kDone; }
int cuGetErrorName(int code, const char** out) {
  *out = code == kDone ? "CUDA_SUCCESS" : code == kOutOfMemory ? "CUDA_ERROR_OUT_OF_MEMORY" : code == kLaunchFailed
       ? "CUDA_ERROR_LAUNCH_FAILED" : code == kCaptureUnsupported ? "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED" : "CUDA_ERROR";
  return kDone;
}
int cuGetErrorString(int, const char** out) { return *out = "the driver's stand-in says why on stderr", kDone; }

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

// ---- streams and events

int cuStreamCreate(void** out, unsigned flags) {
  ALONE;
  if (const int e = usable("cuStreamCreate")) return e;
  if (flags != 1) return refuse(kInvalidValue, "a stream that waits for the legacy one");
  Stream* stream = new Stream;
  streams.insert(stream);
  return *out = stream, kDone;
}
int cuStreamDestroy_v2(void* handle) {
  ALONE;
  Stream* stream;
  if (const int e = stream_of(handle, &stream, "cuStreamDestroy")) return e;
  if (stream->capture) return break_capture(*stream, "cuStreamDestroy");
  do_all(*stream);
  streams.erase(stream);
  delete stream;
  return lost;
}
int cuStreamSynchronize(void* handle) {
  ALONE;
  Stream* stream;
  if (const int e = stream_of(handle, &stream, "cuStreamSynchronize")) return e;
  if (stream->capture) return break_capture(*stream, "cuStreamSynchronize");
  do_all(*stream);
  return lost;
}
int cuEventCreate(void** out, unsigned) {
  ALONE;
  if (const int e = usable("cuEventCreate")) return e;
  Event* event = new Event;
  events.insert(event);
  return *out = event, kDone;
}
int cuEventDestroy_v2(void* handle) {
  ALONE;
  Event* event;
  if (const int e = event_of(handle, &event, "cuEventDestroy")) return e;
  events.erase(event);
  delete event;
  return kDone;
}
int cuEventRecord(void* of, void* in) {
  ALONE;
  Event* event;
  Stream* stream;
  if (const int e = event_of(of, &event, "cuEventRecord")) return e;
  if (const int e = stream_of(in, &stream, "cuEventRecord")) return e;
  event->capture = stream->capture, event->last = stream->last;
  if (stream->capture) return kDone;
  auto mark = std::make_shared<Mark>(Mark{stream, false, {}});
  event->mark = mark;
  return put(*stream, {Work::kOther, "cuEventRecord", [mark] { return mark->reached = true, mark->at = Clock::now(), 0; }, nullptr});
}
int cuEventSynchronize(void* of) {
  ALONE;
  Event* event;
  if (const int e = event_of(of, &event, "cuEventSynchronize")) return e;
  if (event->capture) return refuse(kCapturedEvent, "cuEventSynchronize of an event of a capture");
  if (event->mark) reach(*event->mark);
  return lost;
}
int cuEventElapsedTime_v2(float* ms, void* from, void* to) {
  ALONE;
  Event *first, *second;
  if (const int e = event_of(from, &first, "cuEventElapsedTime")) return e;
  if (const int e = event_of(to, &second, "cuEventElapsedTime")) return e;
  if (!first->mark || !second->mark || !first->mark->reached || !second->mark->reached)
    return refuse(600, "the time between events that were not reached");
  return *ms = std::chrono::duration<float, std::milli>(second->mark->at - first->mark->at).count(), lost;
}
int cuStreamWaitEvent(void* in, void* of, unsigned) {
  ALONE;
  Stream* stream;
  Event* event;
  if (const int e = stream_of(in, &stream, "cuStreamWaitEvent")) return e;
  if (const int e = event_of(of, &event, "cuStreamWaitEvent")) return e;
  if (!event->capture) {
    if (stream->capture) return stream->capture->broken = true, refuse(kCaptureIsolation, "a capture waits for what is none of it");
    if (!event->mark) return kDone;
    return put(*stream, {Work::kOther, "cuStreamWaitEvent", nullptr, event->mark});
  }
  if (stream->capture && stream->capture != event->capture) return refuse(kCaptureIsolation, "an event of another capture");
  if (!stream->capture)  // the fork: this stream is captured too
    stream->capture = event->capture, stream->capturer = std::this_thread::get_id(), stream->last.clear();
  for (unsigned n : event->last)
    if (std::find(stream->last.begin(), stream->last.end(), n) == stream->last.end()) stream->last.push_back(n);
  return kDone;
}

// ---- graphs

int cuStreamBeginCapture_v2(void* handle, int mode) {
  ALONE;
  Stream* stream;
  if (const int e = stream_of(handle, &stream, "cuStreamBeginCapture")) return e;
  if (stream->capture || mode != 1) return refuse(kCaptureUnmatched, "a second capture, or one that is not its thread's own");
  stream->capture = std::make_shared<Graph>(), stream->origin = true, stream->capturer = std::this_thread::get_id();
  stream->last.clear();
  ++captures;
  return kDone;
}
int cuStreamEndCapture(void* handle, void** out) {
  ALONE;
  *out = nullptr;
  Stream* stream;
  if (const int e = stream_of(handle, &stream, "cuStreamEndCapture")) return e;
  if (!stream->capture || !stream->origin) return refuse(kCaptureUnmatched, "no capture began on this stream");
  if (stream->capturer != std::this_thread::get_id()) return refuse(kCaptureWrongThread, "another thread began this capture");
  --captures;
  const std::shared_ptr<Graph> graph = stream->capture;
  std::vector<bool> joined(graph->nodes.size());
  for (unsigned n : stream->last) joined[n] = true;
  for (size_t n = joined.size(); n-- > 0;)
    if (joined[n]) for (unsigned before : graph->nodes[n].after) joined[before] = true;
  for (Stream* s : streams) if (s->capture == graph) s->capture = nullptr, s->origin = false, s->last.clear();
  if (graph->broken) return kCaptureInvalidated;
  if (std::count(joined.begin(), joined.end(), false)) return refuse(kCaptureUnjoined, "nodes that the first stream does not wait for");
  held[graph.get()] = graph;
  return *out = graph.get(), kDone;
}
int cuGraphInstantiateWithFlags(void** out, void* graph, unsigned long long) {
  ALONE;
  if (const int e = usable("cuGraphInstantiate")) return e;
  auto found = held.find((Graph*)graph);
  if (found == held.end()) return refuse(kInvalidHandle, "a graph that is none");
  Ready* made = new Ready{found->second};
  ready.insert(made);
  return *out = made, kDone;
}
int cuGraphUpload(void* handle, void* in) {
  ALONE;
  Stream* stream;
  if (const int e = stream_of(in, &stream, "cuGraphUpload")) return e;
  return ready.count((Ready*)handle) ? kDone : refuse(kInvalidHandle, "a graph that is not ready");
}
int cuGraphLaunch(void* handle, void* in) {
  ALONE;
  Stream* stream;
  if (const int e = stream_of(in, &stream, "cuGraphLaunch")) return e;
  if (!ready.count((Ready*)handle)) return refuse(kInvalidHandle, "a graph that is not ready");
  if (stream->capture) return break_capture(*stream, "cuGraphLaunch");
  return put(*stream, {Work::kKernel, "cuGraphLaunch", [graph = ((Ready*)handle)->graph] { return replay(*graph); }, nullptr});
}
int cuGraphExecDestroy(void* handle) {
  ALONE;
  if (!ready.erase((Ready*)handle)) return refuse(kInvalidHandle, "a graph that is not ready");
  delete (Ready*)handle;
  return kDone;
}
int cuGraphDestroy(void* handle) {
  ALONE;
  return held.erase((Graph*)handle) ? kDone : refuse(kInvalidHandle, "a graph that is none");
}
int cuGraphGetNodes(void* handle, void** out, size_t* count) {
  ALONE;
  auto found = held.find((Graph*)handle);
  if (found == held.end()) return refuse(kInvalidHandle, "a graph that is none");
  std::vector<Node>& nodes = found->second->nodes;
  for (size_t n = 0; out && n < *count && n < nodes.size(); ++n) out[n] = &nodes[n];
  return *count = nodes.size(), kDone;
}
int cuGraphNodeGetType(void* node, int* out) {
  const Work::Kind kind = ((Node*)node)->work.kind;
  return *out = kind == Work::kKernel ? 0 : kind == Work::kCopy ? 1 : kind == Work::kFill ? 2 : 5, kDone;
}
// CUDA_KERNEL_NODE_PARAMS_v2. A kernel's handle is its node.
struct Launch {
  void* function;
  unsigned grid[3], block[3], shared_bytes;
  void **parameters, **extra;
  void *kernel, *context;
};
int cuGraphKernelNodeGetParams_v2(void* node, Launch* out) {
  *out = {};
  return out->kernel = node, kDone;
}
int cuKernelGetName(const char** out, void* kernel) { return *out = ((Node*)kernel)->work.name.c_str(), kDone; }
int cuFuncGetName(const char**, void*) { return kInvalidHandle; }
int cuGraphNodeGetDependencies_v2(void* node, void**, void*, size_t* count) { return *count = ((Node*)node)->after.size(), kDone; }
}
