// What kernels/src/cuda/ffi.rs calls of the emulated device. Functions return a cudaError_t; what went wrong is said by
// loam_emulation_report, in words, to the thread that asked.
#pragma once
#include <cstddef>
#include <cstdint>

namespace emulation { struct Stream; struct Event; struct Graph; }

extern "C" {
int loam_device_allocate(size_t bytes, const char* what, void** out);
int loam_device_free(void* p);
int loam_device_write(emulation::Stream* s, void* to, const void* from, size_t bytes);
int loam_device_read(emulation::Stream* s, void* to, const void* from, size_t bytes);
int loam_device_copy(emulation::Stream* s, void* to, const void* from, size_t bytes);
int loam_device_fill(emulation::Stream* s, void* to, int value, size_t bytes);
int loam_stream_create(emulation::Stream** out);
void loam_stream_destroy(emulation::Stream* s);
int loam_stream_synchronize(emulation::Stream* s);
int loam_event_create(emulation::Event** out);
void loam_event_destroy(emulation::Event* e);
int loam_event_record(emulation::Event* e, emulation::Stream* s);
int loam_stream_wait(emulation::Stream* s, emulation::Event* e);
int loam_capture_begin(emulation::Stream* s);
int loam_capture_end(emulation::Stream* s, emulation::Graph** out);
int loam_graph_launch(emulation::Graph* g, emulation::Stream* s);
size_t loam_graph_nodes(const emulation::Graph* g);
const char* loam_graph_node(const emulation::Graph* g, size_t n);
size_t loam_graph_waits(const emulation::Graph* g, size_t n);
void loam_graph_destroy(emulation::Graph* g);
const char* loam_emulation_report();
int loam_emulation_checked();
void loam_emulation_seed(uint64_t value);
void loam_emulation_counts(uint64_t out[4]);
}
