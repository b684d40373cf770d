// What the kernel before computes is read before the wait for it.
#include "planted.cuh"

template <bool kFault> static __global__ void planted([[maybe_unused]] const float* in, float* out, const float* neighbour, [[maybe_unused]] unsigned* ticket) {
  float v = kFault ? neighbour[threadIdx.x] : 0;
  ptx::dependency_wait();
  if (!kFault) v = neighbour[threadIdx.x];
  out[threadIdx.x] = v;
}

PLANTED(read_before_dependency, {.name = "read_before_dependency", .grid = 1, .block = 128, .shared_bytes = (size_t)(512), .stream = p.stream, .programmatic = true})
