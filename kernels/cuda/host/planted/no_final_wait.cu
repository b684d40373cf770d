// The last group of copies is never waited for.
#include "planted.cuh"

template <bool kFault> static __global__ void planted(const float* in, float* out, [[maybe_unused]] const float* neighbour, [[maybe_unused]] unsigned* ticket) {
  SHARED_BYTES(window);
  float* part = (float*)window;  // [2 stages][128]
  auto load = [&](int stage) {
    if (threadIdx.x < 32) ptx::copy_async_16(part + stage * 128 + threadIdx.x * 4, in + stage * 128 + threadIdx.x * 4);
    ptx::copy_commit();
  };
  load(0), load(1);
  ptx::copy_wait<1>();
  __syncthreads();
  out[threadIdx.x] = part[127 - threadIdx.x];
  if (!kFault) ptx::copy_wait<0>();
}

PLANTED(no_final_wait, {.name = "no_final_wait", .grid = 1, .block = 128, .shared_bytes = (size_t)(1024), .stream = p.stream})
