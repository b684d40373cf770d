//! How an adapter's matrices are packed: every value at its place, none upon another.

use loam_kernels::layout::DType::{Bf16, F16, F32};
use loam_kernels::layout::{AdapterLayout, B_TILE_COLUMNS, DType, ModulePlace, SiteKind, SitePlace, SiteShape};

fn sites() -> Vec<SiteShape> {
    let linear = |in_features, modules| SiteShape { kind: SiteKind::Linear, in_features, modules };
    vec![
        linear(19, vec![130, 5, 64]),
        linear(33, vec![65]),
        SiteShape { kind: SiteKind::Embedding, in_features: 23, modules: vec![70] },
    ]
}

fn layout(dtype: DType) -> AdapterLayout {
    let ranks = [vec![(4, 1.0), (0, 1.0), (7, 0.5)], vec![(256, 2.0)], vec![(3, 0.25)]];
    AdapterLayout::new(dtype, &sites(), &ranks).unwrap()
}

/// A matrix's values are numbers of their own, so that none can stand for another.
fn value(dtype: DType, site: usize, module: usize, b: bool, row: usize, column: usize) -> Vec<u8> {
    let number = (((site * 3 + module) * 2 + usize::from(b)) * 300 + row) * 300 + column + 1;
    number.wrapping_mul(0x9e37_79b1).to_le_bytes()[..dtype.bytes()].to_vec()
}

fn matrix(dtype: DType, site: usize, module: usize, b: bool, [rows, columns]: [usize; 2]) -> Vec<u8> {
    let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
    places.flat_map(|(row, column)| value(dtype, site, module, b, row, column)).collect()
}

/// Writes all matrices as PEFT stores them, and finds each value where the documentation has it.
#[track_caller]
fn check(dtype: DType) {
    let layout = layout(dtype);
    let mut slab = vec![0; layout.len() * dtype.bytes()];
    // Backwards: an order must not be needed.
    for (site, place) in layout.sites().iter().enumerate().rev() {
        for (module, at) in place.modules.iter().enumerate().rev() {
            let a = matrix(dtype, site, module, false, [at.rank, place.shape.in_features]);
            let b = matrix(dtype, site, module, true, [at.out_features, at.rank]);
            layout.write_b(&mut slab, site, module, &b).unwrap();
            layout.write_a(&mut slab, site, module, &a).unwrap();
        }
    }
    let mut found = vec![false; layout.len()];
    let mut find = |at: usize, expected: Vec<u8>, what: &str| {
        assert_eq!(slab[at * dtype.bytes()..][..dtype.bytes()], expected, "{what} at {at}");
        assert!(!std::mem::replace(&mut found[at], true), "{what} at {at} lies upon another");
    };
    for (site, place) in layout.sites().iter().enumerate() {
        for (module, at) in place.modules.iter().enumerate() {
            for r in 0..at.rank {
                for k in 0..place.shape.in_features {
                    find(a_at(place, at, r, k), value(dtype, site, module, false, r, k), "a value of A");
                }
                for o in 0..at.out_features {
                    find(b_at(at, r, o), value(dtype, site, module, true, o, r), "a value of B");
                }
            }
        }
    }
    let unused = (0..layout.len()).filter(|at| !found[*at]);
    let zero = |at: usize| slab[at * dtype.bytes()..][..dtype.bytes()].iter().all(|byte| *byte == 0);
    assert!(unused.into_iter().all(zero), "what lies between matrices is never written");
}

/// `[rank, in_features]`, an embedding's `[vocabulary, rank]`.
const fn a_at(place: &SitePlace, module: &ModulePlace, r: usize, k: usize) -> usize {
    match place.shape.kind {
        SiteKind::Linear => place.a_at + (module.h_at + r) * place.shape.in_features + k,
        SiteKind::Embedding => place.a_at + k * place.rank + module.h_at + r,
    }
}

/// Tiles of outputs, each `[rank, columns of the tile]`.
fn b_at(module: &ModulePlace, r: usize, o: usize) -> usize {
    let tile = o / B_TILE_COLUMNS;
    let columns = B_TILE_COLUMNS.min(module.out_features - tile * B_TILE_COLUMNS);
    module.b_at + tile * B_TILE_COLUMNS * module.rank + r * columns + o % B_TILE_COLUMNS
}

#[test]
fn f32_matrices() {
    check(F32);
}

#[test]
fn bf16_matrices() {
    check(Bf16);
}

#[test]
fn f16_matrices() {
    check(F16);
}

#[test]
fn places_of_sites_and_modules() {
    for dtype in [F32, Bf16] {
        let layout = layout(dtype);
        assert_eq!(layout.dtype(), dtype);
        let ranks: Vec<usize> = layout.sites().iter().map(|place| place.rank).collect();
        assert_eq!(ranks, [11, 256, 3]);
        let of = |places: fn(&ModulePlace) -> usize| layout.sites()[0].modules.iter().map(places).collect::<Vec<_>>();
        assert_eq!(of(|module| module.h_at), [0, 4, 4]);
        assert_eq!(of(|module| module.out_at), [0, 130, 135]);
        assert_eq!(of(|module| module.out_features), [130, 5, 64]);
        assert_eq!(layout.sites()[0].shape.out_features(), 199);
        let begins = layout.sites().iter().flat_map(|site| site.modules.iter().map(|it| it.b_at).chain([site.a_at]));
        assert!(begins.into_iter().all(|at| (at * dtype.bytes()).is_multiple_of(64)), "matrices begin at cache lines");
    }
}

#[test]
fn an_adapter_of_nothing() {
    let layout = AdapterLayout::new(F32, &sites(), &[vec![(0, 1.0); 3], vec![(0, 1.0)], vec![(0, 1.0)]]).unwrap();
    assert!(layout.is_empty() && layout.sites().iter().all(|place| place.rank == 0));
}
