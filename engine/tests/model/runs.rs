//! Runners: what they refuse by name, what a failure leaves behind, steps with little in them, and who taps them.

use std::fs;
use std::sync::Arc;

use loam_engine::DType;
use loam_engine::adapter::{HostAdapter, NoBaseTensors, PeftConfig, TENSORS_FILE, TensorFile, load};
use loam_engine::executor::{Batch, Executor as _, Outputs, Uploaded};
use loam_engine::model::{Decoder, ModelConfig, Residence, SITES_OF_LAYER, Sites, Tap, Weights};
use loam_engine::runner::{Runner, RunnerOptions};
use loam_kernels::Cpu;
use loam_kernels::backend::Device as _;
use loam_kernels::cpu::CpuMemory;
use loam_kernels::layout::{Memory as _, Pair, RANK_MAX, RowSet, Rows, Sampling, Scored, Segment};

use crate::folder::{
    PAGE_TOKENS, PAGES, ROWS_MAX, SLOTS, cpu, golden, prompt, refusal, resident_bytes, runner, tensors_of,
};

const MODEL: &str = "llama-gqa";

fn open() -> Runner<Cpu> {
    runner(&golden(MODEL), Residence::Mapped).unwrap()
}

fn adapter(name: &str) -> HostAdapter {
    let folder = golden(MODEL).parent().unwrap().join("adapters").join(name);
    let sites = Sites::new(&ModelConfig::read(&golden(MODEL)).unwrap().shape);
    let path = folder.join(TENSORS_FILE);
    let tensors = TensorFile::open(&path, fs::File::open(&path).unwrap()).unwrap();
    load(&PeftConfig::read(&folder).unwrap(), &tensors, &sites, &NoBaseTensors).unwrap()
}

fn uploaded(runner: &Runner<Cpu>, name: &str) -> Uploaded {
    runner.uploader().upload(&adapter(name)).unwrap()
}

/// The prompt, all its rows with the adapter in a slot.
fn adapted(rows: usize, slot: u32) -> Batch {
    let mut batch = prompt(rows);
    batch.inputs.pairs = (0..rows as u32).map(|row| Pair { row, slot, weight: 1.0 }).collect();
    batch
}

/// Nothing but slots to fill.
fn installs(slots: Vec<(u32, Option<Uploaded>)>) -> Batch {
    Batch { installs: slots, ..Batch::default() }
}

#[test]
fn what_there_is_no_room_for_is_refused_by_name() {
    let mut runner = open();
    let expected = runner.execute(&prompt(12)).unwrap();
    let change = |change: &dyn Fn(&mut Batch)| {
        let mut batch = prompt(12);
        change(&mut batch);
        batch
    };
    let scored = Scored { row: 0, token: 1 };
    let pair = Pair { row: 0, slot: 0, weight: 1.0 };
    let cases: Vec<(Batch, &str)> = vec![
        (prompt(ROWS_MAX + 1), "`rows of a step` is 33; it can be at most 32"),
        (change(&|it| it.inputs.sampled = vec![0; ROWS_MAX + 1]), "`sampled rows of a step` is 33"),
        (change(&|it| it.inputs.scored = vec![scored; ROWS_MAX + 1]), "`scored rows of a step` is 33"),
        (change(&|it| it.inputs.pairs = vec![pair; 4 * ROWS_MAX + 1]), "`pairs of a step` is 129"),
        (change(&|it| it.sampling.clear()), "`sampling of a step` is 0; it can be 1, one a row"),
        (change(&|it| it.sampling.push(Sampling::default())), "`sampling of a step` is 2"),
        (change(&|it| it.logits = vec![1]), "`logits of a step` is 1"),
        (change(&|it| it.inputs.tokens[3] = 512), "a token 512 is not below 512"),
        (change(&|it| it.inputs.pages[0] = PAGES as u32), "a page 16 is not below 16"),
        (change(&|it| it.copies = vec![(0, PAGES as u32)]), "a page 16 is not below 16"),
        (change(&|it| it.installs = vec![(SLOTS as u32, None)]), "a slot 2 is not below 2"),
        (adapted(12, SLOTS as u32), "a pair's slot 2 is not below 2"),
        (adapted(12, 1), "slot 1"),
    ];
    for (batch, part) in &cases {
        let text = refusal(runner.execute(batch));
        assert!(text.contains(part), "{part}: {text}");
        assert_eq!(runner.execute(&prompt(12)).unwrap(), expected, "after {part}");
    }
}

