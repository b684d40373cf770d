//! Linear layers and products of matrices on the device.

use std::ops::Range;
use std::ptr;

use super::backend::{Cuda, Scratch};
use super::device::{DeviceMemory, Library, checked, multiprocessors, shared_bytes_max};
use super::ffi::{LAYERS, LoamLayer, LoamLayers, LoamRows, LoamType, loam_linear, loam_product};
use super::rows::loam_type;
use super::written;
use crate::backend::{ApplyLinear, Product};
use crate::error::{self, Error};
use crate::layout::{DType, Linear, Memory, Part, Stored};

/// Where sums are cut: `kCut` of gemm.cuh.
const CUT: usize = 512;
/// Shared memory of the tile of 128 by 128: four stages of 64 values of either operand, in bf16.
const LARGE_TILE_BYTES: usize = 4 * (128 + 128) * 64 * 2;
/// As many blocks as a grid may have in the directions of columns and cuts.
const GRID_MAX: usize = 65_535;

/// See [`ApplyLinear`].
pub(super) fn linear(gpu: &Cuda, mut op: ApplyLinear<'_, DeviceMemory>) -> Result<(), Error> {
    op.check()?;
    let layers = layers_of(op.weights, 0..op.weights.out_features())?;
    apply_by(gpu.library(), gpu, LoamRows::of(&op.x)?, &layers, written(&mut op.out)?)
}

/// A layer, and the type of its weights.
pub(super) type Typed = (LoamLayer, DType);

/// The layers that make some outputs of a stack.
pub(super) fn layers_of(weights: &Linear<DeviceMemory>, outputs: Range<usize>) -> Result<Vec<Typed>, Error> {
    let (mut layers, mut at) = (Vec::new(), 0);
    for part in weights.parts() {
        let Stored::Dense(weight) = &part.weight;
        let count = weight.len() / weights.in_features();
        let inside = |output: usize| output.clamp(at, at + count) - at;
        let own = inside(outputs.start)..inside(outputs.end);
        if !own.is_empty() {
            layers.push(layer_of(part, weights.in_features(), own)?);
        }
        at += count;
    }
    Ok(layers)
}

/// `out = x weights + bias` by `gemm.cu`, layers side by side: an output has the same bits whichever others are made with it.
/// All fits, as who calls has seen.
pub(super) fn apply(gpu: &Cuda, x: LoamRows, layers: &[Typed], out: LoamRows) -> Result<(), Error> {
    apply_by(None, gpu, x, layers, out)
}

/// The same, by the library where there is one and it is faster.
fn apply_by(library: Option<&Library>, gpu: &Cuda, x: LoamRows, layers: &[Typed], out: LoamRows) -> Result<(), Error> {
    if x.rows == 0 {
        return Ok(());
    }
    let (rows, k) = (x.rows as usize, x.width as usize);
    let mut scratch = gpu.scratch();
    let mut from = 0;
    // Layers of one type share a launch.
    let runs = layers.chunk_by(|(_, one), (_, next)| one == next);
    for run in runs.flat_map(|run| run.chunks(LAYERS)) {
        let outs: Vec<usize> = run.iter().map(|(layer, _)| layer.out_features as usize).collect();
        let width = outs.iter().sum();
        let mut together = LoamLayers::none(loam_type(run[0].1));
        for (place, (layer, _)) in together.each.iter_mut().zip(run) {
            *place = *layer;
        }
        let tiles = match (x.dtype, together.dtype) {
            (LoamType::Bf16, LoamType::Bf16) => Tiles::most(),
            _ => Tiles::Small,
        };
        let tiling = Tiling::of(rows, &outs, k, tiles, multiprocessors())?;
        let out = out.columns(from, width);
        let mut ours = || {
            let (planes, tickets) = tiling.scratch(&mut scratch)?;
            let tile_rows = tiling.rows as i32;
            // SAFETY: who calls has seen that all fits; planes and tickets are as many as kernels.h asks for.
            Ok(checked(unsafe { loam_linear(x, together, out, tile_rows, planes, tickets, gpu.order()) })?)
        };
        match library {
            None => ours()?,
            Some(library) => {
                library.linear(x, (&together.each[..run.len()], together.dtype), out, gpu.order(), &mut ours)?;
            }
        }
        from += width;
    }
    Ok(())
}

/// See [`Product`].
pub(super) fn product(gpu: &Cuda, mut op: Product<'_, DeviceMemory>) -> Result<(), Error> {
    op.check()?;
    if op.out.rows() == 0 {
        return Ok(());
    }
    let (a, b, out) = (LoamRows::of(&op.a)?, LoamRows::of(&op.b)?, written(&mut op.out)?);
    let is_linear = !op.a_transposed && op.b_transposed;
    let tiles = match (op.a.dtype(), op.b.dtype()) {
        (DType::Bf16, DType::Bf16) if is_linear => Tiles::most(),
        (DType::Bf16, DType::Bf16) => Tiles::Middle,
        _ => Tiles::Small,
    };
    let tiling = Tiling::of(op.out.rows(), &[op.out.width()], op.k(), tiles, multiprocessors())?;
    let mut scratch = gpu.scratch();
    let (planes, tickets) = tiling.scratch(&mut scratch)?;
    let rows = tiling.rows as i32;
    // SAFETY: as above.
    Ok(checked(unsafe {
        loam_product(a, op.a_transposed, b, op.b_transposed, out, rows, planes, tickets, gpu.order())
    })?)
}

impl LoamLayers {
    /// No layer.
    const fn none(dtype: LoamType) -> Self {
        let none = LoamLayer { weight: ptr::null(), bias: ptr::null(), stride: 0, out_features: 0, bias_type: dtype };
        Self { each: [none; LAYERS], dtype }
    }
}

