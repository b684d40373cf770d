//! Each fault, and the cases that must see it.

use loam_kernels::backend::Activation;

use super::{Fault, Planted};
use crate::check::{all, caught};
use crate::lora::Popularity;
use crate::{attention, dense, lora, sampling};

macro_rules! planted {
    ($($name:ident: $fault:ident, $cases:expr, $check:path;)+) => {
        $(
            #[test]
            fn $name() {
                caught(&Planted::new(Fault::$fault), &$cases, $check);
            }
        )+
    };
}

planted! {
    take_tokens_from_another_place:
        TakeTokensFromAnotherPlace, dense::rows::embed_cases(), dense::rows::check_take;
    take_tokens_tells_another_row:
        TakeTokensTellsAnotherRow, dense::rows::embed_cases(), dense::rows::check_take;
    embed_takes_another_token: EmbedTakesAnotherToken, dense::rows::embed_cases(), dense::rows::check_embed;
    embed_leaves_the_last_row: EmbedLeavesTheLastRow, dense::rows::embed_cases(), dense::rows::check_embed;
    gather_takes_another_row: GatherTakesAnotherRow, dense::rows::gather_cases(), dense::rows::check_gather;
    gather_leaves_the_last_column:
        GatherLeavesTheLastColumn, dense::rows::gather_cases(), dense::rows::check_gather;
    linear_swaps_columns: LinearSwapsColumns, dense::linear::cases(), dense::linear::check;
    linear_skips_the_last_input: LinearSkipsTheLastInput, dense::linear::cases(), dense::linear::check;
    linear_is_scaled: LinearIsScaled, dense::linear::cases(), dense::linear::check;
    linear_leaves_the_last_row: LinearLeavesTheLastRow, dense::linear::cases(), dense::linear::check;
    linear_writes_beyond_its_columns:
        LinearWritesBeyondItsColumns, dense::linear::cases(), dense::linear::check;
    linear_forgets_its_bias: LinearForgetsItsBias, dense::linear::cases(), dense::linear::check;
    product_ignores_a_transposition:
        ProductIgnoresATransposition, dense::product::cases(false, true), dense::product::check;
    product_skips_the_last_term:
        ProductSkipsTheLastTerm, dense::product::cases(true, false), dense::product::check;
    product_is_scaled: ProductIsScaled, dense::product::cases(true, true), dense::product::check;
    rms_norm_divides_by_one_less:
        RmsNormDividesByOneLess, dense::norms::rms_norm_cases(), dense::norms::check_rms_norm;
    rms_norm_forgets_epsilon:
        RmsNormForgetsEpsilon, dense::norms::rms_norm_cases(), dense::norms::check_rms_norm;
    rms_norm_swaps_inverses:
        RmsNormSwapsInverses, dense::norms::rms_norm_cases(), dense::norms::check_rms_norm;
    add_rms_norm_forgets_the_delta:
        AddRmsNormForgetsTheDelta, dense::norms::add_rms_norm_cases(), dense::norms::check_add_rms_norm;
    add_rms_norm_norms_what_was_added:
        AddRmsNormNormsWhatWasAdded, dense::norms::add_rms_norm_cases(), dense::norms::check_add_rms_norm;
    qk_norm_takes_the_other_weight:
        QkNormTakesTheOtherWeight, dense::norms::qk_norm_cases(), dense::norms::check_qk_norm;
    qk_norm_skips_the_last_key:
        QkNormSkipsTheLastKey, dense::norms::qk_norm_cases(), dense::norms::check_qk_norm;
    gate_swaps_its_halves:
        GateSwapsItsHalves, dense::rows::gate_cases(Activation::Silu), dense::rows::check_gate;
    gate_takes_the_other_gelu:
        GateTakesTheOtherGelu, dense::rows::gate_cases(Activation::Gelu), dense::rows::check_gate;
    gate_leaves_the_last_column:
        GateLeavesTheLastColumn, dense::rows::gate_cases(Activation::Silu), dense::rows::check_gate;
    add_skips_the_last_column: AddSkipsTheLastColumn, dense::rows::gather_cases(), dense::rows::check_add;
    add_touches_rows_without_adapters:
        AddTouchesRowsWithoutAdapters, dense::rows::gather_cases(), dense::rows::check_add;
    add_is_scaled: AddIsScaled, dense::rows::gather_cases(), dense::rows::check_add;
}

