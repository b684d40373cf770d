// A thread reads from memory what another one wrote, with no barrier between.
#include "planted.cuh"

template <bool kFault> static __global__ void planted(const float* in, float* out, [[maybe_unused]] const float* neighbour, [[maybe_unused]] unsigned* ticket) {
  out[threadIdx.x] = in[threadIdx.x];
  if (!kFault) __syncthreads();
  out[128 + threadIdx.x] = out[127 - threadIdx.x];
}

PLANTED(global_race, {.name = "global_race", .grid = 1, .block = 128, .shared_bytes = (size_t)(512), .stream = p.stream})
