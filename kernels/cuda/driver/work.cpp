// Order: what streams were asked for, when it is done, and what may be asked.
#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "stand_in.h"

namespace stand_in {

std::recursive_mutex guard;
std::set<Stream*> streams, leaving;
std::set<Event*> events;
std::map<Graph*, std::shared_ptr<Graph>> held;
std::set<Ready*> ready;
std::map<uintptr_t, Allocation> memory;
std::map<uintptr_t, size_t> locked;
size_t used_bytes, reserved_bytes;
int lost;
static bool is_running;
thread_local bool has_context;
thread_local int captures;

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

static struct Pace {
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

uint64_t random_below(uint64_t limit) { return pace.below(limit); }

// Launches that still succeed before one fails.
static uint64_t launches_left = getenv("LOAM_DRIVER_LAUNCHES") ? strtoull(getenv("LOAM_DRIVER_LAUNCHES"), nullptr, 10) : ~0ull;

// Does the first thing that a stream was asked for.
static void do_next(Stream& stream) {
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
static void pass_time() {
  if (pace.kind == Pace::kLate || is_running) return;
  if (pace.kind == Pace::kAtOnce) {
    for (const auto* all : {&streams, &leaving}) for (Stream* stream : *all) do_all(*stream);
    return;
  }
  if (pace.below(3)) return;
  std::vector<Stream*> busy;
  for (const auto* all : {&streams, &leaving}) for (Stream* stream : *all) if (!stream->asked.empty()) busy.push_back(stream);
  if (busy.empty()) return;
  Stream& stream = *busy[pace.below(busy.size())];
  for (uint64_t n = 1 + pace.below(8); n && !stream.asked.empty(); --n) do_next(stream);
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
    std::swap(can[random_below(can.size())], can.back());
    const unsigned n = can.back();
    can.pop_back();
    if (const int failed = graph.nodes[n].work.run()) return failed;
    for (unsigned next : before[n]) if (!--left[next]) can.push_back(next);
  }
  return 0;
}

// ---- what may be asked

int usable(const char* what) {
  if (lost) return lost;
  return has_context ? kDone : refuse(kInvalidContext, "%s by a thread with no context", what);
}
// What may synchronize is refused to a thread that captures; cuStreamBeginCapture says so of its modes.
int uncaptured(const char* what) {
  if (!captures) return kDone;
  for (Stream* stream : streams)
    if (stream->capture && stream->capturer == std::this_thread::get_id()) stream->capture->broken = true;
  return refuse(kCaptureUnsupported, "%s by a thread that captures", what);
}

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

}  // namespace stand_in

using namespace stand_in;

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
}
