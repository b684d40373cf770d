// The second half of an adapter: delta[row, o] = sum over the row's pairs, in order, and r of (weight scale h[pair, r]) B[o, r].
//
// Threads to data: a block has one of B's tiles of 64 columns and up to 16 rows that use the same adapters, coefficients in shared
// memory. By matrix products where B is bf16; by dot products otherwise, and in the fast mode for one to three rows: thread t has
// column t % 64 of every fourth row, and a value of B meets four rows in registers. A sum is pairs in order of generation,
// then ranks in order, whoever else is there.
// Bytes moved: a tile of B, one run of memory, once for every 16 rows; h once a tile, from L2; delta once, written only.
// Why this tile: at rank 16 a tile is 2 KB, and a site of 4,096 outputs is 64 blocks for one row. The grid is a function of the batch's
// rows and of the site, as the first half's. No windows: where adapters lie their table alone knows.
#include <cstring>

#include "adapters.cuh"
#include "launch.cuh"
#include "ptx.cuh"
#include "types.cuh"

constexpr int kThreads = 256, kColumns = 64, kRows = 16, kLanes = kThreads / kColumns;
// Floats of a row of coefficients: the largest rank, and two more, so that rows begin in banks of their own.
constexpr int kStride = 256 + 2;

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
static __device__ __forceinline__ Tile tile_with(const LoamModule* modules, uint32_t column) {
  int module = 0;
  while (column >= modules[module].out_at + modules[module].out_features) ++module;
  return {module, (column - modules[module].out_at) / kColumns * kColumns};
}

// Columns `from .. to` of the site's outputs are written, as delta's first ones; those of `tile`, or of the tile with `from`.
struct Wanted {
  uint32_t from, to, tile;
  bool by_column;
};

// What one adapter gives to a run's rows in a tile.
struct Part {
  Tile tile;
  LoamModule module;
  LoamType type;
  uint32_t width;  // columns that the tile has
};

// The `each`th adapter of the run's rows; their coefficients go to shared memory: weight scale h, `[rows, largest rank]`.
static __device__ Part part_of(const LoamPlaces& places, const LoamPairs& of, const Wanted& wanted, const uint32_t* rows, int count, uint32_t each, const float* h,
                               int64_t h_stride, float* coefficients) {
  const LoamPlace& place = place_of(places, of.pairs[of.by_row[of.of_row[rows[0]] + each]].slot);
  const Tile tile = wanted.by_column ? tile_with(modules_of(place), wanted.from) : tile_of(modules_of(place), wanted.tile);
  const LoamModule module = modules_of(place)[tile.module];
  __syncthreads();
  for (uint32_t e = threadIdx.x; e < count * module.rank; e += kThreads) {
    const uint32_t row = e / module.rank, r = e % module.rank, pair = of.by_row[of.of_row[rows[row]] + each];
    coefficients[row * kStride + r] = h[pair * h_stride + module.h_at + r] * (of.pairs[pair].weight * module.scale);
  }
  __syncthreads();
  return {tile, module, place.type, min((uint32_t)kColumns, module.out_features - tile.column)};
}

// By dot products: this thread's column, for every fourth row.
struct Dots {
  static constexpr int kOwn = kRows / kLanes;
  static __device__ __forceinline__ int row(int j) { return threadIdx.x / kColumns + j * kLanes; }
  static __device__ __forceinline__ uint32_t column(int) { return threadIdx.x % kColumns; }

  template <class B> static __device__ __forceinline__ void add(const B* b, const Part& part, const float* coefficients, int count, float (&sums)[kOwn]) {
    if (column(0) >= part.width) return;
    for (uint32_t r = 0; r < part.module.rank; ++r) {
      const float value = widen(b[r * part.width + column(0)]);
      UNROLL
      for (int j = 0; j < kOwn; ++j)
        if (row(j) < count) sums[j] = fmaf(coefficients[row(j) * kStride + r], value, sums[j]);
    }
  }
};

// By matrix products of 16 columns and 8 rows, one a warp. Coefficients are multiplied in three parts of 8 bits each, which is all
// of them: what they lose is no more than f32 does.
struct Products {
  static constexpr int kOwn = 4;
  static __device__ __forceinline__ int row(int j) { return threadIdx.x / 128 * 8 + threadIdx.x % 4 * 2 + j % 2; }
  static __device__ __forceinline__ uint32_t column(int j) { return threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4 + j / 2 * 8; }

  static __device__ __forceinline__ uint32_t word(bf16 low, bf16 high) {
    const bf16 both[2] = {low, high};
    uint32_t word;
    memcpy(&word, both, 4);
    return word;
  }

