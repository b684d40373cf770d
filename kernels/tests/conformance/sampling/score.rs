//! Log-probabilities of given tokens, with and without adapters on the layer that makes logits.

use loam_kernels::backend::{Add, ApplyLinear, Backend, Expand, HeadDelta, Score};
use loam_kernels::layout::{DType, Linear, RowSet, SiteKind, SiteShape};

use crate::check::{Mismatch, Want, compare};
use crate::cover::cases;
use crate::dense::linear::linear_of;
use crate::dense::{ACTIVATIONS, PRODUCTS_MAX, WEIGHTS};
use crate::lora::{Resident, SITE};
use crate::random::Random;
use crate::reference::dense::{Layer, Sum, linear};
use crate::reference::lora::expand;
use crate::reference::sampling::{log_probability, rank};
use crate::scene::{Demand, POPULARITIES, Popularity, ROWS, Scene};
use crate::sheet::{FRAMES, Frame, Sheet};
use crate::values::Values;

/// Some rows' tokens under one head.
#[derive(Clone, Debug)]
pub(crate) struct ScoreCase {
    seed: u64,
    rows: usize,
    hidden: usize,
    /// Outputs of the layers that are stacked to a head.
    parts: Vec<usize>,
    x: DType,
    head: DType,
    bias: bool,
    /// Whether the head has adapters; then whose.
    delta: bool,
    popularity: Popularity,
    adapter: DType,
    frame: Frame,
}

/// All of it, in pairs.
pub(crate) fn cases() -> Vec<ScoreCase> {
    let mut stacks = vec![vec![1], vec![67], vec![60, 197], vec![2100]];
    if crate::cover::long() {
        stacks.push(vec![32_000]);
    }
    let cases = cases!(ScoreCase {
        rows: ROWS,
        hidden: crate::dense::widths(),
        parts: stacks,
        x: ACTIVATIONS,
        head: WEIGHTS,
        bias: [false, true],
        delta: [false, true],
        popularity: POPULARITIES,
        adapter: WEIGHTS,
        frame: FRAMES,
    });
    let products = |case: &ScoreCase| case.rows * case.hidden * case.parts.iter().sum::<usize>();
    let affordable = |case: &ScoreCase| products(case) < PRODUCTS_MAX;
    cases.into_iter().filter(affordable).collect()
}

/// A case on a device.
struct OnDevice<'a, B: Backend> {
    device: &'a B,
    case: &'a ScoreCase,
    scene: Scene,
    step: B::Step,
    head: Linear<B::Memory>,
    resident: Resident<B>,
    x: Sheet<B>,
    h: Sheet<B>,
    vocabulary: usize,
}

/// What is said of each row.
struct Scores<B: Backend> {
    log_probabilities: Sheet<B>,
    ranks: Sheet<B>,
    best_tokens: Sheet<B>,
    best_log_probabilities: Sheet<B>,
}

fn first_of_the_greatest(row: &[f64]) -> usize {
    (0..row.len()).fold(0, |best, at| if row[at] > row[best] { at } else { best })
}

/// Within tolerance of f64; and of the logits that `linear` makes, the very ranks.
pub(crate) fn check<B: Backend>(device: &B, case: &ScoreCase) -> Result<(), Mismatch> {
    let mut random = Random::new(case.seed);
    let vocabulary = case.parts.iter().sum();
    let demand = Demand { popularity: case.popularity, adapters: 4, some_without: true, per_row_max: 2 };
    let mut scene = Scene::of_rows(&mut random, case.rows);
    scene.limits.vocabulary = vocabulary;
    scene.inputs.tokens.iter_mut().for_each(|token| *token %= vocabulary as u32);
    let scene = scene.with_sets(&mut random).with_pairs(&mut random, &demand);
    let layers: Vec<Layer> = case.parts.iter().map(|out| layer(&mut random, case, *out)).collect();
    let head = linear_of(device, case.hidden, &layers)?;
    let rows = scene.rows(RowSet::Scored).len();
    let x = Values::random(&mut random, case.x, rows, case.hidden);

    let site = SiteShape { kind: SiteKind::Linear, in_features: case.hidden, modules: vec![vocabulary] };
    let resident = Resident::new(device, &mut random, &scene, &site, case.adapter, &[0, 1, 8, 33])?;
    let pairs = scene.pairs(RowSet::Scored);
    let width = pairs.iter().map(|pair| resident.rank(pair)).max().unwrap_or(0) + 1;
    let h = resident.h(&mut random, &pairs, width);

    let mut logits = linear(&x, &layers);
    for (row, logits) in logits.iter_mut().enumerate() {
        let own = resident.of_row(&pairs, row);
        if case.delta && !own.is_empty() {
            for (logit, delta) in logits.iter_mut().zip(expand(&h, &own)) {
                let plus = logit.plus(delta.value);
                *logit = Sum { slack: plus.slack + delta.slack, ..plus };
            }
        }
    }
    let step = device.step(scene.inputs.clone(), scene.limits)?;
    let (x, h) = (Sheet::new(device, &x, case.frame)?, Sheet::new(device, &h, case.frame)?);
    OnDevice { device, case, scene, step, head, resident, x, h, vocabulary }.check(&logits)
}

fn layer(random: &mut Random, case: &ScoreCase, out: usize) -> Layer {
    let weight = Values::random(random, case.head, out, case.hidden);
    Layer { weight, bias: case.bias.then(|| Values::vector(random, case.head, out)) }
}