#[test]
fn a_step_that_fails_installs_nothing() {
    let mut runner = open();
    let (first, second) = (uploaded(&runner, "qv-r8"), uploaded(&runner, "all-r16"));
    runner.execute(&installs(vec![(0, Some(first))])).unwrap();
    let expected = runner.execute(&adapted(12, 0)).unwrap();
    assert_ne!(expected, runner.execute(&prompt(12)).unwrap());

    // Refused before anything is done, and in the midst of the forward pass: a mask of no word is found when sampling.
    let refused =
        Batch { installs: vec![(0, Some(second.clone())), (1, Some(second.clone()))], ..prompt(ROWS_MAX + 1) };
    let mut failing = adapted(12, 0);
    failing.installs = vec![(0, Some(second.clone())), (0, None), (0, Some(second.clone())), (1, Some(second.clone()))];
    failing.sampling[0].mask = Some(Vec::new());
    let half = installs(vec![(1, Some(second.clone())), (0, None), (SLOTS as u32, Some(second.clone()))]);
    for batch in [refused, failing, half] {
        refusal(runner.execute(&batch));
        assert_eq!(runner.execute(&adapted(12, 0)).unwrap(), expected, "what was there is there still");
        assert!(refusal(runner.execute(&adapted(12, 1))).contains("slot 1"), "and nothing else");
    }

    runner.execute(&installs(vec![(0, Some(second)), (1, None)])).unwrap();
    assert_ne!(runner.execute(&adapted(12, 0)).unwrap(), expected);
    runner.execute(&installs(vec![(0, None)])).unwrap();
    assert!(refusal(runner.execute(&adapted(12, 0))).contains("slot 0"));
}

#[test]
fn a_step_can_have_nothing_to_compute() {
    let mut runner = open();
    assert_eq!(runner.execute(&Batch::default()).unwrap(), Outputs::default());
    let one = uploaded(&runner, "qv-r8");
    assert_eq!(runner.execute(&installs(vec![(1, Some(one))])).unwrap(), Outputs::default());
    let mut copies = prompt(12);
    copies.inputs.sampled.clear();
    copies.sampling.clear();
    copies.logits.clear();
    assert_eq!(runner.execute(&copies).unwrap(), Outputs::default(), "keys and values are kept, nothing is asked");
    assert_eq!(runner.execute(&Batch { copies: vec![(0, 7)], ..Batch::default() }).unwrap(), Outputs::default());

    // The next token, over the pages of before and over their copy.
    let decode = |page: u32| {
        let mut batch = prompt(13);
        batch.inputs.tokens.drain(..12);
        batch.inputs.segments = vec![Segment { first_row: 0, rows: 1, first_position: 12, first_page: 0, pages: 1 }];
        batch.inputs.pages = vec![page];
        batch.inputs.sampled = vec![0];
        batch
    };
    let expected = runner.execute(&prompt(13)).unwrap();
    assert_eq!(runner.execute(&decode(7)).unwrap(), expected);
    assert_eq!(runner.execute(&decode(0)).unwrap(), expected);
}

