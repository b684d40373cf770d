// What sampling and scoring share: how a row of logits is seen, tile by tile, and what is said of a token when all of it was.
//
// Powers are whole numbers, parts in 2^40 of the greatest one's. Their sums have the same bits in any order: by threads, by warps,
// one tile after the other or all at once. So a token has one log-probability, whether it was sampled or scored.
#pragma once
#include <cfloat>

#include "kernels.h"
#include "launch.cuh"
#include "vectors.cuh"

// Neighbouring tokens that are seen together.
constexpr int kTileTokens = 1024;
// The logit of what cannot come.
constexpr float kNothing = -INFINITY;

using Whole = unsigned long long;

// Minus infinity where a logit is not a number, the greatest number where it is infinite.
static __device__ __forceinline__ float counted(float logit) { return fminf(fmaxf(logit, kNothing), FLT_MAX); }

// e^power as a whole number; of powers at most 0.
static __device__ __forceinline__ Whole whole_exp(float power) { return (Whole)(expf(power) * 0x1p40f); }

// A vector of logits as they count; beyond the row's end, what cannot come.
static __device__ __forceinline__ void load_logits(const float* from, int count, float (&to)[kVector]) {
  load_vector(from, count, to);
  UNROLL
  for (int i = 0; i < kVector; ++i) to[i] = i < count ? counted(to[i]) : kNothing;
}

// All threads' values as one, which all threads get; `part` is shared memory with room for one value of each warp.
template <class T, class Join> static __device__ __forceinline__ T block_fold(T v, void* part, Join join) {
  for (int other = 16; other > 0; other /= 2) v = join(v, __shfl_xor_sync(0xffffffffu, v, other));
  __syncthreads();
  if (threadIdx.x % 32 == 0) ((T*)part)[threadIdx.x / 32] = v;
  __syncthreads();
  v = ((T*)part)[0];
  for (unsigned warp = 1; warp < blockDim.x / 32; ++warp) v = join(v, ((T*)part)[warp]);
  return v;
}
template <class T> static __device__ __forceinline__ T block_sum(T v, void* part) {
  return block_fold(v, part, [](T a, T b) { return a + b; });
}
static __device__ __forceinline__ float block_max(float v, void* part) {
  return block_fold(v, part, [](float a, float b) { return fmaxf(a, b); });
}

// Threads of a block that sees a tile, a vector each.
static inline unsigned tile_threads(int width) { return (min(width, kTileTokens) + kVector * 32 - 1) / (kVector * 32) * 32; }

// Notes the greatest of a tile's logits, of which this thread has a vector, and the sum of `e^(logit - greatest)`. Gives the greatest.
static __device__ __forceinline__ float see(const float (&logits)[kVector], float* peak_at, Whole* sum_at, void* part) {
  float own = logits[0];
  UNROLL
  for (int i = 1; i < kVector; ++i) own = fmaxf(own, logits[i]);
  const float peak = block_max(own, part);
  Whole sum = 0;
  if (peak > kNothing) {
    UNROLL
    for (int i = 0; i < kVector; ++i) sum += whole_exp(logits[i] - peak);
  }
  sum = block_sum(sum, part);
  if (threadIdx.x == 0) *peak_at = peak, *sum_at = sum;
  return peak;
}

// log sum_t e^(logit[t] - peak) over all tiles of a row. For a whole warp: each lane its tiles in order, then lanes by halves.
static __device__ __forceinline__ double log_sum(const float* peaks, const Whole* sums, int tiles, float peak) {
  double sum = 0;
  for (int tile = threadIdx.x % 32; tile < tiles; tile += 32)
    if (peaks[tile] > kNothing) sum += (double)sums[tile] * exp((double)peaks[tile] - peak);
  for (int other = 16; other > 0; other /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, other);
  return log(sum * 0x1p-40);
}

// Minus infinity also where every logit is: nothing is probable there.
static __device__ __forceinline__ float log_probability(float logit, float peak, double log_sum) {
  return logit == kNothing ? logit : (float)((double)logit - peak - log_sum);
}
