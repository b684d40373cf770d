// The log-probability and rank of given tokens, from logits that exist a few tiles of the vocabulary at a time.
//
// Each row's own token's logit is made first, so that greater ones can be counted on the way: of a square of products of rows with
// their tokens' weights, the diagonal. Then tiles are seen as sample.cu sees them, and what all of them say is put together.
// Threads to data: targets: a thread a row. Tiles: a block a tile of 1,024 tokens of a row, a thread a vector of eight. Rows: a warp
// a row, lanes its tiles in turn.
// Bytes moved: logits of a tile once, from L2 where they were just written; 16 bytes a tile and row.
// Why this tile: it is sample.cu's, so that a token has one log-probability.
#include "sampling.cuh"

constexpr int kThreads = 128;

static __global__ void __launch_bounds__(kThreads)
    score_targets(const float* __restrict__ products, int64_t stride, int rows, const uint32_t* __restrict__ tokens, uint32_t first_token, uint32_t token_count, float* targets) {
  const int64_t row = blockIdx.x * kThreads + threadIdx.x;
  if (row < rows && tokens[row] - first_token < token_count) targets[row] = products[row * stride + row];
}

static __global__ void __launch_bounds__(kTileTokens / kVector)
    score_tiles(const float* __restrict__ logits, int64_t stride, int width, const float* __restrict__ targets, LoamTiles seen, uint32_t* above, int first_tile) {
  SHARED_BYTES(part);
  const int row = blockIdx.x, own = blockIdx.y * kTileTokens + threadIdx.x * kVector;
  const int64_t place = (int64_t)row * seen.tiles + first_tile + blockIdx.y;
  const float target = counted(targets[row]);
  float v[kVector];
  load_logits(logits + row * stride + own, min(width - own, kVector), v);
  see(v, seen.peaks + place, seen.sums + place, part);
  uint32_t greater = 0;
  UNROLL
  for (int i = 0; i < kVector; ++i) greater += v[i] > target;
  greater = block_sum(greater, part);
  if (threadIdx.x == 0) above[place] = greater;
}

static __global__ void __launch_bounds__(kThreads)
    score_rows(const float* __restrict__ targets, LoamTiles seen, const uint32_t* __restrict__ above, float* log_probabilities, int64_t log_probability_stride,
               uint32_t* ranks, int64_t rank_stride, int rows) {
  const int64_t row = blockIdx.x * (kThreads / 32) + threadIdx.x / 32;
  // Whole warps.
  if (row >= rows) return;
  float peak = kNothing;
  uint32_t greater = 0;
  for (int tile = threadIdx.x % 32; tile < seen.tiles; tile += 32) {
    peak = fmaxf(peak, seen.peaks[row * seen.tiles + tile]);
    greater += above[row * seen.tiles + tile];
  }
  for (int other = 16; other > 0; other /= 2) {
    peak = fmaxf(peak, __shfl_xor_sync(0xffffffffu, peak, other));
    greater += __shfl_xor_sync(0xffffffffu, greater, other);
  }
  const double sum = log_sum(seen.peaks + row * seen.tiles, seen.sums + row * seen.tiles, seen.tiles, peak);
  if (threadIdx.x % 32 != 0) return;
  log_probabilities[row * log_probability_stride] = log_probability(counted(targets[row]), peak, sum);
  ranks[row * rank_stride] = greater;
}

cudaError_t loam_score_targets(LoamRows products, const uint32_t* tokens, uint32_t first_token, uint32_t token_count, float* targets, cudaStream_t stream) {
  const unsigned rows = products.rows;
  if (rows == 0) return cudaSuccess;
  const float* const from = (const float*)products.at;
  return launch({.name = "score_targets", .grid = (rows + kThreads - 1) / kThreads, .block = kThreads, .stream = stream,
                 .windows = {reads(from, values_in(products)), reads(tokens, rows), writes(targets, rows)}},
                score_targets, from, products.stride, products.rows, tokens, first_token, token_count, targets);
}

cudaError_t loam_score_tiles(LoamRows logits, const float* targets, LoamTiles seen, uint32_t* above, int32_t first_tile, cudaStream_t stream) {
  if (logits.rows == 0) return cudaSuccess;
  const size_t rows = logits.rows, all = rows * seen.tiles;
  const float* const from = (const float*)logits.at;
  return launch({.name = "score_tiles", .grid = {(unsigned)rows, (unsigned)(logits.width + kTileTokens - 1) / kTileTokens}, .block = tile_threads(logits.width),
                 .shared_bytes = 32 * sizeof(Whole), .stream = stream,
                 .windows = {reads(from, values_in(logits)), reads(targets, rows), writes(seen.peaks, all), writes(seen.sums, all), writes(above, all)}},
                score_tiles, from, logits.stride, logits.width, targets, seen, above, first_tile);
}

cudaError_t loam_score_rows(const float* targets, LoamTiles seen, const uint32_t* above, LoamRows log_probabilities, LoamRows ranks, cudaStream_t stream) {
  const unsigned rows = ranks.rows;
  if (rows == 0) return cudaSuccess;
  const size_t all = (size_t)rows * seen.tiles;
  float* const to = (float*)log_probabilities.at;
  uint32_t* const to_ranks = (uint32_t*)ranks.at;
  return launch({.name = "score_rows", .grid = (rows + kThreads / 32 - 1) / (kThreads / 32), .block = kThreads, .stream = stream,
                 .windows = {reads(targets, rows), reads(seen.peaks, all), reads(seen.sums, all), reads(above, all), writes(to, values_in(log_probabilities)),
                             writes(to_ranks, values_in(ranks))}},
                score_rows, targets, seen, above, to, log_probabilities.stride, to_ranks, ranks.stride, ranks.rows);
}
