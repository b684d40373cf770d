// Half of the block comes to a barrier.
#include "planted.cuh"

template <bool kFault> static __global__ void planted(const float* in, float* out, [[maybe_unused]] const float* neighbour, [[maybe_unused]] unsigned* ticket) {
  if (!kFault || threadIdx.x < 64) __syncthreads();
  out[threadIdx.x] = in[threadIdx.x];
}

PLANTED(barrier_not_reached, {.name = "barrier_not_reached", .grid = 1, .block = 128, .shared_bytes = (size_t)(512), .stream = p.stream})
