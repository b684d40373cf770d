// The second half of an adapter: delta[row, o] = sum over the row's pairs, in order, and r of (weight scale h[pair, r]) B[o, r].
//
// Threads to data: a block has one of B's tiles of 64 columns and up to 16 rows that use the same adapters; thread t has column
// t % 64 of every fourth row. Coefficients stand in shared memory; a value of B meets four rows in registers. A sum is pairs in
// order of generation, then ranks in order, whoever else is there.
// Bytes moved: a tile of B, one run of memory, once for every 16 rows; h once a tile, from L2; delta once, written only.
// Why this tile: at rank 16 a tile is 2 KB, and a site of 4,096 outputs is 64 blocks for one row. The grid is a function of the batch's
// rows and of the site, as the first half's. No windows: where adapters lie their table alone knows.
#include "adapters.cuh"
#include "launch.cuh"
#include "types.cuh"

constexpr int kThreads = 256, kColumns = 64, kRows = 16, kLanes = kThreads / kColumns, kOwn = kRows / kLanes, kRankMax = 256;

// Which module a tile is of, and its first column there.
struct Tile {
  int module;
  uint32_t column;
};
static __device__ __forceinline__ Tile tile_of(const LoamModule* modules, uint32_t tile) {
  for (int module = 0;; ++module) {
    const uint32_t tiles = (modules[module].out_features + kColumns - 1) / kColumns;
    if (tile < tiles) return {module, tile * kColumns};
    tile -= tiles;
  }
}

// The tile's outputs for one adapter of the rows: thread's column of its rows.
template <class B>
static __device__ __forceinline__ void add_pair(const B* b, uint32_t rank, uint32_t width, const float* coefficients, int count, float (&sums)[kOwn]) {
  const uint32_t column = threadIdx.x % kColumns;
  const int lane = threadIdx.x / kColumns;
  if (column >= width) return;
  for (uint32_t r = 0; r < rank; ++r) {
    const float value = widen(b[r * width + column]);
    UNROLL
    for (int j = 0; j < kOwn; ++j)
      if (lane + j * kLanes < count) sums[j] = fmaf(coefficients[(lane + j * kLanes) * kRankMax + r], value, sums[j]);
  }
}

static __global__ void __launch_bounds__(kThreads) lora_expand(const float* __restrict__ h, int64_t h_stride, float* __restrict__ delta, int64_t delta_stride,
                                                               LoamPlaces places, LoamPairs of) {
  SHARED_BYTES(window);
  float* const coefficients = (float*)window;  // [rows, largest rank]
  const uint32_t column = threadIdx.x % kColumns;
  const int lane = threadIdx.x / kColumns;
  for (uint32_t index = blockIdx.x; index < of.counts[1]; index += gridDim.x) {
    const LoamRun run = of.expands[index];
    const uint32_t* const rows = of.rows_alike + run.from;
    const int count = run.to - run.from;
    const uint32_t first = of.of_row[rows[0]], pairs = of.of_row[rows[0] + 1] - first;
    float sums[kOwn] = {};
    LoamModule module = {};
    Tile tile = {};
    uint32_t width = 0;
    for (uint32_t each = 0; each < pairs; ++each) {
      const uint32_t slot = of.pairs[of.by_row[first + each]].slot;
      const LoamPlace& place = place_of(places, slot);
      tile = tile_of(modules_of(place), blockIdx.y);
      module = modules_of(place)[tile.module];
      width = min((uint32_t)kColumns, module.out_features - tile.column);
      __syncthreads();
      for (uint32_t e = threadIdx.x; e < count * module.rank; e += kThreads) {
        const uint32_t row = e / module.rank, r = e % module.rank, pair = of.by_row[of.of_row[rows[row]] + each];
        coefficients[row * kRankMax + r] = h[pair * h_stride + module.h_at + r] * (of.pairs[pair].weight * module.scale);
      }
      __syncthreads();
      with_weight(place.type, [&](auto b) {
        add_pair((const decltype(b)*)module.b + (int64_t)tile.column * module.rank, module.rank, width, coefficients, count, sums);
      });
    }
    if (column >= width) continue;
    UNROLL
    for (int j = 0; j < kOwn; ++j)
      if (lane + j * kLanes < count) delta[rows[lane + j * kLanes] * delta_stride + module.out_at + tile.column + column] = sums[j];
  }
}

cudaError_t loam_lora_expand(LoamRows h, LoamRows delta, LoamPlaces places, int32_t tiles, LoamPairs pairs, cudaStream_t stream) {
  if (pairs.pair_count == 0 || tiles == 0) return cudaSuccess;
  return launch({.name = "lora_expand", .grid = {min((unsigned)pairs.rows, 256u), (unsigned)tiles}, .block = kThreads, .shared_bytes = kRows * kRankMax * sizeof(float),
                 .stream = stream},
                lora_expand, (const float*)h.at, h.stride, (float*)delta.at, delta.stride, places, pairs);
}
