//! Tiles and bundles: the same tree, cut into files.

use std::cell::Cell;

use loam_ledger_core::hash::leaf_hash;
use loam_ledger_core::tile::{
    ENTRY_BYTES_MAX, Resource, Tile, TileNodes, bundles_of, push_to_bundle, split_bundle, tile_hashes, tiles_of,
    width_at,
};
use loam_ledger_core::tree::{Nodes as _, prove_consistency, prove_inclusion, root_at};
use loam_ledger_core::{Error, Hash};
use proptest::prelude::*;

use super::{Change, canonical, tier};

fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
}

/// The hashes of a tile, taken from the leaves.
fn hashes(leaves: &[Hash], tile: Tile) -> Vec<Hash> {
    let node = |place| {
        let Ok(hash) = leaves.node(8 * tile.level, tile.index * 256 + place);
        hash
    };
    (0..tile.width).map(node).collect()
}

/// Reads a tree from its tiles, and from its leaves, and finds the same. Only tiles that a log of this size has are
/// asked for.
fn check(leaves: &[Hash], index: u64, old: u64) {
    let size = leaves.len() as u64;
    let asked = Cell::new(0);
    let nodes = TileNodes::new(size, |tile: Tile| {
        asked.set(asked.get() + 1);
        assert!(Resource::Tile(tile).is_within(size), "{tile} of {size}");
        assert_eq!(tile.width, width_at(tile.index, size >> (8 * tile.level)), "{tile} is not the widest");
        Ok::<_, Error>(hashes(leaves, tile))
    });
    let Ok(path) = prove_inclusion(leaves, index, size);
    assert_eq!(prove_inclusion(&nodes, index, size), Ok(path));
    let Ok(path) = prove_consistency(leaves, old, size);
    assert_eq!(prove_consistency(&nodes, old, size), Ok(path));
    let Ok(root) = root_at(leaves, size);
    assert_eq!(root_at(&nodes, size), Ok(root));
    assert!(asked.get() <= 3 * 64, "{} tiles for three proofs", asked.get());
}

#[test]
fn a_tree_of_three_tile_levels_is_told_by_its_tiles() {
    let leaves = leaves(65_536 + 700);
    for (index, old) in [(0, 65_536), (65_535, 65_535), (65_536, 1), (66_235, 66_236), (30_000, 66_000)] {
        check(&leaves, index, old);
    }
}

#[test]
fn only_one_spelling_of_a_path_is_known() {
    for path in [
        "",
        "tile",
        "tile/",
        "tile/0",
        "tile/0/",
        "tile/0/0",
        "tile/0/0000",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/x001/x002",
        "tile/0/x001/x002/",
        "tile/00/000",
        "tile/-1/000",
        "tile/256/000",
        "tile/0/+01",
        "tile/0/000.p",
        "tile/0/000.p/",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/1/2",
        "tile/entries",
        "tile/entries/x999/x999/x999/x999/x999/x999/x999/999",
        "tile/data/000",
        "rows/0",
        "rows//000",
        "checkpoint",
        "/tile/0/000",
    ] {
        assert_eq!(Resource::parse(path), None, "{path}");
    }
    let known = Resource::Tile(Tile { level: 1, index: 1_234_067, width: 17 });
    assert_eq!(Resource::parse("tile/1/x001/x234/067.p/17"), Some(known));
    assert_eq!(Resource::parse("tile/entries/000"), Some(Resource::Bundle(0, 256)));
    assert_eq!(Resource::parse("rows/x001/000"), Some(Resource::Rows(1000, 256)));
}

fn resource() -> impl Strategy<Value = Resource> {
    let place = || (any::<u64>().prop_flat_map(|n| 0..=n), 1..=256u64);
    prop_oneof![
        (0..8u8, place()).prop_map(|(level, (index, width))| Resource::Tile(Tile { level, index, width })),
        place().prop_map(|(index, width)| Resource::Bundle(index, width)),
        place().prop_map(|(index, width)| Resource::Rows(index, width)),
    ]
}

