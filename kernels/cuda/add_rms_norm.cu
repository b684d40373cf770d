// The residual stream, and its norm: residual += x + delta; out = rms_norm(residual), of what the stream holds then.
//
// Threads to data: as in rms_norm.cu, a block a row; a thread adds its vectors, writes them back and reads them again to norm them.
// Bytes moved: x and the stream once in, the stream and out once out, the weight from L2; of rows with an adapter their delta.
// Why this tile: as there. In one kernel because the stream would else be read twice: at one row these passes are what a layer
// waits for between its products.
#include "norms.cuh"

constexpr int kThreads = 256, kWarps = kThreads / 32;

template <class R, class X, class Out>
static __global__ void __launch_bounds__(kThreads) add_rms_norm(R* residual, int64_t residual_stride, const X* __restrict__ x, int64_t x_stride, Delta delta,
                                                                Weights weight, Out* __restrict__ out, int64_t out_stride, float* inverse, int64_t inverse_stride,
                                                                int width, float epsilon) {
  SHARED_BYTES(window);
  const int row = blockIdx.x;
  R* const stream = residual + row * residual_stride;
  const bool has_delta = delta.has(row);
  float sum = 0;
  for (int column = threadIdx.x * kVector; column < width; column += kThreads * kVector) {
    const int count = width - column;
    float v[kVector], held[kVector];
    load_vector(x + row * x_stride + column, count, v);
    load_vector(stream + column, count, held);
    // The delta belongs to `x`: it is added to it first, as the layer's own output would have it.
    if (has_delta) delta.add_to(row, column, count, v);
    UNROLL
    for (int i = 0; i < kVector; ++i) {
      R rounded;
      store(&rounded, held[i] + v[i]);
      v[i] = widen(rounded);
    }
    store_vector(stream + column, count, v);
    add_squares(v, sum);
  }
  const float scale = inverse_norm(block_sum<kWarps>(sum, (float*)window), width, epsilon);
  write_normed(stream, weight, out + row * out_stride, width, scale, threadIdx.x, kThreads);
  if (inverse && threadIdx.x == 0) inverse[row * inverse_stride] = scale;
}

cudaError_t loam_add_rms_norm(LoamRows residual, LoamRows x, LoamRows delta, const uint32_t* of_row, const void* weight, LoamType weight_type, LoamRows out,
                              LoamRows inverse, float epsilon, cudaStream_t stream) {
  if (x.rows == 0) return cudaSuccess;
  const Weights weights = {weight, weight_type};
  return with_activation(residual.type, [&](auto r) {
    return with_activation(x.type, [&](auto x_value) {
      return with_activation(out.type, [&](auto o) {
        using R = decltype(r);
        using X = decltype(x_value);
        using Out = decltype(o);
        return launch({.name = "add_rms_norm", .grid = (unsigned)x.rows, .block = kThreads, .shared_bytes = kWarps * sizeof(float), .stream = stream,
                       .windows = {writes((R*)residual.at, values_in(residual)), reads((const X*)x.at, values_in(x)),
                                   reads((const float*)delta.at, values_in(delta)), reads(of_row, delta.at ? x.rows + 1 : 0), constant(weights, x.width),
                                   writes((Out*)out.at, values_in(out)), writes((float*)inverse.at, values_in(inverse))}},
                      add_rms_norm<R, X, Out>, (R*)residual.at, residual.stride, (const X*)x.at, x.stride, delta_of(delta, of_row), weights, (Out*)out.at,
                      out.stride, (float*)inverse.at, inverse.stride, x.width, epsilon);
      });
    });
  });
}
