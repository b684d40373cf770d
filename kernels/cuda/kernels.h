// The kernels' C interface: what kernels/src/cuda/ffi.rs mirrors, function by function. Each launcher puts its work on a
// stream and returns a cudaError_t; pointers are of the device. Types of values are numbers of LoamType.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

enum LoamType : int32_t { LOAM_F32 = 0, LOAM_BF16 = 1, LOAM_F16 = 2 };

extern "C" {

// out[row, i] = x[row, i] / sqrt(mean_i x[row, i]^2 + epsilon) * weight[i]; see rms_norm.cu. Strides count values.
cudaError_t loam_rms_norm(const void* x, LoamType x_type, int64_t x_stride, const void* weight, LoamType weight_type, void* out,
                          LoamType out_type, int64_t out_stride, float* inverse, int64_t inverse_stride, int32_t rows, int32_t width, float epsilon, cudaStream_t stream);

}
