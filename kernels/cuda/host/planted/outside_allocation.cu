// The last thread reads one value too far.
#include "planted.cuh"

template <bool kFault> static __global__ void planted(const float* in, float* out, [[maybe_unused]] const float* neighbour, [[maybe_unused]] unsigned* ticket) {
  out[threadIdx.x] = in[threadIdx.x + (kFault ? 898 : 896) - 1];
}

PLANTED(outside_allocation, {.name = "outside_allocation", .grid = 1, .block = 128, .shared_bytes = (size_t)(512), .stream = p.stream})
