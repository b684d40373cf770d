//! Rows: they lie below their entries, sum to what entries count, and completions sum to usage.

use std::collections::{HashMap, HashSet};

use crate::audit::chain::{Chains, Engine};
use crate::audit::report::{Class, Failure, LogReport, fault};
use crate::entry::{Batch, Boot, Id16, Place};
use crate::granted::{GrantedRow, decode_granted};
use crate::hash::Hash;
use crate::row::{Completion, Pair, Row, Step, Tokens, Usage};
use crate::tree::root_of_leaves;

/// Requests' answers that have usage rows and no completion yet, across shards.
#[derive(Default)]
pub(super) struct Answers {
    open: HashMap<(Hash, u32), Answer>,
    /// Answers whose completion was seen, in whatever log: with a second one, two receipts would hold for one answer. It is
    /// all that an audit keeps of each answer.
    complete: HashSet<(Hash, u32)>,
    /// Completions that began before the export, or before the boot that ended them.
    pub(super) begun_before: u64,
}

struct Answer {
    engine: Id16,
    first: Step,
    last: Step,
    pairs: Vec<Pair>,
    tokens: Tokens,
}

/// Rows that one entry's reader saw.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) hidden: u64,
    pub(super) erased: u64,
}

impl Answers {
    /// Checks one batch entry against the rows that are granted of it; empty where none are.
    pub(super) fn batch(
        &mut self,
        index: u64,
        batch: &Batch,
        granted: &[u8],
        chains: &mut Chains,
        report: &mut LogReport,
    ) -> Result<Seen, Failure> {
        let wrong = |class, why: String| fault(class, format_args!("rows of entry {index}"), why);
        let mut seen = Seen::default();
        let engine = chains.engine(&batch.place.engine);
        if granted.is_empty() {
            seen.hidden = u64::from(batch.row_count);
            engine.rows_unseen |= batch.row_count > 0;
        } else {
            let rows = decode_granted(granted).map_err(|e| wrong(Class::Malformed, e.to_string()))?;
            check_root(batch, &rows).map_err(|why| wrong(Class::Rows, why))?;
            for (number, row) in rows.iter().enumerate() {
                let at = |class, why: String| fault(class, format_args!("row {number} of entry {index}"), why);
                match row {
                    GrantedRow::Hidden(_) => seen.hidden += 1,
                    GrantedRow::Erased(_) => seen.erased += 1,
                    GrantedRow::Open { row, .. } => {
                        let row = Row::decode(row).map_err(|e| at(Class::Malformed, e.to_string()))?;
                        self.row(&row, batch.place, engine, report).map_err(|why| at(Class::Totals, why))?;
                        report.rows_open += 1;
                    }
                }
            }
            engine.rows_unseen |= seen.hidden + seen.erased > 0;
        }
        check_totals(batch.open_requests, engine).map_err(|why| wrong(Class::Totals, why))?;
        Ok(seen)
    }

    /// A log is missing: nobody knows where answers that were open stand after it.
    pub(super) fn forget_open(&mut self) {
        self.open.clear();
    }

    /// A boot closes what the boot before it left.
    pub(super) fn boot(&mut self, index: u64, boot: &Boot, old: Option<&Engine>) -> Result<(), Failure> {
        self.open.retain(|_, answer| answer.engine != boot.engine);
        let (Some(old), Some(previous)) = (old, &boot.previous) else {
            return Ok(());
        };
        if old.first_seen > 0 {
            // What it left may be of steps before the export's first.
            return Ok(());
        }
        let declared = (u128::from(previous.unrowed.prefilled_tokens), u128::from(previous.unrowed.emitted_tokens));
        let prefilled = old.counted.prefilled.checked_sub(old.rowed.prefilled);
        let emitted = old.counted.emitted.checked_sub(old.rowed.emitted);
        let left = prefilled.zip(emitted);
        let agrees = match left {
            Some(left) if old.rows_unseen => declared.0 <= left.0 && declared.1 <= left.1,
            left => left == Some(declared),
        };
        if agrees {
            return Ok(());
        }
        let why = "the boot before it left other tokens without rows than this entry says";
        Err(fault(Class::Totals, format_args!("entry {index}"), why))
    }

