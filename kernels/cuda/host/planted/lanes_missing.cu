// A shuffle names lanes that have left.
#include "planted.cuh"

template <bool kFault> static __global__ void planted(const float* in, float* out, [[maybe_unused]] const float* neighbour, [[maybe_unused]] unsigned* ticket) {
  if (kFault && threadIdx.x % 32 >= 16) return;
  float v = in[threadIdx.x];
  v += __shfl_xor_sync(~0u, v, 1);
  out[threadIdx.x] = v;
}

PLANTED(lanes_missing, {.name = "lanes_missing", .grid = 1, .block = 128, .shared_bytes = (size_t)(512), .stream = p.stream})
