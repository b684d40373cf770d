// Where a slot's adapter has its values for a site.
#pragma once
#include "kernels.h"

static __device__ __forceinline__ const LoamPlace& place_of(const LoamPlaces& places, uint32_t slot) {
  return *(const LoamPlace*)((const char*)places.from + slot * places.slot_bytes);
}
static __device__ __forceinline__ const LoamModule* modules_of(const LoamPlace& place) { return (const LoamModule*)(&place + 1); }
