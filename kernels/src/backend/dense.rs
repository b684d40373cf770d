//! Embedding, norms, linears and activations.

use super::Device;
use crate::error::{ACTIVATIONS, Error, WEIGHTS, expect_below, expect_shape, expect_type, product};
use crate::layout::{DType, Linear, Memory, RowSet, Rows, RowsMut, StepPlan};

/// Operations on dense rows.
pub trait Dense: Device {
    /// See [`TakeTokens`].
    fn take_tokens(&self, step: &Self::Step, op: TakeTokens<'_, Self::Memory>) -> Result<(), Error>;
    /// See [`Embed`].
    fn embed(&self, step: &Self::Step, op: Embed<'_, Self::Memory>) -> Result<(), Error>;
    /// See [`RmsNorm`].
    fn rms_norm(&self, op: RmsNorm<'_, Self::Memory>) -> Result<(), Error>;
    /// See [`AddRmsNorm`].
    fn add_rms_norm(&self, step: &Self::Step, op: AddRmsNorm<'_, Self::Memory>) -> Result<(), Error>;
    /// See [`QkNorm`].
    fn qk_norm(&self, step: &Self::Step, op: QkNorm<'_, Self::Memory>) -> Result<(), Error>;
    /// See [`ApplyLinear`].
    fn linear(&self, op: ApplyLinear<'_, Self::Memory>) -> Result<(), Error>;
    /// See [`Product`].
    fn product(&self, op: Product<'_, Self::Memory>) -> Result<(), Error>;
    /// See [`Gate`].
    fn gate(&self, step: &Self::Step, op: Gate<'_, Self::Memory>) -> Result<(), Error>;
    /// See [`Add`].
    fn add(&self, step: &Self::Step, op: Add<'_, Self::Memory>) -> Result<(), Error>;
    /// See [`GatherRows`].
    fn gather_rows(&self, step: &Self::Step, op: GatherRows<'_, Self::Memory>) -> Result<(), Error>;
}

/// Gives rows the tokens that the step before has drawn, which only the device knows yet.
///
/// `token[row] = tokens[place]`, for each of [`StepInputs::taken`](crate::layout::StepInputs::taken), from here on in the
/// step. A token that is not below the vocabulary counts as its last.
#[derive(Debug)]
pub struct TakeTokens<'a, M> {
    /// `[places or more, 1]` in u32.
    pub tokens: Rows<'a, M>,
    /// `[batch rows, 1]` in u32: gets every row's token, taken or not, for who asks when the step is over.
    pub known: RowsMut<'a, M>,
}

/// Takes each row's token from a table.
///
/// `out[row] = table[token[row]]`
#[derive(Debug)]
pub struct Embed<'a, M> {
    /// `[vocabulary, hidden]`, any weight type.
    pub table: &'a M,
    /// `[batch rows, hidden]`
    pub out: RowsMut<'a, M>,
}

/// Root-mean-square norm.
///
/// `out[row, i] = x[row, i] * inverse[row] * weight[i]`, `inverse[row] = 1 / sqrt(mean_i x[row, i]^2 + epsilon)`
#[derive(Debug)]
pub struct RmsNorm<'a, M> {
    /// `[rows, hidden]`
    pub x: Rows<'a, M>,
    /// `[hidden]`, any weight type.
    pub weight: &'a M,
    /// Keeps the root from zero.
    pub epsilon: f32,
    /// `[rows, hidden]`
    pub out: RowsMut<'a, M>,
    /// `[rows, 1]` in f32: the inverse norms, for who wants a backward pass.
    pub inverse: Option<RowsMut<'a, M>>,
}

/// Adds to the residual stream, then norms it.
///
/// `residual += x + delta`; `out = rms_norm(residual)`
#[derive(Debug)]
pub struct AddRmsNorm<'a, M> {
    /// `[rows, hidden]`, read and written.
    pub residual: RowsMut<'a, M>,
    /// `[rows, hidden]`
    pub x: Rows<'a, M>,
    /// `[rows, hidden]` in f32; rows of `set` without an adapter do not read it.
    pub delta: Option<Rows<'a, M>>,
    /// Which rows these are.
    pub set: RowSet,
    /// `[hidden]`, any weight type.
    pub weight: &'a M,
    /// Keeps the root from zero.
    pub epsilon: f32,
    /// `[rows, hidden]`
    pub out: RowsMut<'a, M>,
    /// `[rows, 1]` in f32.
    pub inverse: Option<RowsMut<'a, M>>,
}

/// Heads of a row that holds queries, keys and values side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadShape {
    /// Query heads; a multiple of `kv_heads`, each run of them sharing one.
    pub q_heads: usize,
    /// Heads of keys and of values.
    pub kv_heads: usize,
    /// Values in a head.
    pub head_dim: usize,
}

/// Norms each head's query and key (Qwen3), adding the delta of all of the row first.
///
/// `qkv += delta`; then each head of q by `q_weight`, each of k by `k_weight`, as in [`RmsNorm`]; v stays.
#[derive(Debug)]
pub struct QkNorm<'a, M> {
    /// `[batch rows, (q_heads + 2 * kv_heads) * head_dim]`, read and written.
    pub qkv: RowsMut<'a, M>,
    /// Of the same shape, in f32.
    pub delta: Option<Rows<'a, M>>,
    /// How a row is divided.
    pub heads: HeadShape,
    /// `[head_dim]`, any weight type.
    pub q_weight: &'a M,
    /// `[head_dim]`, any weight type.
    pub k_weight: &'a M,
    /// Keeps the root from zero.
    pub epsilon: f32,
}

/// Linear layers over the same input, stacked.
///
/// `out[row, o] = sum_k x[row, k] * weight[o, k] + bias[o]`
///
/// Where activations and weights are both bf16 the products are of bf16 values; else both are widened to f32.
#[derive(Debug)]
pub struct ApplyLinear<'a, M> {
    /// `[rows, in_features]`
    pub x: Rows<'a, M>,
    /// The layers.
    pub weights: &'a Linear<M>,
    /// `[rows, out_features]`
    pub out: RowsMut<'a, M>,
}

/// A product of two matrices, each as it lies or transposed. Training and analysis need it; serving uses `linear`.
///
/// `out[m, n] = sum_k a[m, k] * b[k, n]`, where `a` is given as `[k, m]` if transposed, and `b` as `[n, k]`
#[derive(Debug)]
pub struct Product<'a, M> {
    /// `[m, k]`, or `[k, m]`.
    pub a: Rows<'a, M>,
    /// Whether `a` is given transposed.
    pub a_transposed: bool,
    /// `[k, n]`, or `[n, k]`.
    pub b: Rows<'a, M>,
    /// Whether `b` is given transposed; a linear layer's weights are.
    pub b_transposed: bool,
    /// `[m, n]`
    pub out: RowsMut<'a, M>,
}

/// The function of a gated layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x / (1 + exp(-x))`
    Silu,
    /// `x/2 * (1 + erf(x / sqrt(2)))`
    Gelu,
    /// `x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))`
    GeluTanh,
}

/// A gated layer's middle.
///
/// `out[row, i] = activation(gate[row, i]) * up[row, i]`, where `gate, up = gate_up + delta`
#[derive(Debug)]
pub struct Gate<'a, M> {
    /// The function.
    pub activation: Activation,
    /// `[batch rows, 2 * intermediate]`: gates, then ups.
    pub gate_up: Rows<'a, M>,
    /// Of the same shape, in f32.
    pub delta: Option<Rows<'a, M>>,
    /// `[batch rows, intermediate]`
    pub out: RowsMut<'a, M>,
}

