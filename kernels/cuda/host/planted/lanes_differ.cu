// Half of a warp is at another shuffle than the rest.
#include "planted.cuh"

template <bool kFault> static __global__ void planted(const float* in, float* out, [[maybe_unused]] const float* neighbour, [[maybe_unused]] unsigned* ticket) {
  float v = in[threadIdx.x];
  if (kFault && threadIdx.x % 32 < 16) v += __shfl_xor_sync(~0u, v, 1);
  else v += __shfl_xor_sync(~0u, v, 2);
  out[threadIdx.x] = v;
}

PLANTED(lanes_differ, {.name = "lanes_differ", .grid = 1, .block = 128, .shared_bytes = (size_t)(512), .stream = p.stream})
