//! Operations that take or change rows one value at a time: embed, gather, add, gate.

use loam_kernels::backend::{Activation, Add, Dense, Embed, Gate, GatherRows, TakeTokens};
use loam_kernels::layout::{DType, RowSet, Taken};

use super::{ACTIVATIONS, SETS, WEIGHTS};
use crate::check::{Mismatch, Want, compare};
use crate::cover::cases;
use crate::random::Random;
use crate::reference::dense;
use crate::scene::{Demand, POPULARITIES, Popularity, ROWS, Scene, VOCABULARY};
use crate::sheet::{FRAMES, Frame, Sheet, upload};
use crate::values::{Values, rounded};

/// A step's rows, some of them with adapters.
#[derive(Clone, Debug)]
pub(crate) struct RowsCase {
    pub(crate) seed: u64,
    pub(crate) rows: usize,
    pub(crate) width: usize,
    pub(crate) set: RowSet,
    /// Of what is read.
    pub(crate) from: DType,
    /// Of weights, where there are any.
    pub(crate) weight: DType,
    /// Of what is written.
    pub(crate) out: DType,
    /// Whether there is a delta.
    pub(crate) delta: bool,
    /// Whether inverse norms are asked for.
    pub(crate) inverse: bool,
    pub(crate) popularity: Popularity,
    pub(crate) frame: Frame,
    pub(crate) out_frame: Frame,
}

/// All of it, in pairs.
pub(crate) fn cases_over(sets: &[RowSet], weights: &[DType]) -> Vec<RowsCase> {
    cases!(RowsCase {
        rows: ROWS,
        width: super::widths(),
        set: sets,
        from: ACTIVATIONS,
        weight: weights,
        out: ACTIVATIONS,
        delta: [true, false],
        inverse: [true, false],
        popularity: POPULARITIES,
        frame: FRAMES,
        out_frame: FRAMES,
    })
}

impl RowsCase {
    /// Its step.
    pub(crate) fn scene(&self, random: &mut Random) -> Scene {
        let demand = Demand { popularity: self.popularity, adapters: 5, some_without: true, per_row_max: 2 };
        Scene::of_rows(random, self.rows).with_sets(random).with_pairs(random, &demand)
    }

    /// A delta over a set's rows: rows without an adapter hold poison, which nobody may read.
    pub(crate) fn delta(&self, random: &mut Random, with_adapter: &[bool], width: usize) -> Option<Values> {
        let mut delta = Values::random(random, DType::F32, with_adapter.len(), width);
        delta.poison_rows(|row| !with_adapter[row]);
        self.delta.then_some(delta)
    }
}

/// Embedding: the batch only, a table of any type.
pub(crate) fn embed_cases() -> Vec<RowsCase> {
    cases_over(&[RowSet::Batch], WEIGHTS)
}

/// Taking out rows: any set.
pub(crate) fn gather_cases() -> Vec<RowsCase> {
    cases_over(SETS, &[DType::F32])
}

/// `out[row] = table[token[row]]`.
pub(crate) fn check_embed<B: Dense>(device: &B, case: &RowsCase) -> Result<(), Mismatch> {
    let mut random = Random::new(case.seed);
    let scene = case.scene(&mut random);
    let table = Values::random(&mut random, case.weight, VOCABULARY, case.width);
    let on_device = upload(device, &table)?;
    let step = device.step(scene.inputs.clone(), scene.limits)?;
    let mut out = Sheet::poisoned(device, case.out, case.rows, case.width, case.out_frame)?;
    device.embed(&step, Embed { table: &on_device, out: out.writing()? })?;
    let tokens = scene.inputs.tokens.iter().map(|token| table.row(*token as usize));
    compare(device, "out", &out, &moved(case.out, tokens))
}

/// `token[row] = tokens[place]`, of some rows, as an embedding sees it; a place may be taken twice, or not at all.
pub(crate) fn check_take<B: Dense>(device: &B, case: &RowsCase) -> Result<(), Mismatch> {
    let mut random = Random::new(case.seed);
    let mut scene = case.scene(&mut random);
    let places = case.rows + 2;
    // Some are tokens of another vocabulary.
    let drawn: Vec<u32> = (0..places).map(|_| random.below(VOCABULARY + 3) as u32).collect();
    let takers: Vec<u32> = (0..case.rows as u32).filter(|_| random.below(3) > 0).collect();
    scene.inputs.taken = takers.into_iter().map(|row| Taken { row, place: random.below(places) as u32 }).collect();
    let tokens = Values::of(DType::U32, places, 1, |place, _| f64::from(drawn[place]));
    let (tokens, table) =
        (Sheet::new(device, &tokens, case.frame)?, Values::random(&mut random, case.weight, VOCABULARY, case.width));
    let on_device = upload(device, &table)?;
    let step = device.step(scene.inputs.clone(), scene.limits)?;
    let mut out = Sheet::poisoned(device, case.out, case.rows, case.width, case.out_frame)?;
    let mut known = Sheet::poisoned(device, DType::U32, case.rows, 1, case.out_frame)?;
    device.take_tokens(&step, TakeTokens { tokens: tokens.reading()?, known: known.writing()? })?;
    device.embed(&step, Embed { table: &on_device, out: out.writing()? })?;
    let mut expected = scene.inputs.tokens.clone();
    scene.inputs.taken.iter().for_each(|it| expected[it.row as usize] = drawn[it.place as usize]);
    expected.iter_mut().for_each(|token| *token = (*token).min(VOCABULARY as u32 - 1));
    let told: Vec<Want> = expected.iter().map(|token| Want::Exactly(f64::from(*token))).collect();
    compare(device, "known", &known, &told)?;
    let rows = expected.iter().map(|token| table.row(*token as usize));
    compare(device, "out", &out, &moved(case.out, rows))
}