#[test]
fn scored_rows_alone_say_what_sampled_ones_do() {
    for (name, slot) in [("", None), ("all-r16", Some(0))] {
        let mut runner = open();
        let mut batch = slot.map_or_else(|| prompt(20), |slot| adapted(20, slot));
        if let Some(slot) = slot {
            let adapter = uploaded(&runner, name);
            runner.execute(&installs(vec![(slot, Some(adapter))])).unwrap();
        }
        batch.inputs.sampled = (0..20).collect();
        batch.sampling = vec![Sampling { top_log_probabilities: 1, ..Sampling::default() }; 20];
        let sampled = runner.execute(&batch).unwrap();
        let scored = |(row, token): (usize, u32)| Scored { row: row as u32, token };
        batch.inputs.scored = sampled.sampled.iter().map(|it| it.chosen.token).enumerate().map(scored).collect();
        batch.inputs.sampled.clear();
        batch.sampling.clear();
        batch.logits.clear();
        let alone = runner.execute(&batch).unwrap();
        assert_eq!((alone.sampled.len(), alone.logits.len()), (0, 0));
        assert_eq!(alone.scored, sampled.sampled, "what is said of a token is said of it, and the best is the best");
        let chosen = sampled.sampled.iter().map(|it| it.chosen);
        assert!(chosen.clone().all(|it| it.rank == 0 && it.log_probability < 0.0));
    }
}

/// Keeps everything.
struct Keeper {
    cpu: Arc<Cpu>,
    heard: Vec<(usize, RowSet, Vec<Vec<f32>>)>,
}

impl Tap<CpuMemory> for Keeper {
    fn input(&mut self, site: usize, set: RowSet, x: Rows<'_, CpuMemory>) -> Result<(), loam_kernels::Error> {
        assert_eq!(x.dtype(), DType::F32);
        let mut bytes = vec![0; x.memory().len() * 4];
        self.cpu.read(x.memory(), 0, &mut bytes)?;
        let values: Vec<f32> = bytes.chunks_exact(4).map(|it| f32::from_ne_bytes(it.try_into().unwrap())).collect();
        let row = |row: usize| values[x.offset() + row * x.stride()..][..x.width()].to_vec();
        self.heard.push((site, set, (0..x.rows()).map(row).collect()));
        Ok(())
    }
}

/// A golden tensor's rows in f64.
fn matrix(name: &str) -> Vec<Vec<f64>> {
    let made = tensors_of(MODEL).into_iter().find(|made| made.name == name).unwrap();
    let values = made.bytes.chunks_exact(2).map(|it| half::bf16::from_le_bytes([it[0], it[1]]).to_f64());
    let values: Vec<f64> = values.collect();
    values.chunks(*made.shape.last().unwrap()).map(<[f64]>::to_vec).collect()
}

fn times(weights: &[Vec<f64>], x: &[f32]) -> Vec<f64> {
    let dot = |row: &Vec<f64>| row.iter().zip(x).map(|(weight, x)| weight * f64::from(*x)).sum();
    weights.iter().map(dot).collect()
}

fn close(found: &[f32], expected: &[f64]) -> bool {
    let apart = |(found, expected): (&f32, &f64)| (f64::from(*found) - expected).abs() / expected.abs().max(1.0);
    found.len() == expected.len() && found.iter().zip(expected).map(apart).all(|apart| apart < 1e-4)
}