impl<B: Backend> OnDevice<'_, B> {
    fn check(&self, logits: &[Vec<Sum>]) -> Result<(), Mismatch> {
        let tokens: Vec<usize> = self.scene.inputs.scored.iter().map(|scored| scored.token as usize).collect();
        let Scores { log_probabilities, ranks, best_tokens, best_log_probabilities } = self.score()?;
        let want: Vec<Want> = logits.iter().zip(&tokens).map(|(row, token)| log_probability(row, *token)).collect();
        compare(self.device, "log_probabilities", &log_probabilities, &want)?;
        let between = |(row, token): (&Vec<Sum>, &usize)| {
            // It is never above itself.
            let (own, others) = (row[*token], row.iter().enumerate().filter(|(at, _)| at != token).map(|(_, it)| it));
            let least = others.clone().filter(|it| it.value - own.value > it.slack + own.slack).count();
            let most = others.filter(|it| it.value - own.value > -(it.slack + own.slack)).count();
            Want::Between(least as f64, most as f64)
        };
        compare(self.device, "ranks", &ranks, &logits.iter().zip(&tokens).map(between).collect::<Vec<_>>())?;

        self.check_best(logits, &best_tokens, &best_log_probabilities)?;

        // A library may make a layer of so many outputs in its own way; scores never come from it.
        if self.device.describe().ends_with("with cuBLASLt") {
            return Ok(());
        }
        let held = self.logits_as_steps_make_them()?.widened();
        let exact: Vec<Vec<Sum>> = held.iter().map(|row| row.iter().map(|it| Sum::exact(*it)).collect()).collect();
        let want: Vec<Want> = exact.iter().zip(&tokens).map(|(row, token)| log_probability(row, *token)).collect();
        compare(self.device, "log_probabilities of linear's logits", &log_probabilities, &want)?;
        let want: Vec<Want> =
            held.iter().zip(&tokens).map(|(row, token)| Want::Exactly(rank(row, *token) as f64)).collect();
        compare(self.device, "ranks of linear's logits", &ranks, &want)?;
        let best: Vec<usize> = held.iter().map(|row| first_of_the_greatest(row)).collect();
        let want: Vec<Want> = best.iter().map(|token| Want::Exactly(*token as f64)).collect();
        compare(self.device, "best tokens of linear's logits", &best_tokens, &want)?;
        let want: Vec<Want> = exact.iter().zip(&best).map(|(row, token)| log_probability(row, *token)).collect();
        compare(self.device, "best log-probabilities of linear's logits", &best_log_probabilities, &want)
    }

    /// The best token is one that may be, and its log-probability is its own.
    fn check_best(
        &self,
        logits: &[Vec<Sum>],
        best_tokens: &Sheet<B>,
        best_log_probabilities: &Sheet<B>,
    ) -> Result<(), Mismatch> {
        let tokens = best_tokens.values(self.device)?.widened();
        let may_be = |(row, token): (&Vec<Sum>, &Vec<f64>)| {
            let token = token[0] as usize;
            let least = row.iter().map(|it| it.value - it.slack).fold(f64::NEG_INFINITY, f64::max);
            row.get(token).is_some_and(|it| it.value + it.slack >= least).then_some(token)
        };
        let among: Vec<Option<usize>> = logits.iter().zip(&tokens).map(may_be).collect();
        // What cannot be the best is none of the vocabulary.
        let want: Vec<Want> = among.iter().map(|it| Want::Exactly(it.map_or(-1.0, |token| token as f64))).collect();
        compare(self.device, "best tokens", best_tokens, &want)?;
        let want = logits.iter().zip(among.into_iter().flatten()).map(|(row, token)| log_probability(row, token));
        compare(self.device, "best log-probabilities", best_log_probabilities, &want.collect::<Vec<_>>())
    }

    fn score(&self) -> Result<Scores<B>, Mismatch> {
        let rows = self.x.rows;
        let mut log_probabilities = Sheet::poisoned(self.device, DType::F32, rows, 1, self.case.frame)?;
        let mut ranks = Sheet::poisoned(self.device, DType::U32, rows, 1, self.case.frame)?;
        let mut best_tokens = Sheet::poisoned(self.device, DType::U32, rows, 1, self.case.frame)?;
        let mut best_log_probabilities = Sheet::poisoned(self.device, DType::F32, rows, 1, self.case.frame)?;
        let delta = HeadDelta { adapters: &self.resident.table, site: SITE, h: self.h.reading()? };
        let op = Score {
            x: self.x.reading()?,
            head: &self.head,
            delta: self.case.delta.then_some(delta),
            log_probabilities: log_probabilities.writing()?,
            ranks: ranks.writing()?,
            best_tokens: best_tokens.writing()?,
            best_log_probabilities: best_log_probabilities.writing()?,
        };
        self.device.log_probability_of(&self.step, op)?;
        Ok(Scores { log_probabilities, ranks, best_tokens, best_log_probabilities })
    }

    /// `linear`, then the adapters' delta on top, all in f32.
    fn logits_as_steps_make_them(&self) -> Result<Values, Mismatch> {
        let (rows, vocabulary) = (self.x.rows, self.vocabulary);
        let mut logits = Sheet::poisoned(self.device, DType::F32, rows, vocabulary, Frame::Packed)?;
        let op = ApplyLinear { x: self.x.reading()?, weights: &self.head, out: logits.writing()? };
        self.device.linear(op)?;
        if self.case.delta {
            let mut delta = Sheet::poisoned(self.device, DType::F32, rows, vocabulary, Frame::Packed)?;
            let op = Expand {
                adapters: &self.resident.table,
                site: SITE,
                set: RowSet::Scored,
                h: self.h.reading()?,
                delta: delta.writing()?,
            };
            self.device.lora_expand(&self.step, op)?;
            let op = Add { x: logits.writing()?, delta: delta.reading()?, set: RowSet::Scored };
            self.device.add(&self.step, op)?;
        }
        Ok(logits.values(self.device)?)
    }
}
