// A kernel with programmatic dependence never waits.
#include "planted.cuh"

template <bool kFault> static __global__ void planted(const float* in, float* out, [[maybe_unused]] const float* neighbour, [[maybe_unused]] unsigned* ticket) {
  const float v = in[threadIdx.x];
  if (!kFault) ptx::dependency_wait(), out[threadIdx.x] = v;
}

PLANTED(no_dependency_wait, {.name = "no_dependency_wait", .grid = 1, .block = 128, .shared_bytes = (size_t)(512), .stream = p.stream, .programmatic = true})
