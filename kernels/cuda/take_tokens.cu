// Tokens that the step before has drawn: tokens[row] = from[taken[row]], of rows that take one.
//
// Threads to data: a thread a row.
// Bytes moved: a word in for each row; a word in and a word out for each that takes one.
// Why this tile: a step that is laid ahead has at most some hundred rows, and all of this is one short launch.
#include "kernels.h"
#include "launch.cuh"

constexpr int kThreads = 128;
constexpr uint32_t kNone = 0xffffffff;

static __global__ void __launch_bounds__(kThreads) take_tokens(uint32_t* __restrict__ tokens, const uint32_t* __restrict__ taken, int rows,
                                                               const uint32_t* __restrict__ from, int64_t stride, uint32_t vocabulary) {
  const int row = blockIdx.x * kThreads + threadIdx.x;
  if (row >= rows || taken[row] == kNone) return;
  const uint32_t token = from[taken[row] * stride];
  tokens[row] = token < vocabulary ? token : vocabulary - 1;
}

cudaError_t loam_take_tokens(uint32_t* tokens, const uint32_t* taken, int rows, LoamRows from, uint32_t vocabulary, cudaStream_t stream) {
  if (rows == 0 || from.rows == 0) return cudaSuccess;
  const uint32_t* const at = (const uint32_t*)from.at;
  return launch({.name = "take_tokens", .grid = (unsigned)(rows + kThreads - 1) / kThreads, .block = kThreads, .stream = stream,
                 .windows = {writes(tokens, rows), reads(taken, rows), reads(at, values_in(from))}},
                take_tokens, tokens, taken, rows, at, from.stride, vocabulary);
}
