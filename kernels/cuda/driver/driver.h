// What kernels and the library of products ask of the stand-in beyond what NVIDIA's driver offers.
#pragma once
#include <cstddef>

extern "C" {
// Puts work into a stream's order, or, while the stream is captured, into its graph, where `run` is called once for each
// replay. `run` returns 0, or the device is lost. `end` is called once, when nobody can run it any more.
int loam_stand_in_put(void* stream, const char* name, int (*run)(void*), void (*end)(void*), void* work);
// Whether so many bytes are the device's, of one allocation that nobody has freed; if not, `what` is refused.
bool loam_stand_in_holds(const void* at, size_t bytes, const char* what);
}
