//! Exports: a log as the static files of C2SP tlog-tiles, with rows beside them as far as a scope grants them.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use loam_ledger_core::Hash;
use loam_ledger_core::audit::{Files, ReadError};
use loam_ledger_core::checkpoint::Checkpoint;
use loam_ledger_core::entry::Entry;
use loam_ledger_core::epoch::{encode_fees, encode_mixes, encode_rows, erased_path, fees_path, forgotten_path};
use loam_ledger_core::granted::{encode_granted, push_to_row_bundle};
use loam_ledger_core::hash::digest;
use loam_ledger_core::origin::LogId;
use loam_ledger_core::text::decimal;
use loam_ledger_core::tile::{Resource, bundle_path, bundles_of, row_bundle_path, tiles_of};

use crate::error::Error;
use crate::ledger::Ledger;
use crate::payers::Payers;
use crate::reader::{Reader, RowScope};

/// Takes a file: the log's top, the path below it, the bytes; and says whether it goes on.
type Take<'a, T> = dyn FnMut(&T, &str, Vec<u8>) -> Result<ControlFlow<()>, Error> + 'a;

impl Ledger {
    /// Writes one log as it is signed now into a folder, which is made and must be empty. What is durable is signed
    /// first, where this process can.
    pub fn export(&self, log: LogId, scope: &RowScope, out: &Path) -> Result<(), Error> {
        self.export_logs(&[(log, out.to_owned())], scope)
    }

    /// Writes all logs, each into the folder of its name, as they are at one time: nothing is erased in between.
    pub fn export_all(&self, scope: &RowScope, out: &Path) -> Result<(), Error> {
        let logs: Vec<_> = self.logs().into_iter().map(|log| (log, out.join(log.to_string()))).collect();
        self.export_logs(&logs, scope)
    }

