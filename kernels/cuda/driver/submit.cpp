// Launches of the emulation, in the order of the driver's stand-in. It takes the place of host/stream.cpp.
#include "device.h"
#include "driver.h"
#include "state.h"

namespace emulation {

cudaError_t submit(cudaStream_t stream, Order order) {
  const auto perform = [](void* order) {
    const int failed = run(*(Order*)order);
    if (failed) fprintf(stderr, "emulation: %s\n", report.c_str());
    return failed;
  };
  for (const Window& window : order.windows)
    if (!loam_stand_in_holds((const void*)window.from, window.to - window.from, order.name)) return cudaErrorLaunchFailure;
  auto* kept = new Order(std::move(order));
  return loam_stand_in_put(stream, kept->name, perform, [](void* order) { delete (Order*)order; }, kept);
}

}  // namespace emulation

extern "C" {
// Of the CUDA runtime, on which launchers stand.
const char* cudaGetErrorName(int) { return "cudaError"; }
const char* cudaGetErrorString(int) { return "said on stderr"; }
}