  template <class B> static __device__ __forceinline__ void add(const B* b, const Part& part, const float* coefficients, int count, float (&sums)[kOwn]) {
    const uint32_t rank = part.module.rank, pair = threadIdx.x % 4 * 2;
    const int of_row = threadIdx.x / 128 * 8 + threadIdx.x % 32 / 4;
    // Whole warps.
    if (threadIdx.x / 128 * 8 >= (unsigned)count) return;
    auto value = [&](uint32_t column, uint32_t r) { return r < rank && column < part.width ? __float2bfloat16(widen(b[r * part.width + column])) : __float2bfloat16(0.0f); };
    for (uint32_t first = 0; first < rank; first += 16) {
      uint32_t of_b[4], of_h[3][2];
      UNROLL
      for (int i = 0; i < 4; ++i) {
        const uint32_t r = first + i / 2 * 8 + pair;
        of_b[i] = word(value(column(i % 2 * 2), r), value(column(i % 2 * 2), r + 1));
      }
      UNROLL
      for (int i = 0; i < 2; ++i) {
        float left[2];
        for (int j = 0; j < 2; ++j) {
          const uint32_t r = first + i * 8 + pair + j;
          left[j] = of_row < count && r < rank ? coefficients[of_row * kStride + r] : 0.0f;
        }
        UNROLL
        for (int each = 0; each < 3; ++each) {
          const bf16 low = __float2bfloat16(left[0]), high = __float2bfloat16(left[1]);
          of_h[each][i] = word(low, high);
          left[0] -= __bfloat162float(low), left[1] -= __bfloat162float(high);
        }
      }
      UNROLL
      for (int each = 0; each < 3; ++each) ptx::multiply_16x8x16_bf16(sums, of_b, of_h[each]);
    }
  }
};

// All adapters of a run's rows, in order, and what they add up to.
template <class How>
static __device__ void expand_run(const LoamPlaces& places, const LoamPairs& of, const Wanted& wanted, const uint32_t* rows, int count, uint32_t adapters,
                                  const float* h, int64_t h_stride, float* delta, int64_t delta_stride, float* coefficients) {
  float sums[How::kOwn] = {};
  Part part = {};
  for (uint32_t each = 0; each < adapters; ++each) {
    part = part_of(places, of, wanted, rows, count, each, h, h_stride, coefficients);
    with_weight(part.type, [&](auto b) {
      How::add((const decltype(b)*)part.module.b + (int64_t)part.tile.column * part.module.rank, part, coefficients, count, sums);
    });
  }
  UNROLL
  for (int j = 0; j < How::kOwn; ++j) {
    const uint32_t column = part.module.out_at + part.tile.column + How::column(j);
    if (How::row(j) < count && How::column(j) < part.width && column >= wanted.from && column < wanted.to)
      delta[rows[How::row(j)] * delta_stride + column - wanted.from] = sums[j];
  }
}

static __global__ void __launch_bounds__(kThreads) lora_expand(const float* __restrict__ h, int64_t h_stride, float* __restrict__ delta, int64_t delta_stride,
                                                               LoamPlaces places, LoamColumns columns, LoamPairs of, uint32_t dots_below) {
  SHARED_BYTES(window);
  float* const coefficients = (float*)window;
  for (uint32_t index = blockIdx.x; index < of.counts[1]; index += gridDim.x) {
    const LoamRun run = of.expands[index];
    const uint32_t* const rows = of.rows_alike + run.from;
    const int count = run.to - run.from;
    const uint32_t first = of.of_row[rows[0]], adapters = of.of_row[rows[0] + 1] - first;
    // A row's arithmetic follows from its own adapters.
    bool products = run.to - run.from >= dots_below;
    for (uint32_t each = 0; each < adapters; ++each) products &= place_of(places, of.pairs[of.by_row[first + each]].slot).type == LOAM_BF16;
    auto expand = [&](const Wanted& wanted, const uint32_t* rows, int count) {
      if (products)
        expand_run<Products>(places, of, wanted, rows, count, adapters, h, h_stride, delta, delta_stride, coefficients);
      else
        expand_run<Dots>(places, of, wanted, rows, count, adapters, h, h_stride, delta, delta_stride, coefficients);
    };
    if (columns.of_row)
      // Each row's column is in another tile.
      for (int row = 0; row < count; ++row) expand({columns.of_row[rows[row]], columns.of_row[rows[row]] + 1, 0, true}, rows + row, 1);
    else
      expand({columns.from, columns.to, columns.first_tile + blockIdx.y, false}, rows, count);
  }
}

cudaError_t loam_lora_expand(LoamRows h, LoamRows delta, LoamPlaces places, LoamColumns columns, LoamPairs pairs, uint32_t dots_below, cudaStream_t stream) {
  const unsigned tiles = columns.of_row ? 1 : columns.tiles;
  if (pairs.pair_count == 0 || tiles == 0) return cudaSuccess;
  return launch({.name = "lora_expand", .grid = {min((unsigned)pairs.rows, 256u), tiles}, .block = kThreads, .shared_bytes = kRows * kStride * sizeof(float),
                 .stream = stream},
                lora_expand, (const float*)h.at, h.stride, (float*)delta.at, delta.stride, places, columns, pairs, dots_below);
}
