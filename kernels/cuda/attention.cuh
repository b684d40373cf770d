// What prefill and decode share: up to 16 queries of one head of keys walk tiles of 64 positions, in f32.
//
// One arithmetic: a query's results have the same bits whichever kernel and whichever block it is in. A score is summed along
// the head, a tile's powers lane by lane and then by halves, values position after position, tiles and then splits in order;
// what a query does not see is skipped, never multiplied by 0, so that what lies there may be anything.
//
// Threads to data: for scores, thread t has position t % 64 of the tile and every fourth query; for powers, a warp has a
// query; for values, thread t has column t % head_dim of every second or fourth query. A key or value read from shared memory
// meets all of a thread's queries in registers.
#pragma once
#include <cstring>
#include <type_traits>

#include "kernels.h"
#include "launch.cuh"
#include "pages.cuh"
#include "ptx.cuh"
#include "types.cuh"

constexpr int kTile = 64, kSplit = 512, kQueries = 16;

// Threads of a block: whole warps, a multiple of the head's size or a divisor, and of the tile.
template <int D> constexpr int kThreads = D == 96 ? 192 : 256;
// Queries of which a thread has a column.
template <int D> constexpr int kOwn = kQueries * D / kThreads<D>;

// A block's shared memory. 85 KB at the largest head, 22 KB at the smallest.
template <int D> struct Walk {
  float q[kQueries][D];
  float tile[kTile][D + 1];  // keys, then values; a column more, so that lanes of one column are in banks of their own
  float power[kQueries][kTile];
  float greatest[kQueries], sum[kQueries], factor[kQueries];
  uint32_t first[kQueries], last[kQueries];  // positions that a query sees
};

// What a block's queries read.
template <class K> struct Source {
  Pages<K> kv;
  const uint32_t* pages;  // the segment's
  int kv_head;
  float scale;
};

// The first position that a row sees; a window of 0 is none.
static __device__ __forceinline__ uint32_t first_seen(uint32_t position, uint32_t window) {
  return window && position + 1 > window ? position + 1 - window : 0;
}

// Copies keys, or values, of the tile's positions `from .. to` to shared memory, widened.
template <int D, class K>
static __device__ __forceinline__ void stage(Walk<D>& walk, const Source<K>& source, int64_t behind_key, uint32_t tile, uint32_t from, uint32_t to) {
  constexpr int kVector = 16 / sizeof(K), kVectors = D / kVector;
  for (uint32_t e = threadIdx.x; e < (to - from) * kVectors; e += kThreads<D>) {
    const uint32_t position = from + e / kVectors, column = e % kVectors * kVector;
    const K* const key = source.kv.key(source.pages[position / source.kv.page_tokens], source.kv_head, position);
    const uint4 bits = ptx::load_16(key + behind_key + column);
    K values[kVector];
    memcpy(values, &bits, 16);
    UNROLL
    for (int i = 0; i < kVector; ++i) walk.tile[position - tile][column + i] = widen(values[i]);
  }
}

// Scores of all queries over the tile's positions, those that nobody sees left out.
template <int D> static __device__ __forceinline__ void score(Walk<D>& walk, int count, uint32_t from, uint32_t to, float scale) {
  constexpr int kLanes = kThreads<D> / kTile, kMine = (kQueries + kLanes - 1) / kLanes;
  const uint32_t position = threadIdx.x % kTile;
  const int lane = threadIdx.x / kTile;
  if (position < from || position >= to) return;
  float sums[kMine] = {};
  for (int i = 0; i < D; ++i) {
    const float key = walk.tile[position][i];
    UNROLL
    for (int j = 0; j < kMine; ++j)
      if (lane + j * kLanes < count) sums[j] = fmaf(walk.q[lane + j * kLanes][i], key, sums[j]);
  }
  UNROLL
  for (int j = 0; j < kMine; ++j)
    if (lane + j * kLanes < count) walk.power[lane + j * kLanes][position] = sums[j] * scale;
}