/// `out[i] = x[row(i)]`.
pub(crate) fn check_gather<B: Dense>(device: &B, case: &RowsCase) -> Result<(), Mismatch> {
    let mut random = Random::new(case.seed);
    let scene = case.scene(&mut random);
    let x = Values::random(&mut random, case.from, case.rows, case.width);
    let on_device = Sheet::new(device, &x, case.frame)?;
    let step = device.step(scene.inputs.clone(), scene.limits)?;
    let rows = scene.rows(case.set);
    let mut out = Sheet::poisoned(device, case.out, rows.len(), case.width, case.out_frame)?;
    device.gather_rows(&step, GatherRows { x: on_device.reading()?, set: case.set, out: out.writing()? })?;
    compare(device, "out", &out, &moved(case.out, rows.iter().map(|row| x.row(*row as usize))))
}

/// Values that are only moved: rounded once, so known to the bit.
fn moved(dtype: DType, rows: impl Iterator<Item = Vec<f64>>) -> Vec<Want> {
    rows.flatten().map(|value| Want::Exactly(rounded(dtype, value))).collect()
}

/// `x[row] += delta[row]`, for rows with an adapter.
pub(crate) fn check_add<B: Dense>(device: &B, case: &RowsCase) -> Result<(), Mismatch> {
    let mut random = Random::new(case.seed);
    let case = &RowsCase { delta: true, ..case.clone() };
    let scene = case.scene(&mut random);
    let with_adapter = scene.with_adapter(case.set);
    let before = Values::random(&mut random, case.out, with_adapter.len(), case.width);
    let delta = case.delta(&mut random, &with_adapter, case.width).expect("asked for");
    let on_device = Sheet::new(device, &delta, case.frame)?;
    let mut x = Sheet::new(device, &before, case.out_frame)?;
    let step = device.step(scene.inputs.clone(), scene.limits)?;
    device.add(&step, Add { x: x.writing()?, delta: on_device.reading()?, set: case.set })?;
    let sums = dense::plus_delta(&before, Some(&delta), &with_adapter);
    let want = sums.iter().zip(&with_adapter).flat_map(|(row, with_adapter)| {
        row.iter().map(move |sum| if *with_adapter { sum.want() } else { Want::Untouched })
    });
    compare(device, "x", &x, &want.collect::<Vec<_>>())
}

/// A gated layer's middle.
#[derive(Clone, Debug)]
pub(crate) struct GateCase {
    seed: u64,
    activation: Activation,
    /// How far from zero gates reach.
    reach: f64,
    rows: RowsCase,
}

/// All of it, in pairs.
pub(crate) fn gate_cases(activation: Activation) -> Vec<GateCase> {
    let rows = cases_over(&[RowSet::Batch], &[DType::F32]);
    let case = |(seed, rows): (u64, RowsCase)| {
        let reach = [1.0, 6.0, 30.0, 120.0][seed as usize % 4];
        GateCase { seed, activation, reach, rows }
    };
    (0..).zip(rows).map(case).collect()
}

/// `out = activation(gate) * up`, where `gate, up = gate_up + delta`.
pub(crate) fn check_gate<B: Dense>(device: &B, case: &GateCase) -> Result<(), Mismatch> {
    let mut random = Random::new(case.seed);
    let GateCase { activation, reach, rows: case, .. } = case;
    let scene = case.scene(&mut random);
    let with_adapter = scene.with_adapter(RowSet::Batch);
    let values = |_: usize, column: usize| if column < case.width { reach * random.signed() } else { random.signed() };
    let gate_up = Values::of(case.from, case.rows, 2 * case.width, values);
    let delta = case.delta(&mut random, &with_adapter, 2 * case.width);
    let on_device = Sheet::new(device, &gate_up, case.frame)?;
    let delta_on_device = delta.as_ref().map(|delta| Sheet::new(device, delta, case.frame)).transpose()?;
    let mut out = Sheet::poisoned(device, case.out, case.rows, case.width, case.out_frame)?;
    let step = device.step(scene.inputs.clone(), scene.limits)?;
    let delta_read = delta_on_device.as_ref().map(Sheet::reading).transpose()?;
    device.gate(
        &step,
        Gate { activation: *activation, gate_up: on_device.reading()?, delta: delta_read, out: out.writing()? },
    )?;
    let sums = dense::plus_delta(&gate_up, delta.as_ref(), &with_adapter);
    let want: Vec<_> = sums.iter().flat_map(|row| dense::gate(*activation, row)).collect();
    compare(device, "out", &out, &want)
}
