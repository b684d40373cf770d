// The second half of an adapter: delta[row, o] = sum over the row's pairs, in order, and r of (weight scale h[pair, r]) B[o, r].
//
// Threads to data: a warp has one of B's tiles of 64 columns and up to 16 rows that use the same adapters, and waits for no other
// warp; a block has neighbouring tiles of a run, then of the next. By matrix products where all of a row's B are bf16, by dot
// products otherwise. A sum is pairs in order of generation, then ranks in order, whoever else is there.
// Bytes moved: a tile of B, one run of memory, once for every eight rows; h once a tile, from L2; delta once, written only.
// Why this tile: 16 ranks of it are 2 KB, which a warp asks for at once, and a site of 4,096 outputs is 64 warps for one row. Rows
// that are absent cost nothing that memory would not take longer for. Blocks are as many as the room for runs asks, up to a
// few for each multiprocessor, and divide among them what the lists say there is: one graph serves every mix of adapters.
// No windows: where adapters lie their table alone knows.
#include "adapters.cuh"
#include "launch.cuh"
#include "ptx.cuh"
#include "types.cuh"
#include "vectors.cuh"

constexpr int kThreads = 128, kWarps = kThreads / 32, kColumns = 64, kRanks = 16;
// Four times as many as all multiprocessors of an H200 hold at once.
constexpr unsigned kBlocksMax = 2640;

// A tile: its module, its first column there and among all outputs, and how many columns it has.
struct Tile {
  int module;
  uint32_t column, out_at, width;
};
// The `tile`th, or the one with output `column`.
static __device__ __forceinline__ Tile tile_of(const LoamColumns& site, int tile, bool is_column) {
  Tile found = {};
  int out_at = 0;
  UNROLL
  for (int i = 0; i < kLoamLayers; ++i) {
    const int outputs = site.outputs[i], tiles = (outputs + kColumns - 1) / kColumns, own = is_column ? (tile - out_at) / kColumns : tile;
    if (is_column ? tile >= out_at && tile < out_at + outputs : tile >= 0 && tile < tiles)
      found = {i, uint32_t(own * kColumns), uint32_t(out_at + own * kColumns), uint32_t(min(kColumns, outputs - own * kColumns))};
    tile -= is_column ? 0 : tiles, out_at += outputs;
  }
  return found;
}

// How many groups of tiles, one a warp, there are for each run.
static __host__ __device__ __forceinline__ uint32_t groups_of(const LoamColumns& columns) { return columns.of_row ? 1 : (columns.tiles + kWarps - 1) / kWarps; }

struct Given {
  const float* h;
  float* delta;
  int64_t h_stride, delta_stride;
  LoamPlaces places;
  LoamPairs of;
};

// What a warp does: rows `first .. first + count` of a run, in a tile; of its columns outputs `from .. to` are written, as delta's
// first ones.
struct Task {
  LoamExpand run;
  int first, count;
  Tile tile;
  uint32_t from, to;
};

// One adapter of a run: its module, and how the task's rows use it.
struct Part {
  LoamModule module;
  LoamType type;
  const LoamUse* uses;
};
static __device__ __forceinline__ Part part_of(const Given& given, const Task& task, uint32_t each) {
  const LoamPlace& place = place_of(given.places, given.of.slots[task.run.slots + each]);
  const LoamUse* const uses = given.of.uses + task.run.uses + each * (task.run.to - task.run.from) + task.first;
  return {modules_of(place)[task.tile.module], place.type, uses};
}
static __device__ __forceinline__ float* delta_of(const Given& given, const Task& task, int row) {
  return given.delta + given.of.rows_alike[task.run.from + task.first + row] * given.delta_stride - task.from;
}

// ---- by matrix products: 16 columns and 16 ranks with eight rows at a time

static __device__ __forceinline__ uint32_t word(bf16 low, bf16 high) {
  const bf16 both[2] = {low, high};
  uint32_t word;
  memcpy(&word, both, 4);
  return word;
}

