// A tile of attention by dot products in f32, from any types.
//
// Threads to data: for scores, thread t has position t % 64 of the tile and every fourth query; for powers, a warp has a
// query; for values, thread t has column t % head_dim of every second or fourth query. A key or value read from shared memory
// meets all of a thread's queries in registers. What a query does not see is skipped, never multiplied by 0.
#pragma once
#include <cstring>

#include "attention.cuh"

// 86 KB at the largest head, 25 KB at the smallest.
template <int D> struct Dots : Powers {
  static constexpr int kPlaces = 1, kThreads = kBlock<D>, kLanes = kThreads / D;
  static constexpr int kOwn = kQueries * D / kThreads;  // queries of which a thread has a column
  float q[kQueries][D];
  float tile_values[kTile][D + 1];  // keys, then values; a column more, as above

  // Which query and column this thread's value `j` is of.
  static __device__ __forceinline__ int query(int j) { return threadIdx.x / D + j * kLanes; }
  static __device__ __forceinline__ int column(int) { return threadIdx.x % D; }

  // Copies keys, or values, of positions `from .. to` to shared memory, widened.
  template <class K> __device__ __forceinline__ void stage(const Source<K>& source, int64_t behind_key, uint32_t tile, uint32_t from, uint32_t to) {
    constexpr int kVector = 16 / sizeof(K), kVectors = D / kVector;
    for (uint32_t e = threadIdx.x; e < (to - from) * kVectors; e += kThreads) {
      const uint32_t position = from + e / kVectors, column = e % kVectors * kVector;
      const uint4 bits = ptx::load_16(source.key(position) + behind_key + column);
      K values[kVector];
      memcpy(values, &bits, 16);
      UNROLL
      for (int i = 0; i < kVector; ++i) tile_values[position - tile][column + i] = widen(values[i]);
    }
  }

  // Scores of all queries over positions `from .. to` of the tile.
  __device__ __forceinline__ void score(int count, uint32_t from, uint32_t to, float scale) {
    constexpr int kScoreLanes = kThreads / kTile, kMine = (kQueries + kScoreLanes - 1) / kScoreLanes;
    const uint32_t position = threadIdx.x % kTile;
    const int lane = threadIdx.x / kTile;
    if (position < from || position >= to) return;
    float sums[kMine] = {};
    for (int i = 0; i < D; ++i) {
      const float key = tile_values[position][i];
      UNROLL
      for (int j = 0; j < kMine; ++j)
        if (lane + j * kScoreLanes < count) sums[j] = fmaf(q[lane + j * kScoreLanes][i], key, sums[j]);
    }
    UNROLL
    for (int j = 0; j < kMine; ++j)
      if (lane + j * kScoreLanes < count) rows[lane + j * kScoreLanes].scores[position] = sums[j] * scale;
  }

  static __device__ __forceinline__ void put(Row& row, uint32_t column, float power) { row.powers[column] = power; }

  // Adds the tile's values, weighted by their powers, to this thread's.
  __device__ __forceinline__ void add_values(int count, uint32_t from, uint32_t to, float (&sums)[kOwn]) {
    UNROLL
    for (int j = 0; j < kOwn; ++j)
      if (query(j) < count) sums[j] *= factor[query(j)];
    for (uint32_t position = from; position < to; ++position) {
      const float value = tile_values[position][column(0)];
      UNROLL
      for (int j = 0; j < kOwn; ++j) {
        if (query(j) >= count) continue;
        const float weight = rows[query(j)].powers[position];
        if (weight != 0.0f) sums[j] = fmaf(weight, value, sums[j]);
      }
    }
  }

  // Keys come at once; there is no second place.
  template <class K> __device__ __forceinline__ void send(const Source<K>& source, uint32_t tile, uint32_t from, uint32_t to) {
    stage(source, 0, tile, from, to);
  }

  // One tile whose keys are there, of which some query sees positions `from .. to`.
  template <class K>
  __device__ __forceinline__ void add_tile(const Source<K>& source, int count, uint32_t tile, uint32_t from, uint32_t to, float (&sums)[kOwn]) {
    score(count, from - tile, to - tile, source.scale);
    __syncthreads();
    stage(source, source.kv.values_after(), tile, from, to);
    powers(*this, count, tile);
    __syncthreads();
    add_values(count, from - tile, to - tile, sums);
  }
};
