// How fast the emulation itself is: kernels that do one thing, over and over. tests/emulation/rates.rs prints the figures.
#include "../launch.cuh"
#include "../ptx.cuh"

// One block; every thread comes to a barrier `turns` times.
static __global__ void barriers(int turns, float* values) {
  for (int i = 0; i < turns; ++i) __syncthreads();
  values[threadIdx.x] = (float)turns;
}
static __global__ void shuffles(int turns, float* values) {
  float v = (float)threadIdx.x;
  for (int i = 0; i < turns; ++i) v = __shfl_xor_sync(~0u, v, 1 + (i & 15));
  values[threadIdx.x] = v;
}
static __global__ void multiplies(int turns, float* values) {
  float d[4] = {};
  const uint32_t a[4] = {0x3f803f80, 0x3f803f80, 0x3f803f80, 0x3f803f80}, b[2] = {0x3f803f80, 0x3f803f80};
  for (int i = 0; i < turns; ++i) ptx::multiply_16x8x16_bf16(d, a, b);
  values[threadIdx.x] = d[0];
}
// 1,024 values, read `turns` times by each thread.
static __global__ void loads(int turns, float* values) {
  float v = 0;
  for (int i = 0; i < turns; ++i) v += ((volatile float*)values)[(threadIdx.x + i) & 1023];
  if (v == 12345.0f) values[threadIdx.x] = v;
}
static __global__ void shared_loads(int turns, float* values) {
  SHARED_BYTES(window);
  float* tile = (float*)window;
  for (int i = threadIdx.x; i < 1024; i += blockDim.x) tile[i] = 0;
  __syncthreads();
  float v = 0;
  for (int i = 0; i < turns; ++i) v += ((volatile float*)tile)[(threadIdx.x + i) & 1023];
  values[threadIdx.x] = v;
}

extern "C" cudaError_t loam_rate(int what, int threads, int turns, float* values) {
  void (*const kernels[])(int, float*) = {barriers, shuffles, multiplies, loads, shared_loads};
  return launch({.name = "rate", .grid = 1, .block = (unsigned)threads, .shared_bytes = 4096}, kernels[what], turns, values);
}
