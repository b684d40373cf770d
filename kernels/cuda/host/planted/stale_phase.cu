// The second round waits for the phase of the first, which has ended long since.
#include "planted.cuh"

template <bool kFault> static __global__ void planted(const float* in, float* out, [[maybe_unused]] const float* neighbour, [[maybe_unused]] unsigned* ticket) {
  SHARED_BYTES(window);
  float* part = (float*)window;                  // [128]
  uint64_t* full = (uint64_t*)(window + 512);    // its barrier
  if (threadIdx.x == 0) ptx::mbarrier_init(full, 1), ptx::mbarrier_made();
  __syncthreads();
  float sum = 0;
  for (unsigned round = 0; round < 2; ++round) {
    if (threadIdx.x == 0) ptx::mbarrier_arrive_expect(full, 512), ptx::bulk_copy(part, in + round * 128, 512, full);
    ptx::mbarrier_wait(full, kFault ? 0 : round & 1);
    sum += part[127 - threadIdx.x];
    __syncthreads();
  }
  out[threadIdx.x] = sum;
}

PLANTED(stale_phase, {.name = "stale_phase", .grid = 1, .block = 128, .shared_bytes = (size_t)(520), .stream = p.stream})