planted! {
    rope_takes_the_next_position: RopeTakesTheNextPosition, attention::rope::cases(), attention::rope::check;
    rope_skips_the_last_pair: RopeSkipsTheLastPair, attention::rope::cases(), attention::rope::check;
    rope_is_scaled: RopeIsScaled, attention::rope::cases(), attention::rope::check;
    rope_stores_in_another_layer: RopeStoresInAnotherLayer, attention::rope::cases(), attention::rope::check;
    rope_forgets_the_delta: RopeForgetsTheDelta, attention::rope::cases(), attention::rope::check;
    attention_takes_another_page:
        AttentionTakesAnotherPage, attention::attend::mixed(), attention::attend::check;
    attention_swaps_heads: AttentionSwapsHeads, attention::attend::prefill(), attention::attend::check;
    attention_skips_the_last_position:
        AttentionSkipsTheLastPosition, attention::attend::decode(), attention::attend::check;
    attention_is_scaled: AttentionIsScaled, attention::attend::chunked(), attention::attend::check;
    attention_loses_all_splits_but_the_last:
        AttentionLosesAllSplitsButTheLast, attention::attend::decode(), attention::attend::check;
    attention_sees_one_position_more:
        AttentionSeesOnePositionMore, attention::attend::windows(), attention::attend::check;
    attention_sums_in_another_base:
        AttentionSumsInAnotherBase, attention::attend::prefill(), attention::attend::check;
    copy_runs_backwards: CopyRunsBackwards, attention::copy::cases(), attention::copy::check;
    copy_skips_the_last_half: CopySkipsTheLastHalf, attention::copy::cases(), attention::copy::check;
}

planted! {
    shrink_swaps_pairs: ShrinkSwapsPairs, lora::cases(Popularity::Uniform), lora::check;
    shrink_swaps_tokens: ShrinkSwapsPairs, lora::embedding_cases(), lora::check_embedding;
    shrink_skips_the_last_input: ShrinkSkipsTheLastInput, lora::cases(Popularity::Identical), lora::check;
    shrink_is_scaled: ShrinkIsScaled, lora::cases(Popularity::Zipf), lora::check;
    shrink_leaves_the_last_pair: ShrinkLeavesTheLastPair, lora::cases(Popularity::Distinct), lora::check;
    expand_begins_one_rank_late: ExpandBeginsOneRankLate, lora::cases(Popularity::Skewed), lora::check;
    expand_skips_the_last_rank: ExpandSkipsTheLastRank, lora::cases(Popularity::Uniform), lora::check;
    expand_is_scaled: ExpandIsScaled, lora::cases(Popularity::Uniform), lora::check;
    expand_forgets_weights: ExpandForgetsWeights, lora::cases(Popularity::Distinct), lora::check;
    expand_takes_only_the_first_adapter:
        ExpandTakesOnlyTheFirstAdapter, lora::cases(Popularity::Uniform), lora::check;
    expand_clears_rows_without_adapters:
        ExpandClearsRowsWithoutAdapters, lora::cases(Popularity::Uniform), lora::check;
}

planted! {
    sample_takes_the_next_token: SampleTakesTheNextToken, sampling::choose::greedy(), sampling::choose::check;
    sample_skips_the_last_token: SampleSkipsTheLastToken, sampling::choose::greedy(), sampling::choose::check;
    sample_is_hotter: SampleIsHotter, sampling::choose::temperature(), sampling::choose::check;
    sample_keeps_one_more: SampleKeepsOneMore, sampling::choose::filters(), sampling::choose::check;
    sample_forgets_penalties: SampleForgetsPenalties, sampling::choose::penalties(), sampling::choose::check;
    sample_forgets_its_own_token: SampleForgetsItsOwnToken, sampling::choose::penalties(), sampling::choose::check;
    sample_takes_anothers_own_token: SampleTakesAnothersOwnToken, sampling::choose::penalties(), sampling::choose::check;
    sample_forgets_the_mask: SampleForgetsTheMask, sampling::choose::bias_and_mask(), sampling::choose::check;
    sample_draws_once: SampleDrawsOnce, sampling::draws::cases(), sampling::draws::check;
    sample_counts_itself: SampleCountsItself, sampling::choose::greedy(), sampling::choose::check;
    sample_says_logits_only: SampleSaysLogitsOnly, sampling::choose::greedy(), sampling::choose::check;
    score_swaps_rows: ScoreSwapsRows, sampling::score::cases(), sampling::score::check;
    score_skips_the_last_input: ScoreSkipsTheLastInput, sampling::score::cases(), sampling::score::check;
    score_forgets_the_delta: ScoreForgetsTheDelta, sampling::score::cases(), sampling::score::check;
    score_scales_the_delta: ScoreScalesTheDelta, sampling::score::cases(), sampling::score::check;
    score_counts_itself: ScoreCountsItself, sampling::score::cases(), sampling::score::check;
    score_takes_the_token_after_the_best: ScoreTakesTheTokenAfterTheBest, sampling::score::cases(), sampling::score::check;
    score_says_the_best_is_certain: ScoreSaysTheBestIsCertain, sampling::score::cases(), sampling::score::check;
}

/// The wrapping itself spoils nothing: what is caught above is the faults.
#[test]
fn without_a_fault_nothing_is_caught() {
    let device = Planted::new(Fault::Nothing);
    all(&device, &dense::linear::cases(), dense::linear::check);
    all(&device, &dense::norms::rms_norm_cases(), dense::norms::check_rms_norm);
    all(&device, &dense::rows::gate_cases(Activation::Gelu), dense::rows::check_gate);
    all(&device, &dense::rows::gather_cases(), dense::rows::check_add);
    all(&device, &attention::attend::windows(), attention::attend::check);
    all(&device, &lora::cases(Popularity::Uniform), lora::check);
    all(&device, &sampling::choose::everything(), sampling::choose::check);
    all(&device, &sampling::score::cases(), sampling::score::check);
}
