// Each row's next token, as src/backend/sampling.rs says, and what is said of it.
//
// First every tile of 1,024 tokens is seen: its greatest logit and the sum of its powers; where penalties, biases or a mask speak,
// the logits that they make are written beside. Then a block a row chooses: the first in rank, or a draw among those kept.
// Threads to data: a block a tile, a thread a vector of eight; then a block a row, up to 1,024 threads, a warp 256 tokens at a time.
// Bytes moved: logits once, and once more out where they are changed. A choice reads only tiles that can hold what it looks for:
// `top_k` and `top_p` those of the few most probable tokens, a draw among all tokens all, about four times, from L2.
// Why this tile: 128,256 tokens are 126 blocks for one row, and the greatest logits of so many tiles say where few tokens are.
#include "ranks.cuh"

constexpr int kThreadsMax = 1024;
constexpr uint32_t kNone = 0xffffffffu;

// ---- tiles

static __device__ __forceinline__ float penalized(float logit, const LoamChoice& choice, bool in_prompt, uint32_t in_output) {
  logit = counted(logit);
  if (in_prompt || in_output > 0) logit = logit > 0 ? logit / choice.repetition_penalty : logit * choice.repetition_penalty;
  if (in_output > 0) logit = counted(logit) - choice.presence_penalty - choice.frequency_penalty * (float)in_output;
  return logit;
}

// What was seen of a token and its bias, on a tile's logits in shared memory. `is_new`, there too: whether its row's own token
// is one that was not seen before.
static __device__ void adjust(const LoamChoices& all, const LoamChoice& choice, uint32_t from, uint32_t to, float* logits, bool* is_new) {
  const uint32_t own = choice.own == kNone ? kNone : ((const uint32_t*)all.own.at)[choice.own * all.own.stride];
  __syncthreads();
  if (threadIdx.x == 0) *is_new = own >= from && own < to;
  __syncthreads();
  for (uint32_t i = choice.seen_from + threadIdx.x; i < choice.seen_to; i += blockDim.x) {
    const LoamSeen seen = all.seen[i];
    if (seen.token < from || seen.token >= to) continue;
    float& logit = logits[seen.token - from];
    logit = penalized(logit, choice, seen.in_prompt, seen.in_output + (seen.token == own));
    if (seen.token == own) *is_new = false;
  }
  __syncthreads();
  if (threadIdx.x == 0 && *is_new) logits[own - from] = penalized(logits[own - from], choice, false, 1);
  __syncthreads();
  for (uint32_t i = choice.biases_from + threadIdx.x; i < choice.biases_to; i += blockDim.x) {
    const LoamBias bias = all.biases[i];
    if (bias.token >= from && bias.token < to) logits[bias.token - from] = counted(logits[bias.token - from]) + bias.bias;
  }
  __syncthreads();
}

static __global__ void __launch_bounds__(kTileTokens / kVector)
    sample_tiles(const float* __restrict__ logits, int64_t stride, int width, LoamChoices choices, LoamTiles raw, LoamTiles adjusted, float* adjusted_logits,
                 int64_t adjusted_stride) {
  SHARED_BYTES(window);
  float* const tile_logits = (float*)window;  // [kTileTokens]
  Whole* const part = (Whole*)(tile_logits + kTileTokens);  // [32]
  const int row = blockIdx.x, tile = blockIdx.y, own = threadIdx.x * kVector, from = tile * kTileTokens, to = min(from + kTileTokens, width), count = to - from - own;
  const LoamChoice choice = choices.rows[row];
  float v[kVector];
  load_logits(logits + row * stride + from + own, count, v);
  see(v, raw.peaks + row * raw.tiles + tile, raw.sums + row * raw.tiles + tile, part);
  if (choice.adjusted == kNone) return;
  store_vector(tile_logits + own, kVector, v);
  adjust(choices, choice, from, to, tile_logits, (bool*)(part + 32));
  load_logits(tile_logits + own, count, v);
  if (choice.mask_from != kNone && count > 0) {
    const uint32_t allowed = choices.masks[choice.mask_from + (from + own) / 32] >> (from + own) % 32;
    UNROLL
    for (int i = 0; i < kVector; ++i) v[i] = allowed >> i & 1 ? v[i] : kNothing;
  }
  const int64_t place = choice.adjusted;
  store_vector(adjusted_logits + place * adjusted_stride + from + own, count, v);
  see(v, adjusted.peaks + place * adjusted.tiles + tile, adjusted.sums + place * adjusted.tiles + tile, part);
}

