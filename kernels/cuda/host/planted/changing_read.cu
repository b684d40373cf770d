// Reads what its own block wrote by a load that is for values which do not change.
#include "planted.cuh"

template <bool kFault> static __global__ void planted(const float* in, float* out, [[maybe_unused]] const float* neighbour, unsigned*) {
  out[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  const uint4 four = ptx::load_16((kFault ? out : in) + threadIdx.x / 4 * 4);
  out[128 + threadIdx.x] = __uint_as_float(four.x);
}

PLANTED(changing_read, {.name = "changing_read", .grid = 1, .block = 128, .stream = p.stream})
