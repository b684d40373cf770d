// One lane draws the ticket and tells the others the number, which does not tell them what was written before it.
#include "planted.cuh"

template <bool kFault> static __global__ void planted(const float* in, float* out, [[maybe_unused]] const float* neighbour, unsigned* ticket) {
  out[128 + blockIdx.x * 32 + threadIdx.x] = in[threadIdx.x];
  __syncwarp();
  unsigned drawn = 0;
  if (threadIdx.x == 0) drawn = ptx::ticket_draw(ticket, 3);
  drawn = __shfl_sync(~0u, drawn, 0);
  if (!kFault) __syncwarp();
  if (drawn != 3) return;
  float sum = 0;
  for (int plane = 0; plane < 4; ++plane) sum += out[128 + plane * 32 + threadIdx.x];
  out[threadIdx.x] = sum;
}

PLANTED(heard_by_one, {.name = "heard_by_one", .grid = 4, .block = 32, .stream = p.stream})
