// From a LoamType to a C++ type: calls `work` with a value of it.
#pragma once
#include "kernels.h"
#include "values.cuh"

// Before a loop of a constant number of turns whose arrays are to stay in registers; and before one whose turns wait for memory,
// so that eight wait together.
#ifdef LOAM_EMULATE
#define UNROLL
#define UNROLL_8
#else
#define UNROLL _Pragma("unroll")
#define UNROLL_8 _Pragma("unroll 8")
#endif

// Types of activations: f32 and bf16. Rust's `check` has refused others.
template <class Work> static cudaError_t with_activation(LoamType type, Work work) {
  switch (type) {
    case LOAM_F32: return work(float());
    case LOAM_BF16: return work(bf16());
    default: return cudaErrorInvalidValue;
  }
}

// Types of weights: those and f16. On the host and, where an adapter's type is known to the device alone, there.
template <class Work> __host__ __device__ __forceinline__ void with_weight(LoamType type, Work work) {
  switch (type) {
    case LOAM_F32: return work(float());
    case LOAM_BF16: return work(bf16());
    case LOAM_F16: return work(f16());
  }
}
