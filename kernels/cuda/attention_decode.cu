// Attention of segments of one row. First a partial result for each split of its positions: its greatest score, the sum of
// powers relative to it, the values so summed. Then, for each head of a row, its splits merged in order.
//
// Threads to data: blocks take items (split, head of keys, 16 of the query heads that share it) from a list, in turn; see
// attention.cuh for a block's threads. Merging: a block a head of a row, a thread a column.
// Bytes moved: keys and values of all positions once, whatever the number of query heads up to 16; partial results out and in.
// Why this tile: a split is 256 KB of keys and values (heads of 128 in bf16), enough to hide its beginning and its end, and a
// context of 8,192 is 16 of them for each head. The grid is a function of the batch's rows; how many items there are the
// device's table says, so that one graph serves all contexts.
#include "attention_walks.cuh"

template <int D, class Walk, class Q, class K>
static __global__ void __launch_bounds__(Walk::kThreads, 1) attention_decode(const Q* __restrict__ q, int64_t q_stride, float* __restrict__ partials, LoamSequences step,
                                                                       Pages<K> kv, float scale, uint32_t window, int group) {
  SHARED_BYTES(window_bytes);
  Walk& walk = *(Walk*)window_bytes;
  const int chunks = (group + kQueries - 1) / kQueries;
  const uint32_t items = step.split_of_row[step.rows] * kv.kv_heads * chunks;
  const uint32_t split_tokens = *step.split_tokens;
  for (uint32_t item = blockIdx.x; item < items; item += gridDim.x) {
    const uint32_t entry = item / (kv.kv_heads * chunks), kv_head = item / chunks % kv.kv_heads, row = step.row_of_split[entry];
    const uint32_t split = entry - step.split_of_row[row], position = step.positions[row], first = first_seen(position, window);
    if ((split + 1) * split_tokens <= first) continue;
    const int head = kv_head * group + item % chunks * kQueries, count = min(kQueries, (int)(kv_head + 1) * group - head);
    const Source<K> source = {kv, step.pages + step.segments[step.segment_of_row[row]].first_page, (int)kv_head, scale};
    float values[Walk::kOwn];
    __syncthreads();
    attend_split(walk, source, count, max(first, split * split_tokens), min(position + 1, (split + 1) * split_tokens), values, [&] {
      for (int e = threadIdx.x; e < kQueries * D; e += Walk::kThreads)
        store(&walk.q[e / D][e % D], e / D < count ? widen(q[row * q_stride + head * D + e]) : 0.0f);
      if ((int)threadIdx.x < count) walk.first[threadIdx.x] = first, walk.last[threadIdx.x] = position;
    });
    float* const to = partials + ((int64_t)entry * group * kv.kv_heads + head) * (2 + D);
    UNROLL
    for (int j = 0; j < Walk::kOwn; ++j)
      if (Walk::query(j) < count) to[Walk::query(j) * (2 + D) + 2 + Walk::column(j)] = values[j];
    if ((int)threadIdx.x < count) to[threadIdx.x * (2 + D)] = walk.greatest[threadIdx.x], to[threadIdx.x * (2 + D) + 1] = walk.sum[threadIdx.x];
  }
}

template <int D, class Out>
static __global__ void __launch_bounds__(D) attention_merge(const float* __restrict__ partials, Out* __restrict__ out, int64_t out_stride, float* log_sum_exp,
                                                            int64_t log_stride, LoamSequences step, uint32_t window) {
  const uint32_t row = blockIdx.x, head = blockIdx.y, heads = gridDim.y, begin = step.split_of_row[row], end = step.split_of_row[row + 1];
  if (begin == end) return;
  float greatest = -INFINITY, sum = 0, value = 0;
  for (uint32_t entry = begin + first_seen(step.positions[row], window) / *step.split_tokens; entry < end; ++entry) {
    const float* const part = partials + ((int64_t)entry * heads + head) * (2 + D);
    const Blend with = blend(greatest, sum, part[0], part[1]);
    greatest = with.greatest, sum = with.sum, value = blended(value, part[2 + threadIdx.x], with);
  }
  store(out + row * out_stride + head * D + threadIdx.x, value * (1.0f / sum));
  if (log_sum_exp && threadIdx.x == 0) log_sum_exp[row * log_stride + head] = greatest + logf(sum);
}

cudaError_t loam_attention_decode(LoamRows q, LoamRows out, LoamRows log_sum_exp, LoamSequences step, LoamPages kv, float scale, uint32_t window,
                                  float* partials, cudaStream_t stream) {
  if (q.rows == 0) return cudaSuccess;
  const int heads = q.width / kv.head_dim, group = heads / kv.kv_heads, chunks = (group + kQueries - 1) / kQueries;
  // Four splits for each row at once, but not fewer blocks than a large device holds, nor many more.
  const unsigned each = kv.kv_heads * chunks, blocks = min(step.split_count * each, max(256u, min(q.rows * each * 4, 1024u)));
  const size_t room = (size_t)step.split_count * heads * (2 + kv.head_dim);
  auto attend = [&](auto walk, auto q_value, auto k_value, auto head) {
    using Q = decltype(q_value);
    using K = decltype(k_value);
    using Walk = typename decltype(walk)::Type;
    constexpr int D = decltype(head)::value;
    return launch({.name = "attention_decode", .grid = blocks, .block = Walk::kThreads, .shared_bytes = sizeof(Walk), .stream = stream,
                   .windows = {reads((const Q*)q.at, values_in(q)), writes(partials, room), reads((const K*)kv.from, values_in(kv)),
                               reads(step.positions, step.rows), reads(step.segment_of_row, step.rows), reads(step.segments, step.segment_count),
                               reads(step.pages, step.page_count), reads(step.split_of_row, step.rows + 1), reads(step.row_of_split, step.split_count),
                               reads(step.split_tokens, 1)}},
                  attention_decode<D, Walk, Q, K>, (const Q*)q.at, q.stride, partials, step, pages_of<K>(kv), scale, window, group);
  };
  auto merge = [&](auto out_value, auto head) {
    using Out = decltype(out_value);
    constexpr int D = decltype(head)::value;
    return launch({.name = "attention_merge", .grid = {(unsigned)q.rows, (unsigned)heads}, .block = D, .stream = stream,
                   .windows = {reads((const float*)partials, room), writes((Out*)out.at, values_in(out)), writes((float*)log_sum_exp.at, values_in(log_sum_exp)),
                               reads(step.positions, step.rows), reads(step.split_of_row, step.rows + 1), reads(step.split_tokens, 1)}},
                  attention_merge<D, Out>, (const float*)partials, (Out*)out.at, out.stride, (float*)log_sum_exp.at, log_sum_exp.stride, step, window);
  };
  const cudaError_t attended = with_head(kv.head_dim, [&](auto head) {
    constexpr int D = decltype(head)::value;
    if (q.type == LOAM_BF16 && kv.type == LOAM_BF16 && out.type == LOAM_BF16) return attend(Named<Products<D>>(), bf16(), bf16(), head);
    return with_activation(q.type, [&](auto q_value) {
      return with_activation(kv.type, [&](auto k_value) { return attend(Named<Dots<D>>(), q_value, k_value, head); });
    });
  });
  if (attended != cudaSuccess) return attended;
  return with_activation(out.type, [&](auto out_value) { return with_head(kv.head_dim, [&](auto head) { return merge(out_value, head); }); });
}