/// Adds a delta where nothing else would.
///
/// `x[row] += delta[row]`, for rows with an adapter
#[derive(Debug)]
pub struct Add<'a, M> {
    /// `[rows, width]`, read and written.
    pub x: RowsMut<'a, M>,
    /// `[rows, width]` in f32.
    pub delta: Rows<'a, M>,
    /// Which rows these are.
    pub set: RowSet,
}

/// Takes out the rows of a set, so that only they reach the logits.
///
/// `out[i] = x[row(i)]`
#[derive(Debug)]
pub struct GatherRows<'a, M> {
    /// `[batch rows, width]`
    pub x: Rows<'a, M>,
    /// Which rows.
    pub set: RowSet,
    /// `[rows of the set, width]`
    pub out: RowsMut<'a, M>,
}

/// Refuses a matrix of another shape or type.
pub(super) fn expect_rows<M: Memory>(
    what: &'static str,
    x: &Rows<'_, M>,
    rows: usize,
    width: usize,
) -> Result<(), Error> {
    expect_type(what, x.dtype(), ACTIVATIONS)?;
    expect_shape(what, x.rows(), rows)?;
    expect_shape(what, x.width(), width)?;
    // Rows without values could be more than can be counted through.
    if width == 0 { Err(Error::Shape { what, expected: 1, found: 0 }) } else { Ok(()) }
}

