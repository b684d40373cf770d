//! One log: its signed heads, its entries and tiles, and what its entries say.

use crate::audit::chain::{Chains, Followed};
use crate::audit::files::{Files, ReadError};
use crate::audit::records::Records;
use crate::audit::report::{Class, Failure, LogReport, Scope, fault};
use crate::audit::rows::Answers;
use crate::audit::{ERASED_ONE_IN, Options};
use crate::checkpoint::Checkpoint;
use crate::entry::Entry;
use crate::error::Error;
use crate::granted::split_row_bundle;
use crate::hash::{Hash, digest, leaf_hash};
use crate::note::{Note, VerifierKey};
use crate::origin::{LogId, LogName};
use crate::policy::Policy;
use crate::text::decimal;
use crate::tile::{Tile, bundle_path, bundles_of, row_bundle_path, split_bundle};
use crate::tree::Edge;

/// Audits an export of one log, whose key the caller trusts. `progress` is told of entries done, of how many.
pub fn audit_log(
    files: &dyn Files,
    key: &VerifierKey,
    options: Options<'_>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<LogReport, Failure> {
    let first_shard = matches!(LogName::parse(key.name()), Ok(LogName { log: LogId::Usage(1), .. }));
    let mut state = State::default();
    state.chains.from_the_beginning = first_shard;
    let mut report = Walk::new(files, key, options)?.run(&mut state, &[], progress)?;
    if !options.opaque {
        report.unchecked.push("the other logs of this ledger: an export of all of them shows more".to_owned());
    }
    report.unchecked.extend(unasked_witnesses(options));
    Ok(report)
}

/// What an audit carries from one log to the next.
#[derive(Default)]
pub(super) struct State {
    pub(super) chains: Chains,
    pub(super) answers: Answers,
    pub(super) records: Records,
    /// Entries of this shard with erased rows, and how many each has.
    pub(super) erased: Vec<(u64, u64)>,
}

/// A head that the log must have had.
#[derive(Clone)]
pub(super) struct Head {
    pub(super) size: u64,
    pub(super) root: Hash,
    pub(super) whose: String,
    pub(super) class: Class,
}

/// One pass over a log's entries.
pub(super) struct Walk<'a> {
    files: &'a dyn Files,
    options: Options<'a>,
    log: Option<LogId>,
    heads: Vec<Head>,
    edge: Edge,
    /// For each tile level above the leaves, the hashes of the tile that is filling.
    upper: Vec<Filling>,
    report: LogReport,
}

#[derive(Default)]
struct Filling {
    index: u64,
    hashes: Vec<Hash>,
}

impl<'a> Walk<'a> {
    /// Opens the newest checkpoint and gathers the older ones.
    pub(super) fn new(files: &'a dyn Files, key: &VerifierKey, options: Options<'a>) -> Result<Self, Failure> {
        let bytes = files.read("checkpoint").map_err(|why| Failure::unreadable("checkpoint", why))?;
        let newest =
            if options.unsigned_head { own_head(&bytes)? } else { open_checkpoint(&bytes, key, "checkpoint")? };
        if let Some(policy) = options.policy {
            let quorum = Note::parse(&bytes).and_then(|note| policy.check_quorum(&note));
            quorum.map_err(|e| fault(Class::Quorum, "checkpoint", e))?;
        }
        let log = match LogName::parse(&newest.origin) {
            Ok(name) => Some(name.log),
            Err(_) if options.opaque => None,
            Err(e) => return Err(fault(Class::Malformed, "checkpoint", e)),
        };
        let mut heads = older_checkpoints(files, key, &newest)?;
        heads.push(Head { size: newest.size, root: newest.root, whose: "checkpoint".to_owned(), class: Class::Tree });
        let mut report = LogReport::new(newest.origin, newest.size, newest.root);
        report.checkpoints = heads.len() as u64;
        Ok(Self { files, options, log, heads, edge: Edge::default(), upper: Vec::new(), report })
    }

