// Attention of segments of one row. First a partial result for each split of its positions: its greatest score, the sum of
// powers relative to it, the values so summed. Then a row's splits are merged in order.
//
// Threads to data: blocks take items (split, head of keys, 16 of the query heads that share it) from a list, in turn; see
// attention.cuh for a block's threads. Of a row's splits the block that draws the last ticket merges all: a warp finds what those
// of a query are multiplied by, a lane a split; then a thread adds up a column of some queries. A split alone is the result.
// Bytes moved: keys and values of all positions once, whatever the number of query heads up to 16; partial results out and in.
// Why this tile: a split is 256 KB of keys and values (heads of 128 in bf16), enough to hide its beginning and its end, and a
// context of 8,192 is 16 of them for each head; where that is too few for a device, the fast mode has shorter ones. The grid is a
// function of the batch's rows; how many items there are the device's table says, so that one graph serves all contexts.
#include "attention_walks.cuh"

// Merges a row's partial results, which lie `apart`, in order, and calls `put(n, column, value)` for each of query n's values;
// `greatest` and `sum` become the walk's.
template <int D, class Walk, class Put>
static __device__ __forceinline__ void merge(Walk& walk, int count, const float* partials, int64_t apart, uint32_t splits, Put put) {
  constexpr int kLanes = Walk::kThreads / D;
  const uint32_t lane = threadIdx.x % 32, column = threadIdx.x % D;
  float values[Walk::kOwn] = {};
  if (threadIdx.x < kQueries) walk.greatest[threadIdx.x] = -INFINITY, walk.sum[threadIdx.x] = 0;
  for (uint32_t from = 0; from < splits; from += 32) {
    const float* const some = partials + from * apart;
    const uint32_t left = min(splits - from, 32u);
    __syncthreads();
    // A warp has a query, a lane a split.
    for (int n = threadIdx.x / 32; n < count; n += Walk::kThreads / 32) {
      const float* const own = some + min(lane, left - 1) * apart + n * (2 + D);
      const float greatest = own[0], sum = own[1];
      Blend all = {walk.greatest[n], walk.sum[n], {}};
      for (uint32_t i = 0; i < left; ++i) {
        all = blend(all.greatest, all.sum, __shfl_sync(0xffffffffu, greatest, i), __shfl_sync(0xffffffffu, sum, i));
        if (lane == i) walk.rows[n].factors[i] = all.by;
      }
      __syncwarp();
      if (lane == 0) walk.greatest[n] = all.greatest, walk.sum[n] = all.sum;
    }
    __syncthreads();
    UNROLL
    for (int j = 0; j < Walk::kOwn; ++j) {
      const int n = threadIdx.x / D + j * kLanes;
      if (n >= count) continue;
      const float* const own = some + n * (2 + D) + 2 + column;
      UNROLL_8
      for (uint32_t i = 0; i < left; ++i) values[j] = blended(values[j], own[i * apart], walk.rows[n].factors[i]);
    }
  }
  UNROLL
  for (int j = 0; j < Walk::kOwn; ++j)
    if (const int n = threadIdx.x / D + j * kLanes; n < count) put(n, column, values[j]);
}

