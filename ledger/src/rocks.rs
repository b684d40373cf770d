//! The store on disk: RocksDB, here and nowhere else.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode, Direction, IteratorMode, Options,
    ReadOptions, WriteBatch, WriteOptions,
};

use crate::error::Error;
use crate::store::{Batch, Pair, Space, Store, Visit};

/// Bytes of log before RocksDB must have moved them into tables: bounds the time that a restart reads.
const WAL_BYTES_MAX: u64 = 256 << 20;

/// Bytes of tables that are rearranged at once, which need as much room again while it lasts.
const COMPACTION_BYTES_MAX: u64 = 256 << 20;

/// Bytes that a map gathers in memory before it writes a table.
const WRITE_BUFFER_BYTES: usize = 64 << 20;

/// A RocksDB database with one column family for each [`Space`].
pub(crate) struct Rocks {
    db: DB,
    path: PathBuf,
    sync: WriteOptions,
}

impl Rocks {
    /// Makes a new database in a folder that must not hold one.
    pub(crate) fn create(path: &Path) -> Result<Self, Error> {
        let mut options = options();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_error_if_exists(true);
        Self::with(DB::open_cf_descriptors(&options, path, families()), path)
    }

    /// Opens a database for writing. This may already change it: what a torn log's end held is cut off.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        Self::with(DB::open_cf_descriptors(&options(), path, families()), path)
    }

    /// Opens a database without changing anything, to look before [`Self::open`] does.
    pub(crate) fn open_read_only(path: &Path) -> Result<Self, Error> {
        let names = Space::ALL.map(Space::name);
        Self::with(DB::open_cf_for_read_only(&options(), path, names, false), path)
    }

    fn with(db: Result<DB, rocksdb::Error>, path: &Path) -> Result<Self, Error> {
        let db = db.map_err(|e| {
            // RocksDB has no kind for "somebody holds the lock" that differs from other I/O errors.
            let text = e.to_string();
            let held = ["Resource temporarily unavailable", "lock hold by current process"];
            let locked = text.contains("LOCK") && held.iter().any(|why| text.contains(why));
            if locked { Error::InUse { path: path.display().to_string() } } else { failed(&e) }
        })?;
        let mut sync = WriteOptions::default();
        sync.set_sync(true);
        Ok(Self { db, path: path.to_owned(), sync })
    }

    fn family(&self, space: Space) -> &ColumnFamily {
        self.db.cf_handle(space.name()).expect("every column family was opened")
    }
}

fn failed(error: &rocksdb::Error) -> Error {
    Error::Store(error.to_string())
}

fn families() -> impl Iterator<Item = ColumnFamilyDescriptor> {
    Space::ALL.into_iter().map(|space| {
        let mut options = Options::default();
        options.set_write_buffer_size(WRITE_BUFFER_BYTES);
        options.set_max_compaction_bytes(COMPACTION_BYTES_MAX);
        // Entries repeat their engine's ids and digests. Tiles are hashes and rows are ciphertext: neither shrinks.
        let repeats = matches!(space, Space::Entry | Space::Checkpoint);
        options.set_compression_type(if repeats { DBCompressionType::Lz4 } else { DBCompressionType::None });
        ColumnFamilyDescriptor::new(space.name(), options)
    })
}

fn options() -> Options {
    let mut options = Options::default();
    // Opens at the last whole batch before any damage. RocksDB cannot know how much of its log was acknowledged;
    // the floor beside it does, and decides (see `floor`).
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_recycle_log_file_num(0);
    options.set_max_total_wal_size(WAL_BYTES_MAX);
    options.set_paranoid_checks(true);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_keep_log_file_num(4);
    options.set_max_background_jobs(2);
    options.set_max_compaction_bytes(COMPACTION_BYTES_MAX);
    options.set_db_write_buffer_size(4 * WRITE_BUFFER_BYTES);
    options
}

impl Store for Rocks {
    fn commit(&self, batch: Batch) -> Result<(), Error> {
        let mut writes = WriteBatch::default();
        for (space, key, value) in &batch.puts {
            writes.put_cf(self.family(*space), key, value);
        }
        self.db.write_opt(writes, &self.sync).map_err(|e| failed(&e))
    }

    fn value(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.db.get_cf(self.family(space), key).map_err(|e| failed(&e))
    }

    fn scan(&self, space: Space, first: &[u8], end: &[u8], visit: &mut Visit<'_>) -> Result<(), Error> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(end);
        let mode = IteratorMode::From(first, Direction::Forward);
        for pair in self.db.iterator_cf_opt(self.family(space), options, mode) {
            let (key, value) = pair.map_err(|e| failed(&e))?;
            if visit(&key, &value)? == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn last(&self, space: Space, first: &[u8], last: &[u8]) -> Result<Option<Pair>, Error> {
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(first);
        let mode = IteratorMode::From(last, Direction::Reverse);
        let found = self.db.iterator_cf_opt(self.family(space), options, mode).next();
        let found = found.transpose().map_err(|e| failed(&e))?;
        Ok(found.map(|(key, value)| (key.into_vec(), value.into_vec())))
    }

    fn free_bytes(&self) -> Result<u64, Error> {
        let stat = rustix::fs::statvfs(&self.path).map_err(|e| Error::io(&self.path, &e.into()))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn snapshot(&self, folder: &Path) -> Result<(), Error> {
        Checkpoint::new(&self.db).and_then(|links| links.create_checkpoint(folder)).map_err(|e| failed(&e))
    }
}
