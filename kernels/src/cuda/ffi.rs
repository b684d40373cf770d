//! What C++ defines and Rust calls. Mirrors `cuda/kernels.h` and, under emulation, `cuda/host/device.h`; nothing else in
//! the workspace declares a foreign function. (A GPU's driver is asked through cudarc.)

use std::ffi::{c_int, c_void};

/// A stream of the device; null is its first.
pub(super) type RawStream = *mut c_void;

/// `LoamType` of kernels.h.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum LoamType {
    F32 = 0,
    Bf16 = 1,
    F16 = 2,
}

/// `LoamActivation`.
#[repr(i32)]
#[derive(Clone, Copy, Debug)]
pub(super) enum LoamActivation {
    Silu = 0,
    Gelu = 1,
    GeluTanh = 2,
}

/// `LoamRows`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct LoamRows {
    pub(super) at: *mut c_void,
    pub(super) stride: i64,
    pub(super) rows: i32,
    pub(super) width: i32,
    pub(super) dtype: LoamType,
}

/// `LoamSequences`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct LoamSequences {
    pub(super) positions: *const u32,
    pub(super) segment_of_row: *const u32,
    pub(super) segments: *const c_void,
    pub(super) pages: *const u32,
    pub(super) split_of_row: *const u32,
    pub(super) row_of_split: *const u32,
    pub(super) split_tokens: *const u32,
    pub(super) rows: i32,
    pub(super) segment_count: i32,
    pub(super) page_count: i32,
    pub(super) split_count: i32,
}

/// `LoamPages`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct LoamPages {
    pub(super) from: *mut c_void,
    pub(super) pages: i32,
    pub(super) layers: i32,
    pub(super) layer: i32,
    pub(super) kv_heads: i32,
    pub(super) page_tokens: i32,
    pub(super) head_dim: i32,
    pub(super) dtype: LoamType,
}

/// `LoamPairs`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct LoamPairs {
    pub(super) pairs: *const c_void,
    pub(super) of_row: *const u32,
    pub(super) shrinks: *const c_void,
    pub(super) expands: *const c_void,
    pub(super) rows_alike: *const u32,
    pub(super) slots: *const u32,
    pub(super) uses: *const c_void,
    pub(super) counts: *const u32,
    pub(super) rows: i32,
    pub(super) pair_count: i32,
    pub(super) shrink_count: i32,
    pub(super) expand_count: i32,
}

/// `LoamPlaces`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct LoamPlaces {
    pub(super) from: *const c_void,
    pub(super) slot_bytes: i64,
}

/// `LoamColumns`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct LoamColumns {
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) first_tile: u32,
    pub(super) tiles: u32,
    pub(super) outputs: [u32; LAYERS],
    pub(super) of_row: *const u32,
}

/// `LoamChoices`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct LoamChoices {
    pub(super) rows: *const c_void,
    pub(super) seen: *const c_void,
    pub(super) biases: *const c_void,
    pub(super) masks: *const u32,
    pub(super) own: LoamRows,
    pub(super) seen_count: i32,
    pub(super) bias_count: i32,
    pub(super) mask_words: i32,
    pub(super) adjusted: i32,
}

/// `LoamTiles`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct LoamTiles {
    pub(super) peaks: *mut f32,
    pub(super) sums: *mut u64,
    pub(super) tiles: i32,
}

/// `LoamChosen`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct LoamChosen {
    pub(super) tokens: LoamRows,
    pub(super) log_probabilities: LoamRows,
    pub(super) ranks: LoamRows,
    pub(super) top_tokens: LoamRows,
    pub(super) top_log_probabilities: LoamRows,
}

/// `LoamScores`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct LoamScores {
    pub(super) log_probabilities: LoamRows,
    pub(super) ranks: LoamRows,
    pub(super) best_tokens: LoamRows,
    pub(super) best_log_probabilities: LoamRows,
}

