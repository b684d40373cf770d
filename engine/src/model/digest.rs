//! What a base model *is*: a digest over its files. Hashing gigabytes takes seconds, so unchanged files are remembered.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use loam_ledger_core::Hash;
use loam_ledger_core::hash;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::weights::{Kind, Progress, Weights};
use crate::error::Error;

/// Bytes read at a time.
const BLOCK_BYTES: usize = 1 << 20;

/// Threads that hash side by side.
const THREADS: usize = 2;

/// A file as it is: where it is, and what would be another if it changed.
struct Stamp {
    key: String,
    bytes: u64,
    mtime_ns: i128,
    inode: u64,
}

impl Weights {
    /// The base's digest: `H("loam/base/v1\0" || for config.json and each safetensors file in order of name: u64 length of
    /// the name, name, u64 length of the file, SHA-256 of it)`. Of dummy weights: of their seed and the configuration.
    ///
    /// `cache` is a file that remembers hashes by path, size, time of change and inode; where anything of a file is
    /// another, or the cache cannot be read, the file is hashed again.
    pub fn digest(&self, cache: Option<&Path>, progress: &mut dyn FnMut(Progress)) -> Result<Hash, Error> {
        let config = self.folder.join("config.json");
        if let Kind::Dummy { seed, dtype } = &self.kind {
            let config = fs::read(&config).map_err(|source| Error::File { path: config.clone(), source })?;
            let dtype = dtype.to_string();
            let made_of = [b"loam/dummy-base/v1\0".as_slice(), &seed.to_be_bytes(), dtype.as_bytes(), &config].concat();
            return Ok(hash::digest(&made_of));
        }
        let mut paths = self.paths();
        paths.push(&config);
        paths.sort_by_key(|path| path.file_name().map(std::ffi::OsStr::to_owned));
        let stamps = paths.iter().map(|path| stamp(path)).collect::<Result<Vec<_>, _>>()?;
        let mut known = cache.map(remembered).unwrap_or_default();
        let hashes = hash_all(&paths, &stamps, &known, progress)?;
        if let Some(cache) = cache {
            for (stamp, hash) in stamps.iter().zip(&hashes) {
                known.insert(stamp.key.clone(), stamp.entry(hash));
            }
            remember(cache, &known);
        }
        let mut parts = vec![b"loam/base/v1\0".to_vec()];
        for ((path, stamp), hash) in paths.iter().zip(&stamps).zip(&hashes) {
            let name = path.file_name().map(|name| name.as_encoded_bytes().to_vec()).unwrap_or_default();
            parts.push((name.len() as u64).to_be_bytes().to_vec());
            parts.push(name);
            parts.push(stamp.bytes.to_be_bytes().to_vec());
            parts.push(hash.0.to_vec());
        }
        Ok(hash::digest(&parts.concat()))
    }
}

impl Stamp {
    fn entry(&self, hash: &Hash) -> Value {
        json!([self.bytes, self.mtime_ns.to_string(), self.inode, hash.to_string()])
    }

    /// The hash that is remembered of the file as it is.
    fn remembered(&self, known: &Map<String, Value>) -> Option<Hash> {
        let entry = known.get(&self.key)?;
        let hash = Hash::from_hex(entry.get(3)?.as_str()?).ok()?;
        (*entry == self.entry(&hash)).then_some(hash)
    }
}

fn stamp(path: &Path) -> Result<Stamp, Error> {
    let failed = |source| Error::File { path: path.to_owned(), source };
    let found = fs::metadata(path).map_err(failed)?;
    let whole = fs::canonicalize(path).map_err(failed)?;
    let mtime_ns = i128::from(found.mtime()) * 1_000_000_000 + i128::from(found.mtime_nsec());
    Ok(Stamp { key: whole.to_string_lossy().into_owned(), bytes: found.len(), mtime_ns, inode: found.ino() })
}

/// Hashes what is not known, two files at a time.
fn hash_all(
    paths: &[&Path],
    stamps: &[Stamp],
    known: &Map<String, Value>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<Hash>, Error> {
    let found: Vec<Option<Hash>> = stamps.iter().map(|stamp| stamp.remembered(known)).collect();
    let missing: Vec<usize> = (0..paths.len()).filter(|index| found[*index].is_none()).collect();
    let bytes_total = missing.iter().map(|index| stamps[*index].bytes).sum();
    let (next, bytes_done) = (AtomicUsize::new(0), AtomicU64::new(0));
    let hashed = Mutex::new(found);
    let failure = Mutex::new(None);
    std::thread::scope(|scope| {
        let work = || {
            while let Some(index) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                match hash_file(paths[*index], &bytes_done) {
                    Ok(hash) => hashed.lock().unwrap_or_else(PoisonError::into_inner)[*index] = Some(hash),
                    Err(error) => drop(failure.lock().unwrap_or_else(PoisonError::into_inner).insert(error)),
                }
            }
        };
        let threads: Vec<_> = (0..THREADS.min(missing.len())).map(|_| scope.spawn(work)).collect();
        while !threads.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            progress(Progress { bytes_done: bytes_done.load(Ordering::Relaxed), bytes_total });
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    });
    if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let hashed = hashed.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(hashed.into_iter().map(|hash| hash.expect("each file was hashed or failed")).collect())
}

fn hash_file(path: &Path, bytes_done: &AtomicU64) -> Result<Hash, Error> {
    let failed = |source| Error::File { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let mut hasher = Sha256::new();
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        match file.read(&mut block).map_err(failed)? {
            0 => return Ok(Hash(hasher.finalize().into())),
            read => {
                hasher.update(&block[..read]);
                bytes_done.fetch_add(read as u64, Ordering::Relaxed);
            }
        }
    }
}

/// What a cache remembers; nothing where it is absent or damaged.
fn remembered(cache: &Path) -> Map<String, Value> {
    let read = fs::read(cache).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    match read {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// Swaps the cache whole. One that cannot be written is done without: it only saves time.
fn remember(cache: &Path, known: &Map<String, Value>) {
    let fresh = cache.with_extension(format!("{}.new", std::process::id()));
    let text = Value::Object(known.clone()).to_string();
    let written = cache.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&fresh, text));
    if written.and_then(|()| fs::rename(&fresh, cache)).is_err() {
        // A half-written file of ours is of no use to anybody.
        let _ = fs::remove_file(&fresh);
    }
}
