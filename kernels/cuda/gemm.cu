// out[row, o] = sum_k x[row, k] weight[o, k] + bias[o]; and products of two matrices, each as it lies or transposed.
//
// Threads to data: a block has a tile of the output. Both operands in bf16: by matrix products; steps of 64 of k come
// to shared memory by asynchronous copies, three of them under way; a warp has a rectangle of the tile. Other types: by
// dot products in f32; a thread has up to 16 values of the tile. No tile changes the order of a sum: see gemm.cuh.
// Bytes moved: weights once for each tile of rows; x once for each tile of columns, from L2; planes, where cuts are
// blocks', out and in.
// Why these tiles: 16 rows are decode's, where weights are all that counts: four small blocks a multiprocessor have
// 96 KB of them on their way. In 128 by 128, a value that came to shared memory is used 128 times; 64 by 64 is for
// outputs with too few of those to fill the device. Row tiles are neighbours in the grid, so that what runs at once
// shares weights.
#include <cstring>

#include "gemm.cuh"
#include "launch.cuh"

constexpr int kStages = 4;

// ---- matrix products

// A block's tile, a warp's part of it, and how many blocks a multiprocessor has room for.
template <int kRows, int kColumns, int kWarpsDown, int kWarpsAcross, int kBlocksEach> struct Products {
  static constexpr int kThreads = kWarpsDown * kWarpsAcross * 32, kBlocks = kBlocksEach;
  static constexpr int kM = kRows, kN = kColumns, kStep = 64;
  static constexpr int kWarpM = kM / kWarpsDown, kWarpN = kN / kWarpsAcross, kDown = kWarpM / 16, kAcross = kWarpN / 8;
  static constexpr int kOwn = kDown * kAcross * 4, kStage = (kM + kN) * kStep;
  static_assert(kCut % kStep == 0 && kAcross % 2 == 0);

  static __device__ __forceinline__ int warp_row() { return threadIdx.x / 32 / kWarpsAcross * kWarpM; }
  static __device__ __forceinline__ int warp_column() { return threadIdx.x / 32 % kWarpsAcross * kWarpN; }
  static __device__ __forceinline__ int row(int j) {
    return warp_row() + j / (kAcross * 4) * 16 + threadIdx.x % 32 / 4 + j % 4 / 2 * 8;
  }
  static __device__ __forceinline__ int column(int j) {
    return warp_column() + j / 4 % kAcross * 8 + threadIdx.x % 4 * 2 + j % 2;
  }
};

// Where 8 neighbours of a staged matrix stand: any 8 rows have theirs in banks of their own.
template <int kInner> static __device__ __forceinline__ int staged_at(int outer, int inner) {
  constexpr int kChunks = kInner / 8;
  const int turn = kChunks >= 8 ? outer % 8 : outer * kChunks / 8 % kChunks;
  return outer * kInner + (inner / 8 ^ turn) * 8;
}

// A matrix in memory, as it lies: its own rows are `outer`. `wide`: they begin at multiples of 16 bytes.
struct Stored {
  const bf16* from;
  int64_t stride;
  int outers, inners;
  bool wide;
};
static __device__ __forceinline__ Stored stored(const void* from, int64_t stride, bool transposed, int rows, int k) {
  const bool wide = (uintptr_t)from % 16 == 0 && stride % 8 == 0;
  return {(const bf16*)from, stride, transposed ? k : rows, transposed ? rows : k, wide};
}

// Sends for `kOuter` rows of `kInner` values, zeros where the matrix ends: what is not there has an address all the
// same, which nobody reads.
template <int kOuter, int kInner, int kThreads>
static __device__ __forceinline__ void stage(bf16* tile, const Stored& matrix, int first_outer, int first_inner) {
  constexpr int kChunks = kInner / 8, kApart = kThreads / kChunks;
  static_assert(kThreads % kChunks == 0 && kOuter % kApart == 0);
  const int own_outer = threadIdx.x / kChunks, own_inner = threadIdx.x % kChunks * 8;
  const int inside = max(0, min(8, matrix.inners - first_inner - own_inner));
  const bf16* from = matrix.from + (first_outer + own_outer) * matrix.stride + first_inner + own_inner;
  UNROLL
  for (int outer = own_outer; outer < kOuter; outer += kApart, from += kApart * matrix.stride) {
    const int valid = first_outer + outer < matrix.outers ? inside : 0;
    bf16* const to = tile + staged_at<kInner>(outer, own_inner);
    if (matrix.wide) {
      ptx::copy_async_16(to, from, valid * sizeof(bf16));
    } else {
      bf16 values[8];
      UNROLL
      for (int i = 0; i < 8; ++i) values[i] = i < valid ? from[i] : __float2bfloat16(0.0f);
      uint4 word;
      memcpy(&word, values, 16);
      *(uint4*)to = word;
    }
  }
}

