// What is only to be read is written.
#include "planted.cuh"

template <bool kFault> static __global__ void planted(const float* in, float* out, [[maybe_unused]] const float* neighbour, [[maybe_unused]] unsigned* ticket) {
  out[threadIdx.x] = in[threadIdx.x];
  if (kFault) const_cast<float*>(in)[threadIdx.x] = 0;
}

PLANTED(write_to_input, {.name = "write_to_input", .grid = 1, .block = 128, .shared_bytes = (size_t)(512), .stream = p.stream,
                        .windows = {reads(p.in, 512), writes(p.out, 1024)}})
