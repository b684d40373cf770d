// Tokens that the step before has drawn: tokens[row] = from[taken[row]], of rows that take one; known[row] = tokens[row], of all.
//
// Threads to data: a thread a row.
// Bytes moved: two words in and one out for each row; one more out for each that takes one.
// Why this tile: a step that is laid ahead has at most some hundred rows, and all of this is one short launch.
#include "kernels.h"
#include "launch.cuh"

constexpr int kThreads = 128;
constexpr uint32_t kNone = 0xffffffff;

static __global__ void __launch_bounds__(kThreads) take_tokens(uint32_t* __restrict__ tokens, const uint32_t* __restrict__ taken, int rows,
                                                               const uint32_t* __restrict__ from, int64_t from_stride, uint32_t* __restrict__ known,
                                                               int64_t known_stride, uint32_t vocabulary) {
  const int row = blockIdx.x * kThreads + threadIdx.x;
  if (row >= rows) return;
  const uint32_t place = taken[row], token = place == kNone ? tokens[row] : min(from[place * from_stride], vocabulary - 1);
  if (place != kNone) tokens[row] = token;
  known[row * known_stride] = token;
}

cudaError_t loam_take_tokens(uint32_t* tokens, const uint32_t* taken, LoamRows from, LoamRows known, uint32_t vocabulary, cudaStream_t stream) {
  const int rows = known.rows;
  if (rows == 0) return cudaSuccess;
  const uint32_t* const at = (const uint32_t*)from.at;
  return launch({.name = "take_tokens", .grid = (unsigned)(rows + kThreads - 1) / kThreads, .block = kThreads, .stream = stream,
                 .windows = {writes(tokens, rows), reads(taken, rows), reads(at, values_in(from)), writes((uint32_t*)known.at, values_in(known))}},
                take_tokens, tokens, taken, rows, at, from.stride, (uint32_t*)known.at, known.stride, vocabulary);
}