// One step of k: `sums += a b`, both staged.
template <class Tile, bool kATransposed, bool kBTransposed>
static __device__ __forceinline__ void multiply(const bf16* a, const bf16* b, float (&sums)[Tile::kOwn]) {
  const int lane = threadIdx.x % 32, low = lane % 8, middle = lane / 8 % 2, high = lane / 16;
  UNROLL
  for (int k = 0; k < Tile::kStep; k += 16) {
    uint32_t of_a[Tile::kDown][4], of_b[Tile::kAcross][2];
    UNROLL
    for (int i = 0; i < Tile::kDown; ++i) {
      const int row = Tile::warp_row() + i * 16;
      if (kATransposed)
        ptx::load_matrix_x4_transposed(of_a[i], a + staged_at<Tile::kM>(k + high * 8 + low, row + middle * 8));
      else
        ptx::load_matrix_x4(of_a[i], a + staged_at<Tile::kStep>(row + middle * 8 + low, k + high * 8));
    }
    UNROLL
    for (int j = 0; j < Tile::kAcross; j += 2) {
      const int column = Tile::warp_column() + j * 8;
      uint32_t both[4];
      if (kBTransposed)
        ptx::load_matrix_x4(both, b + staged_at<Tile::kStep>(column + high * 8 + low, k + middle * 8));
      else
        ptx::load_matrix_x4_transposed(both, b + staged_at<Tile::kN>(k + middle * 8 + low, column + high * 8));
      of_b[j][0] = both[0], of_b[j][1] = both[1], of_b[j + 1][0] = both[2], of_b[j + 1][1] = both[3];
    }
    UNROLL
    for (int i = 0; i < Tile::kDown; ++i)
      UNROLL
      for (int j = 0; j < Tile::kAcross; ++j)
        ptx::multiply_16x8x16_bf16(*(float (*)[4])(sums + (i * Tile::kAcross + j) * 4), of_a[i], of_b[j]);
  }
}

template <class Tile, bool kATransposed, bool kBTransposed>
static __global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    gemm_products(const bf16* __restrict__ a, int64_t a_stride, LoamLayers layers, Output to, int k) {
  SHARED_BYTES(window);
  constexpr int kStep = Tile::kStep, kThreads = Tile::kThreads;
  const int first_row = blockIdx.x * Tile::kM;
  const Columns columns = columns_of<Tile::kN>(layers, blockIdx.y);
  const Share share = share_of(k);
  const Stored of_a = stored(a, a_stride, kATransposed, to.out.rows, k);
  const Stored of_b = stored(columns.weight, columns.stride, !kBTransposed, columns.end, k);
  const int steps = (share.to - share.from + kStep - 1) / kStep;

  auto a_of = [&](int step) { return (bf16*)window + step % kStages * Tile::kStage; };
  auto b_of = [&](int step) { return a_of(step) + Tile::kM * kStep; };
  auto send = [&](int step) {
    const int at = share.from + step * kStep;
    if (step < steps) {
      if (kATransposed)
        stage<kStep, Tile::kM, kThreads>(a_of(step), of_a, at, first_row);
      else
        stage<Tile::kM, kStep, kThreads>(a_of(step), of_a, first_row, at);
      if (kBTransposed)
        stage<Tile::kN, kStep, kThreads>(b_of(step), of_b, columns.first, at);
      else
        stage<kStep, Tile::kN, kThreads>(b_of(step), of_b, at, columns.first);
    }
    ptx::copy_commit();
  };

  float sums[Tile::kOwn] = {}, cut[Tile::kOwn] = {};
  for (int step = 0; step < kStages - 1; ++step) send(step);
  for (int step = 0; step < steps; ++step) {
    ptx::copy_wait<kStages - 2>();
    __syncthreads();
    // Into the place of the step before this one, which every thread has left.
    send(step + kStages - 1);
    multiply<Tile, kATransposed, kBTransposed>(a_of(step), b_of(step), cut);
    if ((step + 1) % (kCut / kStep) && step + 1 < steps) continue;
    UNROLL
    for (int j = 0; j < Tile::kOwn; ++j) sums[j] += cut[j], cut[j] = 0;
  }
  __syncthreads();
  finish<Tile>(sums, columns, to, first_row, (uint32_t*)window);
}

// ---- dot products