/// `kLoamLayers`.
pub(super) const LAYERS: usize = 4;

/// `LoamLayer`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct LoamLayer {
    pub(super) weight: *const c_void,
    pub(super) bias: *const c_void,
    pub(super) stride: i64,
    pub(super) out_features: i32,
    pub(super) bias_type: LoamType,
}

/// `LoamLayers`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct LoamLayers {
    pub(super) each: [LoamLayer; LAYERS],
    pub(super) dtype: LoamType,
}

unsafe extern "C" {
    pub(super) fn loam_linear(
        x: LoamRows,
        layers: LoamLayers,
        out: LoamRows,
        tile_rows: i32,
        planes: *mut f32,
        tickets: *mut u32,
        stream: RawStream,
    ) -> c_int;
    pub(super) fn loam_product(
        a: LoamRows,
        a_transposed: bool,
        b: LoamRows,
        b_transposed: bool,
        out: LoamRows,
        tile_rows: i32,
        planes: *mut f32,
        tickets: *mut u32,
        stream: RawStream,
    ) -> c_int;
    pub(super) fn loam_rope_store(
        qkv: LoamRows,
        delta: LoamRows,
        of_row: *const u32,
        angles: LoamRows,
        step: LoamSequences,
        kv: LoamPages,
        q_heads: i32,
        stream: RawStream,
    ) -> c_int;
    pub(super) fn loam_copy_page(pages: *mut c_void, bytes: i64, from: u32, to: u32, stream: RawStream) -> c_int;
    pub(super) fn loam_attention_prefill(
        q: LoamRows,
        out: LoamRows,
        log_sum_exp: LoamRows,
        step: LoamSequences,
        kv: LoamPages,
        scale: f32,
        window: u32,
        stream: RawStream,
    ) -> c_int;
    pub(super) fn loam_attention_decode(
        q: LoamRows,
        out: LoamRows,
        log_sum_exp: LoamRows,
        step: LoamSequences,
        kv: LoamPages,
        scale: f32,
        window: u32,
        partials: *mut f32,
        tickets: *mut u32,
        stream: RawStream,
    ) -> c_int;
    pub(super) fn loam_lora_shrink(
        x: LoamRows,
        h: LoamRows,
        places: LoamPlaces,
        pairs: LoamPairs,
        planes: *mut f32,
        tickets: *mut u32,
        stream: RawStream,
    ) -> c_int;
    pub(super) fn loam_lora_shrink_tokens(
        tokens: *const u32,
        h: LoamRows,
        places: LoamPlaces,
        pairs: LoamPairs,
        stream: RawStream,
    ) -> c_int;
    pub(super) fn loam_lora_expand(
        h: LoamRows,
        delta: LoamRows,
        places: LoamPlaces,
        columns: LoamColumns,
        pairs: LoamPairs,
        stream: RawStream,
    ) -> c_int;
    pub(super) fn loam_gather_rows(from: LoamRows, which: *const u32, out: LoamRows, stream: RawStream) -> c_int;
    pub(super) fn loam_take_tokens(
        tokens: *mut u32,
        taken: *const u32,
        from: LoamRows,
        known: LoamRows,
        vocabulary: u32,
        stream: RawStream,
    ) -> c_int;
    pub(super) fn loam_add(x: LoamRows, delta: LoamRows, of_row: *const u32, stream: RawStream) -> c_int;
    pub(super) fn loam_gate(
        activation: LoamActivation,
        gate_up: LoamRows,
        delta: LoamRows,
        of_row: *const u32,
        out: LoamRows,
        stream: RawStream,
    ) -> c_int;
    pub(super) fn loam_rms_norm(
        x: LoamRows,
        weight: *const c_void,
        weight_type: LoamType,
        out: LoamRows,
        inverse: LoamRows,
        epsilon: f32,
        stream: RawStream,
    ) -> c_int;
    pub(super) fn loam_add_rms_norm(
        residual: LoamRows,
        x: LoamRows,
        delta: LoamRows,
        of_row: *const u32,
        weight: *const c_void,
        weight_type: LoamType,
        out: LoamRows,
        inverse: LoamRows,
        epsilon: f32,
        stream: RawStream,
    ) -> c_int;
    pub(super) fn loam_qk_norm(
        qkv: LoamRows,
        delta: LoamRows,
        of_row: *const u32,
        q_heads: i32,
        kv_heads: i32,
        q_weight: *const c_void,
        q_type: LoamType,
        k_weight: *const c_void,
        k_type: LoamType,
        epsilon: f32,
        stream: RawStream,
    ) -> c_int;
    pub(super) fn loam_sample(
        logits: LoamRows,
        choices: LoamChoices,
        raw: LoamTiles,
        adjusted: LoamTiles,
        adjusted_logits: *mut f32,
        adjusted_stride: i64,
        chosen: LoamChosen,
        stream: RawStream,
    ) -> c_int;
    pub(super) fn loam_score_targets(
        products: LoamRows,
        tokens: *const u32,
        first_token: u32,
        token_count: u32,
        targets: *mut f32,
        stream: RawStream,
    ) -> c_int;
    pub(super) fn loam_score_tiles(
        logits: LoamRows,
        targets: *const f32,
        seen: LoamTiles,
        above: *mut u32,
        best: *mut u32,
        first_tile: i32,
        stream: RawStream,
    ) -> c_int;
    pub(super) fn loam_score_rows(
        targets: *const f32,
        seen: LoamTiles,
        above: *const u32,
        best: *const u32,
        said: LoamScores,
        stream: RawStream,
    ) -> c_int;
}

