// The phase expects more bytes than are copied.
#include "planted.cuh"

template <bool kFault> static __global__ void planted(const float* in, float* out, [[maybe_unused]] const float* neighbour, [[maybe_unused]] unsigned* ticket) {
  SHARED_BYTES(window);
  float* part = (float*)window;                  // [128]
  uint64_t* full = (uint64_t*)(window + 512);    // its barrier
  if (threadIdx.x == 0) ptx::mbarrier_init(full, 1), ptx::mbarrier_made();
  __syncthreads();
  if (threadIdx.x == 0) ptx::mbarrier_arrive_expect(full, 512), ptx::bulk_copy(part, in, kFault ? 256 : 512, full);
  ptx::mbarrier_wait(full, 0);
  out[threadIdx.x] = part[threadIdx.x];
}

PLANTED(bytes_missing, {.name = "bytes_missing", .grid = 1, .block = 128, .shared_bytes = (size_t)(520), .stream = p.stream})
