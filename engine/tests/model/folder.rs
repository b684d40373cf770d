//! Folders with a model's files: the golden ones, and some made to order from them.

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use half::bf16;
use loam_engine::executor::{Batch, Executor as _, Outputs};
use loam_engine::model::{Decoder, ModelConfig, Residence, Weights};
use loam_engine::runner::{Runner, RunnerOptions};
use loam_engine::{DType, Error};
use loam_kernels::Cpu;
use loam_kernels::cpu::CpuOptions;
use loam_kernels::layout::{RANK_MAX, Sampling, Segment, StepInputs};
use safetensors::SafeTensors;
use tempfile::TempDir;

/// A golden model's own folder.
pub(crate) fn golden(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/golden").join(model).join("base")
}

/// A tensor to be written.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) name: String,
    pub(crate) dtype: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

impl Made {
    /// The same tensor, its values in another type; `round` is what becomes of each first.
    pub(crate) fn converted(&self, dtype: &str, bytes: impl Fn(f32) -> Vec<u8>) -> Self {
        assert_eq!(self.dtype, "BF16");
        let values = self.bytes.chunks_exact(2).map(|it| bf16::from_le_bytes([it[0], it[1]]).to_f32());
        Self { dtype: dtype.to_owned(), bytes: values.flat_map(bytes).collect(), ..self.clone() }
    }
}

/// All tensors of a golden model.
pub(crate) fn tensors_of(model: &str) -> Vec<Made> {
    let mut made = Vec::new();
    let mut files: Vec<PathBuf> = fs::read_dir(golden(model)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "safetensors"));
    for path in files {
        let bytes = fs::read(path).unwrap();
        for (name, view) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
            let (dtype, shape) = (view.dtype().to_string(), view.shape().to_vec());
            made.push(Made { name, dtype, shape, bytes: view.data().to_vec() });
        }
    }
    made.sort_by(|a, b| a.name.cmp(&b.name));
    made
}

/// A safetensors file of these tensors, in this order, its header so many blanks longer than it need be.
pub(crate) fn file(tensors: &[Made], blanks: usize) -> Vec<u8> {
    let mut entries = Vec::new();
    let mut data = Vec::new();
    for Made { name, dtype, shape, bytes } in tensors {
        let (from, to) = (data.len(), data.len() + bytes.len());
        entries.push(format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{from},{to}]}}"#));
        data.extend_from_slice(bytes);
    }
    with_header(&format!("{{{}}}{}", entries.join(","), " ".repeat(blanks)), &data)
}

pub(crate) fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

/// A folder with a golden model's configuration and this file.
pub(crate) fn folder(model: &str, safetensors: &[u8]) -> TempDir {
    let made = TempDir::new().unwrap();
    fs::copy(golden(model).join("config.json"), made.path().join("config.json")).unwrap();
    fs::write(made.path().join("model.safetensors"), safetensors).unwrap();
    made
}

/// The error's text, which is what people see.
#[track_caller]
pub(crate) fn refusal<T>(result: Result<T, Error>) -> String {
    match result {
        Ok(_) => panic!("it was accepted"),
        Err(error) => error.to_string(),
    }
}

pub(crate) fn weights(folder: &Path, residence: Residence) -> Result<Weights, Error> {
    Weights::open(folder, residence, &mut |_| {})
}

pub(crate) fn cpu() -> Arc<Cpu> {
    Arc::new(Cpu::new(CpuOptions { threads: NonZero::new(2), level: None }).unwrap())
}

/// A decoder of a folder's files.
pub(crate) fn decoder(folder: &Path, residence: Residence) -> Result<Decoder<Cpu>, Error> {
    let config = ModelConfig::read(folder)?;
    Decoder::load(cpu(), &config, &weights(folder, residence)?, DType::F32, 256)
}

/// Pages and rows of the runners here.
pub(crate) const PAGES: usize = 16;
pub(crate) const PAGE_TOKENS: usize = 16;
pub(crate) const ROWS_MAX: usize = 32;
pub(crate) const SLOTS: usize = 2;

pub(crate) fn runner(folder: &Path, residence: Residence) -> Result<Runner<Cpu>, Error> {
    let options =
        RunnerOptions { pages: PAGES, page_tokens: PAGE_TOKENS, slots: SLOTS, rows_max: ROWS_MAX, rank_max: RANK_MAX };
    Runner::new(decoder(folder, residence)?, options)
}

/// A prompt of so many tokens in the first pages, of whose last row everything is asked.
pub(crate) fn prompt(rows: usize) -> Batch {
    let pages = rows.div_ceil(PAGE_TOKENS) as u32;
    let segment = Segment { first_row: 0, rows: rows as u32, first_position: 0, first_page: 0, pages };
    let inputs = StepInputs {
        tokens: (0..rows as u32).map(|row| (row * 37 + 11) % 500).collect(),
        segments: vec![segment],
        pages: (0..pages).collect(),
        sampled: vec![rows as u32 - 1],
        ..StepInputs::default()
    };
    let sampling = vec![Sampling { top_log_probabilities: 3, ..Sampling::default() }];
    Batch { inputs, sampling, logits: vec![0], ..Batch::default() }
}

/// What a folder's model says after a prompt.
pub(crate) fn said(folder: &Path, residence: Residence) -> Outputs {
    runner(folder, residence).unwrap().execute(&prompt(12)).unwrap()
}

/// Bytes of this process that lie in memory.
pub(crate) fn resident_bytes() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}
