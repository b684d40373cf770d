//! A whole ledger: the records log, and every shard under the key and heads that the records log holds of it.

use crate::audit::files::{Files, Folder, ReadError};
use crate::audit::log::{Head, State, Walk, unasked_witnesses};
use crate::audit::records::{Records, Shard};
use crate::audit::report::{Class, Failure, LedgerReport, Scope, fault};
use crate::audit::{ERASED_ONE_IN, Options};
use crate::note::{KeyKind, VerifierKey};
use crate::origin::{LogId, LogName};
use crate::registry::Registry;
use crate::text::decimal;

/// Audits an export of all logs, trusting the records log's key alone. `progress` is told of each log in its turn.
pub fn audit_ledger(
    files: &dyn Files,
    key: &VerifierKey,
    options: Options<'_>,
    progress: &mut dyn FnMut(LogId, u64, u64),
) -> Result<LedgerReport, Failure> {
    let name = LogName::parse(key.name()).map_err(|e| fault(Class::Signature, "the given key", e))?;
    if name.log != LogId::Records {
        let why = "an export of all logs is checked with the key of its records log";
        return Err(fault(Class::Signature, "the given key", why));
    }
    let mut state = State::default();
    state.chains.from_the_beginning = true;
    let records = Folder { files, path: LogId::Records.to_string() };
    let mut tell = |done, of| progress(LogId::Records, done, of);
    let walk = Walk::new(&records, key, options).map_err(|f| f.within(LogId::Records))?;
    let mut report = walk.run(&mut state, &[], &mut tell).map_err(|f| f.within(LogId::Records))?;
    report.unchecked.extend(unasked_witnesses(options));
    check_known(files, &state.records)?;
    let mut logs = vec![(LogId::Records, report)];
    for (number, shard) in core::mem::take(&mut state.records.shards) {
        let id = LogId::Usage(number);
        let folder = Folder { files, path: id.to_string() };
        if folder.read("checkpoint") == Err(ReadError::Missing) {
            let left = files.list(&folder.path).map_err(|why| Failure::unreadable(&folder.path, why))?;
            if !left.is_empty() {
                return Err(Failure::unreadable("checkpoint", ReadError::Missing).within(id));
            }
            logs[0].1.shards_absent += 1;
            logs[0].1.unchecked.push(format!("{id}: it is not in this export"));
            // Nobody knows where engines and requests stand after it.
            state.chains = Default::default();
            state.answers.forget_open();
            continue;
        }
        let origin = LogName { ledger: name.ledger.clone(), log: id }.to_string();
        let key = VerifierKey::new(&origin, KeyKind::Ed25519, shard.public_key);
        let key = key.map_err(|e| fault(Class::Records, format_args!("the key of {id}"), e))?;
        // A shard's witnesses are those of the records log, which holds the shard's heads.
        let options = Options { policy: None, ..options };
        let walk = Walk::new(&folder, &key, options).map_err(|f| f.within(id))?;
        let mut tell = |done, of| progress(id, done, of);
        let mut report = walk.run(&mut state, &heads_of(id, &shard), &mut tell).map_err(|f| f.within(id))?;
        report.rows_announced_erased = shard.rows_announced_erased();
        check_frozen(id, &shard, report.size)?;
        let erased = core::mem::take(&mut state.erased);
        check_redactions(id, &shard, &erased, (report.size, report.rows), report.scope != Scope::Public, options)?;
        logs.push((id, report));
    }
    let registry = state.records.registry.unwrap_or_else(|| Registry::new(key.name()));
    Ok(LedgerReport { logs, registry })
}

/// A shard that lies in the export but that nobody opened would be looked at by nobody.
fn check_known(files: &dyn Files, records: &Records) -> Result<(), Failure> {
    let mut names = files.list("usage").map_err(|why| Failure::unreadable("usage", why))?;
    names.sort_unstable();
    let opened = |number| u32::try_from(number).is_ok_and(|shard| records.shards.contains_key(&shard));
    match names.iter().find(|name| decimal(name).is_ok_and(|number| !opened(number))) {
        Some(name) => {
            let why = "it is in the export, but the records log never opened such a shard";
            Err(fault(Class::Records, format_args!("usage/{name}"), why))
        }
        None => Ok(()),
    }
}

fn heads_of(id: LogId, shard: &Shard) -> Vec<Head> {
    let head =
        |&(size, root)| Head { size, root, whose: format!("the head of {id} in the records log"), class: Class::Fork };
    shard.heads.iter().map(head).collect()
}

fn check_frozen(id: LogId, shard: &Shard, size: u64) -> Result<(), Failure> {
    match shard.heads.last() {
        Some(&(frozen, _)) if shard.frozen && size != frozen => {
            let why = format!("it was frozen at {frozen} entries and has {size}");
            Err(fault(Class::Records, id, why))
        }
        _ => Ok(()),
    }
}

/// Every erased row is announced, and no more than one in a hundred is.
fn check_redactions(
    id: LogId,
    shard: &Shard,
    erased: &[(u64, u64)],
    (size, rows): (u64, u64),
    rows_granted: bool,
    options: Options<'_>,
) -> Result<(), Failure> {
    let wrong = |why: String| fault(Class::Erased, id, why);
    if let Some(beyond) = shard.redactions.iter().find(|redaction| redaction.last_index >= size) {
        return Err(wrong(format!(
            "rows of entry {} are announced as erased, and there is no such entry",
            beyond.last_index
        )));
    }
    let announced = shard.rows_announced_erased();
    if announced > rows {
        return Err(wrong(format!("{announced} rows are announced as erased, and there are {rows}")));
    }
    let found: u64 = erased.iter().map(|(_, count)| count).sum();
    if rows_granted && found > announced {
        return Err(wrong(format!("{found} rows are erased, but the records log announces {announced}")));
    }
    let covered = |index| shard.redactions.iter().any(|r| (r.first_index..=r.last_index).contains(&index));
    if let Some((index, _)) = erased.iter().find(|(index, _)| !covered(*index)) {
        return Err(wrong(format!("rows of entry {index} are erased without a word in the records log")));
    }
    if !options.allow_erased && announced.saturating_mul(ERASED_ONE_IN) > rows {
        return Err(wrong(format!("{announced} of {rows} rows are erased, more than one in {ERASED_ONE_IN}")));
    }
    Ok(())
}
