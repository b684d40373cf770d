//! An engine's record, as an auditor follows it.

use std::collections::BTreeMap;
use std::sync::Mutex;

use loam_engine::recorder::{Key, RowRecord, StepRecord};
use loam_ledger_core::row::{Finish, Tokens};

/// An answer's rows.
#[derive(Default)]
struct Rows {
    tokens: Tokens,
    last: u64,
    completed: Option<(Finish, u64)>,
}

/// Follows all entries as an auditor would, and returns how each answer ended.
pub(crate) fn audit(kept: &Mutex<Vec<StepRecord>>) -> BTreeMap<(Key, u32), (Finish, u64)> {
    let mut rows: BTreeMap<(Key, u32), Rows> = BTreeMap::new();
    let (mut counted, mut in_rows) = ((0, 0), (0, 0));
    let steps = kept.lock().unwrap();
    for (sequence, step) in (1..).zip(steps.iter()) {
        counted = (counted.0 + step.prefilled_tokens, counted.1 + step.emitted_tokens);
        for row in &step.rows {
            match row {
                RowRecord::Usage(usage) => {
                    let answer = rows.entry((usage.request, usage.choice)).or_default();
                    assert!(answer.completed.is_none(), "a row after the completion");
                    assert!(usage.first_sequence > answer.last, "a step is counted twice");
                    assert!(usage.first_sequence <= usage.last_sequence && usage.last_sequence <= sequence);
                    answer.last = usage.last_sequence;
                    answer.tokens = answer.tokens.checked_add(&usage.tokens).unwrap();
                    in_rows = (in_rows.0 + usage.tokens.prefilled, in_rows.1 + usage.tokens.emitted);
                }
                RowRecord::Completion(completion) => {
                    let answer = rows.entry((completion.request, completion.choice)).or_default();
                    assert!(answer.completed.is_none(), "an answer is completed twice");
                    assert_eq!(completion.tokens, answer.tokens, "a completion is the sum of its rows");
                    assert_eq!(completion.delivered_tokens, completion.output.len() as u64);
                    assert!(completion.delivered_tokens <= completion.tokens.emitted);
                    answer.completed = Some((completion.finish, completion.delivered_tokens));
                }
            }
        }
        if step.open_requests == 0 {
            assert_eq!(in_rows, counted, "with nothing open, rows and entries agree at step {sequence}");
        } else {
            assert!(in_rows.0 <= counted.0 && in_rows.1 <= counted.1);
        }
    }
    assert_eq!(in_rows, counted, "all tokens are in rows at the end");
    rows.into_iter().map(|(answer, rows)| (answer, rows.completed.expect("every answer is completed"))).collect()
}
