// Rotary embedding into pages: qkv += delta; (a, b) -> (a c - b s, b c + a s) for values i and i + rotary_dim / 2 of queries'
// and keys' heads; queries back to qkv, keys and values to their row's position, rounded to the pages' type.
//
// Threads to data: a block a head of a row; thread t has pairs t, t + 64, ..., then as many of the values that do not turn.
// Bytes moved: qkv and delta once, queries back, keys and values to their pages; angles, a row for each row, from L2.
// Why this tile: a pair is two reads and two writes of one thread, so that turning in place needs no barrier, and heads of one
// row alone are blocks enough for a step of one row.
#include "kernels.h"
#include "launch.cuh"
#include "pages.cuh"
#include "types.cuh"

constexpr int kThreads = 64;

template <class X, class K>
static __global__ void __launch_bounds__(kThreads) rope_store(X* qkv, int64_t stride, const float* __restrict__ delta, int64_t delta_stride,
                                                              const uint32_t* __restrict__ of_row, const float* __restrict__ angles, int64_t angle_stride,
                                                              int rotary_dim, LoamSequences step, Pages<K> kv, int q_heads) {
  const int row = blockIdx.x, head = blockIdx.y, head_dim = kv.head_dim, half = rotary_dim / 2;
  const uint32_t position = step.positions[row];
  const LoamSegment segment = step.segments[step.segment_of_row[row]];
  X* const from = qkv + row * stride + head * head_dim;
  // A delta is there for rows with an adapter alone.
  const float* const also = delta && of_row[row] < of_row[row + 1] ? delta + row * delta_stride + head * head_dim : nullptr;
  const float* const cosine = angles + position * angle_stride;
  auto value = [&](int i) { return widen(from[i]) + (also ? also[i] : 0.0f); };
  auto rotate = [&](auto* to) {
    for (int i = threadIdx.x; i < half; i += kThreads) {
      const float a = value(i), b = value(i + half), c = cosine[i], s = cosine[half + i];
      store(to + i, a * c - b * s);
      store(to + i + half, b * c + a * s);
    }
    for (int i = rotary_dim + threadIdx.x; i < head_dim; i += kThreads) store(to + i, value(i));
  };
  if (head < q_heads) return rotate(from);
  const int kv_head = (head - q_heads) % kv.kv_heads;
  K* const key = kv.key(step.pages + segment.first_page, kv_head, position);
  if (head < q_heads + kv.kv_heads) return rotate(key);
  for (int i = threadIdx.x; i < head_dim; i += kThreads) store(key + kv.values_after() + i, value(i));
}

cudaError_t loam_rope_store(LoamRows qkv, LoamRows delta, const uint32_t* of_row, LoamRows angles, LoamSequences step, LoamPages kv, int32_t q_heads,
                            cudaStream_t stream) {
  if (qkv.rows == 0) return cudaSuccess;
  const unsigned heads = q_heads + 2 * kv.kv_heads;
  return with_activation(qkv.type, [&](auto x) {
    return with_activation(kv.type, [&](auto k) {
      using X = decltype(x);
      using K = decltype(k);
      return launch({.name = "rope_store", .grid = {(unsigned)qkv.rows, heads}, .block = kThreads, .stream = stream,
                     .windows = {writes((X*)qkv.at, values_in(qkv)), reads((const float*)delta.at, values_in(delta)),
                                 reads(of_row, delta.at ? step.rows + 1 : 0), constant((const float*)angles.at, values_in(angles)),
                                 reads(step.positions, step.rows), reads(step.segment_of_row, step.rows), reads(step.segments, step.segment_count),
                                 reads(step.pages, step.page_count), writes((K*)kv.from, values_in(kv))}},
                    rope_store<X, K>, (X*)qkv.at, qkv.stride, (const float*)delta.at, delta.stride, of_row, (const float*)angles.at, angles.stride,
                    angles.width, step, pages_of<K>(kv), q_heads);
    });
  });
}
