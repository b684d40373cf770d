// A thread waits for its own copies and reads those of others.
#include "planted.cuh"

template <bool kFault> static __global__ void planted(const float* in, float* out, [[maybe_unused]] const float* neighbour, [[maybe_unused]] unsigned* ticket) {
  SHARED_BYTES(window);
  float* part = (float*)window;  // [2 stages][128]
  auto load = [&](int stage) {
    if (threadIdx.x < 32) ptx::copy_async_16(part + stage * 128 + threadIdx.x * 4, in + stage * 128 + threadIdx.x * 4);
    ptx::copy_commit();
  };
  load(0);
  ptx::copy_wait<0>();
  if (!kFault) __syncthreads();
  out[threadIdx.x] = part[127 - threadIdx.x];
}

PLANTED(wait_without_barrier, {.name = "wait_without_barrier", .grid = 1, .block = 128, .shared_bytes = (size_t)(1024), .stream = p.stream})
