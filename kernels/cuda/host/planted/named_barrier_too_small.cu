// A named barrier orders the warps that come to it, and no other.
#include "planted.cuh"

template <bool kFault> static __global__ void planted(const float* in, float* out, [[maybe_unused]] const float* neighbour, [[maybe_unused]] unsigned* ticket) {
  SHARED_BYTES(window);
  float* part = (float*)window;
  part[threadIdx.x] = in[threadIdx.x];
  if (threadIdx.x < 64) ptx::barrier_wait(2, 64), out[threadIdx.x] = part[threadIdx.x ^ (kFault ? 64 : 32)];
}

PLANTED(named_barrier_too_small, {.name = "named_barrier_too_small", .grid = 1, .block = 128, .shared_bytes = (size_t)(512), .stream = p.stream})