/// Some outputs of a layer over `k` inputs.
fn layer_of(part: &Part<DeviceMemory>, k: usize, outputs: Range<usize>) -> Result<Typed, Error> {
    let Stored::Dense(weight) = &part.weight;
    let out_features = i32::try_from(outputs.len()).map_err(|_| Error::TooLarge { what: "a linear layer" })?;
    let from = |memory: &DeviceMemory, value: usize| {
        memory.address().wrapping_byte_add(value * memory.dtype().bytes()).cast_const()
    };
    let layer = LoamLayer {
        weight: from(weight, outputs.start * k),
        bias: part.bias.as_ref().map_or(ptr::null(), |bias| from(bias, outputs.start)),
        stride: k as i64,
        out_features,
        bias_type: part.bias.as_ref().map_or(LoamType::F32, |bias| loam_type(bias.dtype())),
    };
    Ok((layer, weight.dtype()))
}

/// Which tiles there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tiles {
    /// 16 and 64 by 64, and 128 by 128.
    All,
    /// 16 and 64 by 64.
    Small,
    /// 64 by 64.
    Middle,
}

impl Tiles {
    /// Those that this device's blocks have memory for: what is not of a data centre gives a block less.
    fn most() -> Self {
        if shared_bytes_max() >= LARGE_TILE_BYTES { Self::All } else { Self::Small }
    }
}

/// How an output is made. No bit of it depends on this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tiling {
    /// Of a tile.
    rows: usize,
    tiles: usize,
    /// Values in all planes, if each cut of a sum is a block's; 0 if a block walks all of a sum.
    planes: usize,
}

impl Tiling {
    /// The largest tile of which there are enough for every multiprocessor. Where even small ones are too few, cuts are
    /// spread over blocks: what planes cost is then little, since the output is small.
    fn of(rows: usize, outs: &[usize], k: usize, tiles: Tiles, multiprocessors: usize) -> Result<Self, Error> {
        let across = |width: usize| outs.iter().map(|out| out.div_ceil(width)).sum::<usize>();
        let count = |rows_each: usize, width| rows.div_ceil(rows_each).saturating_mul(across(width));
        let (tile, width, blocks_each) = if tiles == Tiles::All && rows > 16 && count(128, 128) >= multiprocessors {
            (128, 128, 1)
        } else if rows > 16 || tiles == Tiles::Middle {
            (64, 64, 2)
        } else {
            (16, 64, 4)
        };
        if across(width) > GRID_MAX {
            return Err(Error::TooLarge { what: "an output's row" });
        }
        let (tiles, cuts) = (count(tile, width), k.div_ceil(CUT));
        let is_spread = (2..=GRID_MAX).contains(&cuts) && tiles < blocks_each * multiprocessors;
        let planes =
            if is_spread { error::product("a product's planes", &[cuts, rows, outs.iter().sum()])? } else { 0 };
        Ok(Self { rows: tile, tiles, planes })
    }

    /// Planes and tickets, as kernels.h asks for.
    fn scratch(self, scratch: &mut Scratch) -> Result<(*mut f32, *mut u32), Error> {
        if self.planes == 0 {
            return Ok((ptr::null_mut(), ptr::null_mut()));
        }
        Ok((scratch.values(self.planes)?, scratch.tickets(self.tiles)?))
    }
}

#[cfg(test)]
mod tests {
    use super::{Tiles, Tiling};

    /// A tile's rows, and whether cuts are spread over blocks, on a device of 132 multiprocessors.
    fn plan(rows: usize, outs: &[usize], k: usize, tiles: Tiles) -> (usize, bool) {
        let tiling = Tiling::of(rows, outs, k, tiles, 132).expect("a tiling");
        (tiling.rows, tiling.planes > 0)
    }

    #[test]
    fn tiles_fill_the_device() {
        let (qkv, o, gate_up) = ([4096, 1024, 1024], [4096], [14336, 14336]);
        assert_eq!(plan(1, &qkv, 4096, Tiles::All), (16, true), "one row alone cannot fill it");
        assert_eq!(plan(16, &o, 14336, Tiles::All), (16, true));
        assert_eq!(plan(1, &[128_256], 4096, Tiles::All), (16, false), "a head of 2,004 tiles can");
        assert_eq!(plan(64, &o, 4096, Tiles::All), (64, true));
        assert_eq!(plan(256, &gate_up, 4096, Tiles::All), (128, false));
        assert_eq!(plan(2048, &qkv, 4096, Tiles::All), (128, false));
        assert_eq!(plan(2048, &qkv, 4096, Tiles::Small), (64, false), "dot products have no tile of 128");
        assert_eq!(plan(1, &o, 4096, Tiles::Middle), (64, true));
        assert_eq!(plan(1, &o, 512, Tiles::All), (16, false), "one cut has nothing to spread");
    }

    /// Shapes of `tests/emulation/gemm.rs`.
    #[cfg(feature = "emulate")]
    #[test]
    fn on_the_emulated_device_every_tile_is_used_with_planes_and_without() {
        let plan = |rows, columns| {
            let tiling = Tiling::of(rows, &[columns], 1100, Tiles::All, super::multiprocessors()).expect("a tiling");
            (tiling.rows, tiling.planes > 0)
        };
        assert_eq!([plan(1, 70), plan(16, 70), plan(3, 1030)], [(16, true), (16, true), (16, false)]);
        assert_eq!([plan(17, 70), plan(128, 256), plan(130, 260)], [(64, true), (64, false), (128, false)]);
    }

    #[test]
    fn what_no_grid_can_hold_is_refused() {
        Tiling::of(1, &[64 * 65_536], 64, Tiles::All, 132).expect_err("more columns than a grid has");
    }
}
