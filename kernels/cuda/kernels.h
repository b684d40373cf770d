// The kernels' C interface: what kernels/src/cuda/ffi.rs mirrors, function by function. Each launcher puts its work on a
// stream and returns a cudaError_t; pointers are of the device. Types of values are numbers of LoamType.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

enum LoamType : int32_t { LOAM_F32 = 0, LOAM_BF16 = 1, LOAM_F16 = 2 };

// `Activation` of src/backend/dense.rs.
enum LoamActivation : int32_t { LOAM_SILU = 0, LOAM_GELU = 1, LOAM_GELU_TANH = 2 };

// A matrix: its first value, and how far apart its rows lie, in values.
struct LoamRows {
  void* at;
  int64_t stride;
  int32_t rows, width;
  LoamType type;
};

// `Segment` of src/layout/step.rs.
struct LoamSegment {
  uint32_t first_row, rows, first_position, first_page, pages;
};

// A step's sequences, on the device. A segment of one row has its splits (`*split_tokens` positions each) from
// `split_of_row[row]` on; other rows have none there.
struct LoamSequences {
  const uint32_t *positions, *segment_of_row;
  const LoamSegment* segments;
  const uint32_t* pages;
  const uint32_t* split_of_row;  // [rows + 1]
  const uint32_t *row_of_split, *split_tokens;
  int32_t rows, segment_count, page_count, split_count;
};

// All pages, and which layer of them is meant.
struct LoamPages {
  void* from;
  int32_t pages, layers, layer, kv_heads, page_tokens, head_dim;
  LoamType type;
};

// One use of an adapter.
struct LoamPair {
  uint32_t row, slot;
  float weight;
};
// Up to 16 pairs `from .. to` of one adapter.
struct LoamShrink {
  uint32_t from, to, slot;
};
// Up to 16 rows `rows_alike[from .. to]` that use the same adapters: their slots are `slots[slots ..]`, and for each of these there is
// a use by each of the rows, from `uses[uses]` on.
struct LoamExpand {
  uint32_t from, to, adapters, slots, uses;
};
struct LoamUse {
  uint32_t pair;
  float weight;
};

// Uses of adapters by a set's rows, and the work that follows. `*_count` are the rooms of the lists; how much of them is in
// use the device knows: `counts` are shrinks, expands, pairs.
struct LoamPairs {
  const LoamPair* pairs;
  const uint32_t* of_row;  // [rows + 1]: how many uses rows before it have
  const LoamShrink* shrinks;
  const LoamExpand* expands;
  const uint32_t *rows_alike, *slots;
  const LoamUse* uses;
  const uint32_t* counts;
  int32_t rows, pair_count, shrink_count, expand_count;
};

// `SitePlace` of src/layout/adapter.rs with addresses; its modules follow it.
struct LoamPlace {
  const void* a;
  uint32_t rank;
  LoamType type;
};
struct LoamModule {
  const void* b;
  uint32_t rank, h_at, out_at, out_features;
  float scale;
  uint32_t unused;
};

// One site of all slots: the first slot's place, and how far apart slots lie.
struct LoamPlaces {
  const void* from;
  int64_t slot_bytes;
};

// Modules of a site, or layers over one input, at most.
constexpr int kLoamLayers = 4;

// Some of a site's outputs, which are delta's columns from its first on: `from .. to`, which lie in `tiles` tiles of 64 columns of
// a module from `first_tile` on, counted over all modules; or, where `of_row` is given, one column for each row.
struct LoamColumns {
  uint32_t from, to, first_tile, tiles;
  uint32_t outputs[kLoamLayers];  // of all the site's modules
  const uint32_t* of_row;
};

// How a row's token is chosen: `Sampling` of src/layout/sampling.rs as kernels read it. Lists are ranges of those of all rows;
// what is not there is `0xffffffff`.
struct LoamChoice {
  float inverse_temperature;  // 0: the first in rank
  float top_p, floor;         // `floor`: the logarithm of min_p
  float repetition_penalty, presence_penalty, frequency_penalty;
  uint32_t top_k, top;  // `top`: how many of the most probable tokens to report
  uint32_t seen_from, seen_to, biases_from, biases_to, mask_from;
  uint32_t adjusted;  // this row's place among those whose logits something changes
  uint32_t own;       // the row of the batch whose token is seen once more than `seen` says; all ones: none
  uint32_t number_low, number_high;  // the draw's number in 0..1, times 2^64
};
struct LoamSeen {
  uint32_t token, in_prompt, in_output;
};
struct LoamBias {
  uint32_t token;
  float bias;
};
struct LoamChoices {
  const LoamChoice* rows;
  const LoamSeen* seen;
  const LoamBias* biases;
  const uint32_t* masks;
  LoamRows own;  // each row's token, of the whole batch
  int32_t seen_count, bias_count, mask_words, adjusted;
};