#[test]
fn a_tap_sees_what_goes_into_every_site() {
    let cpu = cpu();
    let config = ModelConfig::read(&golden(MODEL)).unwrap();
    let weights = Weights::open(&golden(MODEL), Residence::Mapped, &mut |_| {}).unwrap();
    let decoder = Decoder::load(Arc::clone(&cpu), &config, &weights, DType::F32, 256).unwrap();
    let options =
        RunnerOptions { pages: PAGES, page_tokens: PAGE_TOKENS, slots: SLOTS, rows_max: ROWS_MAX, rank_max: RANK_MAX };
    let mut runner = Runner::new(decoder, options).unwrap();
    let mut batch = prompt(9);
    batch.inputs.scored = vec![Scored { row: 4, token: 7 }];
    let mut keeper = Keeper { cpu, heard: Vec::new() };
    let outputs = runner.execute_tapped(&batch, &mut keeper).unwrap();
    assert_eq!(runner.execute(&batch).unwrap(), outputs, "a tap changes nothing");

    let sites = Sites::new(&config.shape);
    let heard: Vec<_> = keeper.heard.iter().map(|(site, set, rows)| (*site, *set, rows.len())).collect();
    let mut expected: Vec<_> = (0..config.shape.layers * SITES_OF_LAYER).map(|site| (site, RowSet::Batch, 9)).collect();
    expected.extend([(sites.head(), RowSet::Sampled, 1), (sites.head(), RowSet::Scored, 1)]);
    assert_eq!(heard, expected);
    for (site, _, rows) in &keeper.heard {
        assert!(rows.iter().all(|row| row.len() == sites.shapes()[*site].in_features));
    }

    // The head's linear layer over what went into it makes the logits; the gated layer's output goes into down.
    let head = matrix("lm_head.weight");
    assert!(close(&outputs.logits[0], &times(&head, &keeper.heard[heard.len() - 2].2[0])));
    let (gate, up) = (matrix("model.layers.1.mlp.gate_proj.weight"), matrix("model.layers.1.mlp.up_proj.weight"));
    for row in 0..9 {
        let x = &keeper.heard[SITES_OF_LAYER + 2].2[row];
        let silu = |x: f64| x / (1.0 + (-x).exp());
        let gated: Vec<f64> =
            times(&gate, x).into_iter().zip(times(&up, x)).map(|(gate, up)| silu(gate) * up).collect();
        assert!(close(&keeper.heard[SITES_OF_LAYER + 3].2[row], &gated), "row {row}");
    }
}

/// Fails at one of the inputs.
struct Failing(usize);

impl Tap<CpuMemory> for Failing {
    fn input(&mut self, site: usize, _: RowSet, _: Rows<'_, CpuMemory>) -> Result<(), loam_kernels::Error> {
        let error = loam_kernels::Error::OutOfMemory { what: "a tap", bytes: 1 };
        if site == self.0 { Err(error) } else { Ok(()) }
    }
}

#[test]
fn a_tap_that_fails_fails_the_step() {
    let mut runner = open();
    let expected = runner.execute(&prompt(12)).unwrap();
    let adapter = uploaded(&runner, "qv-r8");
    let mut batch = prompt(12);
    batch.installs = vec![(0, Some(adapter))];
    for site in [0, SITES_OF_LAYER + 1] {
        assert!(refusal(runner.execute_tapped(&batch, &mut Failing(site))).contains("a tap"));
        assert!(refusal(runner.execute(&adapted(12, 0))).contains("slot 0"));
        assert_eq!(runner.execute(&prompt(12)).unwrap(), expected);
    }
}

/// Logits for every row of a large step would be a gigabyte: it is promised, and taken only where it is used.
#[test]
fn room_that_is_not_used_is_not_there() {
    let text = fs::read_to_string(golden(MODEL).join("config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
    config["vocab_size"] = 32_768.into();
    let config = ModelConfig::parse("config.json".as_ref(), config.to_string().as_bytes()).unwrap();
    let weights = Weights::dummy(&golden(MODEL), 3, DType::Bf16);
    let decoder = Decoder::load(cpu(), &config, &weights, DType::F32, 256).unwrap();
    let before = resident_bytes();
    let options =
        RunnerOptions { pages: PAGES, page_tokens: PAGE_TOKENS, slots: SLOTS, rows_max: 8192, rank_max: RANK_MAX };
    let mut runner = Runner::new(decoder, options).unwrap();
    runner.execute(&prompt(12)).unwrap();
    let taken = resident_bytes().saturating_sub(before);
    // Twice 8192 rows of 32768 values of 4 bytes, if it were.
    assert!(taken < 256 << 20, "{taken} bytes");
}
