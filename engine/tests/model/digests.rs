//! What a base is called: the same with and without a cache, whatever the cache holds, wherever the files lie.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use loam_engine::DType;
use loam_engine::model::{Residence, Weights};
use loam_ledger_core::Hash;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::folder::{decoder, file, folder, golden, refusal, tensors_of, weights};

const MODEL: &str = "llama-gqa";

/// Longer than a file must have lain unchanged to be remembered.
const SETTLED: Duration = Duration::from_millis(150);

/// A folder's digest, and whether anything was hashed.
fn digest(folder: &Path, cache: Option<&Path>) -> (Hash, bool) {
    let mut hashed = false;
    let digest = weights(folder, Residence::Copied).unwrap().digest(cache, &mut |_| hashed = true).unwrap();
    (digest, hashed)
}

/// The formula, from what lies in the folder.
fn expected(folder: &Path, names: &[&str]) -> Hash {
    let mut whole = b"loam/base/v1\0".to_vec();
    for name in names {
        let bytes = fs::read(folder.join(name)).unwrap();
        whole.extend((name.len() as u64).to_be_bytes());
        whole.extend(name.as_bytes());
        whole.extend((bytes.len() as u64).to_be_bytes());
        whole.extend(Sha256::digest(&bytes));
    }
    Hash(Sha256::digest(&whole).into())
}

/// A model of its own, old enough to be remembered, and where a cache would be.
fn settled() -> (TempDir, std::path::PathBuf) {
    let made = folder(MODEL, &file(&tensors_of(MODEL), 0));
    std::thread::sleep(SETTLED);
    let cache = made.path().join("cache.json");
    (made, cache)
}

#[test]
fn it_is_of_the_configuration_and_all_files_by_name() {
    assert_eq!(digest(&golden(MODEL), None).0, expected(&golden(MODEL), &["config.json", "model.safetensors"]));
    let (sharded, names) = (
        golden("qwen2-bias"),
        [
            "config.json",
            "model-00001-of-00003.safetensors",
            "model-00002-of-00003.safetensors",
            "model-00003-of-00003.safetensors",
        ],
    );
    assert_eq!(digest(&sharded, None).0, expected(&sharded, &names));
    let mapped = weights(&sharded, Residence::Mapped).unwrap().digest(None, &mut |_| {}).unwrap();
    assert_eq!(mapped, expected(&sharded, &names));
}

#[test]
fn it_is_of_the_bytes_that_are_held() {
    let (made, _) = settled();
    let held = weights(made.path(), Residence::Copied).unwrap();
    let before = expected(made.path(), &["config.json", "model.safetensors"]);
    fs::write(made.path().join("model.safetensors"), b"something else by now").unwrap();
    assert_eq!(held.digest(None, &mut |_| {}).unwrap(), before);
}

#[test]
fn what_is_remembered_is_not_hashed_again() {
    let (made, cache) = settled();
    let (first, hashed) = digest(made.path(), Some(&cache));
    assert!(hashed);
    assert_eq!(digest(made.path(), Some(&cache)), (first, false));
    assert_eq!(digest(made.path(), None), (first, true));
}

#[test]
fn a_file_that_changed_is_hashed_again() {
    let (made, cache) = settled();
    let path = made.path().join("model.safetensors");
    let (first, _) = digest(made.path(), Some(&cache));
    let times = fs::metadata(&path).unwrap();
    let times = FileTimes::new().set_modified(times.modified().unwrap()).set_accessed(times.accessed().unwrap());

    // Other values at the same length, and a time of change that was set back.
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, &bytes).unwrap();
    File::options().write(true).open(&path).unwrap().set_times(times).unwrap();
    let (second, hashed) = digest(made.path(), Some(&cache));
    assert!(hashed && second != first);
    assert_eq!(second, expected(made.path(), &["config.json", "model.safetensors"]));

    // Another length.
    fs::write(&path, file(&tensors_of(MODEL), 3)).unwrap();
    let (third, hashed) = digest(made.path(), Some(&cache));
    assert!(hashed && third != second && third != first);

    // Nothing but a time: hashed, and the same.
    std::thread::sleep(SETTLED);
    digest(made.path(), Some(&cache));
    assert!(!digest(made.path(), Some(&cache)).1);
    let yesterday = std::time::SystemTime::now() - Duration::from_hours(24);
    File::options().write(true).open(&path).unwrap().set_times(FileTimes::new().set_modified(yesterday)).unwrap();
    assert_eq!(digest(made.path(), Some(&cache)), (third, true));

    // The configuration is part of it.
    let config = made.path().join("config.json");
    fs::write(&config, format!("{} ", fs::read_to_string(&config).unwrap())).unwrap();
    assert_ne!(digest(made.path(), Some(&cache)).0, third);
}

