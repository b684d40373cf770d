// Copies of whole pages: page `to` = page `from`, all layers.
//
// Threads to data: a block 4,096 bytes, 256 threads with 16 each. Bytes moved: a page once in, once out.
// Why this tile: a page is a hundred KB and more, so one copy fills a device. One launch a copy: they are done in order.
#include "kernels.h"
#include "launch.cuh"
#include "ptx.cuh"

constexpr int kThreads = 256;

static __global__ void __launch_bounds__(kThreads) copy_page(const uint4* __restrict__ from, uint4* __restrict__ to, int64_t count) {
  const int64_t at = (int64_t)blockIdx.x * kThreads + threadIdx.x;
  if (at < count) ptx::store_once_16(to + at, ptx::load_once_16(from + at));
}

cudaError_t loam_copy_page(void* pages, int64_t page_bytes, uint32_t from, uint32_t to, cudaStream_t stream) {
  if (from == to) return cudaSuccess;
  // A head's values are 128 bytes or more, so a page is a multiple of 16.
  const int64_t count = page_bytes / 16;
  const uint4* const source = (const uint4*)pages + from * count;
  uint4* const target = (uint4*)pages + to * count;
  return launch({.name = "copy_page", .grid = (unsigned)((count + kThreads - 1) / kThreads), .block = kThreads, .stream = stream,
                 .windows = {reads(source, count), writes(target, count)}},
                copy_page, source, target, count);
}