/// Refuses a delta that is not f32 of the expected shape.
pub(super) fn expect_delta<M: Memory>(delta: Option<&Rows<'_, M>>, rows: usize, width: usize) -> Result<(), Error> {
    delta.map_or(Ok(()), |delta| expect_f32("a delta", delta, rows, width))
}

/// Refuses a matrix that is not f32 of the expected shape.
pub(super) fn expect_f32<M: Memory>(
    what: &'static str,
    x: &Rows<'_, M>,
    rows: usize,
    width: usize,
) -> Result<(), Error> {
    expect_type(what, x.dtype(), &[DType::F32])?;
    expect_rows(what, x, rows, width)
}

/// Refuses what is not one value a row, of such a type.
pub(super) fn expect_column<M: Memory>(
    what: &'static str,
    column: &Rows<'_, M>,
    rows: usize,
    dtype: DType,
) -> Result<(), Error> {
    expect_type(what, column.dtype(), &[dtype])?;
    expect_shape(what, column.rows(), rows)?;
    expect_shape(what, column.width(), 1)
}

/// Refuses a vector of weights of another length.
pub(super) fn expect_weights<M: Memory>(what: &'static str, weights: &M, len: usize) -> Result<(), Error> {
    expect_type(what, weights.dtype(), WEIGHTS)?;
    expect_shape(what, weights.len(), len)
}

/// Refuses inverse norms that are not one f32 a row.
fn expect_inverse<M: Memory>(inverse: Option<&RowsMut<'_, M>>, rows: usize) -> Result<(), Error> {
    inverse.map_or(Ok(()), |inverse| expect_f32("a norm's inverse", &inverse.reading(), rows, 1))
}

fn expect_epsilon(epsilon: f32) -> Result<(), Error> {
    if epsilon.is_finite() && epsilon >= 0.0 {
        return Ok(());
    }
    Err(Error::Unsupported { what: "epsilon", found: epsilon.to_string(), allowed: "0 or more" })
}

impl<M: Memory> TakeTokens<'_, M> {
    /// Refuses what does not fit.
    pub fn check(&self, step: &StepPlan) -> Result<(), Error> {
        expect_type("tokens to take", self.tokens.dtype(), &[DType::U32])?;
        expect_shape("tokens to take", self.tokens.width(), 1)?;
        let places = self.tokens.rows();
        step.taken().iter().try_for_each(|it| expect_below("a place of a token to take", it.place as usize, places))?;
        expect_column("known tokens", &self.known.reading(), step.rows(RowSet::Batch), DType::U32)
    }
}

impl<M: Memory> Embed<'_, M> {
    /// Refuses what does not fit.
    pub fn check(&self, step: &StepPlan) -> Result<(), Error> {
        expect_rows("the embedding's output", &self.out.reading(), step.rows(RowSet::Batch), self.out.width())?;
        let values = product("the embedding's table", &[step.limits().vocabulary, self.out.width()])?;
        expect_weights("the embedding's table", self.table, values)
    }
}

impl<M: Memory> RmsNorm<'_, M> {
    /// Refuses what does not fit.
    pub fn check(&self) -> Result<(), Error> {
        let (rows, width) = (self.x.rows(), self.x.width());
        expect_rows("a norm's input", &self.x, rows, width)?;
        expect_weights("a norm's weight", self.weight, width)?;
        expect_epsilon(self.epsilon)?;
        expect_inverse(self.inverse.as_ref(), rows)?;
        expect_rows("a norm's output", &self.out.reading(), rows, width)
    }
}

impl<M: Memory> AddRmsNorm<'_, M> {
    /// Refuses what does not fit.
    pub fn check(&self, step: &StepPlan) -> Result<(), Error> {
        let (rows, width) = (step.rows(self.set), self.residual.width());
        expect_rows("the residual stream", &self.residual.reading(), rows, width)?;
        expect_rows("what is added to the residual stream", &self.x, rows, width)?;
        expect_delta(self.delta.as_ref(), rows, width)?;
        expect_weights("a norm's weight", self.weight, width)?;
        expect_epsilon(self.epsilon)?;
        expect_inverse(self.inverse.as_ref(), rows)?;
        expect_rows("a norm's output", &self.out.reading(), rows, width)
    }
}