#[test]
fn a_damaged_cache_is_no_cache() {
    let (made, cache) = settled();
    let (digest_of, _) = digest(made.path(), None);
    digest(made.path(), Some(&cache));
    let good: Value = serde_json::from_slice(&fs::read(&cache).unwrap()).unwrap();
    let text = good.to_string();
    let with = |change: &dyn Fn(&mut Vec<Value>)| {
        let mut changed = good.clone();
        for entry in changed.as_object_mut().unwrap().values_mut() {
            change(entry.as_array_mut().unwrap());
        }
        changed.to_string().into_bytes()
    };
    let damaged: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"[]".to_vec(),
        vec![0xff; 999],
        text.as_bytes()[..text.len() / 2].to_vec(),
        with(&|entry| entry.truncate(1)),
        with(&|entry| entry.clear()),
        with(&|entry| entry[0] = Value::from("00")),
        with(&|entry| entry[0] = Value::Null),
        with(&|entry| entry[1] = Value::from(7)),
        with(&|entry| entry[5] = Value::from(7)),
        with(&|entry| entry.push(Value::Null)),
    ];
    for bytes in damaged {
        fs::write(&cache, &bytes).unwrap();
        assert_eq!(digest(made.path(), Some(&cache)), (digest_of, true), "{}", String::from_utf8_lossy(&bytes));
        assert_eq!(digest(made.path(), Some(&cache)), (digest_of, false), "it was written anew");
    }
}

#[test]
fn a_cache_that_cannot_be_is_done_without() {
    let (made, _) = settled();
    let (plain, _) = digest(made.path(), None);
    let deep = made.path().join("not/there/yet/cache.json");
    assert_eq!(digest(made.path(), Some(&deep)), (plain, true));
    assert_eq!(digest(made.path(), Some(&deep)), (plain, false));
    let below_a_file = made.path().join("config.json/cache.json");
    let a_folder = made.path().join("folder");
    fs::create_dir(&a_folder).unwrap();
    for cache in [&below_a_file, &a_folder] {
        assert_eq!(digest(made.path(), Some(cache)), (plain, true));
        assert_eq!(digest(made.path(), Some(cache)), (plain, true));
    }
    let left = fs::read_dir(made.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().ends_with(".new")));
}

#[test]
fn many_can_share_a_cache() {
    let (made, cache) = settled();
    let expected = expected(made.path(), &["config.json", "model.safetensors"]);
    for _ in 0..4 {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..6).map(|_| scope.spawn(|| digest(made.path(), Some(&cache)).0)).collect();
            assert!(threads.into_iter().all(|thread| thread.join().unwrap() == expected));
        });
        assert_eq!(digest(made.path(), Some(&cache)), (expected, false));
        fs::remove_file(&cache).unwrap();
        assert_eq!(fs::read_dir(made.path()).unwrap().count(), 2, "nothing is left beside it");
    }
}

/// As Hugging Face keeps what it downloaded: names that lead to blobs.
#[test]
fn links_to_blobs_are_their_files() {
    let (made, cache) = settled();
    let (plain, _) = digest(made.path(), None);
    let hub = TempDir::new().unwrap();
    let (blobs, snapshot) = (hub.path().join("blobs"), hub.path().join("snapshots/0123abcd"));
    fs::create_dir_all(&blobs).unwrap();
    fs::create_dir_all(&snapshot).unwrap();
    for (name, blob) in [("config.json", "aa11"), ("model.safetensors", "bb22")] {
        fs::copy(made.path().join(name), blobs.join(blob)).unwrap();
        symlink(format!("../../blobs/{blob}"), snapshot.join(name)).unwrap();
    }
    std::thread::sleep(SETTLED);
    assert_eq!(digest(&snapshot, Some(&cache)), (plain, true));
    assert_eq!(digest(&snapshot, Some(&cache)), (plain, false));
    decoder(&snapshot, Residence::Mapped).unwrap();

    // The link leads to other bytes: another base, though the name is the same.
    fs::write(blobs.join("cc33"), file(&tensors_of(MODEL), 2)).unwrap();
    fs::remove_file(snapshot.join("model.safetensors")).unwrap();
    symlink("../../blobs/cc33", snapshot.join("model.safetensors")).unwrap();
    assert_ne!(digest(&snapshot, Some(&cache)).0, plain);

    fs::remove_file(blobs.join("cc33")).unwrap();
    let text = refusal(weights(&snapshot, Residence::Mapped));
    assert!(text.contains("model.safetensors: No such file"), "{text}");
}

#[test]
fn dummy_weights_are_called_by_seed_type_and_configuration() {
    let (made, cache) = settled();
    let of = |seed, dtype| Weights::dummy(made.path(), seed, dtype).digest(Some(&cache), &mut |_| {}).unwrap();
    let first = of(1, DType::Bf16);
    assert_eq!(of(1, DType::Bf16), first);
    assert_ne!(of(2, DType::Bf16), first);
    assert_ne!(of(1, DType::F32), first);
    assert_ne!(digest(made.path(), None).0, first);
    fs::write(made.path().join("config.json"), "{}").unwrap();
    assert_ne!(of(1, DType::Bf16), first);
}
