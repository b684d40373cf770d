// The first half of an adapter: h[pair, r] = sum_k x[row, k] A[r, k], for up to 16 pairs of one adapter at once.
//
// Threads to data: a block has 16 ranks and 512 of k. By matrix products where x and A are bf16, see `shrink_products`. By dot
// products otherwise: a warp has four of the ranks, a lane k = lane, lane + 32, ...: 16 values of A in registers, which meet every
// pair's row. A sum is a lane's own in order, then lanes by halves, then cuts of 512 in order, whoever else is there.
// Bytes moved: A once for every 16 pairs; x once a block of ranks, from L2; a plane of h a cut, out and in.
// Why this tile: rank 16 over 4,096 is 128 KB of A and 8 blocks, whose 16 KB are on their way before the first value is used; pairs
// that are absent cost nothing that memory would not take longer for. The last block of a tile to draw its ticket adds the
// planes. The grid is a function of the batch's rows, of h's width and of the site; the list of runs says what there is, so
// that one graph serves every mix of adapters and ranks.
// No windows: where adapters lie their table alone knows.
#include <type_traits>

#include "adapters.cuh"
#include "launch.cuh"
#include "ptx.cuh"
#include "types.cuh"
#include "vectors.cuh"

constexpr int kThreads = 128, kRanks = 16, kCut = 512, kOwnRanks = kRanks / (kThreads / 32), kOwn = kCut / 32;
// Four times as many as all multiprocessors of an H200 hold at once.
constexpr unsigned kBlocksMax = 8192;

// This warp's ranks over one cut, for all pairs of a run, to `to[pair * stride + rank]`.
template <class X, class A>
static __device__ void shrink_dots(const X* x, int64_t x_stride, const A* a, uint32_t rank, const LoamPair* pairs, const LoamShrink& run, int from, int in_features,
                                  float* to, int64_t stride) {
  const int lane = threadIdx.x % 32, first = blockIdx.y * kRanks + threadIdx.x / 32 * kOwnRanks;
  for (int r = first; r < first + kOwnRanks && r < (int)rank; ++r) {
    float weight[kOwn];
    UNROLL
    for (int i = 0; i < kOwn; ++i) {
      const int k = from + lane + 32 * i;
      weight[i] = k < in_features ? widen(a[(int64_t)r * in_features + k]) : 0.0f;
    }
    for (uint32_t pair = run.from; pair < run.to; ++pair) {
      const X* const row = x + pairs[pair].row * x_stride;
      float sum = 0;
      UNROLL
      for (int i = 0; i < kOwn; ++i) {
        const int k = from + lane + 32 * i;
        if (k < in_features) sum = fmaf(widen(row[k]), weight[i], sum);
      }
      for (int other = 16; other > 0; other /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, other);
      if (lane == 0) to[pair * stride + r] = sum;
    }
  }
}

// Draws a ticket; who draws the last adds the cuts' planes, in order.
static __device__ void add_planes(const float* planes, int64_t plane, int width, float* h, int64_t h_stride, const LoamShrink& run, int first, uint32_t rank, uint32_t* ticket,
                                  uint32_t* drawn) {
  const uint32_t cuts = gridDim.z;
  // The ticket releases what the block wrote before the barrier, and acquires what the others did.
  __syncthreads();
  if (threadIdx.x == 0) *drawn = ptx::ticket_draw(ticket, cuts - 1);
  __syncthreads();
  const bool is_last = *drawn == cuts - 1;
  __syncthreads();
  if (!is_last) return;
  const int ranks = min(kRanks, (int)rank - first);
  for (uint32_t e = threadIdx.x; e < (run.to - run.from) * ranks; e += kThreads) {
    const uint32_t pair = run.from + e / ranks, r = first + e % ranks;
    float sum = 0;
    for (uint32_t each = 0; each < cuts; ++each) sum += planes[each * plane + (int64_t)pair * width + r];
    h[pair * h_stride + r] = sum;
  }
}

// The same by matrix products of 16 ranks and 8 pairs, operands swapped so that few pairs waste little. A warp has a quarter of the
// cut, a lane eight neighbours of every 32 of k, which stand where a lane has its values in two products, of A and of x alike;
// `parts[warps, 16, 16]` are added in order. Absent ranks and pairs are the last ones once more, and are not written.
static __device__ void shrink_products(const bf16* x, int64_t x_stride, const bf16* a, uint32_t rank, const LoamPair* pairs, const LoamShrink& run, int from,
                                       int in_features, float* to, int64_t stride, float* parts) {
  constexpr int kWarps = kThreads / 32, kShare = kCut / kWarps, kSteps = kShare / 32;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = lane / 4, pair = lane % 4 * 2, first = blockIdx.y * kRanks, count = run.to - run.from;
  const int begin = from + warp * kShare, own = begin + lane % 4 * kVector;
  const bool is_whole = begin + kShare <= in_features && (in_features | x_stride) % kVector == 0 && ((uintptr_t)a | (uintptr_t)x) % 16 == 0;
  auto of_rank = [&](int j) { return a + (int64_t)min(first + row + j * 8, (int)rank - 1) * in_features; };
  auto of_pair = [&](int half) { return x + pairs[run.from + min(half * 8 + row, count - 1)].row * x_stride; };
  float sums[2][4] = {};
  uint4 of_a[kSteps][2];
  UNROLL
  for (int i = 0; i < kSteps; ++i) {
    UNROLL
    for (int j = 0; j < 2; ++j) {
      const int at = own + i * 32;
      of_a[i][j] = is_whole ? ptx::load_once_16(of_rank(j) + at) : eight(of_rank(j) + at, in_features - at);
    }
  }
  UNROLL
  for (int half = 0; half < 2; ++half) {
    if (half * 8 >= count) continue;
    const bf16* const from_x = of_pair(half);
    uint4 of_x[kSteps];
    UNROLL
    for (int i = 0; i < kSteps; ++i) of_x[i] = is_whole ? ptx::load_16(from_x + own + i * 32) : eight(from_x + own + i * 32, in_features - own - i * 32);
    UNROLL
    for (int i = 0; i < kSteps; ++i) {
      const uint4 &low = of_a[i][0], &high = of_a[i][1];
      ptx::multiply_16x8x16_bf16(sums[half], {low.x, high.x, low.y, high.y}, {of_x[i].x, of_x[i].y});
      ptx::multiply_16x8x16_bf16(sums[half], {low.z, high.z, low.w, high.w}, {of_x[i].z, of_x[i].w});
    }
  }
  UNROLL
  for (int i = 0; i < 8; ++i) parts[(warp * 16 + row + i % 4 / 2 * 8) * 16 + i / 4 * 8 + pair + i % 2] = sums[i / 4][i % 4];
  __syncthreads();
  for (int e = threadIdx.x; e < 16 * count; e += kThreads) {
    const int n = e / 16, r = e % 16;
    float sum = 0;
    for (int each = 0; each < kWarps; ++each) sum += parts[(each * 16 + r) * 16 + n];
    if (first + r < (int)rank) to[(run.from + n) * stride + first + r] = sum;
  }
  __syncthreads();
}

