// Lanes call the same shuffle with different masks.
#include "planted.cuh"

template <bool kFault> static __global__ void planted(const float* in, float* out, [[maybe_unused]] const float* neighbour, [[maybe_unused]] unsigned* ticket) {
  const float v = in[threadIdx.x];
  const unsigned mask = kFault && threadIdx.x % 32 < 16 ? 0xffffu : ~0u;
  out[threadIdx.x] = __shfl_xor_sync(mask, v, 1);
}

PLANTED(mask_differs, {.name = "mask_differs", .grid = 1, .block = 128, .shared_bytes = (size_t)(512), .stream = p.stream})
