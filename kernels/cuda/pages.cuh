// Where a sequence's keys and values lie: [pages, layers, 2, kv_heads, page_tokens, head_dim].
#pragma once
#include <bit>

#include "kernels.h"

// One layer of all pages.
template <class K> struct Pages {
  K* from;
  int64_t page_len, head_len;  // values in a page; in one head's keys of it
  int kv_heads, page_shift, head_dim;  // a page has 2^page_shift positions: 16, 32 or 64

  // A position's key in its sequence's pages; its value lies `values_after` behind it.
  __device__ K* key(const uint32_t* pages, int kv_head, uint32_t position) const {
    const uint32_t place = position & ((1u << page_shift) - 1);
    return from + pages[position >> page_shift] * page_len + kv_head * head_len + place * head_dim;
  }
  __device__ int64_t values_after() const { return kv_heads * head_len; }
};

template <class K> static Pages<K> pages_of(const LoamPages& kv) {
  const int64_t head_len = (int64_t)kv.page_tokens * kv.head_dim, layer_len = 2 * kv.kv_heads * head_len;
  return {(K*)kv.from + kv.layer * layer_len, kv.layers * layer_len, head_len, kv.kv_heads, std::countr_zero((unsigned)kv.page_tokens), kv.head_dim};
}

static inline size_t values_in(const LoamPages& kv) {
  return (size_t)kv.pages * kv.layers * 2 * kv.kv_heads * kv.page_tokens * kv.head_dim;
}
