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
// LOAM_DRIVER_CAPTURES: captures beyond so many are refused.
// LOAM_DRIVER_LAUNCHES: a launch after so many fails as a fault of a kernel does, and the device is lost.
#pragma once
#include <chrono>
#include <cstdint>
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

namespace stand_in {

enum Code : int {
  kDone = 0, kInvalidValue = 1, kOutOfMemory = 2, kInvalidDevice = 101, kInvalidContext = 201,
  kInvalidHandle = 400, kIllegalState = 401, kLaunchFailed = 719, kCaptureUnsupported = 900, kCaptureInvalidated = 901, kCaptureUnmatched = 903,
  kCaptureUnjoined = 904, kCaptureIsolation = 905, kCapturedEvent = 907, kCaptureWrongThread = 908,
};

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
  bool ended = false;   // its capture is over
};
struct Stream {
  std::deque<Work> asked;
  std::shared_ptr<Graph> capture;
  bool origin = false;
  std::thread::id capturer;
  std::vector<unsigned> last;  // what the next node comes after
};
struct Event {
  bool timed;
  std::shared_ptr<Mark> mark;
  std::shared_ptr<Graph> capture;
  std::vector<unsigned> last;
};
struct Ready { std::shared_ptr<Graph> graph; };
struct Allocation {
  size_t bytes;
  bool ended = false;  // a free was asked for
};

extern std::recursive_mutex guard;  // one thing at a time: every function holds it
extern std::set<Stream*> streams;
extern std::set<Stream*> leaving;  // streams that were destroyed with work to do
extern std::set<Event*> events;
extern std::map<Graph*, std::shared_ptr<Graph>> held;  // what captures made and nobody has ended
extern std::set<Ready*> ready;
extern std::map<uintptr_t, Allocation> memory;   // of the device, what was freed included
extern std::map<uintptr_t, size_t> locked;       // of the host
extern size_t used_bytes, reserved_bytes;
extern int lost;  // what every later call answers
extern thread_local bool has_context;
extern thread_local int captures;  // that this thread has begun

// Says on stderr why, and returns the code.
int refuse(int code, const char* format, ...) __attribute__((format(printf, 2, 3)));

// ---- order
uint64_t random_below(uint64_t limit);
void do_all(Stream& stream);
void reach(Mark& mark);
int put(Stream& stream, Work work);  // into the stream's order, or the capture that notes it down
int break_capture(Stream& stream, const char* what);
int replay(const Graph& graph);

// ---- what may be asked
#define ALONE std::lock_guard<std::recursive_mutex> alone(guard)
int usable(const char* what);      // by this thread: it has a context, and the device is not lost
int uncaptured(const char* what);  // by this thread, whose captures it breaks otherwise
// What a handle names, if this thread may use it.
int stream_of(void* handle, Stream** out, const char* what);
int event_of(void* handle, Event** out, const char* what);

}  // namespace stand_in
