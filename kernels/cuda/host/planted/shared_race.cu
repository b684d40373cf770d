// The barrier between writing and reading a tile is missing.
#include "planted.cuh"

template <bool kFault> static __global__ void planted(const float* in, float* out, [[maybe_unused]] const float* neighbour, [[maybe_unused]] unsigned* ticket) {
  SHARED_BYTES(window);
  float* part = (float*)window;
  part[threadIdx.x] = in[threadIdx.x];
  if (!kFault) __syncthreads();
  out[threadIdx.x] = part[127 - threadIdx.x];
}

PLANTED(shared_race, {.name = "shared_race", .grid = 1, .block = 128, .shared_bytes = (size_t)(512), .stream = p.stream})
