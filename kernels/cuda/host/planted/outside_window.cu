// A row too many of a pool that others have rows in.
#include "planted.cuh"

template <bool kFault> static __global__ void planted(const float* in, float* out, [[maybe_unused]] const float* neighbour, [[maybe_unused]] unsigned* ticket) {
  out[threadIdx.x] = in[threadIdx.x + (kFault ? 512 : 0)];
}

PLANTED(outside_window, {.name = "outside_window", .grid = 1, .block = 128, .shared_bytes = (size_t)(512), .stream = p.stream,
                        .windows = {reads(p.in, 512), writes(p.out, 1024)}})
