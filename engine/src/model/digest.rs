//! What a base model *is*: a digest over its files. Hashing gigabytes takes seconds, so unchanged files are remembered.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use loam_kernels::mapped::Mapped;
use loam_ledger_core::Hash;
use loam_ledger_core::hash;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::weights::{Held, Kind, Progress, Weights};
use crate::error::Error;

/// Bytes hashed at a time.
const BLOCK_BYTES: usize = 1 << 20;

/// Threads that hash side by side.
const THREADS: usize = 2;

/// How long a file must have lain unchanged before it is remembered: within one tick of the system's clock a file can
/// change and keep its times.
const SETTLED_NS: i128 = 100_000_000;

/// Files that a cache remembers.
const REMEMBERED_MAX: usize = 1 << 12;

/// Bytes of a cache.
const CACHE_BYTES_MAX: u64 = 16 << 20;

/// A file as it is: where it is, and what would be another if it changed.
pub(super) struct Stamp {
    key: String,
    pub(super) bytes: u64,
    /// Times of change: of the content, which can be set at will, and of anything, which cannot.
    times_ns: [i128; 2],
    device: u64,
    inode: u64,
    settled: bool,
}

/// One of the base's files.
struct Part<'a> {
    name: Vec<u8>,
    stamp: &'a Stamp,
    content: Content<'a>,
}

/// What is hashed of it.
#[derive(Clone, Copy)]
enum Content<'a> {
    Held(&'a Mapped),
    Read(&'a Path),
}

impl Weights {
    /// The base's digest: `H("loam/base/v1\0" || for config.json and each safetensors file in order of name: u64 length
    /// of the name, name, u64 length of the file, SHA-256 of it)`. Of dummy weights: of their seed and the configuration.
    ///
    /// What is hashed of the tensors' files are the bytes that are held, not what lies at their paths by now.
    ///
    /// `cache` is a file that remembers hashes by path, size, times of change and inode; where anything of a file is
    /// another, or the cache cannot be read, the file is hashed again.
    pub fn digest(&self, cache: Option<&Path>, progress: &mut dyn FnMut(Progress)) -> Result<Hash, Error> {
        let config = self.folder.join("config.json");
        if let Kind::Dummy { seed, dtype } = &self.kind {
            let config = fs::read(&config).map_err(|source| Error::File { path: config.clone(), source })?;
            let dtype = dtype.to_string();
            let made_of = [b"loam/dummy-base/v1\0".as_slice(), &seed.to_be_bytes(), dtype.as_bytes(), &config].concat();
            return Ok(hash::digest(&made_of));
        }
        let name = |path: &Path| path.file_name().map(|name| name.as_encoded_bytes().to_vec()).unwrap_or_default();
        let config_stamp = Stamp::of(&config)?;
        let mut parts = vec![Part { name: name(&config), stamp: &config_stamp, content: Content::Read(&config) }];
        if let Kind::Files { files, .. } = &self.kind {
            let held = files.iter().map(|Held { file, stamp }| Part {
                name: name(file.path()),
                stamp,
                content: Content::Held(file),
            });
            parts.extend(held);
        }
        parts.sort_by(|a, b| a.name.cmp(&b.name));
        let known = cache.map(remembered).unwrap_or_default();
        let hashes = hash_all(&parts, &known, progress)?;
        if let Some(cache) = cache {
            remember(cache, known, &parts, &hashes);
        }
        let mut digested = b"loam/base/v1\0".to_vec();
        for (Part { name, stamp, .. }, hash) in parts.iter().zip(&hashes) {
            digested.extend((name.len() as u64).to_be_bytes());
            digested.extend(name);
            digested.extend(stamp.bytes.to_be_bytes());
            digested.extend(hash.0);
        }
        Ok(hash::digest(&digested))
    }
}

impl Stamp {
    /// What is at a path now.
    pub(super) fn of(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::File { path: path.to_owned(), source };
        let found = fs::metadata(path).map_err(failed)?;
        let whole = fs::canonicalize(path).map_err(failed)?;
        let nanoseconds = |seconds, rest| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        let times_ns = [(found.mtime(), found.mtime_nsec()), (found.ctime(), found.ctime_nsec())];
        let times_ns = times_ns.map(|(seconds, rest)| nanoseconds(seconds, rest));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos() as i128);
        Ok(Self {
            key: whole.to_string_lossy().into_owned(),
            bytes: found.len(),
            times_ns,
            device: found.dev(),
            inode: found.ino(),
            settled: times_ns[1] + SETTLED_NS < now,
        })
    }

    /// Whether the same lies at the path still.
    pub(super) fn is_of(&self, path: &Path) -> Result<bool, Error> {
        let now = Self::of(path)?;
        let of = |stamp: &Self| (stamp.bytes, stamp.times_ns, stamp.device, stamp.inode);
        Ok(of(&now) == of(self))
    }

    fn entry(&self, hash: &Hash) -> Value {
        let [content, anything] = self.times_ns.map(|time| time.to_string());
        json!([hash.to_string(), self.bytes, content, anything, self.device, self.inode])
    }

    /// The hash that is remembered of the file as it is.
    fn remembered(&self, known: &Map<String, Value>) -> Option<Hash> {
        let entry = known.get(&self.key)?;
        let hash = Hash::from_hex(entry.get(0)?.as_str()?).ok()?;
        (*entry == self.entry(&hash)).then_some(hash)
    }
}