    /// The same files, one after the other, for whoever sends them elsewhere: each log's under its name, and a manifest
    /// last. `sink` says whether it goes on.
    pub fn export_to(
        &self,
        logs: &[LogId],
        scope: &RowScope,
        sink: &mut dyn FnMut(String, Vec<u8>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let logs: Vec<_> = logs.iter().map(|log| (*log, log.to_string())).collect();
        self.each_file(&logs, scope, &mut |top, path, bytes| Ok(sink(format!("{top}/{path}"), bytes)))
    }

    /// A static file of a log as it is signed: what C2SP tlog-tiles serves. No rows are among them.
    pub fn file(&self, log: LogId, path: &str) -> Result<Option<Vec<u8>>, Error> {
        LogFiles::signed(&self.reader, log, &RowScope::Public)?.bytes(path)
    }

    fn export_logs(&self, logs: &[(LogId, PathBuf)], scope: &RowScope) -> Result<(), Error> {
        for (_, out) in logs {
            let made = fs::create_dir_all(out).and_then(|()| fs::read_dir(out)).map_err(|e| Error::io(out, &e))?;
            if made.count() > 0 {
                return Err(Error::NotEmpty { path: out.display().to_string() });
            }
        }
        self.each_file(logs, scope, &mut |top, path, bytes| {
            write(&top.join(path), &bytes)?;
            Ok(ControlFlow::Continue(()))
        })
    }

    /// All files of some logs, as they are at one time: nothing is erased in between.
    fn each_file<T>(&self, logs: &[(LogId, T)], scope: &RowScope, take: &mut Take<'_, T>) -> Result<(), Error> {
        if let RowScope::Request(request) = scope {
            self.reader.request_record(request)?;
        }
        let _together = self.reader.shared.exporting();
        match self.read_only() {
            None => self.publish()?,
            Some(_) => self.check_announced(scope)?,
        }
        let files = logs.iter().map(|(log, top)| Ok((LogFiles::signed(&self.reader, *log, scope)?, top)));
        for (files, top) in files.collect::<Result<Vec<_>, Error>>()? {
            let mut manifest = String::new();
            for path in files.paths()? {
                let bytes = files.bytes(&path)?.ok_or_else(|| Error::damaged(&path, "it is not in the store"))?;
                manifest += &format!("{}  {path}\n", digest(&bytes));
                if take(top, &path, bytes)?.is_break() {
                    return Ok(());
                }
            }
            if take(top, "MANIFEST.sha256", manifest.into_bytes())?.is_break() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Refuses rows while an erasure is durable and not signed, for whoever cannot sign it: its rows read as erased, but the
    /// entry that announces them lies behind the signed size, and without it an auditor can only think of fraud.
    fn check_announced(&self, scope: &RowScope) -> Result<(), Error> {
        if *scope == RowScope::Public || !self.has_secrets() {
            return Ok(());
        }
        let records = self.reader.log_view(LogId::Records)?;
        let signed = records.published.unwrap_or(0);
        for (index, entry) in (signed..).zip(self.reader.entries(LogId::Records, signed, records.size)?) {
            if matches!(Entry::decode(&entry)?, Entry::Redaction(_)) {
                return Err(Error::ErasureUnsigned { index, signed });
            }
        }
        Ok(())
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).and_then(|()| fs::write(path, bytes)).map_err(|e| Error::io(path, &e))
}

/// One log of a store, seen as the files that its export has.
pub(crate) struct LogFiles<'a> {
    reader: &'a Reader,
    log: LogId,
    scope: &'a RowScope,
    size: u64,
    /// The newest head as this ledger knows it, for its own examination; otherwise the signed one.
    own_head: Option<String>,
    payers: Payers,
}

impl<'a> LogFiles<'a> {
    /// The files of a log at its newest checkpoint.
    pub(crate) fn signed(reader: &'a Reader, log: LogId, scope: &'a RowScope) -> Result<Self, Error> {
        let signed = reader.log_view(log)?.published;
        let unsigned = || Error::NotPublished { log, size: 0, why: "it was never signed".to_owned() };
        Ok(Self { reader, log, scope, size: signed.ok_or_else(unsigned)?, own_head: None, payers: Payers::default() })
    }

    /// The files of a log up to its last durable entry, signed or not.
    pub(crate) fn durable(reader: &'a Reader, log: LogId, scope: &'a RowScope) -> Result<Self, Error> {
        let view = reader.log_view(log)?;
        let head = Checkpoint { origin: reader.name(log)?.to_string(), size: view.size, root: view.root };
        Ok(Self { reader, log, scope, size: view.size, own_head: Some(head.to_text()), payers: Payers::default() })
    }

    fn rows_granted(&self) -> bool {
        *self.scope != RowScope::Public && self.log != LogId::Records
    }

    /// All files, those first that an auditor reads first.
    fn paths(&self) -> Result<Vec<String>, Error> {
        let mut paths = vec!["checkpoint".to_owned(), "policy.txt".to_owned()];
        paths.extend(self.checkpoint_sizes()?.iter().map(|size| format!("checkpoints/{size}")));
        paths.extend(bundles_of(self.size).map(|(number, width)| bundle_path(number, width)));
        paths.extend(tiles_of(self.size).map(|tile| tile.path()));
        if self.log == LogId::Records && *self.scope == RowScope::Settlement {
            for epoch in self.closed_epochs()? {
                let left = self.reader.erased_of_epoch(epoch)?;
                paths.extend((!left.erased.is_empty()).then(|| erased_path(epoch)));
                paths.extend((!left.forgotten.is_empty()).then(|| forgotten_path(epoch)));
                paths.extend((!left.fees.is_empty()).then(|| fees_path(epoch)));
            }
        }
        if self.rows_granted() {
            paths.extend(bundles_of(self.size).map(|(number, width)| row_bundle_path(number, width)));
        }
        Ok(paths)
    }

    /// Epochs that were closed within what is exported.
    fn closed_epochs(&self) -> Result<Vec<u32>, Error> {
        self.reader.recorded()?.look(|registry| {
            let within = |id| registry.record(id).is_some_and(|noted| noted.index < self.size);
            let epochs = registry.money().epochs().iter().filter(|(id, _)| within(id));
            Ok(epochs.map(|(_, act)| act.epoch).collect())
        })
    }

    /// What rows that nobody can open any more left of an epoch.
    fn left(&self, epoch: &str, what: &str) -> Result<Option<Vec<u8>>, Error> {
        let Ok(epoch) = epoch.parse() else { return Ok(None) };
        if !self.closed_epochs()?.contains(&epoch) {
            return Ok(None);
        }
        let left = self.reader.erased_of_epoch(epoch)?;
        Ok(match what {
            "erased" => Some(encode_mixes(&left.erased)?),
            "forgotten" => Some(encode_rows(&left.forgotten)?),
            "fees" => Some(encode_fees(&left.fees)?),
            _ => None,
        })
    }

    fn checkpoint_sizes(&self) -> Result<Vec<u64>, Error> {
        let sizes = self.reader.checkpoint_sizes(self.log)?;
        Ok(sizes.into_iter().filter(|size| *size <= self.size).collect())
    }

    fn bytes(&self, path: &str) -> Result<Option<Vec<u8>>, Error> {
        if path == "checkpoint" {
            if let Some(head) = &self.own_head {
                return Ok(Some(head.clone().into_bytes()));
            }
            return self.reader.checkpoint(self.log, self.size);
        }
        if path == "policy.txt" {
            return Ok(Some(format!("log {}\nquorum none\n", self.reader.key(self.log)?).into_bytes()));
        }
        if let Some(size) = path.strip_prefix("checkpoints/") {
            return decimal(size).map_or(Ok(None), |size| self.reader.checkpoint(self.log, size));
        }
        if let Some((epoch, what)) = path.strip_prefix("epochs/").and_then(|path| path.split_once('/')) {
            return if *self.scope == RowScope::Settlement { self.left(epoch, what) } else { Ok(None) };
        }
        match Resource::parse(path) {
            Some(resource) if !resource.is_within(self.size) => Ok(None),
            Some(Resource::Tile(tile)) => {
                let hashes = self.reader.tile(self.log, tile)?;
                Ok(Some(hashes.iter().flat_map(|hash| hash.0).collect()))
            }
            Some(Resource::Bundle(number, width)) => self.reader.bundle(self.log, number, width).map(Some),
            Some(Resource::Rows(number, width)) if self.rows_granted() => self.row_bundle(number, width).map(Some),
            _ => Ok(None),
        }
    }

    fn row_bundle(&self, number: u64, width: u64) -> Result<Vec<u8>, Error> {
        let first = number * loam_ledger_core::tile::TILE_WIDTH;
        let mut bundle = Vec::new();
        for index in first..first + width {
            let granted = self.reader.granted_rows(self.log, index, self.scope, &self.payers)?;
            push_to_row_bundle(&mut bundle, &granted.map(|rows| encode_granted(&rows)).unwrap_or_default());
        }
        Ok(bundle)
    }
}

/// For the audit, which reads exports without knowing what they lie on.
impl Files for LogFiles<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, ReadError> {
        self.bytes(path).map_err(|why| ReadError::Failed(why.to_string()))?.ok_or(ReadError::Missing)
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, ReadError> {
        if folder != "checkpoints" {
            return Ok(Vec::new());
        }
        let sizes = self.checkpoint_sizes().map_err(|why| ReadError::Failed(why.to_string()))?;
        Ok(sizes.iter().map(u64::to_string).collect())
    }
}

/// All logs of a store up to their last durable entries, as one export of all of them would have them.
pub(crate) struct AllFiles<'a> {
    pub(crate) reader: &'a Reader,
    pub(crate) scope: &'a RowScope,
}

impl AllFiles<'_> {
    fn within<'p>(&self, path: &'p str) -> Result<(LogFiles<'_>, &'p str), ReadError> {
        let (log, rest) = match path.strip_prefix("records/") {
            Some(rest) => (LogId::Records, rest),
            None => {
                let shard = path.strip_prefix("usage/").and_then(|path| path.split_once('/'));
                let (shard, rest) = shard.ok_or(ReadError::Missing)?;
                (format!("usage/{shard}").parse().map_err(|_| ReadError::Missing)?, rest)
            }
        };
        let files = LogFiles::durable(self.reader, log, self.scope).map_err(|_| ReadError::Missing)?;
        Ok((files, rest))
    }
}

