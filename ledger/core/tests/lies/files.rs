//! Files: signed by the right keys, none missing, none changed, and all checkpoints of one growing tree.

use loam_ledger_core::Hash;
use loam_ledger_core::checkpoint::Checkpoint;
use loam_ledger_core::note::SigningKey;
use loam_ledger_core::origin::LogId;

use super::Lie::Filed;
use super::world::{Files, bytes32, key, origin};

lies! {
    fork_between_checkpoints: Fork, "its root is not that of the first 100 entries",
        Filed(|files| put(files, "usage/1/checkpoints/100", &signed(100, Hash(bytes32("another root", 0)))));
    fork_in_the_records_log: Fork, "its root is not that of the first 1 entries",
        Filed(|files| {
            let forked = Checkpoint { origin: origin(LogId::Records), size: 1, root: Hash::ZERO };
            put(files, "records/checkpoints/1", &forked.sign(&key(LogId::Records)).unwrap());
        });
    fork_at_the_newest_size: Fork, "its root is not that of the first 300 entries",
        Filed(|files| put(files, "usage/1/checkpoints/300", &signed(300, Hash::ZERO)));
    older_checkpoint_beyond_the_newest: Fork, "beyond the newest",
        Filed(|files| put(files, "usage/1/checkpoints/301", &signed(301, Hash::ZERO)));
    newest_checkpoint_of_another_tree: Tree, "its root is not that of the first 300 entries",
        Filed(|files| put(files, "usage/1/checkpoint", &signed(300, Hash::ZERO)));
    checkpoint_of_more_entries: Missing, "not whole",
        Filed(|files| {
            files.0.retain(|path, _| !path.starts_with("usage/1/checkpoints/"));
            put(files, "usage/1/checkpoint", &signed(301, Hash::ZERO));
        });
    checkpoint_by_another_key: Signature, "no signature by the given key",
        Filed(|files| {
            let other = SigningKey::from_seed(&origin(LogId::Usage(1)), &[9; 32]).unwrap();
            let checkpoint = Checkpoint { origin: origin(LogId::Usage(1)), size: 0, root: Hash::EMPTY_TREE };
            put(files, "usage/1/checkpoint", &checkpoint.sign(&other).unwrap());
        });
    checkpoint_of_another_log: Signature, "no signature by the given key",
        Filed(|files| {
            let records = files.file("records/checkpoint").clone();
            put(files, "usage/1/checkpoint", &records);
        });
    checkpoint_under_another_origin: Signature, "is not the name of the key",
        Filed(|files| {
            let text = format!("{}x\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n", origin(LogId::Usage(1)));
            put(files, "usage/1/checkpoint", &key(LogId::Usage(1)).sign_note(&text));
        });
    older_checkpoint_by_another_key: Signature, "no signature by the given key",
        Filed(|files| {
            let other = SigningKey::from_seed(&origin(LogId::Usage(1)), &[9; 32]).unwrap();
            let checkpoint = Checkpoint { origin: origin(LogId::Usage(1)), size: 0, root: Hash::EMPTY_TREE };
            put(files, "usage/1/checkpoints/0", &checkpoint.sign(&other).unwrap());
        });
    signature_is_none: Malformed, "no signatures",
        Filed(|files| put(files, "usage/1/checkpoint", b"no note\n"));
    checkpoint_with_more_lines: Malformed, "an origin, a size and a root",
        Filed(|files| {
            let text = format!("{}\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\nmore\n", origin(LogId::Usage(1)));
            put(files, "usage/1/checkpoint", &key(LogId::Usage(1)).sign_note(&text));
        });
    older_checkpoint_under_another_size: Malformed, "it is of size 100",
        Filed(|files| {
            let hundred = files.file("usage/1/checkpoints/100").clone();
            put(files, "usage/1/checkpoints/101", &hundred);
        });
    older_checkpoint_under_no_size: Malformed, "not a plain decimal",
        Filed(|files| put(files, "usage/1/checkpoints/0100", b""));
    tile_missing: Missing, "not whole",
        Filed(|files| remove(files, "usage/2/tile/0/000"));
    partial_tile_missing: Missing, "not whole",
        Filed(|files| remove(files, "usage/2/tile/0/001.p/144"));
    upper_tile_missing: Missing, "not whole",
        Filed(|files| remove(files, "usage/2/tile/1/000.p/1"));
    bundle_missing: Missing, "not whole",
        Filed(|files| remove(files, "usage/2/tile/entries/000"));
    partial_bundle_missing: Missing, "not whole",
        Filed(|files| remove(files, "usage/2/tile/entries/001.p/144"));
    tile_short: Tree, "not what the entries give",
        Filed(|files| drop(files.file("usage/2/tile/0/000").split_off(8000)));
    tile_long: Tree, "not what the entries give",
        Filed(|files| files.file("usage/2/tile/0/000").push(0));
    bundle_short: Malformed, "the bundle ends early",
        Filed(|files| drop(files.file("usage/2/tile/entries/000").split_off(8000)));
    bundle_long: Malformed, "left over",
        Filed(|files| files.file("usage/2/tile/entries/000").push(0));
    entries_swapped: Tree, "not what the entries give",
        Filed(|files| {
            let one = files.file("usage/2/tile/entries/000").clone();
            put(files, "usage/1/tile/entries/000", &one);
        });
    rows_missing_of_one_bundle: Missing, "for a part of the entries only",
        Filed(|files| remove(files, "usage/2/rows/001.p/144"));
    rows_missing_of_the_first_bundle: Missing, "for a part of the entries only",
        Filed(|files| remove(files, "usage/2/rows/000"));
    rows_short: Malformed, "the bundle ends early",
        Filed(|files| drop(files.file("usage/2/rows/000").split_off(8000)));
    rows_long: Malformed, "left over",
        Filed(|files| files.file("usage/2/rows/000").push(0));
    rows_empty: Missing, "for a part of the entries only",
        Filed(|files| files.file("usage/2/rows/000").clear());
    rows_of_another_shard: Malformed, "only batch entries have rows",
        Filed(|files| {
            let other = files.file("usage/2/rows/000").clone();
            put(files, "usage/1/rows/000", &other);
        });
    unknown_shard: Records, "never opened such a shard",
        Filed(|files| put(files, "usage/3/checkpoint", b""));
    manifest_lists_another_file: Manifest, "not the file that the manifest lists",
        Filed(|files| files.file("usage/1/policy.txt").push(b'\n'));
    manifest_lists_a_missing_file: Missing, "not whole",
        Filed(|files| remove(files, "usage/1/policy.txt"));
    manifest_lists_files_outside: Malformed, "a line is a digest",
        Filed(|files| manifest(files, &format!("{}  ../records/policy.txt\n", Hash::ZERO)));
    manifest_lists_files_from_the_root: Malformed, "a line is a digest",
        Filed(|files| manifest(files, &format!("{}  /policy.txt\n", Hash::ZERO)));
    manifest_has_one_space: Malformed, "a line is a digest",
        Filed(|files| manifest(files, &format!("{} policy.txt\n", Hash::ZERO)));
    manifest_has_a_short_digest: Malformed, "a line is a digest",
        Filed(|files| manifest(files, "00  policy.txt\n"));
    manifest_is_not_text: Malformed, "a line is a digest",
        Filed(|files| files.file("usage/1/MANIFEST.sha256").push(0xff));
}

/// A checkpoint of the first shard, with its own key.
fn signed(size: u64, root: Hash) -> Vec<u8> {
    let origin = origin(LogId::Usage(1));
    let checkpoint = Checkpoint { origin, size, root };
    checkpoint.sign(&key(LogId::Usage(1))).expect("the key has the log's name")
}

fn put(files: &mut Files, path: &str, bytes: &[u8]) {
    files.0.insert(path.to_owned(), bytes.to_vec());
}

fn remove(files: &mut Files, path: &str) {
    files.file(path);
    files.0.remove(path);
}

fn manifest(files: &mut Files, more: &str) {
    files.file("usage/1/MANIFEST.sha256").extend_from_slice(more.as_bytes());
}