// A tile's scores to powers relative to the greatest so far, and the factor that brings what was summed before to the same.
template <int D> static __device__ __forceinline__ void powers(Walk<D>& walk, int count, uint32_t tile) {
  const uint32_t lane = threadIdx.x % 32;
  for (int n = threadIdx.x / 32; n < count; n += kThreads<D> / 32) {
    float scores[2];
    bool seen[2];
    for (int j = 0; j < 2; ++j) {
      const uint32_t position = tile + lane + 32 * j;
      seen[j] = position >= walk.first[n] && position <= walk.last[n];
      scores[j] = seen[j] ? walk.power[n][lane + 32 * j] : -INFINITY;
    }
    float greatest = fmaxf(scores[0], scores[1]);
    for (int other = 16; other > 0; other /= 2) greatest = fmaxf(greatest, __shfl_xor_sync(0xffffffffu, greatest, other));
    const float before = walk.greatest[n];
    greatest = fmaxf(greatest, before);
    // Where nothing was seen yet there is nothing to be relative to.
    const float base = greatest == -INFINITY ? 0.0f : greatest;
    float sum = 0;
    for (int j = 0; j < 2; ++j) {
      const float power = seen[j] ? expf(scores[j] - base) : 0.0f;
      walk.power[n][lane + 32 * j] = power;
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

// Adds the tile's values, so weighted, to this thread's columns.
template <int D>
static __device__ __forceinline__ void add_values(const Walk<D>& walk, int count, uint32_t from, uint32_t to, float (&values)[kOwn<D>]) {
  constexpr int kLanes = kThreads<D> / D;
  const int column = threadIdx.x % D, lane = threadIdx.x / D;
  UNROLL
  for (int j = 0; j < kOwn<D>; ++j)
    if (lane + j * kLanes < count) values[j] *= walk.factor[lane + j * kLanes];
  for (uint32_t position = from; position < to; ++position) {
    const float value = walk.tile[position][column];
    UNROLL
    for (int j = 0; j < kOwn<D>; ++j) {
      if (lane + j * kLanes >= count) continue;
      const float power = walk.power[lane + j * kLanes][position];
      if (power != 0.0f) values[j] = fmaf(power, value, values[j]);
    }
  }
}

// One split: into `values` and the walk's `greatest` and `sum`, all from nothing. The walk's queries are there.
template <int D, class K>
static __device__ __forceinline__ void attend_split(Walk<D>& walk, const Source<K>& source, int count, uint32_t split, float (&values)[kOwn<D>]) {
  for (int j = 0; j < kOwn<D>; ++j) values[j] = 0;
  if (threadIdx.x < kQueries) walk.greatest[threadIdx.x] = -INFINITY, walk.sum[threadIdx.x] = 0;
  uint32_t first = walk.first[0], last = walk.last[0];
  for (int n = 1; n < count; ++n) first = min(first, walk.first[n]), last = max(last, walk.last[n]);
  for (uint32_t tile = split * kSplit; tile < (split + 1) * kSplit; tile += kTile) {
    const uint32_t from = max(first, tile), to = min(last + 1, tile + kTile);
    if (from >= to) continue;
    __syncthreads();
    stage(walk, source, 0, tile, from, to);
    __syncthreads();
    score(walk, count, from - tile, to - tile, source.scale);
    __syncthreads();
    stage(walk, source, source.kv.values_after(), tile, from, to);
    powers(walk, count, tile);
    __syncthreads();
    add_values(walk, count, from - tile, to - tile, values);
  }
  __syncthreads();
}

// A partial result, and another added to it; a sum of 0 is one where nothing was seen. For each of two halves the factor.
struct Blend {
  float greatest, sum, before, after;
};
static __device__ __forceinline__ Blend blend(float greatest, float sum, float part_greatest, float part_sum) {
  if (part_sum == 0.0f) return {greatest, sum, 1, 0};
  if (sum == 0.0f) return {part_greatest, part_sum, 0, 1};
  const float both = fmaxf(greatest, part_greatest), before = expf(greatest - both), after = expf(part_greatest - both);
  return {both, fmaf(sum, before, part_sum * after), before, after};
}
static __device__ __forceinline__ float blended(float value, float part, const Blend& with) {
  if (with.after == 0.0f) return value * with.before;
  return fmaf(value, with.before, part * with.after);
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
