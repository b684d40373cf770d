// Where a slot's adapter has its values for a site, and eight of them as a word of 16 bytes.
#pragma once
#include <cstring>

#include "kernels.h"
#include "values.cuh"

static __device__ __forceinline__ const LoamPlace& place_of(const LoamPlaces& places, uint32_t slot) {
  return *(const LoamPlace*)((const char*)places.from + slot * places.slot_bytes);
}
static __device__ __forceinline__ const LoamModule* modules_of(const LoamPlace& place) { return (const LoamModule*)(&place + 1); }

// Eight neighbours, zeros where there are no more than `left`: how a row is read that ends, or begins, at an odd place.
static __device__ __forceinline__ uint4 eight(const bf16* from, int left) {
  bf16 values[8];
  for (int i = 0; i < 8; ++i) values[i] = i < left ? from[i] : __float2bfloat16(0.0f);
  uint4 words;
  memcpy(&words, values, 16);
  return words;
}
// The i-th of one and of another eight, as a product takes two neighbours.
static __device__ __forceinline__ uint32_t both(const uint4& one, const uint4& other, int i) {
  const uint32_t a[4] = {one.x, one.y, one.z, one.w}, b[4] = {other.x, other.y, other.z, other.w};
  return i % 2 ? a[i / 2] >> 16 | (b[i / 2] & 0xffff0000u) : (a[i / 2] & 0xffffu) | b[i / 2] << 16;
}
