// IEEE half precision as CUDA's header of this name has it. Conversions round to nearest even.
#pragma once
#include "cuda_runtime.h"

struct __half { uint16_t bits; };
struct alignas(4) __half2 { __half x, y; };

inline float __half2float(__half h) {
  const uint32_t sign = (uint32_t)(h.bits & 0x8000) << 16, exponent = h.bits >> 10 & 31, fraction = h.bits & 0x3ff;
  if (exponent == 0) return std::bit_cast<float>(sign | std::bit_cast<uint32_t>((float)fraction * 0x1p-24f));
  return std::bit_cast<float>(sign | (exponent == 31 ? 0x7f800000 : (exponent + 112) << 23) | fraction << 13);
}
inline __half __float2half(float f) {
  const uint32_t u = std::bit_cast<uint32_t>(f), sign = u >> 16 & 0x8000, size = u & 0x7fffffff;
  if (size > 0x7f800000) return {0x7fff};                          // the device's one NaN
  if (size >= 0x477ff000) return {(uint16_t)(sign | 0x7c00)};      // 65520 and more: infinity
  if (size < 0x38800000) {                                         // subnormal: count in units of 2^-24
    const float scaled = std::bit_cast<float>(size) * 0x1p24f;     // exact
    return {(uint16_t)(sign | (uint32_t)nearbyintf(scaled))};
  }
  return {(uint16_t)(sign | ((size + 0xfff + (size >> 13 & 1) - 0x38000000) >> 13))};
}
inline __half __float2half_rn(float f) { return __float2half(f); }
inline float2 __half22float2(__half2 v) { return {__half2float(v.x), __half2float(v.y)}; }
inline __half2 __floats2half2_rn(float x, float y) { return {__float2half(x), __float2half(y)}; }
inline __half __ushort_as_half(unsigned short bits) { return {bits}; }
inline unsigned short __half_as_ushort(__half v) { return v.bits; }
