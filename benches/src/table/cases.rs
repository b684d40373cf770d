//! The cases: what each measures, and its figures.

use std::sync::Arc;

use anyhow::Context as _;

use super::roofs::Roofs;
use super::scale::{Mix, Scale};
use super::steps::Model;
use super::{Bench, Case};
use crate::contest::{Times, contest};
use crate::counts::{counted, float};
use crate::devices::{Devices, Mode};
use crate::paged;

/// Decode with adapters: rows and adapters are the scale's.
pub(super) struct Decode {
    /// Of the step with adapters.
    name: &'static str,
    /// What is quoted in tokens a second, with what is aimed at.
    rate: (&'static str, &'static str),
    over_base: (&'static str, &'static str),
}

pub(super) const DECODE: [Decode; 4] = [
    Decode {
        name: "decode_b1",
        rate: ("decode_b1_base_tok_s", "aim 225, stretch 250"),
        over_base: ("decode_b1_one_adapter_over_base", "aim 1.03"),
    },
    Decode {
        name: "decode_b32_32",
        rate: ("decode_b32_32_tok_s", "aim 5,300, stretch 5,600"),
        over_base: ("decode_b32_32_over_base", "aim 1.18"),
    },
    Decode {
        name: "decode_b128_128",
        rate: ("decode_b128_128_tok_s", "aim 10,500, stretch 11,000"),
        over_base: ("decode_b128_128_over_base", "aim 1.42"),
    },
    Decode {
        name: "decode_b256_8",
        rate: ("decode_b256_8_tok_s", "aim 15,000, stretch 16,000"),
        over_base: ("decode_b256_8_over_base", "aim 1.03"),
    },
];

const RATE: &str = "tokens/s";
const RATIO: &str = "x";
const ADDED: &str = "us/layer";
const UNUSED: &str = "lora_enabled_unused_over_base";
const PREFILL: &str = "prefill_2048_8_adapters_over_base";
const ATTENTION: &str = "attention_decode_of_read_rate";
const OF_READ_RATE: &str = "of read rate";
const MODES: &str = "deterministic_over_fast";

impl Decode {
    fn added(&self) -> String {
        format!("{}_lora_added_us_a_layer", self.name)
    }
}

impl Case {
    /// Its figures, with their units.
    pub(super) fn figures(self) -> Vec<(String, &'static str)> {
        let one = |name: &str, unit| vec![(name.to_owned(), unit)];
        match self {
            Self::Unused => one(UNUSED, RATIO),
            Self::Prefill => one(PREFILL, RATIO),
            Self::Attention => one(ATTENTION, OF_READ_RATE),
            Self::Deterministic => one(MODES, RATIO),
            _ => {
                let of = &DECODE[self as usize];
                vec![(of.rate.0.to_owned(), RATE), (of.over_base.0.to_owned(), RATIO), (of.added(), ADDED)]
            }
        }
    }
}

/// What a step takes at best: its GEMMs, and the reading of all that they do not.
struct Floor<'a> {
    roofs: &'a Roofs,
    gemms: Option<f64>,
}

impl<'a> Floor<'a> {
    fn new(scale: &Scale, roofs: &'a Roofs, layers: usize, (rows, sampled): (usize, usize)) -> Self {
        let gemms = if scale.is_probed { roofs.gemms(layers, rows, sampled) } else { None };
        Self { roofs, gemms }
    }

    fn seconds(&self, bytes: f64) -> Option<f64> {
        Some(self.gemms? + self.roofs.reading(bytes)?)
    }

    /// Time with so many more bytes to read, over the time without.
    fn ratio(&self, base_bytes: f64, adapter_bytes: f64) -> Option<f64> {
        Some(self.seconds(base_bytes + adapter_bytes)? / self.seconds(base_bytes)?)
    }
}