// Of each tile of 1,024 tokens of a row, `[rows, tiles]`: the greatest logit, and the sum of `e^(logit - greatest)` in parts of 2^40.
struct LoamTiles {
  float* peaks;
  unsigned long long* sums;
  int32_t tiles;
};

// What is said of chosen tokens; tokens and ranks are whole numbers of 32 bits, whatever `type` says.
struct LoamChosen {
  LoamRows tokens, log_probabilities, ranks, top_tokens, top_log_probabilities;
};

// What is said of given tokens, and of the best ones; tokens and ranks as above.
struct LoamScores {
  LoamRows log_probabilities, ranks, best_tokens, best_log_probabilities;
};

// One matrix of weights, its rows `stride` values apart, and the bias of its outputs, which may be null.
struct LoamLayer {
  const void *weight, *bias;
  int64_t stride;
  int32_t out_features;
  LoamType bias_type;
};
// Layers over one input, side by side in its output; those that are not there have no outputs.
struct LoamLayers {
  LoamLayer each[kLoamLayers];
  LoamType type;
};

// Values from a matrix's first to its last.
static inline size_t values_in(const LoamRows& m) { return m.at && m.rows ? (size_t)(m.rows - 1) * m.stride + m.width : 0; }

extern "C" {

// Of all that follow: `of_row` says which rows have an adapter, `of_row[row] < of_row[row + 1]`; others' delta is not read. A delta
// or an inverse that is not there is one without an address.

// out[i] = from[which[i]], or from[i] where `which` is null; `from` of any weight type. See gather_rows.cu.
cudaError_t loam_gather_rows(LoamRows from, const uint32_t* which, LoamRows out, cudaStream_t stream);

// tokens[row] = from[taken[row]], of rows where that is not all ones; one beyond the vocabulary counts as its last.
// known[row] = tokens[row], of all rows. See take_tokens.cu.
cudaError_t loam_take_tokens(uint32_t* tokens, const uint32_t* taken, LoamRows from, LoamRows known, uint32_t vocabulary, cudaStream_t stream);

// x[row] += delta[row], of rows with an adapter; see add.cu.
cudaError_t loam_add(LoamRows x, LoamRows delta, const uint32_t* of_row, cudaStream_t stream);

// out[row, i] = activation(gate[row, i]) up[row, i], gate and up = gate_up + delta; see gate.cu.
cudaError_t loam_gate(LoamActivation activation, LoamRows gate_up, LoamRows delta, const uint32_t* of_row, LoamRows out, cudaStream_t stream);

// out[row, i] = x[row, i] / sqrt(mean_i x[row, i]^2 + epsilon) * weight[i]; see rms_norm.cu.
cudaError_t loam_rms_norm(LoamRows x, const void* weight, LoamType weight_type, LoamRows out, LoamRows inverse, float epsilon, cudaStream_t stream);

// residual += x + delta, out = rms_norm(residual); see add_rms_norm.cu.
cudaError_t loam_add_rms_norm(LoamRows residual, LoamRows x, LoamRows delta, const uint32_t* of_row, const void* weight, LoamType weight_type, LoamRows out,
                              LoamRows inverse, float epsilon, cudaStream_t stream);

// qkv += delta; each head of queries and of keys is normed by its weight, in place; see qk_norm.cu.
cudaError_t loam_qk_norm(LoamRows qkv, LoamRows delta, const uint32_t* of_row, int32_t q_heads, int32_t kv_heads, const void* q_weight, LoamType q_type,
                         const void* k_weight, LoamType k_type, float epsilon, cudaStream_t stream);

// qkv += delta, of rows with `of_row[row] < of_row[row + 1]`; queries and keys turn; keys and values go to their pages; see rope_store.cu.
cudaError_t loam_rope_store(LoamRows qkv, LoamRows delta, const uint32_t* of_row, LoamRows angles, LoamSequences step, LoamPages kv, int32_t q_heads,
                            cudaStream_t stream);

// Page `to` becomes page `from`; see copy_pages.cu.
cudaError_t loam_copy_page(void* pages, int64_t page_bytes, uint32_t from, uint32_t to, cudaStream_t stream);

// Attention of segments of several rows; see attention_prefill.cu.
cudaError_t loam_attention_prefill(LoamRows q, LoamRows out, LoamRows log_sum_exp, LoamSequences step, LoamPages kv, float scale, uint32_t window, cudaStream_t stream);

// Attention of segments of one row, through `partials[split_count, q_heads, 2 + head_dim]` and `tickets[rows, q_heads]` of zeros,
// which it leaves so; see attention_decode.cu.
cudaError_t loam_attention_decode(LoamRows q, LoamRows out, LoamRows log_sum_exp, LoamSequences step, LoamPages kv, float scale, uint32_t window,
                                  float* partials, uint32_t* tickets, cudaStream_t stream);

// h[pair] = A x[row], K cut every 512: `planes[cuts, pairs, h width]` and `tickets[shrinks, h width / 16]` of zeros, which it
// leaves so, are scratch and may be null where there is one cut. See lora_shrink.cu.
cudaError_t loam_lora_shrink(LoamRows x, LoamRows h, LoamPlaces places, LoamPairs pairs, float* planes, uint32_t* tickets, cudaStream_t stream);

// h[pair] = A[token[row]]; see lora_shrink.cu.
cudaError_t loam_lora_shrink_tokens(const uint32_t* tokens, LoamRows h, LoamPlaces places, LoamPairs pairs, cudaStream_t stream);

// delta[row] = sum over the row's pairs of (weight scale h[pair]) B, of some columns. See lora_expand.cu.
cudaError_t loam_lora_expand(LoamRows h, LoamRows delta, LoamPlaces places, LoamColumns columns, LoamPairs pairs, cudaStream_t stream);

// Each row's token and what is said of it, through `raw` and, for rows whose logits something changes, `adjusted` and
// `adjusted_logits[adjusted, adjusted_stride]`, which are scratch. See sample.cu.
cudaError_t loam_sample(LoamRows logits, LoamChoices choices, LoamTiles raw, LoamTiles adjusted, float* adjusted_logits, int64_t adjusted_stride, LoamChosen chosen,
                        cudaStream_t stream);

// Of the two that follow: the output is made in tiles of `tile_rows` rows: 64; in `loam_linear`, and what is like it, also 16,
// and 128 if all is bf16. With scratch, each cut of 512 of k is a block's: `planes[cuts, out.rows, out.width]`, and for each
// tile a ticket of 0, which is left so; both may be null. No bit depends on either. See gemm.cu.
// out[row, o] = sum_k x[row, k] weight[o, k] + bias[o]
cudaError_t loam_linear(LoamRows x, LoamLayers layers, LoamRows out, int32_t tile_rows, float* planes,
                        uint32_t* tickets, cudaStream_t stream);
// out[m, n] = sum_k a[m, k] b[k, n]; transposed, a is given as [k, m], and b as [n, k].
cudaError_t loam_product(LoamRows a, bool a_transposed, LoamRows b, bool b_transposed, LoamRows out, int32_t tile_rows,
                         float* planes, uint32_t* tickets, cudaStream_t stream);

// targets[row] = products[row, row], of rows whose token is of `tokens`. Of this and of those that follow see score.cu.
cudaError_t loam_score_targets(LoamRows products, const uint32_t* tokens, uint32_t first_token, uint32_t token_count, float* targets, cudaStream_t stream);

// What tiles from `first_tile` on hold; `above[rows, tiles]` of it greater than the row's target; `best[rows, tiles]`, the first token
// with the tile's greatest logit.
cudaError_t loam_score_tiles(LoamRows logits, const float* targets, LoamTiles seen, uint32_t* above, uint32_t* best, int32_t first_tile, cudaStream_t stream);

// What all tiles say of the targets, and of the best token of each row.
cudaError_t loam_score_rows(const float* targets, LoamTiles seen, const uint32_t* above, const uint32_t* best, LoamScores said, cudaStream_t stream);

}