proptest! {
    #![proptest_config(tier::cases())]

    #[test]
    fn trees_are_told_by_their_tiles((size, index, old) in (1..1500u64).prop_flat_map(|n| (Just(n), 0..n, 1..=n))) {
        check(&leaves(size), index, old);
    }

    #[test]
    fn a_partial_tile_is_the_beginning_of_the_full_one(size in 1..1500u64, more in 0..700u64) {
        let (before, after) = (leaves(size), leaves(size + more));
        let grown: Vec<Tile> = tiles_of(size + more).collect();
        for tile in tiles_of(size) {
            let same = grown.iter().find(|t| (t.level, t.index) == (tile.level, tile.index));
            let same = *same.expect("a tree that grows keeps its tiles");
            prop_assert!(same.width >= tile.width);
            let narrow = hashes(&before, tile);
            prop_assert_eq!(&hashes(&after, same)[..narrow.len()], &narrow[..]);
            let bytes: Vec<u8> = narrow.iter().flat_map(|hash| hash.0).collect();
            let short = Error::TileLength { tile, bytes: bytes.len() - 1 };
            prop_assert_eq!(tile_hashes(tile, &bytes[1..]), Err(short));
            prop_assert_eq!(tile_hashes(tile, &bytes), Ok(narrow));
        }
    }

    #[test]
    fn tiles_and_bundles_cover_a_tree(size in 0..1u64 << 20) {
        let tiles: Vec<Tile> = tiles_of(size).collect();
        let level = |level| tiles.iter().filter(move |tile| tile.level == level);
        for n in 0..4 {
            prop_assert_eq!(level(n).map(|tile| tile.width).sum::<u64>(), size >> (8 * n));
        }
        prop_assert_eq!(bundles_of(size).map(|(_, width)| width).sum::<u64>(), size);
        prop_assert!(tiles.iter().all(|&tile| Resource::Tile(tile).is_within(size)));
        prop_assert!(bundles_of(size).all(|(n, width)| Resource::Bundle(n, width).is_within(size)));
        prop_assert!(!Resource::Bundle(size / 256, size % 256 + 1).is_within(size) || size % 256 == 255);
    }

    #[test]
    fn paths_are_read_as_they_are_written(resource in resource(), changes in Change::some()) {
        let path = resource.path();
        prop_assert_eq!(Resource::parse(&path), Some(resource));
        if let Ok(changed) = String::from_utf8(Change::apply_all(&changes, path.as_bytes())) {
            let read = Resource::parse(&changed);
            prop_assert!(read.is_none_or(|read| read.path() == changed));
        }
    }

    #[test]
    fn bundles_are_cut_as_they_were_joined(
        entries in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..20),
        changes in Change::some(),
    ) {
        let mut bundle = Vec::new();
        entries.iter().for_each(|entry| push_to_bundle(&mut bundle, entry).unwrap());
        let width = entries.len() as u64;
        prop_assert_eq!(split_bundle(&bundle, width), Ok(entries.iter().map(|entry| &entry[..]).collect()));
        let changed = Change::apply_all(&changes, &bundle);
        let join = |entries: &Vec<Vec<u8>>| {
            let mut bundle = Vec::new();
            entries.iter().for_each(|entry| push_to_bundle(&mut bundle, entry).unwrap());
            bundle
        };
        let cut = |bundle: &[u8]| split_bundle(bundle, width).map(|e| e.into_iter().map(<[u8]>::to_vec).collect());
        canonical(&changed, cut, join)?;
    }
}

#[test]
fn an_entry_that_is_too_long_is_refused_by_its_bundle() {
    let mut bundle = Vec::new();
    push_to_bundle(&mut bundle, &vec![7; ENTRY_BYTES_MAX]).unwrap();
    let refused = push_to_bundle(&mut bundle, &vec![7; ENTRY_BYTES_MAX + 1]);
    assert_eq!(refused, Err(Error::EntryTooLong { bytes: ENTRY_BYTES_MAX + 1 }));
    assert_eq!(
        split_bundle(&bundle, 1).map(|entries| entries[0].len()),
        Ok(ENTRY_BYTES_MAX),
        "nothing was half-written"
    );
}
