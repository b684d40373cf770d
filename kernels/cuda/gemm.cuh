// What both arithmetics of gemm.cu share: which columns a tile has, and how its sums become values of the output.
//
// A sum is cut every 512 of k. Each cut is summed on its own, from 0, k ascending, and cuts are added in order: by the
// block itself if it walks all of them, through planes if each cut is a block's (`gridDim.z` of them). The bits are the
// same.
#pragma once
#include "kernels.h"
#include "ptx.cuh"
#include "types.cuh"

constexpr int kCut = 512;

// The columns of one tile: of which layer, from which of its outputs on, and where they lie in a row of the output.
struct Columns {
  const void *weight, *bias;
  int64_t stride;
  LoamType bias_type;
  int first, end;  // of the layer; a tile may be wider
  int out_at;
};

// Tiles of `kN` columns begin anew with each layer. Layers are walked by constant numbers, so that they stay parameters
// and are not copied to memory.
template <int kN> static __device__ __forceinline__ Columns columns_of(const LoamLayers& layers, int tile) {
  Columns columns = {};
  int out_at = 0;
  UNROLL
  for (int i = 0; i < kLoamLayers; ++i) {
    const LoamLayer& layer = layers.each[i];
    const int tiles = (layer.out_features + kN - 1) / kN;
    if (tile >= 0 && tile < tiles)
      columns = {layer.weight, layer.bias, layer.stride, layer.bias_type, tile * kN, layer.out_features,
                 out_at + tile * kN};
    tile -= tiles, out_at += layer.out_features;
  }
  return columns;
}
template <int kN> static int tiles_of(const LoamLayers& layers) {
  int tiles = 0;
  for (const LoamLayer& layer : layers.each) tiles += (layer.out_features + kN - 1) / kN;
  return tiles;
}

// What of k a block has.
struct Share {
  int from, to;
};
static __device__ __forceinline__ Share share_of(int k) {
  if (gridDim.z == 1) return {0, k};
  const int from = blockIdx.z * kCut;
  return {from, min(from + kCut, k)};
}

// Where sums go: planes and tickets are null unless cuts are blocks'.
struct Output {
  LoamRows out;
  float* planes;
  uint32_t* tickets;
};

static __device__ __forceinline__ void put(const LoamRows& out, int64_t at, float value) {
  if (out.type == LOAM_F32)
    store((float*)out.at + at, value);
  else
    store((bf16*)out.at + at, value);
}

// A tile's sums to their places. `Tile` says which row and column of the tile is this thread's value j.
template <class Tile>
static __device__ __forceinline__ void finish(float (&sums)[Tile::kOwn], const Columns& columns, const Output& to,
                                              int first_row, uint32_t* drawn) {
  const LoamRows& out = to.out;
  auto row = [&](int j) { return (int64_t)first_row + Tile::row(j); };
  auto is_there = [&](int j) { return row(j) < out.rows && columns.first + Tile::column(j) < columns.end; };
  if (gridDim.z > 1) {
    const uint32_t cuts = gridDim.z;
    const int64_t plane = (int64_t)out.rows * out.width;
    auto in_plane = [&](int j) { return row(j) * out.width + columns.out_at + Tile::column(j); };
    UNROLL
    for (int j = 0; j < Tile::kOwn; ++j)
      if (is_there(j)) to.planes[blockIdx.z * plane + in_plane(j)] = sums[j];
    // The ticket releases what the block wrote before the barrier, and acquires what the others did.
    __syncthreads();
    if (threadIdx.x == 0) *drawn = ptx::ticket_draw(to.tickets + blockIdx.y * gridDim.x + blockIdx.x, cuts - 1);
    __syncthreads();
    if (*drawn != cuts - 1) return;
    UNROLL
    for (int j = 0; j < Tile::kOwn; ++j) sums[j] = 0;
    for (uint32_t cut = 0; cut < cuts; ++cut)
      UNROLL
      for (int j = 0; j < Tile::kOwn; ++j)
        if (is_there(j)) sums[j] += to.planes[cut * plane + in_plane(j)];
  }
  UNROLL
  for (int j = 0; j < Tile::kOwn; ++j) {
    if (!is_there(j)) continue;
    float value = sums[j];
    if (columns.bias)
      with_weight(columns.bias_type, [&](auto bias) {
        value += widen(((const decltype(bias)*)columns.bias)[columns.first + Tile::column(j)]);
      });
    put(out, row(j) * out.stride + columns.out_at + Tile::column(j), value);
  }
}
