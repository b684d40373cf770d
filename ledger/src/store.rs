//! The store that a ledger needs: a few ordered maps, written in batches that are whole and on disk, or not there.

use std::ops::ControlFlow;
use std::path::Path;

use crate::error::Error;

/// The maps of a store. Keys within each sort by their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Space {
    /// Identity, heads of logs, and where the secrets' slots end.
    Meta,
    /// Entries: (log, first index) to the entries that one commit added to one bundle, as they stand in the bundle.
    Entry,
    /// Full tiles: (log, level, number) to 8,192 bytes.
    Tile,
    /// Rows: (log, index) to all rows of an entry, encrypted.
    Rows,
    /// Engines: where each stands in its chain.
    Engine,
    /// Boots that ended: (engine, boot) to the entry of the next boot, which closed it.
    Boot,
    /// Signed checkpoints: (log, size) to the note.
    Checkpoint,
    /// Requests and their answers: where their rows begin and their completions lie.
    Request,
    /// What erased rows counted: see `erased`.
    Erased,
    /// What records hold digests of: rows of datasets and texts, each hidden under a secret of its own.
    Payload,
    /// Lists of operations, by their roots.
    List,
    /// What settling needs and yields: see `settling`.
    Epoch,
}

impl Space {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Meta,
        Self::Entry,
        Self::Tile,
        Self::Rows,
        Self::Engine,
        Self::Boot,
        Self::Checkpoint,
        Self::Request,
        Self::Erased,
        Self::Payload,
        Self::List,
        Self::Epoch,
    ];

    /// The name under which a store keeps the map.
    pub fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Entry => "entry",
            Self::Tile => "tile",
            Self::Rows => "rows",
            Self::Engine => "engine",
            Self::Boot => "boot",
            Self::Checkpoint => "checkpoint",
            Self::Request => "request",
            Self::Erased => "erased",
            Self::Payload => "payload",
            Self::List => "list",
            Self::Epoch => "epoch",
        }
    }
}

/// What one commit writes.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Each map's new or changed values. Nothing is ever deleted.
    pub puts: Vec<(Space, Vec<u8>, Vec<u8>)>,
}

impl Batch {
    /// Adds a value, in the place of what was there.
    pub fn put(&mut self, space: Space, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.puts.push((space, key.into(), value.into()));
    }
}

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// What a visitor is shown of a map: a key and its value. It breaks when it has seen enough.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, Error> + 'a;

/// Ordered maps that survive.
///
/// One thread commits entries, another stores checkpoints; any number read.
pub trait Store: Send + Sync {
    /// Writes the whole batch and returns when it is on disk.
    ///
    /// Where this fails, the batch may or may not be there after a restart, but never in part; the caller must not
    /// write again, for a failed sync tells nothing of what lies on disk.
    fn commit(&self, batch: Batch) -> Result<(), Error>;

    /// A key's value, as of the last commit that returned.
    fn value(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;

    /// Shows the keys from `first` up to, but without, `end`, in order.
    fn scan(&self, space: Space, first: &[u8], end: &[u8], visit: &mut Visit<'_>) -> Result<(), Error>;

    /// The last key from `first` up to and with `last`, and its value.
    fn last(&self, space: Space, first: &[u8], last: &[u8]) -> Result<Option<Pair>, Error>;

    /// Bytes that can still be written where the store lies.
    fn free_bytes(&self) -> Result<u64, Error>;

    /// Writes a copy of the store, as of the last commit, into a folder that does not exist yet.
    fn snapshot(&self, folder: &Path) -> Result<(), Error>;
}

/// A small file that is written in place: the floor, or the secrets' slots.
pub trait PlainFile: Send + Sync {
    /// Reads as many bytes as are there, from `offset`, up to the buffer's end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Error>;

    /// Writes bytes in place, growing the file where needed. They may be lost, or lie there in part, until a sync.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Error>;

    /// Returns when all that was written is on disk. Where it fails, the caller must not write again.
    fn sync(&self) -> Result<(), Error>;

    /// The file's length.
    fn length(&self) -> Result<u64, Error>;
}