template <class X>
static __global__ void __launch_bounds__(kThreads) lora_shrink(const X* __restrict__ x, int64_t x_stride, float* h, int64_t h_stride, LoamPlaces places, LoamPairs of,
                                                               int in_features, int width, float* planes, uint32_t* tickets) {
  SHARED_BYTES(window);
  uint32_t* const drawn = (uint32_t*)window;
  float* const parts = (float*)window + 4;
  const uint32_t cut = blockIdx.z, cuts = gridDim.z;
  const int first = blockIdx.y * kRanks;
  const int64_t plane = (int64_t)of.pair_count * width, stride = cuts > 1 ? width : h_stride;
  for (uint32_t index = blockIdx.x; index < of.counts[0]; index += gridDim.x) {
    const LoamShrink run = of.shrinks[index];
    const LoamPlace place = place_of(places, run.slot);
    if (first >= (int)place.rank) continue;
    float* const to = cuts > 1 ? planes + cut * plane : h;
    if (std::is_same_v<X, bf16> && place.type == LOAM_BF16) {
      shrink_products((const bf16*)x, x_stride, (const bf16*)place.a, place.rank, of.pairs, run, cut * kCut, in_features, to, stride, parts);
    } else {
      with_weight(place.type, [&](auto a) {
        shrink_dots(x, x_stride, (const decltype(a)*)place.a, place.rank, of.pairs, run, cut * kCut, in_features, to, stride);
      });
    }
    if (cuts > 1) add_planes(planes, plane, width, h, h_stride, run, first, place.rank, tickets + index * gridDim.y + blockIdx.y, drawn);
  }
}

cudaError_t loam_lora_shrink(LoamRows x, LoamRows h, LoamPlaces places, LoamPairs pairs, float* planes, uint32_t* tickets, cudaStream_t stream) {
  if (pairs.pair_count == 0 || h.width == 0) return cudaSuccess;
  // An input of no values still has sums: 0.
  const unsigned cuts = max(1, (x.width + kCut - 1) / kCut), tiles = (h.width + kRanks - 1) / kRanks;
  // A recorded launch has tiles for every rank that may come, and most find nothing to do: blocks take runs in turn, so that
  // there are never many more blocks than a GPU has room for.
  const unsigned across = max(1u, min(min((unsigned)pairs.rows, 256u), kBlocksMax / (tiles * cuts)));
  return with_activation(x.type, [&](auto x_value) {
    using X = decltype(x_value);
    return launch({.name = "lora_shrink", .grid = {across, tiles, cuts}, .block = kThreads, .shared_bytes = 16 + kThreads / 32 * 16 * 16 * sizeof(float), .stream = stream},
                  lora_shrink<X>, (const X*)x.at, x.stride, (float*)h.at, h.stride, places, pairs, x.width, h.width, planes, tickets);
  });
}

// At an embedding A is kept [vocabulary, rank]: a block takes pairs in turn, a thread ranks t, t + 128, ....
static __global__ void __launch_bounds__(kThreads) lora_shrink_tokens(const uint32_t* __restrict__ tokens, float* h, int64_t h_stride,
                                                                      LoamPlaces places, LoamPairs of) {
  for (uint32_t index = blockIdx.x; index < of.counts[2]; index += gridDim.x) {
    const LoamPair pair = of.pairs[index];
    const LoamPlace place = place_of(places, pair.slot);
    with_weight(place.type, [&](auto a) {
      const auto* const from = (const decltype(a)*)place.a + (int64_t)tokens[pair.row] * place.rank;
      for (uint32_t r = threadIdx.x; r < place.rank; r += kThreads) h[index * h_stride + r] = widen(from[r]);
    });
  }
}

cudaError_t loam_lora_shrink_tokens(const uint32_t* tokens, LoamRows h, LoamPlaces places, LoamPairs pairs, cudaStream_t stream) {
  if (pairs.pair_count == 0) return cudaSuccess;
  return launch({.name = "lora_shrink_tokens", .grid = min((unsigned)pairs.rows, 1024u), .block = kThreads, .stream = stream}, lora_shrink_tokens, tokens,
                (float*)h.at, h.stride, places, pairs);
}
