// One of the two warps that a named barrier counts does not come.
#include "planted.cuh"

template <bool kFault> static __global__ void planted(const float* in, float* out, [[maybe_unused]] const float* neighbour, [[maybe_unused]] unsigned* ticket) {
  SHARED_BYTES(window);
  float* part = (float*)window;
  part[threadIdx.x] = in[threadIdx.x];
  if (threadIdx.x < 32) ptx::barrier_wait(1, 64), out[threadIdx.x] = part[threadIdx.x + 32];
  else if (threadIdx.x < (kFault ? 32 : 64)) ptx::barrier_arrive(1, 64);
}

PLANTED(named_barrier_not_reached, {.name = "named_barrier_not_reached", .grid = 1, .block = 128, .shared_bytes = (size_t)(512), .stream = p.stream})
