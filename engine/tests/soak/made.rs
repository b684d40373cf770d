//! What the tests are made with: adapters out of seeds, chance that repeats itself, and a look at the process.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use loam_engine::adapter::{CONFIG_FILE, Expected, Source, TENSORS_FILE};
use loam_engine::request::Generate;
use loam_engine::{Engine, MemoryRecorder, OpenOptions};

use crate::ask::{Invariant, Said, all};

/// Whether there are minutes to spend.
pub(crate) fn long() -> bool {
    std::env::var("LOAM_TEST_TIER").is_ok_and(|tier| tier == "long")
}

/// One of two sizes.
pub(crate) fn sized<T>(fast: T, slow: T) -> T {
    if long() { slow } else { fast }
}

/// One of these tests runs at a time: they look at the process's memory, and at the clock.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Numbers that follow from a seed.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    /// Below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % end
    }

    /// From 0 to 1.
    pub(crate) fn part(&mut self) -> f64 {
        self.below(1 << 53) as f64 / (1_u64 << 53) as f64
    }
}

/// A folder as PEFT writes one for the model of `llama-gqa`, on its `q_proj` and `v_proj`; other seeds, other contents.
pub(crate) fn write_adapter(folder: &Path, seed: u64, rank: usize) {
    std::fs::create_dir_all(folder).unwrap();
    let mut chance = Chance::new(seed);
    let (mut header, mut data) = (r#"{"__metadata__":{"format":"pt"}"#.to_owned(), Vec::new());
    for layer in 0..2 {
        for (module, width) in [("q_proj", 128), ("v_proj", 64)] {
            for (matrix, shape) in [("A", [rank, 128]), ("B", [width, rank])] {
                let from = data.len();
                let values = (0..shape[0] * shape[1]).map(|_| chance.part() as f32 * 0.5 - 0.25);
                data.extend(values.flat_map(f32::to_le_bytes));
                let name = format!("base_model.model.model.layers.{layer}.self_attn.{module}.lora_{matrix}.weight");
                let offsets = [from, data.len()];
                header += &format!(r#","{name}":{{"dtype":"F32","shape":{shape:?},"data_offsets":{offsets:?}}}"#);
            }
        }
    }
    header.push('}');
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(&data);
    let config = format!(
        r#"{{"peft_type":"LORA","r":{rank},"lora_alpha":{rank},"target_modules":["q_proj","v_proj"],"bias":"none"}}"#
    );
    std::fs::write(folder.join(CONFIG_FILE), config).unwrap();
    std::fs::write(folder.join(TENSORS_FILE), file).unwrap();
}

/// An engine without adapters.
pub(crate) fn bare(options: &OpenOptions) -> Engine {
    Engine::open(options, Box::new(MemoryRecorder::default()), &mut |_| {}).unwrap()
}

/// What a fresh engine with this adapter alone answers, and how many bytes the adapter has.
pub(crate) fn alone(options: &OpenOptions, name: &str, source: &Source, requests: &[Generate]) -> (Vec<Said>, usize) {
    let mut options = options.clone();
    options.running_max = 1;
    let engine = bare(&options);
    let bytes = engine.load_adapter(name, source, Expected::Nothing).unwrap().adapter.slab.len();
    (requests.iter().flat_map(|request| all(&engine, vec![request.clone()])).collect(), bytes)
}

/// What may not depend on who else is there.
#[track_caller]
pub(crate) fn bits(said: &Said) -> Invariant {
    assert_eq!(said.failure, None);
    assert!(!said.answers.is_empty(), "the stream broke off");
    said.invariant()
}

/// Bytes that the process has in memory now.
pub(crate) fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}