    fn row(&mut self, row: &Row, place: Place, engine: &mut Engine, report: &mut LogReport) -> Result<(), String> {
        match row {
            Row::Usage(usage) => self.usage(usage, place, engine),
            Row::Completion(completion) => {
                let counted = self.completion(completion, place, engine)?;
                report.completions += u64::from(counted);
                Ok(())
            }
        }
    }

    fn usage(&mut self, usage: &Usage, place: Place, engine: &mut Engine) -> Result<(), String> {
        if usage.last_sequence > place.sequence {
            return Err("it counts steps that lie after its entry".to_owned());
        }
        let step = |sequence| Step { boot: place.boot, sequence };
        let answer = self.open.entry((usage.request, usage.choice)).or_insert_with(|| Answer {
            engine: place.engine,
            first: step(usage.first_sequence),
            last: step(usage.first_sequence - 1),
            pairs: usage.pairs.clone(),
            tokens: Tokens::default(),
        });
        if answer.engine != place.engine || answer.last.boot != place.boot {
            return Err("its request ran on another engine or boot before".to_owned());
        }
        if usage.first_sequence <= answer.last.sequence {
            return Err(format!("it counts step {} once more", usage.first_sequence));
        }
        if usage.pairs != answer.pairs {
            return Err("its request's adapters changed on the way".to_owned());
        }
        answer.last = step(usage.last_sequence);
        answer.tokens = answer.tokens.checked_add(&usage.tokens).ok_or("its request's tokens overflow")?;
        // Steps before the export's first are not in `counted` either; what is rowed stays a lower bound.
        if usage.first_sequence >= engine.first_seen {
            engine.rowed.prefilled += u128::from(usage.tokens.prefilled);
            engine.rowed.emitted += u128::from(usage.tokens.emitted);
        }
        Ok(())
    }

    /// Whether the completion's sums could be checked; an answer that began before the export did cannot be.
    fn completion(&mut self, row: &Completion, place: Place, engine: &Engine) -> Result<bool, String> {
        if row.last.boot != place.boot || row.last.sequence > place.sequence {
            return Err("it ends at a step that is not of its boot, or lies after its entry".to_owned());
        }
        if !self.complete.insert((row.request, row.choice)) {
            return Err("its answer is complete already, by another completion row".to_owned());
        }
        let answer = self.open.remove(&(row.request, row.choice));
        if row.first.boot != place.boot {
            return Err("it begins in another boot, and what a boot leaves open its successor closes".to_owned());
        }
        if row.first.sequence < engine.first_seen {
            self.begun_before += 1;
            return Ok(false);
        }
        let Some(answer) = answer else {
            return if row.tokens == Tokens::default() {
                Ok(true)
            } else {
                Err("it counts tokens of which no usage row tells".to_owned())
            };
        };
        if row.tokens != answer.tokens {
            return Err("its tokens are not the sum of its usage rows".to_owned());
        }
        if (row.first, row.last) != (answer.first, answer.last) {
            return Err("its first and last steps are not those of its usage rows".to_owned());
        }
        if row.pairs != answer.pairs {
            return Err("its adapters are not those of its usage rows".to_owned());
        }
        Ok(true)
    }
}

fn check_root(batch: &Batch, rows: &[GrantedRow]) -> Result<(), String> {
    if rows.len() as u64 != u64::from(batch.row_count) {
        return Err(format!("there are {} where the entry has {}", rows.len(), batch.row_count));
    }
    let leaves: Vec<Hash> = rows.iter().map(GrantedRow::leaf).collect();
    if root_of_leaves(&leaves) == batch.rows_root { Ok(()) } else { Err("they are not those of the entry".to_owned()) }
}

/// Rows never count more than entries do, and exactly as much wherever no request is open.
fn check_totals(open_requests: u64, engine: &Engine) -> Result<(), String> {
    let (counted, rowed) = (engine.counted, engine.rowed);
    if rowed.prefilled > counted.prefilled || rowed.emitted > counted.emitted {
        return Err("rows count more tokens than entries do".to_owned());
    }
    if open_requests == 0 && !engine.rows_unseen && rowed != counted {
        return Err(format!(
            "no request is open, yet entries count {} + {} tokens and rows {} + {}",
            counted.prefilled, counted.emitted, rowed.prefilled, rowed.emitted
        ));
    }
    Ok(())
}
