// A vector is read at an address that is no multiple of its size.
#include "planted.cuh"

template <bool kFault> static __global__ void planted(const float* in, float* out, [[maybe_unused]] const float* neighbour, [[maybe_unused]] unsigned* ticket) {
  const float4 v = *(const float4*)(in + threadIdx.x * 4 + (kFault ? 2 : 0));
  *(float4*)(out + threadIdx.x * 4) = v;
}

PLANTED(misaligned, {.name = "misaligned", .grid = 1, .block = 128, .shared_bytes = (size_t)(512), .stream = p.stream})
