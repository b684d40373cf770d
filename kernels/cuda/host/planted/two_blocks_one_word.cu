// Blocks overlap by one value.
#include "planted.cuh"

template <bool kFault> static __global__ void planted(const float* in, float* out, [[maybe_unused]] const float* neighbour, [[maybe_unused]] unsigned* ticket) {
  out[blockIdx.x * (kFault ? 127 : 128) + threadIdx.x] = in[threadIdx.x];
}

PLANTED(two_blocks_one_word, {.name = "two_blocks_one_word", .grid = 2, .block = 128, .shared_bytes = (size_t)(512), .stream = p.stream})
