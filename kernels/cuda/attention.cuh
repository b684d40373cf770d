// What prefill and decode share: up to 16 queries of one head of keys walk tiles of 64 positions.
//
// A block's shared memory is a walk, which knows how queries meet a tile: `Dots` (attention_dots.cuh) in f32, `Products`
// (attention_products.cuh) in bf16 by matrix products. Under one of them a query's results have the same bits whichever kernel and
// whichever block it is in: a score is summed along the head, a tile's powers lane by lane and then by halves, values along
// the positions, tiles and then splits in order.
#pragma once
#include <type_traits>

#include "kernels.h"
#include "launch.cuh"
#include "pages.cuh"
#include "ptx.cuh"
#include "types.cuh"

constexpr int kTile = 64, kQueries = 16;

// Threads of a block: whole warps, a multiple of the head's size or a divisor, and of the tile.
template <int D> constexpr int kBlock = D == 96 ? 192 : 256;

// What a partial result so far, and the next one, are multiplied by where they are merged.
struct Factors {
  float before, after;
};

// A query's scores over a tile, and in their place its powers: in f32, or as two numbers of bf16 each, the nearest and what is left.
// When splits are merged, factors of 32 of them. Four columns more, so that lanes of one column, and rows of a matrix, are in banks of their own.
union Row {
  float scores[kTile + 4], powers[kTile + 4];
  bf16 parts[2][kTile];
  Factors factors[32];
};

// Scores and what their powers are relative to: the part of a block's shared memory that both arithmetics have.
struct Powers {
  Row rows[kQueries];
  float greatest[kQueries], sum[kQueries], factor[kQueries];
  uint32_t first[kQueries], last[kQueries];  // positions that a query sees
  uint32_t drawn;                            // a ticket
};

// What a block's queries read.
template <class K> struct Source {
  Pages<K> kv;
  const uint32_t* pages;  // the segment's
  int kv_head;
  float scale;

  __device__ __forceinline__ const K* key(uint32_t position) const { return kv.key(pages, kv_head, position); }
};

// The first position that a row sees; a window of 0 is none.
static __device__ __forceinline__ uint32_t first_seen(uint32_t position, uint32_t window) {
  return window && position + 1 > window ? position + 1 - window : 0;
}

// A tile's scores to powers relative to the greatest so far, and the factor that brings what was summed before to the same.
template <class Walk> static __device__ __forceinline__ void powers(Walk& walk, int count, uint32_t tile) {
  const uint32_t lane = threadIdx.x % 32;
  for (int n = threadIdx.x / 32; n < count; n += Walk::kThreads / 32) {
    float scores[2];
    bool seen[2];
    for (int j = 0; j < 2; ++j) {
      const uint32_t position = tile + lane + 32 * j;
      seen[j] = position >= walk.first[n] && position <= walk.last[n];
      scores[j] = seen[j] ? walk.rows[n].scores[lane + 32 * j] : -INFINITY;
    }
    float greatest = fmaxf(scores[0], scores[1]);
    for (int other = 16; other > 0; other /= 2) greatest = fmaxf(greatest, __shfl_xor_sync(0xffffffffu, greatest, other));
    const float before = walk.greatest[n];
    greatest = fmaxf(greatest, before);
    // Where nothing was seen yet there is nothing to be relative to.
    const float base = greatest == -INFINITY ? 0.0f : greatest;
    float sum = 0;
    __syncwarp();
    for (int j = 0; j < 2; ++j) {
      const float power = seen[j] ? expf(scores[j] - base) : 0.0f;
      Walk::put(walk.rows[n], lane + 32 * j, power);
      sum += power;
    }
    for (int other = 16; other > 0; other /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, other);
    __syncwarp();
    if (lane == 0) {
      const float factor = expf(before - base);
      walk.factor[n] = factor;
      walk.greatest[n] = greatest;
      walk.sum[n] = fmaf(walk.sum[n], factor, sum);
    }
  }
}

// Positions `from .. to` of one split, each of which some query sees: into `values` and the walk's `greatest` and `sum`, all from
// nothing. Tiles are sent for one ahead of what is computed, as far as there are places; what is done `meanwhile` may set the queries.
template <class Walk, class K, class Work>
static __device__ __forceinline__ void attend_split(Walk& walk, const Source<K>& source, int count, uint32_t from, uint32_t to, float (&values)[Walk::kOwn],
                                                    Work meanwhile) {
  constexpr uint32_t kAhead = (Walk::kPlaces - 1) * kTile;
  auto send = [&](uint32_t tile) {
    if (tile < to) walk.send(source, tile, max(from, tile), min(to, tile + kTile));
    ptx::copy_commit();
  };
  const uint32_t begin = from / kTile * kTile;
  if (kAhead) send(begin);
  meanwhile();
  for (int j = 0; j < Walk::kOwn; ++j) values[j] = 0;
  if (threadIdx.x < kQueries) walk.greatest[threadIdx.x] = -INFINITY, walk.sum[threadIdx.x] = 0;
  for (uint32_t tile = begin; tile < to; tile += kTile) {
    __syncthreads();
    send(tile + kAhead);
    ptx::copy_wait<Walk::kPlaces - 1>();
    __syncthreads();
    walk.add_tile(source, count, tile, max(from, tile), min(to, tile + kTile), values);
  }
  __syncthreads();
}

// A partial result, and another added to it; a sum of 0 is one where nothing was seen.
struct Blend {
  float greatest, sum;
  Factors by;
};
static __device__ __forceinline__ Blend blend(float greatest, float sum, float part_greatest, float part_sum) {
  if (part_sum == 0.0f) return {greatest, sum, {1, 0}};
  if (sum == 0.0f) return {part_greatest, part_sum, {0, 1}};
  const float both = fmaxf(greatest, part_greatest), before = expf(greatest - both), after = expf(part_greatest - both);
  return {both, fmaf(sum, before, part_sum * after), {before, after}};
}
static __device__ __forceinline__ float blended(float value, float part, const Factors& by) {
  return fmaf(value, by.before, part * by.after);
}

// A head's size as a constant.
template <class Work> static cudaError_t with_head(int head_dim, Work work) {
  switch (head_dim) {
    case 64: return work(std::integral_constant<int, 64>());
    case 96: return work(std::integral_constant<int, 96>());
    case 128: return work(std::integral_constant<int, 128>());
    case 256: return work(std::integral_constant<int, 256>());
    default: return cudaErrorInvalidValue;
  }
}
