//! Held against crates `tlog_tiles` and `signed_note`, written by others after the same specifications: what we make,
//! they accept; what they make, we accept; what one refuses, the other does.

mod theirs;
mod tier;

use loam_ledger_core::checkpoint::Checkpoint;
use loam_ledger_core::hash::leaf_hash;
use loam_ledger_core::note::{Note, SigningKey, VerifierKey};
use loam_ledger_core::tile::{Tile, bundle_path, tiles_of};
use loam_ledger_core::tree::{
    Nodes as _, check_consistency, check_inclusion, prove_consistency, prove_inclusion, root_of_leaves,
};
use loam_ledger_core::{Error, Hash};
use proptest::prelude::*;
use signed_note::{Signer as _, StandardSigner, StandardVerifier, VerifierList};
use tlog_tiles::{TileHashReader, TileReader};

fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
}

/// A change to a proof: which of its parts, which bit, and whether there is any change at all.
fn change() -> impl Strategy<Value = Option<(u8, u8)>> {
    proptest::option::of((0..6u8, 0..=255u8))
}

/// Changes one part of a claim by one bit, or the path by one hash.
fn apply(change: Option<(u8, u8)>, numbers: &mut [u64; 2], hashes: &mut [Hash; 2], path: &mut Vec<Hash>) {
    let Some((part, bit)) = change else { return };
    let flip = |hash: &mut Hash| hash.0[usize::from(bit / 8)] ^= 1 << (bit % 8);
    match part {
        0 | 1 => numbers[usize::from(part)] ^= 1 << (bit % 12),
        2 | 3 => flip(&mut hashes[usize::from(part) - 2]),
        4 if !path.is_empty() => {
            let at = usize::from(bit) % path.len();
            flip(&mut path[at]);
        }
        4 => path.push(Hash::ZERO),
        _ if bit % 2 == 0 => path.truncate(path.len().saturating_sub(1)),
        _ => path.insert(0, hashes[0]),
    }
}

proptest! {
    #![proptest_config(tier::cases())]

    #[test]
    fn inclusion_is_the_same_in_both((size, index) in (1..700u64).prop_flat_map(|n| (Just(n), 0..n)), change in change()) {
        let leaves = leaves(size);
        let (tree, root) = (theirs::Tree::of(&leaves), root_of_leaves(&leaves));
        let Ok(mut path) = prove_inclusion(&leaves[..], index, size);
        prop_assert_eq!(&path, &tree.prove_inclusion(index, size));
        prop_assert_eq!(root, tree.root(size));
        let mut hashes = [leaves[usize::try_from(index).unwrap()], root];
        let mut numbers = [index, size];
        apply(change, &mut numbers, &mut hashes, &mut path);
        let ours = check_inclusion(numbers[0], numbers[1], &hashes[0], &path, &hashes[1]);
        let theirs = theirs::includes(numbers[0], numbers[1], &hashes[0], &path, &hashes[1]);
        prop_assert_eq!(ours.is_ok(), theirs, "{:?} of {:?} in {:?}", ours, change, numbers);
        prop_assert!(change.is_some() || theirs);
    }

    #[test]
    fn consistency_is_the_same_in_both((new, old) in (1..700u64).prop_flat_map(|n| (Just(n), 1..=n)), change in change()) {
        let leaves = leaves(new);
        let tree = theirs::Tree::of(&leaves);
        let Ok(mut path) = prove_consistency(&leaves[..], old, new);
        prop_assert_eq!(&path, &tree.prove_consistency(old, new));
        let mut hashes = [root_of_leaves(&leaves[..usize::try_from(old).unwrap()]), root_of_leaves(&leaves)];
        let mut numbers = [old, new];
        apply(change, &mut numbers, &mut hashes, &mut path);
        let ours = check_consistency(numbers[0], numbers[1], &hashes[0], &hashes[1], &path);
        let theirs = theirs::consistent(numbers[0], numbers[1], &hashes[0], &hashes[1], &path);
        prop_assert_eq!(ours.is_ok(), theirs, "{:?} of {:?} in {:?}", ours, change, numbers);
        prop_assert!(change.is_some() || theirs);
    }

    /// Go's layout, which theirs is, names a tile's height in its path; C2SP's, which ours is, has one height.
    #[test]
    fn tile_paths_agree_but_for_the_height(level in 0..8u8, index in 0..1u64 << 56, width in 1..=256u64) {
        let narrow = u32::try_from(width).unwrap();
        let theirs = tlog_tiles::Tile::new(8, level, index, narrow, false).path();
        prop_assert_eq!(theirs.replacen("tile/8/", "tile/", 1), Tile { level, index, width }.path());
        let theirs = tlog_tiles::Tile::new(8, 0, index, narrow, true).path();
        prop_assert_eq!(theirs.replacen("tile/8/data/", "tile/entries/", 1), bundle_path(index, width));
    }

    #[test]
    fn trees_have_the_same_tiles(size in 0..1u64 << 17) {
        let theirs = tlog_tiles::Tile::new_tiles(8, 0, size);
        let theirs = theirs.iter().map(|tile| tile.path().replacen("tile/8/", "tile/", 1));
        prop_assert_eq!(theirs.collect::<Vec<_>>(), tiles_of(size).map(|tile| tile.path()).collect::<Vec<_>>());
    }

    #[test]
    fn a_changed_note_is_refused_by_both(place in 0..1000usize, bit in 0..8u8) {
        let key = key();
        let mut note = checkpoint(3).sign(&key).unwrap();
        let place = place % note.len();
        note[place] ^= 1 << bit;
        let ours = Note::parse(&note).and_then(|note| note.signed_by(key.verifier()));
        let theirs = signed_note::Note::from_bytes(&note).and_then(|note| note.verify(&known(&key)));
        prop_assert!(ours.is_err() && theirs.is_err(), "{:?} {:?}", ours, theirs);
    }
}