// A block's tile; neighbouring threads have neighbouring columns.
template <int kRows> struct Dots {
  static constexpr int kM = kRows, kN = 64, kStep = 32, kThreads = 256;
  static constexpr int kAcross = kM == 16 ? 64 : 16, kDown = kThreads / kAcross;
  static constexpr int kOwnRows = kM / kDown, kOwnColumns = kN / kAcross, kOwn = kOwnRows * kOwnColumns;
  static_assert(kCut % kStep == 0);
  // Rows of a step of k are one value longer than the tile, so that neighbours in k are in banks of their own as well.
  static constexpr int kAStride = kM + 1, kBStride = kN + 1, kStage = kStep * (kAStride + kBStride);

  static __device__ __forceinline__ int row(int j) { return threadIdx.x / kAcross + j / kOwnColumns * kDown; }
  static __device__ __forceinline__ int column(int j) { return threadIdx.x % kAcross + j % kOwnColumns * kAcross; }
};

// Widens one step of `kRows` rows to `tile[step, rows]`, zeros where the matrix ends. Neighbouring threads read
// neighbours.
template <int kRows, int kStep, int kThreads>
static __device__ __forceinline__ void stage_widened(float* tile, const void* matrix, LoamType type, int64_t stride,
                                                     bool transposed, int first, int rows, int at, int k) {
  with_weight(type, [&](auto value) {
    const auto* const from = (const decltype(value)*)matrix;
    UNROLL
    for (int i = 0; i < kRows * kStep / kThreads; ++i) {
      const int e = i * kThreads + threadIdx.x;
      const int row = transposed ? e % kRows : e / kStep, step = transposed ? e / kRows : e % kStep;
      const bool is_there = first + row < rows && at + step < k;
      const int64_t place = transposed ? (at + step) * stride + first + row : (first + row) * stride + at + step;
      tile[step * (kRows + 1) + row] = is_there ? widen(from[place]) : 0.0f;
    }
  });
}

template <class Tile>
static __global__ void __launch_bounds__(Tile::kThreads)
    gemm_dots(const void* __restrict__ a, LoamType a_type, int64_t a_stride, bool a_transposed, LoamLayers layers,
              bool b_transposed, Output to, int k) {
  SHARED_BYTES(window);
  constexpr int kStep = Tile::kStep, kThreads = Tile::kThreads;
  const int first_row = blockIdx.x * Tile::kM;
  const Columns columns = columns_of<Tile::kN>(layers, blockIdx.y);
  const Share share = share_of(k);
  const int steps = (share.to - share.from + kStep - 1) / kStep;

  auto a_of = [&](int step) { return (float*)window + step % 2 * Tile::kStage; };
  auto b_of = [&](int step) { return a_of(step) + kStep * Tile::kAStride; };
  auto stage_both = [&](int step) {
    const int at = share.from + step * kStep;
    stage_widened<Tile::kM, kStep, kThreads>(a_of(step), a, a_type, a_stride, a_transposed, first_row, to.out.rows,
                                             at, share.to);
    stage_widened<Tile::kN, kStep, kThreads>(b_of(step), columns.weight, layers.type, columns.stride, !b_transposed,
                                             columns.first, columns.end, at, share.to);
  };

  float sums[Tile::kOwn] = {}, cut[Tile::kOwn] = {};
  if (steps) stage_both(0);
  for (int step = 0; step < steps; ++step) {
    __syncthreads();
    if (step + 1 < steps) stage_both(step + 1);
    const float *of_a = a_of(step) + Tile::row(0), *of_b = b_of(step) + Tile::column(0);
    for (int i = 0; i < kStep; ++i, of_a += Tile::kAStride, of_b += Tile::kBStride) {
      float a_values[Tile::kOwnRows], b_values[Tile::kOwnColumns];
      UNROLL
      for (int r = 0; r < Tile::kOwnRows; ++r) a_values[r] = of_a[r * Tile::kDown];
      UNROLL
      for (int c = 0; c < Tile::kOwnColumns; ++c) b_values[c] = of_b[c * Tile::kAcross];
      UNROLL
      for (int j = 0; j < Tile::kOwn; ++j)
        cut[j] = fmaf(a_values[j / Tile::kOwnColumns], b_values[j % Tile::kOwnColumns], cut[j]);
    }
    if ((step + 1) % (kCut / kStep) && step + 1 < steps) continue;
    UNROLL
    for (int j = 0; j < Tile::kOwn; ++j) sums[j] += cut[j], cut[j] = 0;
  }
  __syncthreads();
  finish<Tile>(sums, columns, to, first_row, (uint32_t*)window);
}

// ---- launchers

// What is multiplied, and where it goes.
struct Gemm {
  LoamRows a;
  bool a_transposed;
  LoamLayers layers;
  bool b_transposed;
  Output to;
  int k;
  cudaStream_t stream;
};

