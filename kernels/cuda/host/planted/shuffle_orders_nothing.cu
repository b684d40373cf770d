// A shuffle is taken for a __syncwarp.
#include "planted.cuh"

template <bool kFault> static __global__ void planted(const float* in, float* out, [[maybe_unused]] const float* neighbour, [[maybe_unused]] unsigned* ticket) {
  SHARED_BYTES(window);
  float* part = (float*)window;
  part[threadIdx.x] = in[threadIdx.x];
  if (kFault) __shfl_sync(~0u, 0, 0);
  else __syncwarp();
  out[threadIdx.x] = part[threadIdx.x ^ 1];
}

PLANTED(shuffle_orders_nothing, {.name = "shuffle_orders_nothing", .grid = 1, .block = 128, .shared_bytes = (size_t)(512), .stream = p.stream})