impl Files for AllFiles<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, ReadError> {
        let (files, path) = self.within(path)?;
        files.read(path)
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, ReadError> {
        match self.within(folder) {
            Ok((files, folder)) => files.list(folder),
            Err(_) => Ok(Vec::new()),
        }
    }
}

/// An export in a folder, as the audit reads it.
pub struct ExportFolder {
    top: PathBuf,
}

impl ExportFolder {
    /// The export whose top is this folder.
    pub fn new(top: &Path) -> Self {
        Self { top: top.to_owned() }
    }
}

impl Files for ExportFolder {
    fn read(&self, path: &str) -> Result<Vec<u8>, ReadError> {
        fs::read(self.top.join(path)).map_err(|why| match why.kind() {
            std::io::ErrorKind::NotFound => ReadError::Missing,
            _ => ReadError::Failed(why.to_string()),
        })
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, ReadError> {
        let failed = |why: std::io::Error| ReadError::Failed(why.to_string());
        let entries = match fs::read_dir(self.top.join(folder)) {
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let name = |entry: std::io::Result<fs::DirEntry>| {
            let name = entry.map_err(failed)?.file_name();
            name.into_string().map_err(|name| ReadError::Failed(format!("{} is not text", name.display())))
        };
        entries.map(name).collect()
    }
}

/// What an export's rows are called on a command line: `public`, `settlement`, `request:ID`, `tenant:NAME`.
impl std::str::FromStr for RowScope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "public" => Ok(Self::Public),
            "settlement" => Ok(Self::Settlement),
            _ => {
                if let Some(tenant) = text.strip_prefix("tenant:") {
                    return Ok(Self::Tenant(tenant.to_owned()));
                }
                let request = text.strip_prefix("request:").and_then(|id| Hash::from_hex(id).ok());
                let allowed = || "a scope is public, settlement, request:ID or tenant:NAME".to_owned();
                request.map(Self::Request).ok_or_else(allowed)
            }
        }
    }
}
