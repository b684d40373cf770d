// Rows by number: out[i] = from[which[i]], or from[i] where no numbers are given; an embedding's are a step's tokens.
//
// Threads to data: a block a run of 1,024 columns of a row, a thread a vector of eight.
// Bytes moved: each row that is taken once in, once out.
// Why this tile: a row of 4,096 is four blocks, so that a step of one row is not one block's alone.
#include "launch.cuh"
#include "vectors.cuh"

constexpr int kThreads = 128, kColumns = kThreads * kVector;

template <class X, class Out>
static __global__ void __launch_bounds__(kThreads) gather_rows(const X* __restrict__ from, int64_t from_stride, const uint32_t* __restrict__ which,
                                                               Out* __restrict__ out, int64_t out_stride, int width) {
  const int64_t row = blockIdx.x;
  const int column = blockIdx.y * kColumns + threadIdx.x * kVector;
  if (column >= width) return;
  float v[kVector];
  load_vector(from + (which ? (int64_t)which[row] : row) * from_stride + column, width - column, v);
  store_vector(out + row * out_stride + column, width - column, v);
}

cudaError_t loam_gather_rows(LoamRows from, const uint32_t* which, LoamRows out, cudaStream_t stream) {
  if (out.rows == 0) return cudaSuccess;
  auto start = [&](auto x) {
    return with_activation(out.type, [&](auto o) {
      using X = decltype(x);
      using Out = decltype(o);
      return launch({.name = "gather_rows", .grid = {(unsigned)out.rows, (unsigned)(out.width + kColumns - 1) / kColumns}, .block = kThreads, .stream = stream,
                     .windows = {reads((const X*)from.at, values_in(from)), reads(which, which ? out.rows : 0), writes((Out*)out.at, values_in(out))}},
                    gather_rows<X, Out>, (const X*)from.at, from.stride, which, (Out*)out.at, out.stride, out.width);
    });
  };
  return from.type == LOAM_F16 ? start(f16()) : with_activation(from.type, start);
}