// ---- rows

static __device__ Row row_of(const float* logits, const float* peaks, int width, int tiles, Room& room) {
  float peak = kNothing;
  for (int tile = threadIdx.x; tile < tiles; tile += blockDim.x) peak = fmaxf(peak, peaks[tile]);
  return {logits, peaks, width, tiles, block_max(peak, room.part)};
}

// The least token for which `each`, called with a function that takes tokens, finds one.
template <class Each> static __device__ uint32_t least_token(Room& room, Each each) {
  __syncthreads();
  if (threadIdx.x == 0) room.token = kNone;
  __syncthreads();
  each([&](uint32_t token) { atomicMin(&room.token, token); });
  __syncthreads();
  return room.token;
}

// Where no token is left, the lowest that the mask allows.
static __device__ uint32_t lowest_allowed(const LoamChoices& all, const LoamChoice& choice, int width, Room& room) {
  if (choice.mask_from == kNone) return 0;
  return least_token(room, [&](auto take) {
    for (int word = threadIdx.x; word < (width + 31) / 32; word += blockDim.x)
      if (const uint32_t allowed = all.masks[choice.mask_from + word]) take(word * 32 + __ffs(allowed) - 1);
  });
}

static __device__ uint32_t first_in_rank(const Row& row, Room& room) {
  return least_token(room, [&](auto take) {
    each_vector(row, row.peak, [&](int token, const float(&logits)[kVector], int count) {
      for (int i = 0; i < count; ++i)
        if (logits[i] == row.peak) return take(token + i);
    });
  });
}

// The token, in order of id, in whose part of all weights the number lies; `sums[tiles]` is shared memory.
static __device__ uint32_t draw(const Row& row, const Scale& scale, Whole number, Whole* sums, Room& room) {
  __syncthreads();
  for (int tile = threadIdx.x; tile < row.tiles; tile += blockDim.x) sums[tile] = 0;
  __syncthreads();
  each_vector(row, logit_of(scale.until), [&](int token, const float(&logits)[kVector], int) {
    Whole sum = 0;
    UNROLL
    for (int i = 0; i < kVector; ++i) sum += scale.weight(logits[i], token + i);
    for (int other = 16; other > 0; other /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, other);
    if (threadIdx.x % 32 == 0) atomicAdd(&sums[token / kTileTokens], sum);
  });
  __syncthreads();
  if (threadIdx.x < 32) {
    Whole total = 0;
    for (int tile = threadIdx.x; tile < row.tiles; tile += 32) total += sums[tile];
    for (int other = 16; other > 0; other /= 2) total += __shfl_xor_sync(0xffffffffu, total, other);
    const Whole target = __umul64hi(number, total);
    auto passes = [&](Whole sum) { return sum > target; };
    const Place tile = first_passing(row.tiles, 0, [&](uint32_t i) { return sums[i]; }, passes);
    const uint32_t from = tile.at * kTileTokens, count = min((uint32_t)kTileTokens, row.width - from);
    auto weight = [&](uint32_t i) { return scale.weight(counted(row.logits[from + i]), from + i); };
    const Place token = first_passing(count, tile.before, weight, passes);
    if (threadIdx.x == 0) room.token = from + token.at;
  }
  __syncthreads();
  return room.token;
}

static __device__ uint32_t choose(const LoamChoices& all, const LoamChoice& choice, const Row& row, Whole* sums, Room& room) {
  if (row.peak == kNothing) return lowest_allowed(all, choice, row.width, room);
  if (choice.inverse_temperature == 0) return first_in_rank(row, room);
  Scale scale = {row.peak, choice.inverse_temperature, kNothing, kLast};
  if (choice.top_k > 0) scale.until = nth(row, choice.top_k, room);
  if (choice.top_p < 1) scale.until = min(scale.until, reaching(row, scale, choice.top_p, room));
  scale.floor = choice.floor;
  return draw(row, scale, (Whole)choice.number_high << 32 | choice.number_low, sums, room);
}

// How many tokens have a greater logit.
static __device__ uint32_t count_above(const Row& row, float logit, Room& room) {
  uint32_t above = 0;
  each_vector(row, logit, [&](int, const float(&logits)[kVector], int) {
    UNROLL
    for (int i = 0; i < kVector; ++i) above += logits[i] > logit;
  });
  return block_sum(above, room.part);
}

template <class T> static __device__ __forceinline__ T& at(const LoamRows& m, int64_t row, int column) { return ((T*)m.at)[row * m.stride + column]; }

