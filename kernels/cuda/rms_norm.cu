// Root-mean-square norm: out[row, i] = x[row, i] * inverse * weight[i], inverse = 1 / sqrt(mean_i x[row, i]^2 + epsilon).
//
// Threads to data: a block a row, 256 threads; thread t has values t, t + 256, ... of its row, in both passes.
// Bytes moved: a row of x once from memory (the second pass finds it in L1), a row of out, the weight from L2.
// Why this tile: a row is 8 KB to 32 KB, so one block holds enough loads in flight, and the batch gives the blocks. The order
// of the sum is a function of the width alone: each thread its own values in order, then lanes by halves, then warps.
#include "kernels.h"
#include "launch.cuh"
#include "values.cuh"

constexpr int kThreads = 256, kWarps = kThreads / 32;

static __device__ __forceinline__ float warp_sum(float v) {
  for (int other = 16; other > 0; other /= 2) v += __shfl_xor_sync(0xffffffffu, v, other);
  return v;
}

template <class X, class W, class Out>
static __global__ void __launch_bounds__(kThreads) rms_norm(const X* __restrict__ x, int64_t x_stride, const W* __restrict__ weight, Out* __restrict__ out,
                                                     int64_t out_stride, float* inverse, int64_t inverse_stride, int width, float epsilon) {
  SHARED_BYTES(window);
  float* part = (float*)window;  // [warps]
  const X* from = x + blockIdx.x * x_stride;
  float sum = 0;
  for (int i = threadIdx.x; i < width; i += kThreads) {
    const float v = widen(from[i]);
    sum += v * v;
  }
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = sum;
  __syncthreads();
  sum = 0;
  for (int warp = 0; warp < kWarps; ++warp) sum += part[warp];
  const float scale = 1.0f / sqrtf(sum / (float)width + epsilon);
  for (int i = threadIdx.x; i < width; i += kThreads) store(out + blockIdx.x * out_stride + i, widen(from[i]) * scale * widen(weight[i]));
  if (inverse && threadIdx.x == 0) inverse[blockIdx.x * inverse_stride] = scale;
}

template <class X, class W, class Out>
static cudaError_t start(const void* x, int64_t x_stride, const void* weight, void* out, int64_t out_stride, float* inverse, int64_t inverse_stride,
                         int rows, int width, float epsilon, cudaStream_t stream) {
  const size_t last = (size_t)rows - 1;
  return launch({.name = "rms_norm", .grid = (unsigned)rows, .block = kThreads, .shared_bytes = kWarps * sizeof(float), .stream = stream,
                 .windows = {reads((const X*)x, last * x_stride + width), constant((const W*)weight, width),
                             writes((Out*)out, last * out_stride + width), writes(inverse, inverse ? last * inverse_stride + 1 : 0)}},
                rms_norm<X, W, Out>, (const X*)x, x_stride, (const W*)weight, (Out*)out, out_stride, inverse, inverse_stride, width, epsilon);
}

cudaError_t loam_rms_norm(const void* x, LoamType x_type, int64_t x_stride, const void* weight, LoamType weight_type, void* out,
                          LoamType out_type, int64_t out_stride, float* inverse, int64_t inverse_stride, int32_t rows, int32_t width, float epsilon, cudaStream_t stream) {
  if (rows == 0 || width == 0) return cudaSuccess;
  auto with = [&](auto x_value, auto weight_value, auto out_value) {
    return start<decltype(x_value), decltype(weight_value), decltype(out_value)>(x, x_stride, weight, out, out_stride, inverse, inverse_stride, rows, width, epsilon, stream);
  };
  auto with_weight = [&](auto x_value, auto out_value) {
    switch (weight_type) {
      case LOAM_F32: return with(x_value, float(), out_value);
      case LOAM_BF16: return with(x_value, bf16(), out_value);
      case LOAM_F16: return with(x_value, f16(), out_value);
    }
    return (cudaError_t)cudaErrorInvalidValue;
  };
  if (x_type == LOAM_F32) return out_type == LOAM_F32 ? with_weight(float(), float()) : with_weight(float(), bf16());
  return out_type == LOAM_F32 ? with_weight(bf16(), float()) : with_weight(bf16(), bf16());
}
