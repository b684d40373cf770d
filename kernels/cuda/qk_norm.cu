// Norms of heads: qkv += delta; then each head of queries by one weight, each of keys by the other, as in rms_norm.cu, in place.
//
// Threads to data: a warp a head of a row; lane l has vectors of eight l, l + 32, ... of it, in both passes.
// Bytes moved: heads of queries and keys once in (the second pass finds them in L1) and once out; those of values only in rows with
// an adapter, with their delta.
// Why this tile: a head of 128 in bf16 is one load of 16 bytes by half a warp, and a sum over lanes needs no barrier.
#include "norms.cuh"

constexpr int kThreads = 128, kWarps = kThreads / 32;

struct Heads {
  int queries, keys, dim;
};

template <class X>
static __global__ void __launch_bounds__(kThreads) qk_norm(X* qkv, int64_t stride, Delta delta, Heads heads, Weights q_weight, Weights k_weight, float epsilon) {
  const int row = blockIdx.x, head = blockIdx.y * kWarps + threadIdx.x / 32, lane = threadIdx.x % 32;
  const bool has_delta = delta.has(row), is_normed = head < heads.queries + heads.keys;
  // Whole warps.
  if (head >= heads.queries + 2 * heads.keys || (!is_normed && !has_delta)) return;
  X* const at = qkv + row * stride + head * heads.dim;
  auto each = [&](auto work) {
    for (int column = lane * kVector; column < heads.dim; column += 32 * kVector) {
      float v[kVector];
      load_vector(at + column, heads.dim - column, v);
      if (has_delta) delta.add_to(row, head * heads.dim + column, heads.dim - column, v);
      work(column, v);
    }
  };
  if (!is_normed) return each([&](int column, float(&v)[kVector]) { store_vector(at + column, heads.dim - column, v); });
  float sum = 0;
  each([&](int, float(&v)[kVector]) { add_squares(v, sum); });
  const float inverse = inverse_norm(warp_sum(sum), heads.dim, epsilon);
  const bool is_query = head < heads.queries;
  const Weights weights = {is_query ? q_weight.at : k_weight.at, is_query ? q_weight.type : k_weight.type};
  with_weight(weights.type, [&](auto w) {
    each([&](int column, float(&v)[kVector]) {
      float weight[kVector];
      load_vector((const decltype(w)*)weights.at + column, heads.dim - column, weight);
      UNROLL
      for (int i = 0; i < kVector; ++i) v[i] = v[i] * inverse * weight[i];
      store_vector(at + column, heads.dim - column, v);
    });
  });
}

cudaError_t loam_qk_norm(LoamRows qkv, LoamRows delta, const uint32_t* of_row, int32_t q_heads, int32_t kv_heads, const void* q_weight, LoamType q_type,
                         const void* k_weight, LoamType k_type, float epsilon, cudaStream_t stream) {
  if (qkv.rows == 0) return cudaSuccess;
  const int all = q_heads + 2 * kv_heads;
  const Heads heads = {q_heads, kv_heads, qkv.width / all};
  const Weights of_queries = {q_weight, q_type}, of_keys = {k_weight, k_type};
  return with_activation(qkv.type, [&](auto value) {
    using X = decltype(value);
    return launch({.name = "qk_norm", .grid = {(unsigned)qkv.rows, (unsigned)(all + kWarps - 1) / kWarps}, .block = kThreads, .stream = stream,
                   .windows = {writes((X*)qkv.at, values_in(qkv)), reads((const float*)delta.at, values_in(delta)),
                               reads(of_row, delta.at ? qkv.rows + 1 : 0), constant(of_queries, heads.dim), constant(of_keys, heads.dim)}},
                  qk_norm<X>, (X*)qkv.at, qkv.stride, delta_of(delta, of_row), heads, of_queries, of_keys, epsilon);
  });
}
