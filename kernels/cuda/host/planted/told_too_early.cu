// The last block, by ticket, adds the planes; a ticket is drawn before all of the block have written theirs.
#include "planted.cuh"

template <bool kFault> static __global__ void planted(const float* in, float* out, [[maybe_unused]] const float* neighbour, unsigned* ticket) {
  SHARED_BYTES(window);
  unsigned* last = (unsigned*)window;
  out[128 + blockIdx.x * 128 + threadIdx.x] = in[threadIdx.x];
  if (!kFault) __syncthreads();
  if (threadIdx.x == 0) *last = ptx::ticket_draw(ticket, 3);
  __syncthreads();
  if (*last != 3) return;
  float sum = 0;
  for (int plane = 0; plane < 4; ++plane) sum += out[128 + plane * 128 + threadIdx.x];
  out[threadIdx.x] = sum;
}

PLANTED(told_too_early, {.name = "told_too_early", .grid = 4, .block = 128, .shared_bytes = (size_t)(512), .stream = p.stream})