    /// Walks the whole log. `recorded` are heads that another log holds of this one.
    pub(super) fn run(
        mut self,
        state: &mut State,
        recorded: &[Head],
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<LogReport, Failure> {
        if let Some(beyond) = recorded.iter().find(|head| head.size > self.report.size) {
            let why = format!("it covers {} entries, but the export ends at {}", beyond.size, self.report.size);
            return Err(fault(beyond.class, &beyond.whose, why));
        }
        self.report.recorded_heads = recorded.len() as u64;
        self.heads.extend_from_slice(recorded);
        // From the last to the first, so that the next one to meet is at the end. Among equals the newest checkpoint,
        // whose mismatch is a plain fault of the tree, is met first.
        self.heads.sort_by_key(|head| core::cmp::Reverse((head.size, head.class != Class::Tree)));
        self.meet_heads()?;
        let (size, mut rows_granted) = (self.report.size, None);
        for (number, width) in bundles_of(size) {
            let path = bundle_path(number, width);
            let bundle = self.must_read(&path)?;
            let entries = split_bundle(&bundle, width).map_err(|e| fault(Class::Malformed, &path, e))?;
            let leaves = self.grow(number, &entries)?;
            if !self.options.opaque {
                let rows = self.row_bundle(number, width, &mut rows_granted)?;
                let granted = split_row_bundle(&rows, if rows.is_empty() { 0 } else { width });
                let granted = granted.map_err(|e| fault(Class::Malformed, row_bundle_path(number, width), e))?;
                for (place, (entry, leaf)) in entries.iter().zip(&leaves).enumerate() {
                    let index = number * crate::tile::TILE_WIDTH + place as u64;
                    self.read_entry(index, entry, *leaf, granted.get(place).copied().unwrap_or_default(), state)?;
                }
            }
            progress(self.edge.size(), size);
        }
        self.check_last_tiles()?;
        self.finish(state, rows_granted == Some(true))
    }

    fn must_read(&self, path: &str) -> Result<Vec<u8>, Failure> {
        self.files.read(path).map_err(|why| match why {
            ReadError::Missing => fault(Class::Missing, path, "the log is not whole without it"),
            why @ ReadError::Failed(_) => Failure::unreadable(path, why),
        })
    }

    /// Rows are granted for all bundles or for none: the first bundle tells.
    fn row_bundle(&self, number: u64, width: u64, granted: &mut Option<bool>) -> Result<Vec<u8>, Failure> {
        let path = row_bundle_path(number, width);
        match (self.files.read(&path), *granted) {
            (Ok(bytes), None | Some(true)) if !bytes.is_empty() => {
                *granted = Some(true);
                Ok(bytes)
            }
            (Err(ReadError::Missing), None | Some(false)) => {
                *granted = Some(false);
                Ok(Vec::new())
            }
            (Err(why @ ReadError::Failed(_)), _) => Err(Failure::unreadable(&path, why)),
            _ => Err(fault(Class::Missing, path, "rows are granted for a part of the entries only")),
        }
    }

    /// Adds a bundle's entries to the tree, and checks its tile and the heads on the way.
    fn grow(&mut self, number: u64, entries: &[&[u8]]) -> Result<Vec<Hash>, Failure> {
        let leaves: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
        self.check_tile(0, number, &leaves)?;
        for leaf in &leaves {
            let upper = &mut self.upper;
            self.edge.append(*leaf, |level, _, hash| {
                if level % crate::tile::TILE_HEIGHT == 0 {
                    let above = usize::from(level / crate::tile::TILE_HEIGHT) - 1;
                    if upper.len() <= above {
                        upper.push(Filling::default());
                    }
                    upper[above].hashes.push(hash);
                }
            });
            self.meet_heads()?;
        }
        self.check_full_tiles()?;
        Ok(leaves)
    }

    /// Compares every head of the present size with the root as it was recomputed.
    fn meet_heads(&mut self) -> Result<(), Failure> {
        while self.heads.last().is_some_and(|head| head.size == self.edge.size()) {
            let head = self.heads.pop().expect("there is a last head");
            if head.root != self.edge.root() {
                let why = format!("its root is not that of the first {} entries", head.size);
                return Err(fault(head.class, head.whose, why));
            }
        }
        Ok(())
    }

    fn check_full_tiles(&mut self) -> Result<(), Failure> {
        for above in 0..self.upper.len() {
            if self.upper[above].hashes.len() as u64 == crate::tile::TILE_WIDTH {
                let filled = core::mem::take(&mut self.upper[above]);
                self.check_tile(above + 1, filled.index, &filled.hashes)?;
                self.upper[above].index = filled.index + 1;
            }
        }
        Ok(())
    }

    fn check_last_tiles(&mut self) -> Result<(), Failure> {
        for (above, last) in core::mem::take(&mut self.upper).into_iter().enumerate() {
            if !last.hashes.is_empty() {
                self.check_tile(above + 1, last.index, &last.hashes)?;
            }
        }
        Ok(())
    }

    fn check_tile(&mut self, level: usize, index: u64, hashes: &[Hash]) -> Result<(), Failure> {
        let level = u8::try_from(level).expect("a tree has at most eight tile levels");
        let path = Tile { level, index, width: hashes.len() as u64 }.path();
        let bytes = self.must_read(&path)?;
        let same = bytes.len() == hashes.len() * Hash::LEN
            && bytes.chunks_exact(Hash::LEN).zip(hashes).all(|(chunk, hash)| chunk == hash.0);
        self.report.tiles += 1;
        if same { Ok(()) } else { Err(fault(Class::Tree, path, "it is not what the entries give")) }
    }

    fn read_entry(
        &mut self,
        index: u64,
        bytes: &[u8],
        leaf: Hash,
        granted: &[u8],
        state: &mut State,
    ) -> Result<(), Failure> {
        let at = |class, why: &dyn core::fmt::Display| fault(class, format_args!("entry {index}"), why);
        let entry = Entry::decode(bytes).map_err(|e| at(Class::Malformed, &e))?;
        if !granted.is_empty() && !matches!(entry, Entry::Batch(_)) {
            return Err(at(Class::Malformed, &"rows are granted of it, and only batch entries have rows"));
        }
        if self.log == Some(LogId::Records) {
            return state.records.follow(index, &entry, &mut self.report).map_err(|why| at(Class::Records, &why));
        }
        match state.chains.follow(index, &entry, leaf)? {
            Followed::Other => Err(at(Class::Records, &"it belongs to the records log")),
            Followed::Boot(boot, old) => {
                self.report.boots += 1;
                self.report.crashes += u64::from(boot.previous.as_ref().is_some_and(|previous| !previous.clean));
                state.answers.boot(index, boot, old.as_ref())
            }
            Followed::Batch(batch) => {
                let overflow = || at(Class::Totals, &"the log's tokens overflow");
                let report = &mut self.report;
                report.rows += u64::from(batch.row_count);
                report.prefilled_tokens =
                    report.prefilled_tokens.checked_add(batch.prefilled_tokens).ok_or_else(overflow)?;
                report.emitted_tokens = report.emitted_tokens.checked_add(batch.emitted_tokens).ok_or_else(overflow)?;
                let seen = state.answers.batch(index, batch, granted, &mut state.chains, report)?;
                report.rows_erased += seen.erased;
                if seen.erased > 0 {
                    state.erased.push((index, seen.erased));
                }
                Ok(())
            }
        }
    }

    fn finish(mut self, state: &mut State, rows_granted: bool) -> Result<LogReport, Failure> {
        self.check_manifest()?;
        let report = &mut self.report;
        report.engines = state.chains.count();
        let all_seen = report.rows_open + report.rows_erased == report.rows;
        report.scope = match (rows_granted, all_seen) {
            (false, _) => Scope::Public,
            (true, true) => Scope::All,
            (true, false) => Scope::Part,
        };
        if !self.options.allow_erased && report.rows_erased.saturating_mul(ERASED_ONE_IN) > report.rows {
            let why =
                format!("{} of {} rows are erased, more than one in {ERASED_ONE_IN}", report.rows_erased, report.rows);
            return Err(fault(Class::Erased, "rows", why));
        }
        if self.options.opaque {
            self.unchecked("what the entries say");
        } else if self.log == Some(LogId::Records) {
            let records = state.records.registry.iter().flat_map(|registry| registry.records());
            let unseen = records.filter(|(_, noted)| !noted.lists_checked).count();
            if unseen > 0 {
                self.unchecked(&format!(
                    "operations of {unseen} contributions and revisions: only their roots are here"
                ));
            }
        } else if matches!(self.log, Some(LogId::Usage(_))) {
            match self.report.scope {
                Scope::Public => self.unchecked("who was served, with which adapters: no rows are granted"),
                Scope::Part => self.unchecked("token totals of boots with hidden rows, and these rows"),
                Scope::All if self.report.rows_erased > 0 => self.unchecked("token totals of boots with erased rows"),
                Scope::All => {}
            }
            if !state.chains.from_the_beginning {
                self.unchecked("engines' chains before this shard");
            }
            if state.answers.begun_before > 0 {
                let count = core::mem::take(&mut state.answers.begun_before);
                self.unchecked(&format!("sums of {count} completions that began before this export"));
            }
        }
        Ok(self.report)
    }

    fn unchecked(&mut self, what: &str) {
        self.report.unchecked.push(what.to_owned());
    }

    /// Holds every file that the manifest lists against its digest.
    fn check_manifest(&mut self) -> Result<(), Failure> {
        const NAME: &str = "MANIFEST.sha256";
        let manifest = match self.files.read(NAME) {
            Ok(manifest) => manifest,
            Err(ReadError::Missing) => {
                self.unchecked("files beside the log: there is no manifest");
                return Ok(());
            }
            Err(why) => return Err(Failure::unreadable(NAME, why)),
        };
        let malformed = || fault(Class::Malformed, NAME, "a line is a digest, two spaces, a path and a line feed");
        let manifest = core::str::from_utf8(&manifest).map_err(|_| malformed())?;
        let lines = manifest.split_inclusive('\n').map(|line| line.strip_suffix('\n'));
        for line in lines {
            let line = line.filter(|line| !line.contains(char::is_control)).ok_or_else(malformed)?;
            let (hash, path) = line.split_once("  ").ok_or_else(malformed)?;
            let hash = Hash::from_hex(hash).map_err(|_| malformed())?;
            let outside = path.starts_with('/') || path.split('/').any(|part| part.is_empty() || part.starts_with('.'));
            if outside {
                return Err(malformed());
            }
            if digest(&self.must_read(path)?) != hash {
                return Err(fault(Class::Manifest, path, "it is not the file that the manifest lists"));
            }
            self.report.manifest_files += 1;
        }
        Ok(())
    }
}

/// What stays open where the caller's policy asks for no witnesses.
pub(super) fn unasked_witnesses(options: Options<'_>) -> Option<String> {
    let asked = options.policy.is_some_and(Policy::needs_witnesses);
    (!asked).then(|| "whether others were shown another log: no witness quorum was asked for".to_owned())
}

fn own_head(bytes: &[u8]) -> Result<Checkpoint, Failure> {
    let text = core::str::from_utf8(bytes).map_err(|e| fault(Class::Malformed, "checkpoint", e))?;
    Checkpoint::parse(text).map_err(|e| fault(Class::Malformed, "checkpoint", e))
}

fn open_checkpoint(bytes: &[u8], key: &VerifierKey, path: &str) -> Result<Checkpoint, Failure> {
    let note = Note::parse(bytes).map_err(|e| fault(Class::Malformed, path, e))?;
    note.signed_by(key).map_err(|e| fault(Class::Signature, path, e))?;
    Checkpoint::open_parsed(&note, key).map_err(|e| {
        let class = match e {
            Error::Origin { .. } => Class::Signature,
            _ => Class::Malformed,
        };
        fault(class, path, e)
    })
}

/// The older checkpoints beside the log, each named by its size.
fn older_checkpoints(files: &dyn Files, key: &VerifierKey, newest: &Checkpoint) -> Result<Vec<Head>, Failure> {
    let mut names = files.list("checkpoints").map_err(|why| Failure::unreadable("checkpoints", why))?;
    // The first thing wrong is the same wherever the export lies.
    names.sort_unstable();
    let mut heads = Vec::with_capacity(names.len() + 1);
    for name in names {
        let path = format!("checkpoints/{name}");
        let size = decimal(&name).map_err(|e| fault(Class::Malformed, &path, e))?;
        let bytes = files.read(&path).map_err(|why| Failure::unreadable(&path, why))?;
        let Checkpoint { size: signed, root, .. } = open_checkpoint(&bytes, key, &path)?;
        if signed != size {
            return Err(fault(Class::Malformed, path, format_args!("it is of size {signed}")));
        }
        if size > newest.size {
            return Err(fault(Class::Fork, path, "it is beyond the newest checkpoint"));
        }
        heads.push(Head { size, root, whose: path, class: Class::Fork });
    }
    Ok(heads)
}
