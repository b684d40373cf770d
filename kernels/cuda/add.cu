// A delta where nothing else would add it: x[row] += delta[row], for rows with an adapter.
//
// Threads to data: a block a run of 1,024 columns of a row, a thread a vector of eight. Rows without an adapter end at once.
// Bytes moved: of rows with an adapter x in and out, delta in.
// Why this tile: as in gather_rows.cu. The grid is a function of the set's rows, whoever of them has an adapter.
#include "launch.cuh"
#include "vectors.cuh"

constexpr int kThreads = 128, kColumns = kThreads * kVector;

template <class X> static __global__ void __launch_bounds__(kThreads) add(X* x, int64_t x_stride, Delta delta, int width) {
  const int row = blockIdx.x, column = blockIdx.y * kColumns + threadIdx.x * kVector;
  if (column >= width || !delta.has(row)) return;
  X* const at = x + row * x_stride + column;
  float v[kVector];
  load_vector(at, width - column, v);
  delta.add_to(row, column, width - column, v);
  store_vector(at, width - column, v);
}

cudaError_t loam_add(LoamRows x, LoamRows delta, const uint32_t* of_row, cudaStream_t stream) {
  if (x.rows == 0) return cudaSuccess;
  return with_activation(x.type, [&](auto value) {
    using X = decltype(value);
    return launch({.name = "add", .grid = {(unsigned)x.rows, (unsigned)(x.width + kColumns - 1) / kColumns}, .block = kThreads, .stream = stream,
                   .windows = {writes((X*)x.at, values_in(x)), reads((const float*)delta.at, values_in(delta)), reads(of_row, x.rows + 1)}},
                  add<X>, (X*)x.at, x.stride, delta_of(delta, of_row), x.width);
  });
}
