// The same, by an instruction of ptx.cuh.
#include "planted.cuh"

template <bool kFault> static __global__ void planted(const float* in, float* out, [[maybe_unused]] const float* neighbour, [[maybe_unused]] unsigned* ticket) {
  const uint4 v = ptx::load_once_16(in + threadIdx.x * 4 + (kFault ? 1 : 0));
  ptx::store_once_16(out + threadIdx.x * 4, v);
}

PLANTED(misaligned_load, {.name = "misaligned_load", .grid = 1, .block = 128, .shared_bytes = (size_t)(512), .stream = p.stream})
