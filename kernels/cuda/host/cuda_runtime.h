// Stands where CUDA's header of this name does. What kernels use of it, and no more: what is missing here does not compile,
// and is either added with its checks or not used.
#pragma once
#include <bit>
#include <cmath>
#include <cstring>

#include "emulator.h"

// Macros, so only launch.cuh may name a field that is called so.
#define threadIdx (::emulation::thread_index())
#define blockIdx (::emulation::block_index())
#define blockDim (::emulation::block_size())
#define gridDim (::emulation::grid_size())

inline const char* cudaGetErrorString(cudaError_t) { return "see loam_emulation_report"; }

// ---- barriers
#define SITE ::emulation::Site site = ::emulation::Site::current()
EMULATED void __syncthreads(SITE) { emulation::sync_block(site); }
EMULATED void __syncwarp(unsigned mask = ~0u, SITE) { emulation::sync_warp(mask, site); }
EMULATED void __nanosleep(unsigned, SITE) { emulation::yield("__nanosleep", site); }
EMULATED void __trap(SITE) { emulation::trap(site); }

// ---- lanes telling each other
namespace emulation {
template <class T> EMULATED T lane_value(unsigned mask, T value, unsigned source, const char* what, Site site) {
  const uint8_t* table = exchange(mask, &value, sizeof value, what, site);
  if (!(mask >> source & 1)) collective_source_missing(source, what, site);
  memcpy(&value, table + 64 * source, sizeof value);
  return value;
}
template <class T, class Join> EMULATED T lane_fold(unsigned mask, T value, const char* what, Site site, Join join) {
  const uint8_t* table = exchange(mask, &value, sizeof value, what, site);
  bool first = true;
  for (unsigned l = 0; l < 32; ++l) {
    if (!(mask >> l & 1)) continue;
    T other;
    memcpy(&other, table + 64 * l, sizeof other);
    value = first ? other : join(value, other), first = false;
  }
  return value;
}
}  // namespace emulation
template <class T> EMULATED T __shfl_sync(unsigned mask, T value, int source, int width = 32, SITE) {
  const unsigned lane = ::emulation::lane_number();
  return emulation::lane_value(mask, value, (lane & ~(width - 1u)) + (source & (width - 1u)), "__shfl_sync", site);
}
template <class T> EMULATED T __shfl_xor_sync(unsigned mask, T value, int other, int width = 32, SITE) {
  const unsigned lane = ::emulation::lane_number(), source = lane ^ (unsigned)other;
  return emulation::lane_value(mask, value, source / width > lane / width ? lane : source, "__shfl_xor_sync", site);
}
template <class T> EMULATED T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32, SITE) {
  const unsigned lane = ::emulation::lane_number(), source = lane + by;
  return emulation::lane_value(mask, value, source / width != lane / width ? lane : source, "__shfl_down_sync", site);
}
template <class T> EMULATED T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32, SITE) {
  const unsigned lane = ::emulation::lane_number(), source = lane - by;
  return emulation::lane_value(mask, value, lane % width < by ? lane : source, "__shfl_up_sync", site);
}
EMULATED unsigned __ballot_sync(unsigned mask, int yes, SITE) {
  const unsigned bit = yes ? 1u << ::emulation::lane_number() : 0;
  return emulation::lane_fold(mask, bit, "__ballot_sync", site, [](unsigned a, unsigned b) { return a | b; });
}
EMULATED int __any_sync(unsigned mask, int yes, SITE) {
  return emulation::lane_fold(mask, (int)(yes != 0), "__any_sync", site, [](int a, int b) { return a | b; });
}
EMULATED int __all_sync(unsigned mask, int yes, SITE) {
  return emulation::lane_fold(mask, (int)(yes != 0), "__all_sync", site, [](int a, int b) { return a & b; });
}
#define REDUCE(name, T, join) \
  EMULATED T name(unsigned mask, T value, SITE) { return emulation::lane_fold(mask, value, #name, site, [](T a, T b) -> T { return join; }); }
REDUCE(__reduce_add_sync, unsigned, a + b)
REDUCE(__reduce_add_sync, int, (int)((unsigned)a + (unsigned)b))
REDUCE(__reduce_min_sync, unsigned, a < b ? a : b)
REDUCE(__reduce_min_sync, int, a < b ? a : b)
REDUCE(__reduce_max_sync, unsigned, a > b ? a : b)
REDUCE(__reduce_max_sync, int, a > b ? a : b)
REDUCE(__reduce_and_sync, unsigned, a & b)
REDUCE(__reduce_or_sync, unsigned, a | b)
REDUCE(__reduce_xor_sync, unsigned, a ^ b)
#undef REDUCE

// ---- atomic operations: on integers. They order nothing: ptx::ticket_* and ptx::flag_* do. There are no fences.
#define ATOMIC(name, kind)                                                                                             \
  EMULATED unsigned name(unsigned* p, unsigned v, SITE) { return emulation::atomic32(kind, p, v, 0, false, emulation::Orders::kNothing, site); } \
  EMULATED int name(int* p, int v, SITE) { return (int)emulation::atomic32(kind, (uint32_t*)p, (uint32_t)v, 0, true, emulation::Orders::kNothing, site); }
ATOMIC(atomicAdd, emulation::Atomic::kAdd)
ATOMIC(atomicMin, emulation::Atomic::kMin)
ATOMIC(atomicMax, emulation::Atomic::kMax)
ATOMIC(atomicExch, emulation::Atomic::kExchange)
ATOMIC(atomicAnd, emulation::Atomic::kAnd)
ATOMIC(atomicOr, emulation::Atomic::kOr)
#undef ATOMIC
EMULATED unsigned atomicInc(unsigned* p, unsigned most, SITE) {
  return emulation::atomic32(emulation::Atomic::kIncrement, p, most, 0, false, emulation::Orders::kNothing, site);
}
EMULATED unsigned atomicCAS(unsigned* p, unsigned compared, unsigned v, SITE) {
  return emulation::atomic32(emulation::Atomic::kCompare, p, v, compared, false, emulation::Orders::kNothing, site);
}
EMULATED unsigned long long atomicAdd(unsigned long long* p, unsigned long long v, SITE) {
  return emulation::atomic64(emulation::Atomic::kAdd, (uint64_t*)p, v, 0, emulation::Orders::kNothing, site);
}
EMULATED float atomicAdd(float*, float, SITE) { emulation::float_atomic(site); }

// ---- arithmetic. Faithful, where the device has faster and coarser ones: the tolerance of the tests covers what these
// differ by. Products and sums are not contracted to one rounding here, and are by nvcc unless told.
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __fadd_rn(float x, float y) { return x + y; }
inline float __fmul_rn(float x, float y) { return x * y; }
inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline int __popc(unsigned x) { return std::popcount(x); }
inline int __clz(unsigned x) { return std::countl_zero(x); }
inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y) { return (unsigned __int128)x * y >> 64; }
inline int __ffs(unsigned x) { return x ? std::countr_zero(x) + 1 : 0; }
template <class T> constexpr T min(T a, T b) { return b < a ? b : a; }
template <class T> constexpr T max(T a, T b) { return a < b ? b : a; }
#undef SITE
