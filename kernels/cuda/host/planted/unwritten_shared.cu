// The last of the partial sums that are added was never written.
#include "planted.cuh"

template <bool kFault> static __global__ void planted(const float* in, float* out, [[maybe_unused]] const float* neighbour, [[maybe_unused]] unsigned* ticket) {
  SHARED_BYTES(window);
  float* part = (float*)window;
  if (!kFault || threadIdx.x < 127) part[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = part[127 - threadIdx.x];
}

PLANTED(unwritten_shared, {.name = "unwritten_shared", .grid = 1, .block = 128, .shared_bytes = (size_t)(512), .stream = p.stream})
