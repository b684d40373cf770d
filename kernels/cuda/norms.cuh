// What norms share: the sum over a row, and the row normed by it.
#pragma once
#include "launch.cuh"
#include "vectors.cuh"

// Halves of lanes; all lanes have the same.
static __device__ __forceinline__ float warp_sum(float v) {
  for (int other = 16; other > 0; other /= 2) v += __shfl_xor_sync(0xffffffffu, v, other);
  return v;
}

// Lanes, then warps in order; all threads have the same. `part[kWarps]` is shared memory that nobody else uses.
template <int kWarps> static __device__ __forceinline__ float block_sum(float v, float* part) {
  v = warp_sum(v);
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = v;
  __syncthreads();
  float sum = 0;
  for (int warp = 0; warp < kWarps; ++warp) sum += part[warp];
  return sum;
}

static __device__ __forceinline__ float inverse_norm(float squares, int width, float epsilon) { return 1.0f / sqrtf(squares / (float)width + epsilon); }

static __device__ __forceinline__ void add_squares(const float (&v)[kVector], float& sum) {
  UNROLL
  for (int i = 0; i < kVector; ++i) sum += v[i] * v[i];
}

// A vector of weights. Kernels look at its type themselves: it is read once for each row, and one kernel for each type would be
// thrice as many.
struct Weights {
  const void* at;
  LoamType type;
};
static inline Window constant(const Weights& weights, size_t count) { return {weights.at, count * (weights.type == LOAM_F32 ? 4 : 2), Window::kConstant}; }

// out[i] = from[i] inverse weight[i]; each of `threads` has the vectors that it had in the sum.
template <class X, class Out>
static __device__ __forceinline__ void write_normed(const X* from, const Weights& weights, Out* out, int width, float inverse, int thread, int threads) {
  with_weight(weights.type, [&](auto w) {
    const auto* const weight = (const decltype(w)*)weights.at;
    for (int column = thread * kVector; column < width; column += threads * kVector) {
      float v[kVector], each[kVector];
      load_vector(from + column, width - column, v);
      load_vector(weight + column, width - column, each);
      UNROLL
      for (int i = 0; i < kVector; ++i) v[i] = v[i] * inverse * each[i];
      store_vector(out + column, width - column, v);
    }
  });
}