// Of the CUDA runtime, which launchers stand on.
#[cfg(feature = "driver")]
unsafe extern "C" {
    pub(super) fn cudaGetErrorName(code: c_int) -> *const std::ffi::c_char;
    pub(super) fn cudaGetErrorString(code: c_int) -> *const std::ffi::c_char;
}

#[cfg(feature = "emulate")]
pub(super) mod emulated {
    use std::ffi::c_int;
    #[cfg(not(feature = "driver"))]
    use std::ffi::{c_char, c_void};

    use super::RawStream;

    #[cfg(not(feature = "driver"))]
    unsafe extern "C" {
        pub(crate) fn loam_device_allocate(bytes: usize, what: *const c_char, out: *mut *mut c_void) -> c_int;
        pub(crate) fn loam_device_free(p: *mut c_void) -> c_int;
        pub(crate) fn loam_emulation_report() -> *const c_char;
        pub(crate) fn loam_device_write(s: RawStream, to: *mut c_void, from: *const c_void, bytes: usize) -> c_int;
        pub(crate) fn loam_device_read(s: RawStream, to: *mut c_void, from: *const c_void, bytes: usize) -> c_int;
        pub(crate) fn loam_device_copy(s: RawStream, to: *mut c_void, from: *const c_void, bytes: usize) -> c_int;
        pub(crate) fn loam_device_fill(s: RawStream, to: *mut c_void, value: c_int, bytes: usize) -> c_int;
        pub(crate) fn loam_stream_create(out: *mut RawStream) -> c_int;
        pub(crate) fn loam_stream_destroy(s: RawStream);
        pub(crate) fn loam_stream_synchronize(s: RawStream) -> c_int;
        pub(crate) fn loam_event_create(out: *mut *mut c_void) -> c_int;
        pub(crate) fn loam_event_destroy(e: *mut c_void);
        pub(crate) fn loam_event_record(e: *mut c_void, s: RawStream) -> c_int;
        pub(crate) fn loam_stream_wait(s: RawStream, e: *mut c_void) -> c_int;
        pub(crate) fn loam_capture_begin(s: RawStream) -> c_int;
        pub(crate) fn loam_capture_end(s: RawStream, out: *mut *mut c_void) -> c_int;
        pub(crate) fn loam_graph_launch(g: *mut c_void, s: RawStream) -> c_int;
        pub(crate) fn loam_graph_nodes(g: *const c_void) -> usize;
        pub(crate) fn loam_graph_node(g: *const c_void, n: usize) -> *const c_char;
        pub(crate) fn loam_graph_waits(g: *const c_void, n: usize) -> usize;
        pub(crate) fn loam_graph_destroy(g: *mut c_void);
    }

