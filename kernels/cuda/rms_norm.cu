// Root-mean-square norm: out[row, i] = x[row, i] * inverse * weight[i], inverse = 1 / sqrt(mean_i x[row, i]^2 + epsilon).
//
// Threads to data: a block a row, 256 threads; thread t has vectors of eight t, t + 256, ... of its row, in both passes.
// Bytes moved: a row of x once from memory (the second pass finds it in L1), a row of out, the weight from L2.
// Why this tile: a row is 8 KB to 32 KB, so one block holds enough loads in flight, and the batch gives the blocks. The order
// of the sum is a function of the width alone: each thread its own values in order, then lanes by halves, then warps.
#include "norms.cuh"

constexpr int kThreads = 256, kWarps = kThreads / 32;

template <class X, class Out>
static __global__ void __launch_bounds__(kThreads) rms_norm(const X* __restrict__ x, int64_t x_stride, Weights weight, Out* __restrict__ out, int64_t out_stride,
                                                            float* inverse, int64_t inverse_stride, int width, float epsilon) {
  SHARED_BYTES(window);
  const X* const from = x + blockIdx.x * x_stride;
  float sum = 0;
  for (int column = threadIdx.x * kVector; column < width; column += kThreads * kVector) {
    float v[kVector];
    load_vector(from + column, width - column, v);
    add_squares(v, sum);
  }
  const float scale = inverse_norm(block_sum<kWarps>(sum, (float*)window), width, epsilon);
  write_normed(from, weight, out + blockIdx.x * out_stride, width, scale, threadIdx.x, kThreads);
  if (inverse && threadIdx.x == 0) inverse[blockIdx.x * inverse_stride] = scale;
}

cudaError_t loam_rms_norm(LoamRows x, const void* weight, LoamType weight_type, LoamRows out, LoamRows inverse, float epsilon, cudaStream_t stream) {
  if (x.rows == 0) return cudaSuccess;
  return with_activation(x.type, [&](auto x_value) {
    return with_activation(out.type, [&](auto out_value) {
      using X = decltype(x_value);
      using Out = decltype(out_value);
      const Weights weights = {weight, weight_type};
      return launch({.name = "rms_norm", .grid = (unsigned)x.rows, .block = kThreads, .shared_bytes = kWarps * sizeof(float), .stream = stream,
                     .windows = {reads((const X*)x.at, values_in(x)), constant(weights, x.width), writes((Out*)out.at, values_in(out)),
                                 writes((float*)inverse.at, values_in(inverse))}},
                    rms_norm<X, Out>, (const X*)x.at, x.stride, weights, (Out*)out.at, out.stride, (float*)inverse.at, inverse.stride, x.width, epsilon);
    });
  });
}
