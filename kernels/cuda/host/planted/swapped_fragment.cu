// Results are stored with the roles of a fragment's rows and columns swapped: the reference sees it.
#include "planted.cuh"

template <bool kFault> static __global__ void planted(const float* in, float* out, [[maybe_unused]] const float* neighbour, [[maybe_unused]] unsigned* ticket) {
  SHARED_BYTES(window);
  bf16* tile = (bf16*)window;  // a [16][16], then b [8][16]
  for (int i = threadIdx.x; i < 384; i += 32) tile[i] = __float2bfloat16(in[i]);
  __syncthreads();
  const int lane = threadIdx.x;
  uint32_t a[4], b[2];
  ptx::load_matrix_x4(a, tile + (lane % 16) * 16 + lane / 16 * 8);
  ptx::load_matrix_x2(b, tile + 256 + (lane % 8) * 16 + lane / 8 % 2 * 8);
  float d[4] = {};
  ptx::multiply_16x8x16_bf16(d, a, b);
  for (int i = 0; i < 4; ++i) out[(lane / 4 + (kFault ? i % 2 : i / 2) * 8) * 8 + lane % 4 * 2 + (kFault ? i / 2 : i % 2)] = d[i];
}

PLANTED(swapped_fragment, {.name = "swapped_fragment", .grid = 1, .block = 32, .shared_bytes = (size_t)(768), .stream = p.stream})
