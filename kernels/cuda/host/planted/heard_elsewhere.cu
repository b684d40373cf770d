// Blocks in pairs tell by tickets, and pairs by another: who hears the second knows what was told at the first, if its teller heard.
#include "planted.cuh"

template <bool kFault> static __global__ void planted(const float* in, float* out, [[maybe_unused]] const float* neighbour, unsigned* ticket) {
  SHARED_BYTES(window);
  unsigned* drawn = (unsigned*)window;
  unsigned* const pair = (unsigned*)out + 512 + blockIdx.x / 2;
  out[128 + blockIdx.x * 64 + threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  if (threadIdx.x == 0) *drawn = kFault ? atomicInc(pair, 1) : ptx::ticket_draw(pair, 1);
  __syncthreads();
  if (*drawn != 1) return;
  __syncthreads();
  if (threadIdx.x == 0) *drawn = ptx::ticket_draw(ticket, 1);
  __syncthreads();
  if (*drawn != 1) return;
  float sum = 0;
  for (int plane = 0; plane < 4; ++plane) sum += out[128 + plane * 64 + threadIdx.x];
  out[threadIdx.x] = sum;
}

PLANTED(heard_elsewhere, {.name = "heard_elsewhere", .grid = 4, .block = 64, .shared_bytes = (size_t)(256), .stream = p.stream})