// A lane reads eight neighbouring columns, 8 g .., of four ranks; product j has columns 8 g + 2 j and 8 g + 2 j + 1 of every g.
// Coefficients are multiplied in three parts of 8 bits each, which is all of them: what they lose is no more than f32 does.
static __device__ __forceinline__ void expand_products(const Given& given, const Task& task, int from_row) {
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4 * 2;
  const uint32_t width = task.tile.width;
  float sums[kVector / 2][4] = {};
  for (uint32_t each = 0; each < task.run.adapters; ++each) {
    const Part part = part_of(given, task, each);
    const uint32_t rank = part.module.rank;
    const bf16* const b = (const bf16*)part.module.b + (int64_t)task.tile.column * rank;
    const bool is_whole = width == kColumns && (uintptr_t)b % 16 == 0;
    // Rows that are not there are the last one once more.
    const LoamUse use = part.uses[min(from_row + g, task.count - 1)];
    const float* const h = given.h + use.pair * given.h_stride + part.module.h_at;
    const float scale = use.weight * part.module.scale;
    for (uint32_t first = 0; first < rank; first += kRanks) {
      // Ranks that are not there are the last one once more, times 0.
      uint4 of_b[4];
      auto row = [&](int i) { return b + min(first + t + i % 2 + i / 2 * 8, rank - 1) * width + g * kVector; };
      UNROLL
      for (int i = 0; i < 4; ++i) of_b[i] = is_whole ? ptx::load_once_16(row(i)) : eight(row(i), (int)width - g * kVector);
      uint32_t of_h[3][2];
      UNROLL
      for (int i = 0; i < 2; ++i) {
        const uint32_t r = first + t + i * 8;
        float left[2] = {r < rank ? h[r] * scale : 0.0f, r + 1 < rank ? h[r + 1] * scale : 0.0f};
        UNROLL
        for (int part = 0; part < 3; ++part) {
          const bf16 low = __float2bfloat16(left[0]), high = __float2bfloat16(left[1]);
          of_h[part][i] = word(low, high);
          left[0] -= __bfloat162float(low), left[1] -= __bfloat162float(high);
        }
      }
      UNROLL
      for (int j = 0; j < kVector / 2; ++j) {
        const int even = 2 * j, odd = 2 * j + 1;
        const uint32_t columns[4] = {both(of_b[0], of_b[1], even), both(of_b[0], of_b[1], odd), both(of_b[2], of_b[3], even), both(of_b[2], of_b[3], odd)};
        UNROLL
        for (int part = 0; part < 3; ++part) ptx::multiply_16x8x16_bf16(sums[j], columns, of_h[part]);
      }
    }
  }
  // Of rows t and t + 1 a lane has its eight columns.
  const int own = g * kVector, count = min(kVector, (int)width - own);
  const uint32_t column = task.tile.out_at + own;
  UNROLL
  for (int i = 0; i < 2; ++i) {
    const int row = from_row + t + i;
    if (row >= task.count || count <= 0) continue;
    float* const to = delta_of(given, task, row) + column;
    float values[kVector];
    UNROLL
    for (int j = 0; j < kVector; ++j) values[j] = sums[j / 2][j % 2 * 2 + i];
    if (column >= task.from && column + count <= task.to) {
      store_vector(to, count, values);
    } else {
      UNROLL
      for (int j = 0; j < kVector; ++j)
        if (j < count && column + j >= task.from && column + j < task.to) to[j] = values[j];
    }
  }
}

// ---- by dot products: four rows at a time, a lane two neighbouring columns

template <class B> struct alignas(2 * sizeof(B)) Two {
  B values[2];
};