fn key() -> SigningKey {
    SigningKey::from_seed("loam.test/theirs/usage/1", &[42; 32]).expect("the name fits a key")
}

fn known(key: &SigningKey) -> VerifierList {
    let verifier = StandardVerifier::new(&key.verifier().to_string()).expect("our vkey is one of theirs");
    VerifierList::new(vec![Box::new(verifier)])
}

fn checkpoint(size: u64) -> Checkpoint {
    Checkpoint { origin: key().verifier().name().to_owned(), size, root: root_of_leaves(&leaves(size)) }
}

#[test]
fn keys_and_notes_are_the_same_in_both() {
    for seed in 0..=255 {
        let key = SigningKey::from_seed("example.com/a", &[seed; 32]).unwrap();
        let signer = StandardSigner::new(&key.to_text()).expect("our private key is one of theirs");
        let text = format!("a text\n\nof {seed} and more\n");
        let mut note = signed_note::Note::new(text.as_bytes(), &[]).unwrap();
        note.add_sigs(&[&signer]).unwrap();
        // Ed25519 has one signature for each text, so even the bytes are the same.
        let theirs = note.to_bytes();
        let ours = Note::parse(&theirs).unwrap();
        assert_eq!(ours.text(), text);
        assert_eq!(ours.signed_by(key.verifier()), Ok(()));
        assert_eq!(u32::from_be_bytes(key.verifier().id()), signer.key_id());
        let (verified, unknown) = signed_note::Note::from_bytes(&theirs).unwrap().verify(&known(&key)).unwrap();
        assert_eq!((verified.len(), unknown.len()), (1, 0));
    }
}

#[test]
fn checkpoints_are_the_same_in_both() {
    let key = key();
    for size in [0, 1, 2, 255, 256, 1000] {
        let ours = checkpoint(size);
        let note = ours.sign(&key).unwrap();
        let opened = signed_note::Note::from_bytes(&note).unwrap();
        opened.verify(&known(&key)).unwrap();
        let theirs = tlog_tiles::Checkpoint::from_bytes(opened.text()).unwrap();
        assert_eq!((theirs.origin(), theirs.size(), theirs.extension()), (&ours.origin[..], size, ""));
        assert_eq!(theirs::ours(*theirs.hash()), ours.root);
        assert_eq!(theirs.to_bytes(), ours.to_text().as_bytes());

        let mut note = signed_note::Note::new(&theirs.to_bytes(), &[]).unwrap();
        note.add_sigs(&[&StandardSigner::new(&key.to_text()).unwrap()]).unwrap();
        assert_eq!(note.to_bytes(), ours.sign(&key).unwrap());
        assert_eq!(Checkpoint::open(&note.to_bytes(), key.verifier()), Ok(ours));
    }
}

/// A tree's tiles as their reader asks for them.
struct Tiles(Vec<Hash>);

impl TileReader for Tiles {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[tlog_tiles::Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        let bytes = |tile: &tlog_tiles::Tile| {
            let hashes = (0..u64::from(tile.width())).flat_map(|place| {
                let Ok(hash) = self.0.node(8 * tile.level(), tile.level_index() * 256 + place);
                hash.0
            });
            hashes.collect()
        };
        Ok(tiles.iter().map(bytes).collect())
    }

    fn save_tiles(&self, _: &[tlog_tiles::Tile], _: &[Vec<u8>]) {}
}

#[test]
fn their_reader_authenticates_our_tiles() {
    for size in [1, 2, 255, 256, 257, 511, 512, 513, 1300] {
        let leaves = leaves(size);
        let root = root_of_leaves(&leaves);
        let tiles = Tiles(leaves.clone());
        let reader = TileHashReader::new(size, theirs::hash(&root), &tiles);
        for index in [0, size / 2, size - 1] {
            let path = tlog_tiles::prove_record(size, index, &reader).unwrap();
            let path: Vec<Hash> = path.into_iter().map(theirs::ours).collect();
            let leaf = leaves[usize::try_from(index).unwrap()];
            assert_eq!(check_inclusion(index, size, &leaf, &path, &root), Ok(()));
        }
        let other = TileHashReader::new(size, theirs::hash(&Hash::ZERO), &tiles);
        assert!(tlog_tiles::tree_hash(size, &other).is_err());
    }
}

#[test]
fn the_example_key_of_the_specification_is_a_key() {
    let text = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    assert_eq!(VerifierKey::parse(text).map(|key| key.to_string()), Ok(text.to_owned()));
    assert!(StandardVerifier::new(text).is_ok());
    let wrong = text.replace("530d903a", "530d903b");
    assert_eq!(VerifierKey::parse(&wrong), Err(Error::KeyId));
    assert!(StandardVerifier::new(&wrong).is_err());
}