impl<D: Devices> Bench<'_, D> {
    /// Measures one case.
    pub(super) fn measure(&mut self, case: Case) -> anyhow::Result<()> {
        match case {
            Case::Unused => self.unused(),
            Case::Prefill => self.prefill(),
            Case::Attention => self.attention(),
            Case::Deterministic => self.modes(),
            _ => self.decode(&DECODE[case as usize], self.scale.decode[case as usize]),
        }
    }

    fn decode(&mut self, of: &Decode, mix: Mix) -> anyhow::Result<()> {
        let device = self.device()?;
        let mut model = Model::in_decode(Arc::clone(&device), self.scale, mix)?;
        let batches = [model.decode(mix, false), model.decode(mix, true)];
        let times = self.times(&mut model, &batches)?;
        let (layers, kv) = (model.shape.layers, model.kv_bytes(mix.rows));
        let adapters = float(mix.adapters * model.adapter_bytes);
        let floor = Floor::new(self.scale, self.roofs, layers, (mix.rows, mix.rows));
        let is_base = mix.rows == 1;
        let quoted = if is_base { BASE } else { WITH };
        let about = format!(
            "{} of context {}, {} of rank 16 on all seven linears",
            counted(mix.rows, "request"),
            self.scale.context,
            counted(mix.adapters, "adapter")
        );
        let bytes = kv + if is_base { 0.0 } else { adapters };
        let rate = float(mix.rows) / times.median(quoted);
        let roof = floor.seconds(bytes).map(|seconds| float(mix.rows) / seconds);
        let (median, best) = (times.median(quoted) * 1e3, times.best(quoted) * 1e3);
        let note = format!("{}; {about}; {median:.3} ms a step, {best:.3} in the best round", of.rate.1);
        self.add(of.rate.0, rate, RATE, roof, note)?;
        let ratio = times.ratio(WITH, BASE);
        let note = format!("{}; {about}", of.over_base.1);
        self.add(of.over_base.0, ratio, RATIO, floor.ratio(kv, adapters), note)?;
        let per_layer = float(layers) / 1e6;
        let least = self.roofs.reading(adapters).map(|seconds| seconds / per_layer);
        let aim = least.map_or("aim its floor / 0.75 + 3".to_owned(), |least| format!("aim {:.2}", least / 0.75 + 3.0));
        let note = format!("{aim}; {about}");
        self.add(&of.added(), times.difference(WITH, BASE) / per_layer, ADDED, least, note)
    }

    /// Steps without adapters, where some lie in their slots, over the same where none does.
    fn unused(&mut self) -> anyhow::Result<()> {
        let device = self.device()?;
        let mut worst: Option<(f64, Mix)> = None;
        let all = self.scale.unused;
        let largest = all[all.len() - 1];
        let mut model = Model::in_decode(device, self.scale, largest)?;
        for mix in all {
            let base = || model.decode(mix, false);
            let batches = [model.resident(true), base(), model.resident(false), base()];
            let ratio = self.times(&mut model, &batches)?.ratio(1, 3);
            if worst.is_none_or(|(other, _)| ratio > other) {
                worst = Some((ratio, mix));
            }
        }
        let (ratio, mix) = worst.expect("there are steps to measure");
        let note = format!(
            "aim 1.005; the worse of {} and {} rows, here {}; {} in their slots over none",
            all[0].rows,
            largest.rows,
            mix.rows,
            counted(mix.adapters, "adapter")
        );
        self.add(UNUSED, ratio, RATIO, Some(1.0), note)
    }

    fn prefill(&mut self) -> anyhow::Result<()> {
        let (device, mix) = (self.device()?, self.scale.prefill);
        let prompt = mix.rows / mix.adapters;
        let mut model = Model::open(device, self.scale, (mix.adapters, prompt, mix.rows), mix.adapters)?;
        let batches = [model.prefill(mix, false), model.prefill(mix, true)];
        let times = self.times(&mut model, &batches)?;
        let adapters = float(mix.adapters * model.adapter_bytes);
        let floor = Floor::new(self.scale, self.roofs, model.shape.layers, (mix.rows, mix.adapters));
        let note = format!(
            "aim 1.03; {} of {prompt} tokens, each with an adapter of its own, in one step; {:.1} ms without them",
            counted(mix.adapters, "prompt"),
            times.median(BASE) * 1e3
        );
        self.add(PREFILL, times.ratio(WITH, BASE), RATIO, floor.ratio(0.0, adapters), note)
    }

    fn attention(&mut self) -> anyhow::Result<()> {
        let device = self.device()?;
        let rate = self.roofs.read_rate();
        let (requests, tokens) = self.scale.attention;
        let (mut lowest, mut told) = (f64::INFINITY, Vec::new());
        for requests in requests {
            for tokens in tokens {
                let case = paged::Case { requests, tokens, rows: 1 };
                let seconds = self.attention_times(&*device, &case)?.median(0);
                let share = float(case.layer_bytes()) / seconds / rate.unwrap_or(f64::NAN);
                lowest = lowest.min(share);
                let rate = float(case.layer_bytes()) / seconds / 1e9;
                told.push(format!("{requests} of {tokens}: {rate:.0} GB/s"));
            }
        }
        let note = format!("aim 0.85; the lowest of requests and tokens ({}); heads 4:1", told.join(", "));
        match rate {
            Some(_) => self.add(ATTENTION, lowest, OF_READ_RATE, Some(1.0), note),
            None => self.unmeasured(
                ATTENTION,
                OF_READ_RATE,
                format!("not measured: no read rate to hold it against, which the probe finds; {note}"),
            ),
        }
    }

    fn attention_times(&self, device: &D::Backend, case: &paged::Case) -> anyhow::Result<Times> {
        let layers = self.scale.attention_bytes.div_ceil(case.layer_bytes()).max(1);
        let kv = case.pages(device, layers)?;
        let mut once = case.contestant(device, &kv, 1)?;
        let guess = contest(1, &mut [&mut once])?.median(0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 200")]
        let turns = (self.scale.round.as_secs_f64() / guess / float(layers)).clamp(1.0, 200.0) as usize;
        let mut ours = case.contestant(device, &kv, turns)?;
        contest(self.scale.rounds, &mut [&mut ours])
    }

    /// The same steps in both modes, one model after the other.
    fn modes(&mut self) -> anyhow::Result<()> {
        let mix = self.scale.decode[1];
        let Some(device) = self.devices.open(Mode::Fast)? else {
            return self.unmeasured(MODES, RATIO, "not measured: this device has one mode".to_owned());
        };
        let fast = self.decode_seconds(device, mix)?;
        let told = self.findings.about.clone();
        let device = self.devices.open(Mode::Deterministic)?.context("a device with a fast mode has the other too")?;
        let deterministic = self.decode_seconds(device, mix)?;
        self.findings.about = format!("{told}, over the same; {}", self.findings.about);
        let note = format!(
            "stated; decode, {}, {}; {:.3} ms a step over {:.3}",
            counted(mix.rows, "request"),
            counted(mix.adapters, "adapter"),
            deterministic * 1e3,
            fast * 1e3
        );
        self.add(MODES, deterministic / fast, RATIO, None, note)
    }

    fn decode_seconds(&mut self, device: Arc<D::Backend>, mix: Mix) -> anyhow::Result<f64> {
        let mut model = Model::in_decode(device, self.scale, mix)?;
        let batch = model.decode(mix, true);
        Ok(self.times(&mut model, &[batch])?.median(0))
    }
}

/// Places of a decode case's batches.
const BASE: usize = 0;
const WITH: usize = 1;
