// Attention of segments of several rows: out[row, head] = sum_j softmax_j(scale q . k_j) v_j over the positions that it sees.
//
// Threads to data: a block is 16 neighbouring queries of the batch (rows times heads that share keys, row after row) and one
// head of keys; where they are of several segments it takes these in turn. See attention.cuh for its threads.
// Bytes moved: keys and values of every position seen, once a block; queries and results once.
// Why this tile: 16 queries share what is read, and leave shared memory for two blocks a multiprocessor at heads of 128.
// The grid is a function of the batch's rows alone. The last blocks see the most, and go first.
#include "attention_walks.cuh"

constexpr uint32_t kSplit = 512;  // as in decode, where one arithmetic is asked for

// What a block has to do in one segment: queries `from .. to` of the batch.
template <int D, class Walk, class Q, class K, class Out>
static __device__ void attend_run(Walk& walk, const Q* q, int64_t q_stride, Out* out, int64_t out_stride, float* log_sum_exp, int64_t log_stride,
                                  const LoamSegment& segment, const Source<K>& source, uint32_t from, int count, int group, uint32_t window) {
  constexpr int kOwn = Walk::kOwn;
  auto row = [&](int n) { return (from + n) / group; };
  auto head = [&](int n) { return source.kv_head * group + (from + n) % group; };
  __syncthreads();
  for (int e = threadIdx.x; e < kQueries * D; e += Walk::kThreads)
    store(&walk.q[e / D][e % D], e / D < count ? widen(q[row(e / D) * q_stride + head(e / D) * D + e % D]) : 0.0f);
  if ((int)threadIdx.x < count) {
    const uint32_t position = segment.first_position + row(threadIdx.x) - segment.first_row;
    walk.first[threadIdx.x] = first_seen(position, window), walk.last[threadIdx.x] = position;
  }
  __syncthreads();
  float values[kOwn], part[kOwn], greatest[kOwn], sum[kOwn];
  for (int j = 0; j < kOwn; ++j) values[j] = 0, greatest[j] = -INFINITY, sum[j] = 0;
  const uint32_t first = walk.first[0], last = walk.last[count - 1];
  for (uint32_t split = first / kSplit * kSplit; split <= last; split += kSplit) {
    attend_split(walk, source, count, max(first, split), min(last + 1, split + kSplit), part, [] {});
    UNROLL
    for (int j = 0; j < kOwn; ++j) {
      const int n = Walk::query(j);
      // Where nothing was seen values may be of no number.
      if (n >= count || walk.sum[n] == 0.0f) continue;
      const Blend with = blend(greatest[j], sum[j], walk.greatest[n], walk.sum[n]);
      greatest[j] = with.greatest, sum[j] = with.sum, values[j] = blended(values[j], part[j], with.by);
    }
    __syncthreads();
  }
  UNROLL
  for (int j = 0; j < kOwn; ++j) {
    const int n = Walk::query(j), column = Walk::column(j);
    if (n >= count) continue;
    store(out + row(n) * out_stride + head(n) * D + column, values[j] * (1.0f / sum[j]));
    if (log_sum_exp && column == 0) log_sum_exp[row(n) * log_stride + head(n)] = greatest[j] + logf(sum[j]);
  }
}

template <int D, class Walk, class Q, class K, class Out>
static __global__ void __launch_bounds__(Walk::kThreads, 1) attention_prefill(const Q* __restrict__ q, int64_t q_stride, Out* __restrict__ out, int64_t out_stride,
                                                                        float* log_sum_exp, int64_t log_stride, LoamSequences step, Pages<K> kv, float scale,
                                                                        uint32_t window, int group) {
  SHARED_BYTES(window_bytes);
  Walk& walk = *(Walk*)window_bytes;
  const uint32_t all = step.rows * group, begin = (gridDim.x - 1 - blockIdx.x) * kQueries, end = min(begin + kQueries, all);
  for (uint32_t from = begin; from < end;) {
    const LoamSegment segment = step.segments[step.segment_of_row[from / group]];
    const uint32_t to = min(end, (segment.first_row + segment.rows) * group);
    const Source<K> source = {kv, step.pages + segment.first_page, (int)blockIdx.y, scale};
    if (segment.rows > 1) attend_run<D>(walk, q, q_stride, out, out_stride, log_sum_exp, log_stride, segment, source, from, to - from, group, window);
    from = to;
  }
}

cudaError_t loam_attention_prefill(LoamRows q, LoamRows out, LoamRows log_sum_exp, LoamSequences step, LoamPages kv, float scale, uint32_t window, cudaStream_t stream) {
  if (q.rows == 0) return cudaSuccess;
  const int group = q.width / (kv.head_dim * kv.kv_heads);
  const unsigned blocks = ((unsigned)q.rows * group + kQueries - 1) / kQueries;
  auto start = [&](auto q_value, auto k_value, auto out_value, auto head) {
    using Q = decltype(q_value);
    using K = decltype(k_value);
    using Out = decltype(out_value);
    constexpr int D = decltype(head)::value;
    using Walk = WalkOf<D, Q, K, Out>;
    return launch({.name = "attention_prefill", .grid = {blocks, (unsigned)kv.kv_heads}, .block = Walk::kThreads, .shared_bytes = sizeof(Walk), .stream = stream,
                   .windows = {reads((const Q*)q.at, values_in(q)), writes((Out*)out.at, values_in(out)),
                               writes((float*)log_sum_exp.at, values_in(log_sum_exp)), reads((const K*)kv.from, values_in(kv)),
                               reads(step.segment_of_row, step.rows), reads(step.segments, step.segment_count), reads(step.pages, step.page_count)}},
                  attention_prefill<D, Walk, Q, K, Out>, (const Q*)q.at, q.stride, (Out*)out.at, out.stride, (float*)log_sum_exp.at, log_sum_exp.stride, step,
                  pages_of<K>(kv), scale, window, group);
  };
  return with_activation(q.type, [&](auto q_value) {
    return with_activation(kv.type, [&](auto k_value) {
      return with_activation(out.type, [&](auto out_value) { return with_head(kv.head_dim, [&](auto head) { return start(q_value, k_value, out_value, head); }); });
    });
  });
}