static size_t bytes_of(LoamType type) { return type == LOAM_F32 ? 4 : 2; }
static Window all_of(const LoamRows& m) { return reads((const char*)m.at, values_in(m) * bytes_of(m.type)); }
static Window weight_of(const Gemm& gemm, int i) {
  const LoamLayer& layer = gemm.layers.each[i];
  const int rows = gemm.b_transposed ? layer.out_features : gemm.k;
  const int width = gemm.b_transposed ? gemm.k : layer.out_features;
  const size_t values = rows && width ? (size_t)(rows - 1) * layer.stride + width : 0;
  return constant((const char*)layer.weight, values * bytes_of(gemm.layers.type));
}
static Window bias_of(const Gemm& gemm, int i) {
  const LoamLayer& layer = gemm.layers.each[i];
  return constant((const char*)layer.bias, layer.bias ? layer.out_features * bytes_of(layer.bias_type) : 0);
}

template <class Tile, class Kernel, class... Arguments>
static cudaError_t start(const char* name, size_t shared_bytes, const Gemm& gemm, Kernel kernel,
                         Arguments... arguments) {
  const Output& to = gemm.to;
  const bool spread = to.planes != nullptr;
  const unsigned cuts = spread ? (gemm.k + kCut - 1) / kCut : 1;
  const unsigned down = (to.out.rows + Tile::kM - 1) / Tile::kM, across = tiles_of<Tile::kN>(gemm.layers);
  const Window out = all_of(to.out);
  static_assert(kLoamLayers == 4);
  return launch({.name = name, .grid = {down, across, cuts}, .block = Tile::kThreads, .shared_bytes = shared_bytes,
                 .stream = gemm.stream,
                 .windows = {all_of(gemm.a), {out.from, out.bytes, Window::kWrites},
                             weight_of(gemm, 0), weight_of(gemm, 1), weight_of(gemm, 2), weight_of(gemm, 3),
                             bias_of(gemm, 0), bias_of(gemm, 1), bias_of(gemm, 2), bias_of(gemm, 3),
                             writes(to.planes, spread ? (size_t)cuts * to.out.rows * to.out.width : 0),
                             writes(to.tickets, spread ? down * across : 0)}},
                kernel, arguments...);
}

template <class Tile, bool kATransposed, bool kBTransposed> static cudaError_t by_products(const Gemm& gemm) {
  return start<Tile>("gemm_products", kStages * Tile::kStage * sizeof(bf16), gemm,
                     gemm_products<Tile, kATransposed, kBTransposed>, (const bf16*)gemm.a.at, gemm.a.stride,
                     gemm.layers, gemm.to, gemm.k);
}
template <class Tile> static cudaError_t by_dots(const Gemm& gemm) {
  return start<Tile>("gemm_dots", 2 * Tile::kStage * sizeof(float), gemm, gemm_dots<Tile>, (const void*)gemm.a.at,
                     gemm.a.type, gemm.a.stride, gemm.a_transposed, gemm.layers, gemm.b_transposed, gemm.to, gemm.k);
}

static cudaError_t start(const Gemm& gemm, int tile_rows) {
  if (gemm.a.type != LOAM_BF16 || gemm.layers.type != LOAM_BF16)
    return tile_rows == 16 ? by_dots<Dots<16>>(gemm) : by_dots<Dots<64>>(gemm);
  using Middle = Products<64, 64, 2, 2, 2>;
  // Other operands than a linear layer's are training's and analysis', where one tile will do.
  if (tile_rows != 64 && (gemm.a_transposed || !gemm.b_transposed)) return cudaErrorInvalidValue;
  if (gemm.a_transposed && gemm.b_transposed) return by_products<Middle, true, true>(gemm);
  if (gemm.a_transposed) return by_products<Middle, true, false>(gemm);
  if (!gemm.b_transposed) return by_products<Middle, false, false>(gemm);
  switch (tile_rows) {
    case 16: return by_products<Products<16, 64, 1, 4, 4>, false, true>(gemm);
    case 64: return by_products<Middle, false, true>(gemm);
    case 128: return by_products<Products<128, 128, 2, 4, 1>, false, true>(gemm);
    default: return cudaErrorInvalidValue;
  }
}

cudaError_t loam_linear(LoamRows x, LoamLayers layers, LoamRows out, int32_t tile_rows, float* planes,
                        uint32_t* tickets, cudaStream_t stream) {
  if (out.rows == 0 || out.width == 0) return cudaSuccess;
  return start({x, false, layers, true, {out, planes, tickets}, x.width, stream}, tile_rows);
}

cudaError_t loam_product(LoamRows a, bool a_transposed, LoamRows b, bool b_transposed, LoamRows out, int32_t tile_rows,
                         float* planes, uint32_t* tickets, cudaStream_t stream) {
  if (out.rows == 0 || out.width == 0) return cudaSuccess;
  const LoamLayers one = {{{b.at, nullptr, b.stride, out.width, LOAM_F32}}, b.type};
  const int k = a_transposed ? a.rows : a.width;
  return start({a, a_transposed, one, b_transposed, {out, planes, tickets}, k, stream}, tile_rows);
}
