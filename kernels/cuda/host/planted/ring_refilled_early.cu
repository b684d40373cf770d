// A ring whose consumers do not tell that a stage is empty, so that its producer fills it while they read.
#include "planted.cuh"

template <bool kFault> static __global__ void planted(const float* in, float* out, [[maybe_unused]] const float* neighbour, [[maybe_unused]] unsigned* ticket) {
  SHARED_BYTES(window);
  float* part = (float*)window;  // [128], filled by the last warp, read by the first three
  uint64_t *full = (uint64_t*)(window + 512), *empty = full + 1;
  if (threadIdx.x == 0) ptx::mbarrier_init(full, 1), ptx::mbarrier_init(empty, 96), ptx::mbarrier_made();
  __syncthreads();
  float sum = 0;
  for (unsigned round = 0; round < 3; ++round) {
    if (threadIdx.x == 96) {
      if (!kFault) ptx::mbarrier_wait(empty, (round & 1) ^ 1);
      ptx::mbarrier_arrive_expect(full, 512), ptx::bulk_copy(part, in + round * 128, 512, full);
    } else if (threadIdx.x < 96) {
      ptx::mbarrier_wait(full, round & 1);
      sum += part[95 - threadIdx.x];
      ptx::mbarrier_arrive(empty);
    }
  }
  out[threadIdx.x] = sum;
}

PLANTED(ring_refilled_early, {.name = "ring_refilled_early", .grid = 1, .block = 128, .shared_bytes = (size_t)(528), .stream = p.stream})