impl HeadShape {
    /// Values in a row of queries, keys and values.
    pub const fn qkv_width(&self) -> usize {
        (self.q_heads + 2 * self.kv_heads) * self.head_dim
    }

    /// Values in a row of queries.
    pub const fn q_width(&self) -> usize {
        self.q_heads * self.head_dim
    }

    /// Refuses heads that cannot be shared evenly.
    pub fn check(&self) -> Result<(), Error> {
        if self.kv_heads == 0 || self.q_heads == 0 || !self.q_heads.is_multiple_of(self.kv_heads) {
            let found = format!("{} over {}", self.q_heads, self.kv_heads);
            let allowed = "a multiple of the heads of keys";
            return Err(Error::Unsupported { what: "the number of query heads", found, allowed });
        }
        let heads = self.q_heads.saturating_add(product("heads of keys and values", &[2, self.kv_heads])?);
        product("a row of heads", &[heads, self.head_dim])?;
        Ok(())
    }
}

impl<M: Memory> QkNorm<'_, M> {
    /// Refuses what does not fit.
    pub fn check(&self, step: &StepPlan) -> Result<(), Error> {
        self.heads.check()?;
        let (rows, width) = (step.rows(RowSet::Batch), self.heads.qkv_width());
        expect_rows("queries, keys and values", &self.qkv.reading(), rows, width)?;
        expect_delta(self.delta.as_ref(), rows, width)?;
        expect_epsilon(self.epsilon)?;
        expect_weights("the query norm's weight", self.q_weight, self.heads.head_dim)?;
        expect_weights("the key norm's weight", self.k_weight, self.heads.head_dim)
    }
}

impl<M: Memory> ApplyLinear<'_, M> {
    /// Refuses what does not fit.
    pub fn check(&self) -> Result<(), Error> {
        let rows = self.x.rows();
        expect_rows("a linear layer's input", &self.x, rows, self.weights.in_features())?;
        expect_rows("a linear layer's output", &self.out.reading(), rows, self.weights.out_features())
    }
}

impl<M: Memory> Product<'_, M> {
    /// Refuses what does not fit.
    pub fn check(&self) -> Result<(), Error> {
        let flip = |x: &Rows<'_, M>, transposed: bool| {
            if transposed { (x.width(), x.rows()) } else { (x.rows(), x.width()) }
        };
        let ((m, k), (b_k, n)) = (flip(&self.a, self.a_transposed), flip(&self.b, self.b_transposed));
        expect_type("a product's first operand", self.a.dtype(), WEIGHTS)?;
        expect_type("a product's second operand", self.b.dtype(), WEIGHTS)?;
        expect_shape("a product's inner dimension", b_k, k)?;
        expect_rows("a product's output", &self.out.reading(), m, n)
    }

    /// Length of the sums.
    pub const fn k(&self) -> usize {
        if self.a_transposed { self.a.rows() } else { self.a.width() }
    }
}

impl<M: Memory> Gate<'_, M> {
    /// Refuses what does not fit.
    pub fn check(&self, step: &StepPlan) -> Result<(), Error> {
        let (rows, width) = (step.rows(RowSet::Batch), self.out.width());
        let both = product("gates and ups", &[2, width])?;
        expect_rows("gates and ups", &self.gate_up, rows, both)?;
        expect_delta(self.delta.as_ref(), rows, both)?;
        expect_rows("a gated layer's output", &self.out.reading(), rows, width)
    }
}

impl<M: Memory> Add<'_, M> {
    /// Refuses what does not fit.
    pub fn check(&self, step: &StepPlan) -> Result<(), Error> {
        let (rows, width) = (step.rows(self.set), self.x.width());
        expect_rows("what a delta is added to", &self.x.reading(), rows, width)?;
        expect_delta(Some(&self.delta), rows, width)
    }
}

impl<M: Memory> GatherRows<'_, M> {
    /// Refuses what does not fit.
    pub fn check(&self, step: &StepPlan) -> Result<(), Error> {
        let width = self.x.width();
        expect_rows("rows to choose from", &self.x, step.rows(RowSet::Batch), width)?;
        expect_rows("chosen rows", &self.out.reading(), step.rows(self.set), width)
    }
}
