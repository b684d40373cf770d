// A flag is waited for that nobody sets.
#include "planted.cuh"

template <bool kFault> static __global__ void planted(const float* in, float* out, [[maybe_unused]] const float* neighbour, unsigned* ticket) {
  if (!kFault && threadIdx.x == 0) ptx::flag_set(ticket, 1);
  __syncthreads();
  if (threadIdx.x == 0) ptx::spin_until([=] { return ptx::flag_read(ticket) != 0; });
  out[threadIdx.x] = in[threadIdx.x];
}

PLANTED(spin_without_end, {.name = "spin_without_end", .grid = 1, .block = 128, .shared_bytes = (size_t)(512), .stream = p.stream})
