// The log-probability and rank of given tokens, and the most probable token beside each, from logits that exist a few tiles of the
// vocabulary at a time.
//
// Each row's own token's logit is made first, so that greater ones can be counted on the way: of a square of products of rows with
// their tokens' weights, the diagonal. Then tiles are seen as sample.cu sees them, and what all of them say is put together.
// Threads to data: targets: a thread a row. Tiles: a block a tile of 1,024 tokens of a row, a thread a vector of eight. Rows: a warp
// a row, lanes its tiles in turn.
// Bytes moved: logits of a tile once, from L2 where they were just written; 20 bytes a tile and row.
// Why this tile: it is sample.cu's, so that a token has one log-probability.
#include "sampling.cuh"

constexpr int kThreads = 128;

static __global__ void __launch_bounds__(kThreads)
    score_targets(const float* __restrict__ products, int64_t stride, int rows, const uint32_t* __restrict__ tokens, uint32_t first_token, uint32_t token_count, float* targets) {
  const int64_t row = blockIdx.x * kThreads + threadIdx.x;
  if (row < rows && tokens[row] - first_token < token_count) targets[row] = products[row * stride + row];
}

static __global__ void __launch_bounds__(kTileTokens / kVector)
    score_tiles(const float* __restrict__ logits, int64_t stride, int width, const float* __restrict__ targets, LoamTiles seen, uint32_t* above, uint32_t* best, int first_tile) {
  SHARED_BYTES(part);
  const int row = blockIdx.x, own = blockIdx.y * kTileTokens + threadIdx.x * kVector;
  const int64_t place = (int64_t)row * seen.tiles + first_tile + blockIdx.y;
  const float target = counted(targets[row]);
  float v[kVector];
  load_logits(logits + row * stride + own, min(width - own, kVector), v);
  const float peak = see(v, seen.peaks + place, seen.sums + place, part);
  // The first of the greatest: a tile's first where nothing in it can come.
  uint32_t greater = 0, first = kTileTokens;
  UNROLL
  for (int i = kVector - 1; i >= 0; --i) {
    greater += v[i] > target;
    if (v[i] == peak) first = threadIdx.x * kVector + i;
  }
  greater = block_sum(greater, part);
  first = block_fold(first, part, [](uint32_t a, uint32_t b) { return min(a, b); });
  if (threadIdx.x == 0) above[place] = greater, best[place] = (first_tile + blockIdx.y) * kTileTokens + first;
}

static __global__ void __launch_bounds__(kThreads)
    score_rows(const float* __restrict__ targets, LoamTiles seen, const uint32_t* __restrict__ above, const uint32_t* __restrict__ best, LoamScores said, int rows) {
  const int64_t row = blockIdx.x * (kThreads / 32) + threadIdx.x / 32;
  // Whole warps.
  if (row >= rows) return;
  float peak = kNothing;
  uint32_t greater = 0, token = UINT32_MAX;
  const auto take = [&](float other_peak, uint32_t other_token) {
    if (other_peak > peak || (other_peak == peak && other_token < token)) peak = other_peak, token = other_token;
  };
  for (int tile = threadIdx.x % 32; tile < seen.tiles; tile += 32) {
    const int64_t place = row * seen.tiles + tile;
    take(seen.peaks[place], best[place]);
    greater += above[place];
  }
  for (int other = 16; other > 0; other /= 2) {
    take(__shfl_xor_sync(0xffffffffu, peak, other), __shfl_xor_sync(0xffffffffu, token, other));
    greater += __shfl_xor_sync(0xffffffffu, greater, other);
  }
  const double sum = log_sum(seen.peaks + row * seen.tiles, seen.sums + row * seen.tiles, seen.tiles, peak);
  if (threadIdx.x % 32 != 0) return;
  ((float*)said.log_probabilities.at)[row * said.log_probabilities.stride] = log_probability(counted(targets[row]), peak, sum);
  ((uint32_t*)said.ranks.at)[row * said.ranks.stride] = greater;
  ((uint32_t*)said.best_tokens.at)[row * said.best_tokens.stride] = token;
  ((float*)said.best_log_probabilities.at)[row * said.best_log_probabilities.stride] = log_probability(peak, peak, sum);
}

cudaError_t loam_score_targets(LoamRows products, const uint32_t* tokens, uint32_t first_token, uint32_t token_count, float* targets, cudaStream_t stream) {
  const unsigned rows = products.rows;
  if (rows == 0) return cudaSuccess;
  const float* const from = (const float*)products.at;
  return launch({.name = "score_targets", .grid = (rows + kThreads - 1) / kThreads, .block = kThreads, .stream = stream,
                 .windows = {reads(from, values_in(products)), reads(tokens, rows), writes(targets, rows)}},
                score_targets, from, products.stride, products.rows, tokens, first_token, token_count, targets);
}

cudaError_t loam_score_tiles(LoamRows logits, const float* targets, LoamTiles seen, uint32_t* above, uint32_t* best, int32_t first_tile, cudaStream_t stream) {
  if (logits.rows == 0) return cudaSuccess;
  const size_t rows = logits.rows, all = rows * seen.tiles;
  const float* const from = (const float*)logits.at;
  return launch({.name = "score_tiles", .grid = {(unsigned)rows, (unsigned)(logits.width + kTileTokens - 1) / kTileTokens}, .block = tile_threads(logits.width),
                 .shared_bytes = 32 * sizeof(Whole), .stream = stream,
                 .windows = {reads(from, values_in(logits)), reads(targets, rows), writes(seen.peaks, all), writes(seen.sums, all), writes(above, all), writes(best, all)}},
                score_tiles, from, logits.stride, logits.width, targets, seen, above, best, first_tile);
}

cudaError_t loam_score_rows(const float* targets, LoamTiles seen, const uint32_t* above, const uint32_t* best, LoamScores said, cudaStream_t stream) {
  const unsigned rows = said.ranks.rows;
  if (rows == 0) return cudaSuccess;
  const size_t all = (size_t)rows * seen.tiles;
  return launch({.name = "score_rows", .grid = (rows + kThreads / 32 - 1) / (kThreads / 32), .block = kThreads, .stream = stream,
                 .windows = {reads(targets, rows), reads(seen.peaks, all), reads(seen.sums, all), reads(above, all), reads(best, all),
                             writes((float*)said.log_probabilities.at, values_in(said.log_probabilities)), writes((uint32_t*)said.ranks.at, values_in(said.ranks)),
                             writes((uint32_t*)said.best_tokens.at, values_in(said.best_tokens)),
                             writes((float*)said.best_log_probabilities.at, values_in(said.best_log_probabilities))}},
                score_rows, targets, seen, above, best, said, (int)rows);
}
