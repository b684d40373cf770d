// The barrier after mbarrier.init is missing.
#include "planted.cuh"

template <bool kFault> static __global__ void planted(const float* in, float* out, [[maybe_unused]] const float* neighbour, [[maybe_unused]] unsigned* ticket) {
  SHARED_BYTES(window);
  uint64_t* full = (uint64_t*)window;
  if (threadIdx.x == 0) ptx::mbarrier_init(full, 128), ptx::mbarrier_made();
  if (!kFault) __syncthreads();
  ptx::mbarrier_arrive(full);
  ptx::mbarrier_wait(full, 0);
  out[threadIdx.x] = in[threadIdx.x];
}

PLANTED(mbarrier_not_ready, {.name = "mbarrier_not_ready", .grid = 1, .block = 128, .shared_bytes = (size_t)(512), .stream = p.stream})
