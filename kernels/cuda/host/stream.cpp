// Streams, events and graphs: what is launched runs at once, or, while a stream is captured, is noted down. A graph is the
// list of its nodes in the order in which they were noted, which is one of the orders that its edges allow.
#include <algorithm>
#include <mutex>

#include "state.h"
#include "device.h"

namespace emulation {

struct Node {
  enum Kind { kKernel, kCopy, kFill } kind;
  Order order;
  void* to;
  const void* from;
  size_t bytes;
  int value;
  std::vector<unsigned> after;  // nodes that must have ended
};
struct Graph { std::vector<Node> nodes; };
struct Stream {
  Graph* capture = nullptr;
  bool origin = false;
  std::vector<unsigned> last;  // what the next node comes after
};
struct Event {
  Graph* capture = nullptr;
  std::vector<unsigned> last;
};
static std::vector<Stream*> streams;  // to find branches that were not joined
static std::mutex of_streams;         // threads make streams of their own
static thread_local Stream default_stream;
static Stream* of(Stream* s) { return s ? s : &default_stream; }

static cudaError_t refuse(cudaError_t error, const char* name, const std::string& what) {
  report = text("[%s] ", name) + what;
  return error;
}

static cudaError_t check_range(const void* p, size_t bytes) {
  const Allocation* a = allocation_of((uintptr_t)p);
  if (bytes == 0 || (a && (uintptr_t)p + bytes <= a->from + a->bytes)) return cudaSuccess;
  return refuse(cudaErrorInvalidValue, "copy_outside_allocation", text("%zu bytes at ", bytes) + describe((uintptr_t)p));
}

static cudaError_t perform(const Node& node) {
  switch (node.kind) {
    case Node::kKernel: return run(node.order);
    case Node::kCopy: memcpy(node.to, node.from, node.bytes); return cudaSuccess;
    case Node::kFill: memset(node.to, node.value, node.bytes); return cudaSuccess;
  }
  return cudaErrorInvalidValue;
}

static cudaError_t add(Stream* stream, Node node) {
  Stream* s = of(stream);
  if (!s->capture) return perform(node);
  node.after = s->last;
  s->last = {(unsigned)s->capture->nodes.size()};
  s->capture->nodes.push_back(std::move(node));
  return cudaSuccess;
}

cudaError_t submit(cudaStream_t stream, Order order) { return add(stream, {Node::kKernel, std::move(order), nullptr, nullptr, 0, 0, {}}); }

}  // namespace emulation

using namespace emulation;

extern "C" {

int loam_device_allocate(size_t bytes, const char* what, void** out) { return allocate(bytes, what, out); }
int loam_device_free(void* p) { return release(p); }
int loam_device_write(Stream* s, void* to, const void* from, size_t bytes) {
  if (const int e = check_range(to, bytes)) return e;
  if (of(s)->capture) return refuse(cudaErrorStreamCaptureInvalidated, "copy_in_capture", "a copy from pageable memory inside a capture");
  return add(s, {Node::kCopy, {}, to, from, bytes, 0, {}});
}
int loam_device_read(Stream* s, void* to, const void* from, size_t bytes) {
  if (const int e = check_range(from, bytes)) return e;
  if (of(s)->capture) return refuse(cudaErrorStreamCaptureInvalidated, "copy_in_capture", "a copy to pageable memory inside a capture");
  return add(s, {Node::kCopy, {}, to, from, bytes, 0, {}});
}
int loam_device_copy(Stream* s, void* to, const void* from, size_t bytes) {
  if (const int e = check_range(to, bytes)) return e;
  if (const int e = check_range(from, bytes)) return e;
  return add(s, {Node::kCopy, {}, to, from, bytes, 0, {}});
}
int loam_device_fill(Stream* s, void* to, int value, size_t bytes) {
  if (const int e = check_range(to, bytes)) return e;
  return add(s, {Node::kFill, {}, to, nullptr, bytes, value, {}});
}

int loam_stream_create(Stream** out) {
  std::lock_guard<std::mutex> lock(of_streams);
  streams.push_back(*out = new Stream);
  return cudaSuccess;
}
void loam_stream_destroy(Stream* s) {
  std::lock_guard<std::mutex> lock(of_streams);
  streams.erase(std::find(streams.begin(), streams.end(), s));
  delete s;
}
int loam_stream_synchronize(Stream* s) {
  return of(s)->capture ? refuse(cudaErrorStreamCaptureInvalidated, "synchronize_in_capture", "a stream that is captured has nothing to wait for") : 0;
}
int loam_event_create(Event** out) { *out = new Event; return cudaSuccess; }
void loam_event_destroy(Event* e) { delete e; }
int loam_event_record(Event* e, Stream* s) { e->capture = of(s)->capture, e->last = of(s)->last; return cudaSuccess; }
int loam_stream_wait(Stream* stream, Event* e) {
  Stream* s = of(stream);
  if (!e->capture) return cudaSuccess;
  if (s->capture && s->capture != e->capture) return refuse(cudaErrorStreamCaptureInvalidated, "foreign_event", "an event of another capture");
  if (!s->capture) s->capture = e->capture, s->last.clear();  // the fork: this stream is captured too
  for (unsigned n : e->last) if (std::find(s->last.begin(), s->last.end(), n) == s->last.end()) s->last.push_back(n);
  return cudaSuccess;
}

int loam_capture_begin(Stream* stream) {
  if (stream->capture) return refuse(cudaErrorStreamCaptureInvalidated, "capture_twice", "this stream is captured already");
  stream->capture = new Graph, stream->origin = true;
  stream->last.clear();
  return cudaSuccess;
}
// Every node must come before what the first stream waits for, else a branch was forked and not joined.
int loam_capture_end(Stream* stream, Graph** out) {
  std::lock_guard<std::mutex> lock(of_streams);
  *out = nullptr;
  if (!stream->capture || !stream->origin) return refuse(cudaErrorStreamCaptureInvalidated, "no_capture", "no capture began on this stream");
  Graph* graph = stream->capture;
  std::vector<bool> joined(graph->nodes.size());
  for (unsigned n : stream->last) joined[n] = true;
  for (size_t n = graph->nodes.size(); n-- > 0;)
    if (joined[n]) for (unsigned before : graph->nodes[n].after) joined[before] = true;
  for (Stream* s : streams) if (s->capture == graph) s->capture = nullptr, s->origin = false, s->last.clear();
  const size_t loose = (size_t)std::count(joined.begin(), joined.end(), false);
  if (loose) {
    delete graph;
    return refuse(cudaErrorStreamCaptureUnjoined, "branch_not_joined", text("%zu nodes that the first stream does not wait for", loose));
  }
  *out = graph;
  return cudaSuccess;
}
int loam_graph_launch(Graph* g, Stream*) {
  for (const Node& node : g->nodes) if (const int e = perform(node)) return e;
  return cudaSuccess;
}
size_t loam_graph_nodes(const Graph* g) { return g->nodes.size(); }
const char* loam_graph_node(const Graph* g, size_t n) {
  const Node& node = g->nodes[n];
  return node.kind == Node::kKernel ? node.order.name : node.kind == Node::kCopy ? "copy" : "fill";
}
size_t loam_graph_waits(const Graph* g, size_t n) { return g->nodes[n].after.size(); }
void loam_graph_destroy(Graph* g) { delete g; }
}
