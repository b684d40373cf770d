// A tile of attention by matrix products of bf16: scores = Q K^T and values = P V, summed in f32.
//
// Threads to data: 16 queries are the rows of a product, absent ones zeros. For scores a warp has 8 positions of the tile, for values
// every sixth or eighth 8 columns of the head. Powers are multiplied in two parts, of 8 bits each, so that no more is lost of
// them than of the output. While a tile is computed the keys and values of the next are on their way; at heads of 256 there is no
// place for them, and what overlaps are two blocks.
// What no query sees is zeros, never read. What one query of a block sees and another does not is multiplied by 0, so that a value that is
// not a number spreads to the 16 queries of its own request that stand together.
#pragma once
#include "attention.cuh"

// 44 KB at heads of 64, 61 at 96, 79 at 128, 81 at 256: the smallest devices give a block 101 KB, and those of data centres have
// room for two on a multiprocessor. Rows are 16 bytes longer, so that eight of them are in banks of their own.
template <int D> struct Products : Powers {
  static constexpr int kPlaces = D == 256 ? 1 : 2, kThreads = kBlock<D>, kWarps = kThreads / 32;
  static constexpr int kOwn = kQueries * D / kThreads;  // four for each 8 columns
  alignas(16) bf16 q[kQueries][D + 8];
  bf16 keys[kPlaces][kTile][D + 8], values[kPlaces][kTile][D + 8];

  // Which query and column this thread's value `j` is of.
  static __device__ __forceinline__ int query(int j) { return threadIdx.x % 32 / 4 + j % 4 / 2 * 8; }
  static __device__ __forceinline__ int column(int j) { return (threadIdx.x / 32 + j / 4 * kWarps) * 8 + threadIdx.x % 4 * 2 + j % 2; }

  // Where a tile lies.
  static __device__ __forceinline__ int place(uint32_t tile) { return tile / kTile % kPlaces; }

  // Sends for keys and values of the whole tile: those of positions outside `from .. to` are zeros.
  __device__ __forceinline__ void send(const Source<bf16>& source, uint32_t tile, uint32_t from, uint32_t to) {
    constexpr int kVectors = D / 8, kRows = kThreads / kVectors;
    const uint32_t column = threadIdx.x % kVectors * 8;
    UNROLL
    for (int i = 0; i < kTile / kRows; ++i) {
      const uint32_t row = threadIdx.x / kVectors + i * kRows, position = tile + row;
      const bool seen = position >= from && position < to;
      const bf16* const key = source.key(seen ? position : from) + column;
      ptx::copy_async_16(&keys[place(tile)][row][column], key, seen ? 16 : 0);
      ptx::copy_async_16(&values[place(tile)][row][column], key + source.kv.values_after(), seen ? 16 : 0);
    }
  }

  __device__ __forceinline__ void score(uint32_t tile, float scale) {
    const int lane = threadIdx.x % 32;
    for (int first = threadIdx.x / 32 * 8; first < kTile; first += kWarps * 8) {
      float sums[4] = {};
      UNROLL
      for (int k = 0; k < D; k += 16) {
        uint32_t a[4], b[2];
        ptx::load_matrix_x4(a, &q[lane % 16][k + lane / 16 * 8]);
        ptx::load_matrix_x2(b, &keys[place(tile)][first + lane % 8][k + lane / 8 % 2 * 8]);
        ptx::multiply_16x8x16_bf16(sums, a, b);
      }
      UNROLL
      for (int j = 0; j < 4; ++j) rows[query(j)].scores[first + lane % 4 * 2 + j % 2] = sums[j] * scale;
    }
  }

  static __device__ __forceinline__ void put(Row& row, uint32_t column, float power) {
    const bf16 near = __float2bfloat16(power);
    row.parts[0][column] = near, row.parts[1][column] = __float2bfloat16(power - __bfloat162float(near));
  }

  // Adds the tile's values, weighted by their powers, to this thread's.
  __device__ __forceinline__ void add_values(uint32_t tile, int count, float (&sums)[kOwn]) {
    const int lane = threadIdx.x % 32;
    UNROLL
    for (int j = 0; j < kOwn; ++j)
      if (query(j) < count) sums[j] *= factor[query(j)];
    UNROLL
    for (int k = 0; k < kTile; k += 16) {
      uint32_t near[4], rest[4];
      ptx::load_matrix_x4(near, &rows[lane % 16].parts[0][k + lane / 16 * 8]);
      ptx::load_matrix_x4(rest, &rows[lane % 16].parts[1][k + lane / 16 * 8]);
      UNROLL
      for (int j = 0; j < kOwn; j += 4) {
        uint32_t b[2];
        ptx::load_matrix_x2_transposed(b, &values[place(tile)][k + lane % 16][(threadIdx.x / 32 + j / 4 * kWarps) * 8]);
        float (&four)[4] = *(float (*)[4])(sums + j);
        ptx::multiply_16x8x16_bf16(four, near, b);
        ptx::multiply_16x8x16_bf16(four, rest, b);
      }
    }
  }

  // One tile that is there, with zeros where no query sees it.
  __device__ __forceinline__ void add_tile(const Source<bf16>& source, int count, uint32_t tile, uint32_t, uint32_t, float (&sums)[kOwn]) {
    score(tile, source.scale);
    __syncthreads();
    powers(*this, count, tile);
    __syncthreads();
    add_values(tile, count, sums);
  }
};