template <int D, class Walk, class Q, class K, class Out>
static __global__ void __launch_bounds__(Walk::kThreads, 1)
    attention_decode(const Q* __restrict__ q, int64_t q_stride, Out* __restrict__ out, int64_t out_stride, float* log_sum_exp, int64_t log_stride,
                     LoamSequences step, Pages<K> kv, float scale, uint32_t window, int group, float* partials, uint32_t* tickets) {
  SHARED_BYTES(window_bytes);
  Walk& walk = *(Walk*)window_bytes;
  const int heads = kv.kv_heads * group, chunks = (group + kQueries - 1) / kQueries;
  const uint32_t items = step.split_of_row[step.rows] * kv.kv_heads * chunks, split_tokens = *step.split_tokens;
  for (uint32_t item = blockIdx.x; item < items; item += gridDim.x) {
    const uint32_t entry = item / (kv.kv_heads * chunks), kv_head = item / chunks % kv.kv_heads, row = step.row_of_split[entry];
    const uint32_t split = entry - step.split_of_row[row], position = step.positions[row], first = first_seen(position, window);
    const uint32_t first_split = first / split_tokens, others = position / split_tokens - first_split;
    if (split < first_split) continue;
    const int head = kv_head * group + item % chunks * kQueries, count = min(kQueries, (int)(kv_head + 1) * group - head);
    const Source<K> source = {kv, step.pages + step.segments[step.segment_of_row[row]].first_page, (int)kv_head, scale};
    float values[Walk::kOwn];
    __syncthreads();
    attend_split(walk, source, count, max(first, split * split_tokens), min(position + 1, (split + 1) * split_tokens), values, [&] {
      for (int e = threadIdx.x; e < kQueries * D; e += Walk::kThreads)
        store(&walk.q[e / D][e % D], e / D < count ? widen(q[row * q_stride + head * D + e]) : 0.0f);
      if ((int)threadIdx.x < count) walk.first[threadIdx.x] = first, walk.last[threadIdx.x] = position;
    });
    auto put = [&](int n, int column, float value) {
      store(out + row * out_stride + (head + n) * D + column, value * (1.0f / walk.sum[n]));
      if (log_sum_exp && column == 0) log_sum_exp[row * log_stride + head + n] = walk.greatest[n] + logf(walk.sum[n]);
    };
    if (others == 0) {
      // As if merged with nothing: -0 becomes 0.
      UNROLL
      for (int j = 0; j < Walk::kOwn; ++j)
        if (Walk::query(j) < count) put(Walk::query(j), Walk::column(j), values[j] + 0.0f);
      continue;
    }
    const int64_t apart = (int64_t)heads * (2 + D);
    float* const to = partials + entry * apart + head * (2 + D);
    UNROLL
    for (int j = 0; j < Walk::kOwn; ++j)
      if (Walk::query(j) < count) to[Walk::query(j) * (2 + D) + 2 + Walk::column(j)] = values[j];
    if ((int)threadIdx.x < count) to[threadIdx.x * (2 + D)] = walk.greatest[threadIdx.x], to[threadIdx.x * (2 + D) + 1] = walk.sum[threadIdx.x];
    __syncthreads();
    if (threadIdx.x == 0) walk.drawn = ptx::ticket_draw(tickets + row * heads + head, others);
    __syncthreads();
    if (walk.drawn == others) merge<D>(walk, count, to - (split - first_split) * apart, apart, others + 1, put);
  }
}

cudaError_t loam_attention_decode(LoamRows q, LoamRows out, LoamRows log_sum_exp, LoamSequences step, LoamPages kv, float scale, uint32_t window,
                                  float* partials, uint32_t* tickets, cudaStream_t stream) {
  if (q.rows == 0) return cudaSuccess;
  const int heads = q.width / kv.head_dim, group = heads / kv.kv_heads;
  // Four splits for each row at once, but not fewer blocks than a large device holds, nor many more.
  const unsigned of_split = kv.kv_heads * ((group + kQueries - 1) / kQueries), blocks = max(256u, min((unsigned)q.rows * of_split * 4, 1024u));
  auto start = [&](auto q_value, auto k_value, auto out_value, auto head) {
    using Q = decltype(q_value);
    using K = decltype(k_value);
    using Out = decltype(out_value);
    constexpr int D = decltype(head)::value;
    using Walk = WalkOf<D, Q, K, Out>;
    return launch({.name = "attention_decode", .grid = min(blocks, (unsigned)step.split_count * of_split), .block = Walk::kThreads,
                   .shared_bytes = sizeof(Walk), .stream = stream,
                   .windows = {reads((const Q*)q.at, values_in(q)), writes((Out*)out.at, values_in(out)),
                               writes((float*)log_sum_exp.at, values_in(log_sum_exp)), writes(partials, (size_t)step.split_count * heads * (2 + D)),
                               writes(tickets, (size_t)step.rows * heads), reads((const K*)kv.from, values_in(kv)), reads(step.positions, step.rows),
                               reads(step.segment_of_row, step.rows), reads(step.segments, step.segment_count), reads(step.pages, step.page_count),
                               reads(step.split_of_row, step.rows + 1), reads(step.row_of_split, step.split_count), reads(step.split_tokens, 1)}},
                  attention_decode<D, Walk, Q, K, Out>, (const Q*)q.at, q.stride, (Out*)out.at, out.stride, (float*)log_sum_exp.at,
                  log_sum_exp.stride, step, pages_of<K>(kv), scale, window, group, partials, tickets);
  };
  return with_activation(q.type, [&](auto q_value) {
    return with_activation(kv.type, [&](auto k_value) {
      return with_activation(out.type, [&](auto out_value) {
        return with_head(kv.head_dim, [&](auto head) { return start(q_value, k_value, out_value, head); });
      });
    });
  });
}
