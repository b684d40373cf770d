//! The same on a GPU, emulated or not: its kernels, its memory and its table of adapters under whole engines.
//!
//! Emulated, in the fast tier all golden cases of one model and a few of each other, in the long one all of all; a GPU is
//! always asked for all. Where there is none its tests are skipped, with a word; where `LOAM_TEST_GPU=required` says that
//! the machine was chosen for having one, they fail.

mod replays;

use std::sync::Arc;

use loam_engine::recorder::RowRecord;
use loam_engine::{DType, Engine, MemoryRecorder, OpenOptions};
use loam_kernels::cuda::{Cuda, CudaMode, gpus};

use crate::ahead::{check_counts, check_kinds, check_leaving};
use crate::ask::{all, options, prompt, request, with_adapters};
use crate::goldens::{check_bf16, check_f32};
use crate::invariance::{check_cache, check_crowd, check_preempted};

fn open(mode: CudaMode, options: &OpenOptions) -> Engine {
    open_recorded(mode, options, MemoryRecorder::default())
}

fn open_recorded(mode: CudaMode, options: &OpenOptions, recorder: MemoryRecorder) -> Engine {
    let record = |_| Ok(Box::new(recorder) as _);
    let engine = Engine::open_on(Arc::new(Cuda::open(0, mode).unwrap()), options, record, &mut |_| {}).unwrap();
    with_adapters(options, engine)
}

fn deterministic(options: &OpenOptions) -> Engine {
    open(CudaMode::Deterministic, options)
}

fn fast(options: &OpenOptions) -> Engine {
    open(CudaMode::Fast, options)
}

/// Whether there is a GPU to test on.
fn has_gpu() -> bool {
    let is_required = std::env::var("LOAM_TEST_GPU").is_ok_and(|word| word == "required");
    match gpus() {
        Ok(_) => true,
        Err(error) if is_required => panic!("LOAM_TEST_GPU=required, and {error}"),
        Err(error) => {
            eprintln!("skipped: {error}");
            false
        }
    }
}

/// A number for the fast tier, and one for the long.
fn tier(fast: usize, long: usize) -> usize {
    let is_long = || std::env::var("LOAM_TEST_TIER").is_ok_and(|tier| tier == "long");
    if cfg!(feature = "cuda") || is_long() { long } else { fast }
}

macro_rules! models {
    ($($test:ident: $name:literal, every $every:literal;)*) => {
        mod f32 {
            use super::*;
            $(#[test] fn $test() { if has_gpu() { check_f32($name, deterministic, tier($every, 1)) } })*
        }
        mod bf16 {
            use super::*;
            $(#[test] fn $test() { if has_gpu() { check_bf16($name, deterministic, tier($every, 1)) } })*
        }
        mod fast_f32 {
            use super::*;
            $(#[test] fn $test() { if has_gpu() { check_f32($name, fast, tier(10, 1)) } })*
        }
        mod fast_bf16 {
            use super::*;
            $(#[test] fn $test() { if has_gpu() { check_bf16($name, fast, tier($every, 1)) } })*
        }
    };
}
models! {
    llama_gqa: "llama-gqa", every 1;
    llama3_scaled_tied: "llama3-scaled-tied", every 5;
    mistral_window: "mistral-window", every 5;
    qwen2_bias: "qwen2-bias", every 5;
    qwen3_qknorm: "qwen3-qknorm", every 5;
}

#[test]
fn in_a_crowd_and_in_chunks_f32() {
    if has_gpu() {
        check_crowd(deterministic, "llama-gqa", DType::F32, tier(8, 64));
    }
}

#[test]
fn in_a_crowd_and_in_chunks_bf16() {
    if has_gpu() {
        check_crowd(deterministic, "llama-gqa", DType::Bf16, tier(8, 64));
    }
}

#[test]
fn in_a_crowd_and_in_chunks_with_a_window() {
    if has_gpu() {
        check_crowd(deterministic, "mistral-window", DType::F32, tier(4, 64));
    }
}

#[test]
fn in_a_crowd_and_in_chunks_with_qk_norm() {
    if has_gpu() {
        check_crowd(deterministic, "qwen3-qknorm", DType::Bf16, tier(4, 64));
    }
}

#[test]
fn from_the_cache() {
    if has_gpu() {
        check_cache(deterministic);
    }
}

#[test]
fn preempted_and_resumed() {
    if has_gpu() {
        check_preempted(deterministic, tier(4, 8));
    }
}

fn deterministic_recorded(options: &OpenOptions, recorder: MemoryRecorder) -> Engine {
    open_recorded(CudaMode::Deterministic, options, recorder)
}

#[test]
fn requests_of_every_kind_with_steps_ahead() {
    if has_gpu() {
        check_kinds(deterministic_recorded, tier(6, 36));
    }
}

#[test]
fn what_is_launched_ahead_is_counted() {
    if has_gpu() {
        check_counts(deterministic_recorded);
    }
}

#[test]
fn whoever_leaves_is_given_what_is_recorded() {
    if has_gpu() {
        check_leaving(deterministic_recorded, tier(2, 6) as u64);
    }
}

/// What is committed to says which arithmetic it was.
#[test]
fn records_say_how_it_was_computed() {
    if !has_gpu() {
        return;
    }
    for (mode, word) in [(CudaMode::Deterministic, "deterministic"), (CudaMode::Fast, "fast")] {
        let (recorder, kept) = MemoryRecorder::keeping();
        let engine = open_recorded(mode, &options("llama-gqa"), recorder);
        assert_eq!(engine.mode().is_deterministic, mode == CudaMode::Deterministic);
        all(&engine, vec![request(&prompt(1, 4), &[("qv-r8", 1.0)], 3)]);
        engine.stop().unwrap();
        let steps = kept.lock().unwrap();
        let rows = steps.iter().flat_map(|step| &step.rows);
        let said = rows.filter_map(|row| match row {
            RowRecord::Completion(completion) => Some(String::from_utf8(completion.sampling.to_vec()).unwrap()),
            RowRecord::Usage(_) => None,
        });
        let said: Vec<String> = said.collect();
        assert!(said.len() == 1 && said[0].lines().any(|line| line == format!("mode {word}")), "{said:?}");
    }
}