template <class B>
static __device__ __forceinline__ void add_dots(const Given& given, const Task& task, const Part& part, int from_row, float (&sums)[4][2]) {
  constexpr uint32_t kAtOnce = 8;
  const int lane = threadIdx.x % 32, left = (int)task.tile.width - lane * 2;
  const uint32_t rank = part.module.rank, width = task.tile.width;
  const B* const b = (const B*)part.module.b + (int64_t)task.tile.column * rank + lane * 2;
  const bool is_whole = width == kColumns && (uintptr_t)part.module.b % sizeof(Two<B>) == 0;
  // A quarter of the lanes has the coefficients of one row, a lane those of every eighth rank.
  const LoamUse use = part.uses[min(from_row + lane / (int)kAtOnce, task.count - 1)];
  const float* const h = given.h + use.pair * given.h_stride + part.module.h_at;
  const float scale = use.weight * part.module.scale;
  for (uint32_t first = 0; first < rank; first += kAtOnce) {
    Two<B> two[kAtOnce];
    auto row = [&](uint32_t r) { return b + min(first + r, rank - 1) * width; };
    UNROLL
    for (uint32_t r = 0; r < kAtOnce; ++r) {
      if (is_whole)
        two[r] = *(const Two<B>*)row(r);
      else
        two[r] = {left > 0 ? row(r)[0] : B(0.0f), left > 1 ? row(r)[1] : B(0.0f)};
    }
    const float own = h[min(first + lane % kAtOnce, rank - 1)] * scale;
    UNROLL
    for (uint32_t r = 0; r < kAtOnce; ++r) {
      if (first + r >= rank) break;
      UNROLL
      for (int j = 0; j < 4; ++j) {
        const float coefficient = __shfl_sync(0xffffffffu, own, j * kAtOnce + r);
        UNROLL
        for (int i = 0; i < 2; ++i) sums[j][i] = fmaf(coefficient, widen(two[r].values[i]), sums[j][i]);
      }
    }
  }
}

static __device__ void expand_dots(const Given& given, const Task& task, int from_row) {
  const uint32_t own = threadIdx.x % 32 * 2, column = task.tile.out_at + own;
  float sums[4][2] = {};
  for (uint32_t each = 0; each < task.run.adapters; ++each) {
    const Part part = part_of(given, task, each);
    with_weight(part.type, [&](auto value) { add_dots<decltype(value)>(given, task, part, from_row, sums); });
  }
  UNROLL
  for (int j = 0; j < 4; ++j) {
    UNROLL
    for (uint32_t i = 0; i < 2; ++i)
      if (from_row + j < task.count && own + i < task.tile.width && column + i >= task.from && column + i < task.to)
        delta_of(given, task, from_row + j)[column + i] = sums[j][i];
  }
}

// ----

static __device__ void expand(const Given& given, const Task& task) {
  bool products = true;
  for (uint32_t each = 0; each < task.run.adapters; ++each) products &= part_of(given, task, each).type == LOAM_BF16;
  if (products)
    for (int row = 0; row < task.count; row += 8) expand_products(given, task, row);
  else
    for (int row = 0; row < task.count; row += 4) expand_dots(given, task, row);
}

static __global__ void __launch_bounds__(kThreads, 5) lora_expand(const __grid_constant__ Given given, const __grid_constant__ LoamColumns columns) {
  const int warp = threadIdx.x / 32;
  const uint32_t groups = groups_of(columns), all = given.of.counts[1] * groups, share = (all + gridDim.x - 1) / gridDim.x;
  for (uint32_t index = blockIdx.x * share; index < min(all, (blockIdx.x + 1) * share); ++index) {
    const LoamExpand run = given.of.expands[index / groups];
    const int count = run.to - run.from;
    if (columns.of_row) {
      // Each row's column is in another tile.
      for (int row = warp; row < count; row += kWarps) {
        const uint32_t column = columns.of_row[given.of.rows_alike[run.from + row]];
        expand(given, {run, row, 1, tile_of(columns, column, true), column, column + 1});
      }
    } else {
      const uint32_t tile = index % groups * kWarps + warp;
      if (tile < columns.tiles) expand(given, {run, 0, count, tile_of(columns, columns.first_tile + tile, false), columns.from, columns.to});
    }
  }
}

cudaError_t loam_lora_expand(LoamRows h, LoamRows delta, LoamPlaces places, LoamColumns columns, LoamPairs pairs, cudaStream_t stream) {
  const unsigned blocks = min(pairs.expand_count * groups_of(columns), kBlocksMax);
  if (blocks == 0) return cudaSuccess;
  const Given given = {(const float*)h.at, (float*)delta.at, h.stride, delta.stride, places, pairs};
  return launch({.name = "lora_expand", .grid = blocks, .block = kThreads, .stream = stream}, lora_expand, given, columns);
}
