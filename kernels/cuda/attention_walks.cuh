// Which arithmetic types are given.
#pragma once
#include "attention_dots.cuh"
#include "attention_products.cuh"

// Matrix products where all is bf16; f32 stays f32.
template <int D, class Q, class K, class Out>
using WalkOf = std::conditional_t<std::is_same_v<Q, bf16> && std::is_same_v<K, bf16> && std::is_same_v<Out, bf16>, Products<D>, Dots<D>>;
