// An index of 64 bits lands in the allocation of somebody else.
#include "planted.cuh"

template <bool kFault> static __global__ void planted(const float* in, float* out, const float* neighbour, [[maybe_unused]] unsigned* ticket) {
  const ptrdiff_t away = kFault ? neighbour - in : 0;
  out[threadIdx.x] = in[away + threadIdx.x];
}

PLANTED(neighbour_allocation, {.name = "neighbour_allocation", .grid = 1, .block = 128, .shared_bytes = (size_t)(512), .stream = p.stream,
                        .windows = {reads(p.in, 512), writes(p.out, 1024)}})
