// A gated layer's middle: out[row, i] = activation(gate[row, i]) up[row, i], where gate, up = gate_up + delta, halves of a row.
//
// Threads to data: a block a run of 1,024 outputs of a row, a thread a vector of eight of them, of its gates and of its ups.
// Bytes moved: gates and ups once in, outputs once out; of rows with an adapter their delta.
// Why this tile: 14,336 outputs are 14 blocks for one row, and each thread has at least two vectors on their way.
#include "launch.cuh"
#include "vectors.cuh"

constexpr int kThreads = 128, kColumns = kThreads * kVector;

// x / (1 + e^-x)
static __device__ __forceinline__ float silu(float x) { return x / (1.0f + expf(-x)); }
// x/2 (1 + erf(x / sqrt 2)), whose lower tail `1 + erf` would round away.
static __device__ __forceinline__ float gelu(float x) { return 0.5f * x * erfcf(x * -0.70710678f); }
// x/2 (1 + tanh u) = x / (1 + e^-2u), u = sqrt(2/pi) (x + 0.044715 x^3)
static __device__ __forceinline__ float gelu_tanh(float x) { return x / (1.0f + expf(-1.5957691f * (x + 0.044715f * x * x * x))); }

template <class X, class Out>
static __global__ void __launch_bounds__(kThreads) gate(LoamActivation activation, const X* __restrict__ gate_up, int64_t stride, Delta delta, Out* __restrict__ out,
                                                        int64_t out_stride, int width) {
  const int row = blockIdx.x, column = blockIdx.y * kColumns + threadIdx.x * kVector, count = width - column;
  if (count <= 0) return;
  const X* const from = gate_up + row * stride + column;
  float gates[kVector], ups[kVector];
  load_vector(from, count, gates);
  load_vector(from + width, count, ups);
  if (delta.has(row)) {
    delta.add_to(row, column, count, gates);
    delta.add_to(row, width + column, count, ups);
  }
  UNROLL
  for (int i = 0; i < kVector; ++i) {
    const float x = gates[i];
    ups[i] *= activation == LOAM_SILU ? silu(x) : activation == LOAM_GELU ? gelu(x) : gelu_tanh(x);
  }
  store_vector(out + row * out_stride + column, count, ups);
}

cudaError_t loam_gate(LoamActivation activation, LoamRows gate_up, LoamRows delta, const uint32_t* of_row, LoamRows out, cudaStream_t stream) {
  if (out.rows == 0) return cudaSuccess;
  return with_activation(gate_up.type, [&](auto x) {
    return with_activation(out.type, [&](auto o) {
      using X = decltype(x);
      using Out = decltype(o);
      return launch({.name = "gate", .grid = {(unsigned)out.rows, (unsigned)(out.width + kColumns - 1) / kColumns}, .block = kThreads, .stream = stream,
                     .windows = {reads((const X*)gate_up.at, values_in(gate_up)), reads((const float*)delta.at, values_in(delta)),
                                 reads(of_row, delta.at ? out.rows + 1 : 0), writes((Out*)out.at, values_in(out))}},
                    gate<X, Out>, activation, (const X*)gate_up.at, gate_up.stride, delta_of(delta, of_row), (Out*)out.at, out.stride, out.width);
    });
  });
}
