// The launcher gives the window 64 bytes too few.
#include "planted.cuh"

template <bool kFault> static __global__ void planted(const float* in, float* out, [[maybe_unused]] const float* neighbour, [[maybe_unused]] unsigned* ticket) {
  SHARED_BYTES(window);
  float* part = (float*)window;
  part[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = part[127 - threadIdx.x];
}

PLANTED(outside_shared_window, {.name = "outside_shared_window", .grid = 1, .block = 128, .shared_bytes = (size_t)(fault ? 448 : 512), .stream = p.stream})
