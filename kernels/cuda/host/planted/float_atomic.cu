// A floating-point sum in whatever order.
#include "planted.cuh"

template <bool kFault> static __global__ void planted(const float* in, float* out, [[maybe_unused]] const float* neighbour, unsigned* ticket) {
  if (kFault) atomicAdd(out, in[threadIdx.x]);
  else atomicAdd(ticket, 1u);
}

PLANTED(float_atomic, {.name = "float_atomic", .grid = 1, .block = 128, .shared_bytes = (size_t)(512), .stream = p.stream})
