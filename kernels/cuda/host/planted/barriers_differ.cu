// The halves of a block meet at two barriers that are not the same one.
#include "planted.cuh"

template <bool kFault> static __global__ void planted(const float* in, float* out, [[maybe_unused]] const float* neighbour, [[maybe_unused]] unsigned* ticket) {
  if (kFault && threadIdx.x < 64) __syncthreads();
  else __syncthreads();
  out[threadIdx.x] = in[threadIdx.x];
}

PLANTED(barriers_differ, {.name = "barriers_differ", .grid = 1, .block = 128, .shared_bytes = (size_t)(512), .stream = p.stream})
