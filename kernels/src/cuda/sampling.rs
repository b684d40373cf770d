//! From logits to tokens on the device.

use super::backend::{Cuda, CudaStep, Scratch};
use super::device::{DeviceMemory, checked};
use super::ffi::{LoamChoices, LoamChosen, LoamRows, LoamTiles, loam_sample};
use super::score::score;
use super::written;
use crate::backend::{Sample, Sampler, Score};
use crate::error::{self, Error};
use crate::layout::Sampling;

/// Tokens that are seen together: `kTileTokens` of sampling.cuh.
pub(super) const TILE_TOKENS: usize = 1024;
/// What is not there: `kNone` of sample.cu.
const NONE: u32 = u32::MAX;

impl Sampler for Cuda {
    fn sample(&self, step: &CudaStep, op: Sample<'_, DeviceMemory>) -> Result<(), Error> {
        sample(self, step, op)
    }

    fn log_probability_of(&self, step: &CudaStep, op: Score<'_, Self>) -> Result<(), Error> {
        score(self, step, op)
    }
}

fn sample(gpu: &Cuda, step: &CudaStep, mut op: Sample<'_, DeviceMemory>) -> Result<(), Error> {
    op.check(step.plan())?;
    let (rows, width) = (op.logits.rows(), op.logits.width());
    if rows == 0 {
        return Ok(());
    }
    let tables = Tables::of(op.rows, step.plan().sampled());
    let own = op.own.as_ref().map_or(Ok(LoamRows::NONE), LoamRows::of)?;
    let mut scratch = gpu.scratch();
    let choices = tables.send(&mut scratch, own)?;
    let room = Room::new(&mut scratch, rows, tables.adjusted as usize, width)?;
    let chosen = LoamChosen {
        tokens: written(&mut op.out.tokens)?,
        log_probabilities: written(&mut op.out.log_probabilities)?,
        ranks: written(&mut op.out.ranks)?,
        top_tokens: written(&mut op.out.top_tokens)?,
        top_log_probabilities: written(&mut op.out.top_log_probabilities)?,
    };
    let (logits, Room { raw, adjusted, logits: adjusted_logits, stride }) = (LoamRows::of(&op.logits)?, room);
    // SAFETY: `check` has seen that all fits and that tokens are below the vocabulary, but for own ones, which the kernel
    // looks at itself; there is room for all tiles.
    Ok(checked(unsafe { loam_sample(logits, choices, raw, adjusted, adjusted_logits, stride, chosen, gpu.order()) })?)
}

/// All rows' wishes as kernels read them, in words.
#[derive(Debug, Default)]
struct Tables {
    /// `LoamChoice`s.
    choices: Vec<u32>,
    /// `LoamSeen`s.
    seen: Vec<u32>,
    /// `LoamBias`es.
    biases: Vec<u32>,
    masks: Vec<u32>,
    /// Rows whose logits something changes.
    adjusted: u32,
}

/// Words of a `LoamSeen` and of a `LoamBias`.
const SEEN_WORDS: usize = 3;
const BIAS_WORDS: usize = 2;

impl Tables {
    /// `sampled`: which rows of the batch they are.
    fn of(rows: &[Sampling], sampled: &[u32]) -> Self {
        let mut tables = Self::default();
        rows.iter().zip(sampled).for_each(|(row, own)| tables.put(row, *own));
        tables
    }

    fn put(&mut self, row: &Sampling, own: u32) {
        let places = |tables: &Self| [tables.seen.len() / SEEN_WORDS, tables.biases.len() / BIAS_WORDS];
        let [seen_from, biases_from] = places(self);
        let mask_from = row.mask.as_ref().map_or(NONE, |_| self.masks.len() as u32);
        if row.penalizes() {
            self.seen.extend(row.seen.iter().flat_map(|it| [it.token, it.in_prompt.into(), it.in_output]));
        }
        self.biases.extend(row.bias.iter().flat_map(|&(token, bias)| [token, bias.to_bits()]));
        self.masks.extend(row.mask.iter().flatten());
        let [seen_to, biases_to] = places(self);
        let adjusted = if row.adjusts() { self.adjusted } else { NONE };
        self.adjusted += u32::from(row.adjusts());
        // A temperature so low that its inverse is infinite is one that leaves only the greatest.
        let greedy = row.temperature == 0.0;
        let inverse_temperature = if greedy { 0.0 } else { row.temperature.recip().min(f32::MAX) };
        let number = row.number_in_bits();
        self.choices.extend([inverse_temperature, row.top_p, row.min_p.ln()].map(f32::to_bits));
        self.choices.extend([row.repetition_penalty, row.presence_penalty, row.frequency_penalty].map(f32::to_bits));
        self.choices.extend([row.top_k, row.top_log_probabilities]);
        self.choices.extend([seen_from, seen_to, biases_from, biases_to].map(|at| at as u32));
        let own = if row.penalizes() && row.counts_own { own } else { NONE };
        self.choices.extend([mask_from, adjusted, own, number as u32, (number >> 32) as u32]);
    }

    fn send(&self, scratch: &mut Scratch, own: LoamRows) -> Result<LoamChoices, Error> {
        let lists = [&self.choices, &self.seen, &self.biases, &self.masks];
        let at = scratch.tables(&lists.map(Vec::as_slice).concat())?;
        let [seen, biases, masks] =
            [1, 2, 3].map(|list| lists[..list].iter().map(|before| before.len()).sum::<usize>());
        let count = |len: usize| i32::try_from(len).map_err(|_| Error::TooLarge { what: "what rows to sample say" });
        Ok(LoamChoices {
            rows: at.cast(),
            seen: at.wrapping_add(seen).cast(),
            biases: at.wrapping_add(biases).cast(),
            masks: at.wrapping_add(masks),
            own,
            seen_count: count(self.seen.len() / SEEN_WORDS)?,
            bias_count: count(self.biases.len() / BIAS_WORDS)?,
            mask_words: count(self.masks.len())?,
            adjusted: self.adjusted as i32,
        })
    }
}

/// What tiles are seen to hold, of logits as given and as they are chosen from, and the latter.
struct Room {
    raw: LoamTiles,
    adjusted: LoamTiles,
    logits: *mut f32,
    /// Of changed rows, which begin on 16 bytes.
    stride: i64,
}

impl Room {
    fn new(scratch: &mut Scratch, rows: usize, adjusted: usize, width: usize) -> Result<Self, Error> {
        let (tiles, stride) = (width.div_ceil(TILE_TOKENS), width.next_multiple_of(4));
        let all = error::product("tiles of logits", &[rows + adjusted, tiles, 3])?;
        let changed = error::product("changed logits", &[adjusted, stride])?;
        let logits = scratch.values(all.saturating_add(changed))?;
        // Sums are two words each and lie on eight bytes; then come the greatest.
        let sums = logits.wrapping_add(changed).cast::<u64>();
        let peaks = sums.wrapping_add((rows + adjusted) * tiles).cast::<f32>();
        let of = |row: usize| LoamTiles {
            peaks: peaks.wrapping_add(row * tiles),
            sums: sums.wrapping_add(row * tiles),
            tiles: tiles as i32,
        };
        Ok(Self { raw: of(0), adjusted: of(rows), logits, stride: stride as i64 })
    }
}
