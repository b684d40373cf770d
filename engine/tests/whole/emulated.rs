//! The same on an emulated GPU: its kernels, its memory and its table of adapters under whole engines.
//!
//! One model in the fast tier, all of them in the long one.

use std::sync::Arc;

use loam_engine::{DType, Engine, MemoryRecorder, OpenOptions};
use loam_kernels::cuda::{Cuda, CudaMode};

use crate::ask::with_adapters;
use crate::goldens::{check_bf16, check_f32};
use crate::invariance::{check_cache, check_crowd};

fn open(mode: CudaMode, options: &OpenOptions) -> Engine {
    let record = |_| Ok(Box::new(MemoryRecorder::default()) as _);
    let engine = Engine::open_on(Arc::new(Cuda::new(mode)), options, record, &mut |_| {}).unwrap();
    with_adapters(options, engine)
}

fn deterministic(options: &OpenOptions) -> Engine {
    open(CudaMode::Deterministic, options)
}

fn fast(options: &OpenOptions) -> Engine {
    open(CudaMode::Fast, options)
}

#[test]
fn llama_f32() {
    check_f32("llama-gqa", deterministic);
}

#[test]
fn llama_bf16() {
    check_bf16("llama-gqa", deterministic);
}

#[test]
fn llama_bf16_fast() {
    check_bf16("llama-gqa", fast);
}

#[test]
fn in_a_crowd_and_in_chunks_f32() {
    check_crowd(deterministic, "llama-gqa", DType::F32, 8);
}

#[test]
fn in_a_crowd_and_in_chunks_bf16() {
    check_crowd(deterministic, "llama-gqa", DType::Bf16, 8);
}

#[test]
fn from_the_cache() {
    check_cache(deterministic);
}