/// Hashes what is not known, two files at a time.
fn hash_all(
    parts: &[Part<'_>],
    known: &Map<String, Value>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<Hash>, Error> {
    let found: Vec<Option<Hash>> = parts.iter().map(|part| part.stamp.remembered(known)).collect();
    let missing: Vec<usize> = (0..parts.len()).filter(|index| found[*index].is_none()).collect();
    let bytes_total = missing.iter().map(|index| parts[*index].stamp.bytes).sum();
    let (next, bytes_done) = (AtomicUsize::new(0), AtomicU64::new(0));
    let hashed = Mutex::new(found);
    let failure = Mutex::new(None);
    std::thread::scope(|scope| {
        let work = || {
            while let Some(index) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                match hash_part(parts[*index].content, &bytes_done) {
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
    if !missing.is_empty() {
        progress(Progress { bytes_done: bytes_done.load(Ordering::Relaxed), bytes_total });
    }
    if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let hashed = hashed.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(hashed.into_iter().map(|hash| hash.expect("each file was hashed or failed")).collect())
}

fn hash_part(content: Content<'_>, bytes_done: &AtomicU64) -> Result<Hash, Error> {
    let mut hasher = Sha256::new();
    let mut take = |block: &[u8]| {
        hasher.update(block);
        bytes_done.fetch_add(block.len() as u64, Ordering::Relaxed);
    };
    match content {
        Content::Read(path) => take(&fs::read(path).map_err(|source| Error::File { path: path.to_owned(), source })?),
        Content::Held(file) => {
            let bytes = file.bytes().len() as u64;
            for from in (0..bytes).step_by(BLOCK_BYTES) {
                // Asked for block by block: a mapped file may shrink meanwhile.
                take(file.range(from..bytes.min(from + BLOCK_BYTES as u64))?);
            }
        }
    }
    Ok(Hash(hasher.finalize().into()))
}

/// What a cache remembers; nothing where it is absent or damaged.
fn remembered(cache: &Path) -> Map<String, Value> {
    let bytes = fs::metadata(cache).ok().filter(|found| found.is_file() && found.len() <= CACHE_BYTES_MAX);
    let read = bytes.and_then(|_| fs::read(cache).ok()).and_then(|bytes| serde_json::from_slice(&bytes).ok());
    match read {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// Swaps the cache whole. One that cannot be written is done without: it only saves time.
fn remember(cache: &Path, mut known: Map<String, Value>, parts: &[Part<'_>], hashes: &[Hash]) {
    static WRITTEN: AtomicU64 = AtomicU64::new(0);
    let fresh = parts.iter().zip(hashes).filter(|(part, _)| part.stamp.settled);
    let fresh: Vec<_> = fresh.map(|(part, hash)| (part.stamp.key.clone(), part.stamp.entry(hash))).collect();
    if fresh.iter().all(|(key, entry)| known.get(key) == Some(entry)) {
        return;
    }
    if known.len() + fresh.len() > REMEMBERED_MAX {
        known.clear();
    }
    known.extend(fresh);
    // Another process, or another engine of this one, may be writing its own.
    let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
    let beside = cache.with_extension(format!("{}-{number}.new", std::process::id()));
    let text = Value::Object(known).to_string();
    let written = cache.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&beside, text));
    if written.and_then(|()| fs::rename(&beside, cache)).is_err() {
        // A half-written file of ours is of no use to anybody.
        let _ = fs::remove_file(&beside);
    }
}