static __global__ void __launch_bounds__(kThreadsMax)
    sample_rows(const float* __restrict__ logits, int64_t stride, int width, LoamChoices choices, LoamTiles raw, LoamTiles adjusted, const float* adjusted_logits,
                int64_t adjusted_stride, LoamChosen chosen) {
  SHARED_BYTES(window);
  Room& room = *(Room*)window;
  Whole* const sums = (Whole*)(window + sizeof(Room));
  const int64_t index = blockIdx.x;
  const LoamChoice choice = choices.rows[index];
  const Row row = row_of(logits + index * stride, raw.peaks + index * raw.tiles, width, raw.tiles, room);
  const int64_t place = choice.adjusted;
  const Row from =
      choice.adjusted == kNone ? row : row_of(adjusted_logits + place * adjusted_stride, adjusted.peaks + place * adjusted.tiles, width, adjusted.tiles, room);
  const uint32_t token = choose(choices, choice, from, sums, room);

  const float logit = counted(row.logits[token]);
  const double sum = log_sum(row.peaks, raw.sums + index * raw.tiles, row.tiles, row.peak);
  const uint32_t above = count_above(row, logit, room);
  if (threadIdx.x == 0) {
    at<uint32_t>(chosen.tokens, index, 0) = token;
    at<float>(chosen.log_probabilities, index, 0) = log_probability(logit, row.peak, sum);
    at<uint32_t>(chosen.ranks, index, 0) = above;
  }
  if (choice.top == 0) return;
  const uint32_t top = min(choice.top, (uint32_t)width);
  sort(row, {0, nth(row, top, room), {}}, room);
  for (uint32_t i = threadIdx.x; i < top; i += blockDim.x) {
    const Key key = room.sorted[i];
    at<uint32_t>(chosen.top_tokens, index, i) = (uint32_t)key;
    at<float>(chosen.top_log_probabilities, index, i) = log_probability(logit_of(key), row.peak, sum);
  }
}

static Window all(const LoamRows& m) { return writes((uint32_t*)m.at, values_in(m)); }

cudaError_t loam_sample(LoamRows logits, LoamChoices choices, LoamTiles raw, LoamTiles adjusted, float* adjusted_logits, int64_t adjusted_stride, LoamChosen chosen,
                        cudaStream_t stream) {
  if (logits.rows == 0) return cudaSuccess;
  const float* const from = (const float*)logits.at;
  const size_t rows = logits.rows, seen = rows * raw.tiles, changed = choices.adjusted, room = changed * adjusted_stride;
  const Window given[] = {reads(from, values_in(logits)), reads(choices.rows, rows), reads(choices.seen, choices.seen_count),
                          reads(choices.biases, choices.bias_count), reads(choices.masks, choices.mask_words)};
  const Window own = reads((const uint32_t*)choices.own.at, values_in(choices.own));
  const cudaError_t code =
      launch({.name = "sample_tiles", .grid = {(unsigned)rows, (unsigned)raw.tiles}, .block = tile_threads(logits.width),
              .shared_bytes = kTileTokens * sizeof(float) + 33 * sizeof(Whole), .stream = stream,
              .windows = {given[0], given[1], given[2], given[3], given[4], own, writes(raw.peaks, seen), writes(raw.sums, seen),
                          writes(adjusted.peaks, changed * adjusted.tiles), writes(adjusted.sums, changed * adjusted.tiles), writes(adjusted_logits, room)}},
             sample_tiles, from, logits.stride, logits.width, choices, raw, adjusted, adjusted_logits, adjusted_stride);
  if (code != cudaSuccess) return code;
  // As many threads as a row has vectors for.
  const unsigned threads = min(tile_threads(logits.width) * (unsigned)raw.tiles, (unsigned)kThreadsMax);
  return launch({.name = "sample_rows", .grid = (unsigned)rows, .block = threads, .shared_bytes = sizeof(Room) + raw.tiles * sizeof(Whole), .stream = stream,
                 .windows = {given[0], given[1], given[4], reads(raw.peaks, seen), reads(raw.sums, seen), reads(adjusted.peaks, changed * adjusted.tiles),
                             reads(adjusted_logits, room), all(chosen.tokens), all(chosen.log_probabilities), all(chosen.ranks), all(chosen.top_tokens),
                             all(chosen.top_log_probabilities)}},
                sample_rows, from, logits.stride, logits.width, choices, raw, adjusted, adjusted_logits, adjusted_stride, chosen);
}
