//! A store and plain files in memory, which can be made to fail at any effect, with or without having kept it.
//!
//! They are for tests, and for engines whose records need not last.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::Error;
use crate::store::{Batch, Pair, PlainFile, Space, Store, Visit};

/// What becomes of an effect that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It failed, and nothing of it lasts.
    Lost,
    /// It failed, and yet all of it lasts. The fault that people forget.
    Kept,
    /// It failed, and what lasts of a plain file's bytes is their first half.
    Torn,
}

/// A disk in memory: a store and two plain files, whose effects are counted so that any one of them can be failed.
///
/// A clone is the same disk. [`MemoryDisk::after_power_cut`] is another one, which holds what had been synced.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Default)]
struct State {
    maps: BTreeMap<Space, BTreeMap<Vec<u8>, Vec<u8>>>,
    files: BTreeMap<String, Bytes>,
    effects: Vec<&'static str>,
    fail_at: Option<(usize, Fault)>,
    free_bytes: Option<u64>,
}

/// A file's bytes as they would be read, and as they would be found after a power cut.
#[derive(Clone, Default)]
struct Bytes {
    written: Vec<u8>,
    synced: Vec<u8>,
}

impl MemoryDisk {
    /// Fails the effect of this number, counted from 0 over the disk's whole life.
    pub fn fail_at(&self, effect: usize, fault: Fault) {
        self.state().fail_at = Some((effect, fault));
    }

    /// The effects so far, in their order: `commit`, or the name of the file that was synced.
    pub fn effects(&self) -> Vec<&'static str> {
        self.state().effects.clone()
    }

    /// Says how many bytes are free; without a word, plenty are.
    pub fn set_free_bytes(&self, bytes: u64) {
        self.state().free_bytes = Some(bytes);
    }

    /// Another disk that holds what this one had synced, and fails nowhere.
    pub fn after_power_cut(&self) -> Self {
        let mut state = self.state().clone();
        (state.fail_at, state.effects) = (None, Vec::new());
        for bytes in state.files.values_mut() {
            bytes.written = bytes.synced.clone();
        }
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// All bytes that lie on the disk, for tests that look for what must not be there.
    pub fn all_bytes(&self) -> Vec<Vec<u8>> {
        let state = self.state();
        let pairs = state.maps.values().flatten().flat_map(|(key, value)| [key.clone(), value.clone()]);
        pairs.chain(state.files.values().flat_map(|file| [file.written.clone(), file.synced.clone()])).collect()
    }

    /// Whether nothing was ever written.
    pub fn is_empty(&self) -> bool {
        let state = self.state();
        state.maps.is_empty() && state.files.is_empty()
    }

    /// Whether a plain file of this name was ever written.
    pub fn has_file(&self, name: &str) -> bool {
        self.state().files.contains_key(name)
    }

    /// Removes a plain file.
    pub fn remove_file(&self, name: &str) {
        self.state().files.remove(name);
    }

    /// The store.
    pub fn store(&self) -> MemoryStore {
        MemoryStore { disk: self.clone() }
    }

    /// A plain file, empty at first.
    pub fn file(&self, name: &'static str) -> MemoryFile {
        MemoryFile { disk: self.clone(), name }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts an effect, and says how it fails where it is the one that must.
    fn effect(&mut self, name: &'static str) -> Option<Fault> {
        self.effects.push(name);
        self.fail_at.filter(|(number, _)| *number + 1 == self.effects.len()).map(|(_, fault)| fault)
    }
}

fn failed(name: &str) -> Error {
    Error::Store(format!("{name} failed, as it was told to"))
}

/// The maps of a [`MemoryDisk`].
pub struct MemoryStore {
    disk: MemoryDisk,
}

impl Store for MemoryStore {
    fn commit(&self, batch: Batch) -> Result<(), Error> {
        let mut state = self.disk.state();
        let fault = state.effect("commit");
        // A batch is whole or not there, so a torn one is lost.
        if matches!(fault, None | Some(Fault::Kept)) {
            for (space, key, value) in batch.puts {
                state.maps.entry(space).or_default().insert(key, value);
            }
        }
        if fault.is_some() { Err(failed("commit")) } else { Ok(()) }
    }

    fn value(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.disk.state().maps.get(&space).and_then(|map| map.get(key).cloned()))
    }

    fn scan(&self, space: Space, first: &[u8], end: &[u8], visit: &mut Visit<'_>) -> Result<(), Error> {
        // A copy, so that whoever looks may write.
        let map = self.disk.state().maps.get(&space).cloned().unwrap_or_default();
        for (key, value) in map.range::<[u8], _>((Bound::Included(first), Bound::Excluded(end))) {
            if visit(key, value)? == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn last(&self, space: Space, first: &[u8], last: &[u8]) -> Result<Option<Pair>, Error> {
        let state = self.disk.state();
        let range = (Bound::Included(first), Bound::Included(last));
        let found = state.maps.get(&space).and_then(|map| map.range::<[u8], _>(range).next_back());
        Ok(found.map(|(key, value)| (key.clone(), value.clone())))
    }

    fn free_bytes(&self) -> Result<u64, Error> {
        Ok(self.disk.state().free_bytes.unwrap_or(u64::MAX))
    }

    fn snapshot(&self, _folder: &Path) -> Result<(), Error> {
        Err(Error::Store("a store in memory has no snapshots".to_owned()))
    }
}

/// One plain file of a [`MemoryDisk`].
pub struct MemoryFile {
    disk: MemoryDisk,
    name: &'static str,
}

impl PlainFile for MemoryFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut state = self.disk.state();
        let bytes = &state.files.entry(self.name.to_owned()).or_default().written;
        let start = usize::try_from(offset).map_or(bytes.len(), |offset| offset.min(bytes.len()));
        let read = buffer.len().min(bytes.len() - start);
        buffer[..read].copy_from_slice(&bytes[start..start + read]);
        Ok(read)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let mut state = self.disk.state();
        let file = &mut state.files.entry(self.name.to_owned()).or_default().written;
        let start = usize::try_from(offset).map_err(|_| failed(self.name))?;
        if file.len() < start + bytes.len() {
            file.resize(start + bytes.len(), 0);
        }
        file[start..start + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> Result<(), Error> {
        let mut state = self.disk.state();
        let fault = state.effect(self.name);
        let file = state.files.entry(self.name.to_owned()).or_default();
        match fault {
            None | Some(Fault::Kept) => file.synced = file.written.clone(),
            Some(Fault::Lost) => {}
            Some(Fault::Torn) => tear(file),
        }
        if fault.is_some() { Err(failed(self.name)) } else { Ok(()) }
    }

    fn length(&self) -> Result<u64, Error> {
        Ok(self.disk.state().files.entry(self.name.to_owned()).or_default().written.len() as u64)
    }
}

/// Of the stretch of bytes that changed, the first half lasts.
fn tear(file: &mut Bytes) {
    file.synced.resize(file.written.len(), 0);
    let changed: Vec<usize> = (0..file.written.len()).filter(|&at| file.written[at] != file.synced[at]).collect();
    for &at in &changed[..changed.len() / 2] {
        file.synced[at] = file.written[at];
    }
}