    unsafe extern "C" {
        pub(crate) fn loam_rate(what: c_int, threads: c_int, turns: c_int, values: *mut f32) -> c_int;
        pub(crate) fn loam_emulation_seed(value: u64);
        pub(crate) fn loam_emulation_counts(out: *mut u64);
    }

    /// `Given` of cuda/host/planted/planted.cuh.
    #[repr(C)]
    pub(crate) struct Given {
        pub(crate) input: *const f32,
        pub(crate) out: *mut f32,
        pub(crate) neighbour: *const f32,
        pub(crate) ticket: *mut u32,
        pub(crate) stream: RawStream,
    }

    /// Launchers of the planted faults, by name.
    macro_rules! planted {
        ($($name:ident = $function:ident;)+) => {
            unsafe extern "C" {
                $(fn $function(fault: bool, given: *const Given) -> c_int;)+
            }
            /// With each fault's name, its launcher: of the wrong kernel, or of the right one.
            pub(crate) const PLANTED: &[(&str, unsafe extern "C" fn(bool, *const Given) -> c_int)] =
                &[$((stringify!($name), $function),)+];
        };
    }
    planted! {
        barrier_not_reached = loam_planted_barrier_not_reached;
        barriers_differ = loam_planted_barriers_differ;
        block_race = loam_planted_block_race;
        bulk_never_waited = loam_planted_bulk_never_waited;
        bytes_missing = loam_planted_bytes_missing;
        changing_read = loam_planted_changing_read;
        float_atomic = loam_planted_float_atomic;
        global_race = loam_planted_global_race;
        heard_by_one = loam_planted_heard_by_one;
        heard_elsewhere = loam_planted_heard_elsewhere;
        lanes_differ = loam_planted_lanes_differ;
        lanes_missing = loam_planted_lanes_missing;
        mask_differs = loam_planted_mask_differs;
        mbarrier_not_ready = loam_planted_mbarrier_not_ready;
        misaligned = loam_planted_misaligned;
        misaligned_load = loam_planted_misaligned_load;
        named_barrier_not_reached = loam_planted_named_barrier_not_reached;
        named_barrier_too_small = loam_planted_named_barrier_too_small;
        neighbour_allocation = loam_planted_neighbour_allocation;
        no_dependency_wait = loam_planted_no_dependency_wait;
        no_final_wait = loam_planted_no_final_wait;
        outside_allocation = loam_planted_outside_allocation;
        outside_shared_window = loam_planted_outside_shared_window;
        outside_window = loam_planted_outside_window;
        read_before_dependency = loam_planted_read_before_dependency;
        ring_refilled_early = loam_planted_ring_refilled_early;
        shared_race = loam_planted_shared_race;
        shared_race_reuse = loam_planted_shared_race_reuse;
        short_wait = loam_planted_short_wait;
        shuffle_orders_nothing = loam_planted_shuffle_orders_nothing;
        spin_without_end = loam_planted_spin_without_end;
        stale_phase = loam_planted_stale_phase;
        swapped_fragment = loam_planted_swapped_fragment;
        told_too_early = loam_planted_told_too_early;
        two_blocks_one_word = loam_planted_two_blocks_one_word;
        unwritten_shared = loam_planted_unwritten_shared;
        wait_without_barrier = loam_planted_wait_without_barrier;
        write_to_input = loam_planted_write_to_input;
        wrong_fragment = loam_planted_wrong_fragment;
    }
}
