// Streams, events and graphs of the driver's stand-in.
#include <algorithm>
#include <cstdlib>

#include "stand_in.h"

using namespace stand_in;

extern "C" {

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
  streams.erase(stream);
  leaving.insert(stream);
  return lost;
}
int cuStreamSynchronize(void* handle) {
  ALONE;
  Stream* stream;
  if (const int e = stream_of(handle, &stream, "cuStreamSynchronize")) return e;
  if (stream->capture) return break_capture(*stream, "cuStreamSynchronize");
  if (const int e = uncaptured("cuStreamSynchronize")) return e;
  do_all(*stream);
  return lost;
}
int cuEventCreate(void** out, unsigned flags) {
  ALONE;
  if (const int e = usable("cuEventCreate")) return e;
  Event* event = new Event{!(flags & 2), nullptr, nullptr, {}};
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
  if (const int e = uncaptured("cuEventSynchronize")) return e;
  if (event->mark) reach(*event->mark);
  return lost;
}
int cuEventElapsedTime_v2(float* ms, void* from, void* to) {
  ALONE;
  Event *first, *second;
  if (const int e = event_of(from, &first, "cuEventElapsedTime")) return e;
  if (const int e = event_of(to, &second, "cuEventElapsedTime")) return e;
  if (!first->timed || !second->timed) return refuse(kInvalidHandle, "the time between events that note none");
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
  if (event->capture->ended) return refuse(kInvalidValue, "an event of a capture that has ended");
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
  static uint64_t left = getenv("LOAM_DRIVER_CAPTURES") ? strtoull(getenv("LOAM_DRIVER_CAPTURES"), nullptr, 10) : ~0ull;
  if (stream->capture || mode != 1) return refuse(kIllegalState, "a second capture, or one that is not its thread's own");
  if (left-- == 0) return left = 0, refuse(kCaptureUnsupported, "a capture: it records nothing");
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
  stream->capture->ended = true;
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
