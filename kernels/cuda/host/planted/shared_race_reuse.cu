// A tile is filled again while others still read it.
#include "planted.cuh"

template <bool kFault> static __global__ void planted(const float* in, float* out, [[maybe_unused]] const float* neighbour, [[maybe_unused]] unsigned* ticket) {
  SHARED_BYTES(window);
  float* part = (float*)window;
  float sum = 0;
  for (int round = 0; round < 2; ++round) {
    part[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    sum += part[127 - threadIdx.x];
    if (!kFault) __syncthreads();
  }
  out[threadIdx.x] = sum;
}

PLANTED(shared_race_reuse, {.name = "shared_race_reuse", .grid = 1, .block = 128, .shared_bytes = (size_t)(512), .stream = p.stream})
