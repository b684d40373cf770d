// A row in vectors of eight neighbouring values, which is how operations on single values walk it: a thread reads and writes 16
// bytes at once where its vector is whole and lies on 16, and value by value where the row ends or begins at an odd place.
#pragma once
#include <cstring>

#include "types.cuh"

constexpr int kVector = 8;

template <class T> static __device__ __forceinline__ bool whole(const T* at, int count) { return count >= kVector && (uintptr_t)at % 16 == 0; }

// The vector that begins at `from`, of which the row has `count` values; zeros beyond.
template <class T> static __device__ __forceinline__ void load_vector(const T* from, int count, float (&to)[kVector]) {
  if (whole(from, count)) {
    uint4 words[kVector * sizeof(T) / 16];
    UNROLL
    for (unsigned i = 0; i < sizeof words / 16; ++i) words[i] = ((const uint4*)from)[i];
    T values[kVector];
    memcpy(values, words, sizeof values);
    UNROLL
    for (int i = 0; i < kVector; ++i) to[i] = widen(values[i]);
  } else {
    UNROLL
    for (int i = 0; i < kVector; ++i) to[i] = i < count ? widen(from[i]) : 0.0f;
  }
}

template <class T> static __device__ __forceinline__ void store_vector(T* to, int count, const float (&from)[kVector]) {
  if (whole(to, count)) {
    T values[kVector];
    UNROLL
    for (int i = 0; i < kVector; ++i) store(&values[i], from[i]);
    uint4 words[kVector * sizeof(T) / 16];
    memcpy(words, values, sizeof values);
    UNROLL
    for (unsigned i = 0; i < sizeof words / 16; ++i) ((uint4*)to)[i] = words[i];
  } else {
    UNROLL
    for (int i = 0; i < kVector; ++i)
      if (i < count) store(to + i, from[i]);
  }
}

// What adapters add: for rows that have one, and nobody else's is read. Without adapters in the step `values` is null.
struct Delta {
  const float* values;
  int64_t stride;
  const uint32_t* of_row;

  __device__ __forceinline__ bool has(int row) const { return values && of_row[row] < of_row[row + 1]; }
  // `to += delta[row, column ..]`.
  __device__ __forceinline__ void add_to(int row, int column, int count, float (&to)[kVector]) const {
    float v[kVector];
    load_vector(values + row * stride + column, count, v);
    UNROLL
    for (int i = 0; i < kVector; ++i) to[i] += v[i];
  }
};
static inline Delta delta_of(const LoamRows& delta, const uint32_t* of_row) { return {(const float*)delta.at, delta.stride, of_row}; }
