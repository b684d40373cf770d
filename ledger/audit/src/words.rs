//! What records say, in words for a person and in fields for a program. Nothing here is checked.

use loam_ledger_core::Hash;
use loam_ledger_core::checkpoint::Checkpoint;
use loam_ledger_core::entry::{Batch, Boot, Entry, Redaction, ShardHead};
use loam_ledger_core::granted::GrantedRow;
use loam_ledger_core::record::Record;
use loam_ledger_core::row::{Completion, Finish, Pair, Row, Step, Tokens};
use loam_ledger_core::text::{base64_encode, hex_encode, millionths};
use serde_json::{Value, json};

use crate::text::{Lines, count, number, utc};

/// A checkpoint's fields.
pub(crate) fn checkpoint_json(checkpoint: &Checkpoint) -> Value {
    json!({ "origin": checkpoint.origin, "size": checkpoint.size, "root": base64_encode(&checkpoint.root.0) })
}

/// A checkpoint in lines.
pub(crate) fn checkpoint_lines(lines: &mut Lines, checkpoint: &Checkpoint) {
    lines.line("log", &checkpoint.origin);
    lines.line("size", number(checkpoint.size));
    lines.line("root", base64_encode(&checkpoint.root.0));
}

/// What type an entry has, in a word or two.
pub(crate) fn entry_kind(entry: &Entry) -> &'static str {
    match entry {
        Entry::Boot(_) => "boot",
        Entry::Batch(_) => "batch",
        Entry::ShardOpened(_) => "shard opened",
        Entry::ShardFrozen(_) => "shard frozen",
        Entry::ShardStopped(_) => "shard stopped",
        Entry::ShardClosed(_) => "shard at the close of an epoch",
        Entry::Redaction(_) => "redaction",
        Entry::Record(record) => record.body.act.words(),
    }
}

/// An entry in lines.
pub(crate) fn entry_lines(lines: &mut Lines, entry: &Entry) {
    lines.line("entry", entry_kind(entry));
    lines.line("time", utc(entry.time_ms()));
    match entry {
        Entry::Boot(boot) => boot_lines(lines, boot),
        Entry::Batch(batch) => batch_lines(lines, batch),
        Entry::ShardOpened(opened) => {
            lines.line("shard", number(opened.shard));
            lines.line("public key", hex_encode(&opened.public_key));
        }
        Entry::ShardFrozen(head) | Entry::ShardStopped(head) | Entry::ShardClosed(head) => head_lines(lines, head),
        Entry::Redaction(redaction) => redaction_lines(lines, redaction),
        Entry::Record(record) => record_lines(lines, record),
    }
}

/// Who signed, and what they say. Nothing is verified here.
fn record_lines(lines: &mut Lines, record: &Record) {
    for (author, signed) in record.body.authors.iter().zip(&record.signed) {
        let share = millionths(author.share.into());
        lines.line("author", format!("{}, share {share}, record {}", author.contributor, number(signed.sequence)));
    }
    for (name, value) in record.body.act.fields() {
        lines.line(&name.replace('_', " "), value);
    }
    if let Some(whom) = record.body.attested_for {
        lines.line("attested for", format!("{whom}, who did not sign"));
    }
    for cited in &record.body.cites {
        lines.line("cites", cited.to_hex());
    }
    if let Some(text) = record.body.text {
        lines.line("text", text.to_hex());
    }
}

fn boot_lines(lines: &mut Lines, boot: &Boot) {
    lines.line("engine", hex_encode(&boot.engine));
    lines.line("boot", hex_encode(&boot.boot));
    match &boot.previous {
        None => lines.line("previous boot", "none"),
        Some(previous) => {
            let end = if previous.clean { "stopped" } else { "was cut off" };
            lines.line("previous boot", hex_encode(&previous.boot));
            lines.line("", format!("{end} after sequence {}, leaf {}", number(previous.sequence), previous.leaf));
            let left = &previous.unrowed;
            lines.line(
                "",
                format!(
                    "left {} with {} prefilled and {} emitted tokens in no row",
                    count(left.requests, "request"),
                    number(left.prefilled_tokens),
                    number(left.emitted_tokens)
                ),
            )
        }
    };
    lines.line("base model", boot.base.to_hex());
    lines.line("program", boot.build.to_hex());
    lines.line("configuration", boot.config.to_hex());
}

fn batch_lines(lines: &mut Lines, batch: &Batch) {
    lines.line("engine", hex_encode(&batch.place.engine));
    lines.line("boot", hex_encode(&batch.place.boot));
    lines.line("sequence", number(batch.place.sequence));
    lines.line("previous leaf", batch.previous.to_hex());
    lines.line("base model", batch.base.to_hex());
    lines.line("program", batch.build.to_hex());
    lines.line(
        "tokens",
        format!("{} prefilled, {} emitted", number(batch.prefilled_tokens), number(batch.emitted_tokens)),
    );
    lines.line("rows", number(batch.row_count));
    if batch.row_count > 0 {
        lines.line("rows root", batch.rows_root.to_hex());
    }
    lines.line("open requests", number(batch.open_requests));
}

fn head_lines(lines: &mut Lines, head: &ShardHead) {
    lines.line("shard", number(head.shard));
    lines.line("size", number(head.size));
    lines.line("root", base64_encode(&head.root.0));
}

fn redaction_lines(lines: &mut Lines, redaction: &Redaction) {
    lines.line("shard", number(redaction.shard));
    let (first, last) = (number(redaction.first_index), number(redaction.last_index));
    lines.line("entries", format!("{first} to {last}"));
    lines.line("rows erased", number(redaction.row_count));
    lines.line("reason", reason(redaction.reason));
}

fn reason(reason: u8) -> String {
    match reason {
        1 => "the person asked".to_owned(),
        2 => "retention ended".to_owned(),
        3 => "an authority ordered it".to_owned(),
        255 => "another".to_owned(),
        unknown => format!("code {unknown}"),
    }
}

fn finish(finish: Finish) -> String {
    match finish {
        Finish::STOP => "stop".to_owned(),
        Finish::STOP_SEQUENCE => "stop sequence".to_owned(),
        Finish::LENGTH => "length".to_owned(),
        Finish::CANCELLED => "cancelled".to_owned(),
        Finish::DEADLINE => "deadline".to_owned(),
        Finish::FAILED => "failed".to_owned(),
        Finish(unknown) => format!("code {unknown}"),
    }
}

/// An entry's fields.
pub(crate) fn entry_json(entry: &Entry) -> Value {
    let mut fields = match entry {
        Entry::Boot(boot) => json!({
            "engine": hex_encode(&boot.engine),
            "boot": hex_encode(&boot.boot),
            "previous": boot.previous.as_ref().map(|previous| json!({
                "boot": hex_encode(&previous.boot),
                "sequence": previous.sequence,
                "leaf": previous.leaf.to_hex(),
                "clean": previous.clean,
                "unrowed": {
                    "requests": previous.unrowed.requests,
                    "prefilled_tokens": previous.unrowed.prefilled_tokens,
                    "emitted_tokens": previous.unrowed.emitted_tokens,
                },
            })),
            "base": boot.base.to_hex(),
            "build": boot.build.to_hex(),
            "config": boot.config.to_hex(),
        }),
        Entry::Batch(batch) => json!({
            "engine": hex_encode(&batch.place.engine),
            "boot": hex_encode(&batch.place.boot),
            "sequence": batch.place.sequence,
            "previous": batch.previous.to_hex(),
            "base": batch.base.to_hex(),
            "build": batch.build.to_hex(),
            "prefilled_tokens": batch.prefilled_tokens,
            "emitted_tokens": batch.emitted_tokens,
            "row_count": batch.row_count,
            "rows_root": (batch.row_count > 0).then(|| batch.rows_root.to_hex()),
            "open_requests": batch.open_requests,
        }),
        Entry::ShardOpened(opened) => json!({ "shard": opened.shard, "public_key": hex_encode(&opened.public_key) }),
        Entry::ShardFrozen(head) | Entry::ShardStopped(head) | Entry::ShardClosed(head) => {
            json!({ "shard": head.shard, "size": head.size, "root": base64_encode(&head.root.0) })
        }
        Entry::Redaction(redaction) => json!({
            "shard": redaction.shard,
            "first_index": redaction.first_index,
            "last_index": redaction.last_index,
            "row_count": redaction.row_count,
            "reason": redaction.reason,
        }),
        Entry::Record(record) => json!({
            "code": record.body.act.code(),
            "authors": record.body.authors.iter().zip(&record.signed).map(|(author, signed)| json!({
                "contributor": author.contributor.to_hex(),
                "share_millionths": author.share,
                "key": signed.key.to_hex(),
                "sequence": signed.sequence,
                "previous": signed.previous.to_hex(),
            })).collect::<Vec<_>>(),
            "act": record.body.act.fields().into_iter().map(|(name, value)| (name.to_owned(), value.into()))
                .collect::<serde_json::Map<_, _>>(),
            "attested_for": record.body.attested_for.map(|whom| whom.to_hex()),
            "cites": record.body.cites.iter().map(|cited| cited.to_hex()).collect::<Vec<_>>(),
            "text": record.body.text.map(|text| text.to_hex()),
        }),
    };
    fields["type"] = entry_kind(entry).into();
    fields["time_ms"] = entry.time_ms().into();
    fields
}

/// A row in lines.
pub(crate) fn row_lines(lines: &mut Lines, row: &Row) {
    match row {
        Row::Usage(usage) => {
            lines.line("row", "usage");
            lines.line("request", format!("{}, answer {}", usage.request, usage.choice));
            lines.lines("adapters", &adapters(&usage.pairs));
            let (first, last) = (number(usage.first_sequence), number(usage.last_sequence));
            lines.line("steps", format!("{first} to {last} of its entry's boot"));
            lines.line("tokens", tokens(&usage.tokens));
        }
        Row::Completion(completion) => {
            lines.line("row", "completion");
            completion_lines(lines, completion);
        }
    }
}

/// A completion row in lines.
pub(crate) fn completion_lines(lines: &mut Lines, row: &Completion) {
    lines.line("request", format!("{}, answer {}", row.request, row.choice));
    lines.lines("adapters", &adapters(&row.pairs));
    let (first, last) = (number(row.first.sequence), number(row.last.sequence));
    if row.first.boot == row.last.boot {
        lines.line("steps", format!("{first} to {last} of boot {}", hex_encode(&row.last.boot)));
    } else {
        let boots = (hex_encode(&row.first.boot), hex_encode(&row.last.boot));
        lines.line("steps", format!("{first} of boot {} to {last} of boot {}", boots.0, boots.1));
    }
    lines.line("tokens", tokens(&row.tokens));
    lines.line("delivered", count(row.delivered_tokens, "token"));
    lines.line("finish", finish(row.finish));
    let fee = if row.price_policy == Hash::ZERO {
        format!("{} (no price policy is recorded)", number(row.fee_nano))
    } else {
        format!("{} nano-units by price policy {}", number(row.fee_nano), row.price_policy)
    };
    lines.line("fee", fee);
}

fn adapters(pairs: &[Pair]) -> Vec<String> {
    if pairs.is_empty() {
        return vec!["none: the base model alone".to_owned()];
    }
    let one = |pair: &Pair| format!("{} with weight {}", pair.generation, millionths(pair.weight_millionths));
    pairs.iter().map(one).collect()
}

fn tokens(tokens: &Tokens) -> String {
    format!(
        "{} prefilled, {} reused, {} recomputed, {} discarded, {} emitted",
        number(tokens.prefilled),
        number(tokens.reused),
        number(tokens.recomputed),
        number(tokens.discarded),
        number(tokens.emitted)
    )
}

/// A row's fields.
pub(crate) fn row_json(row: &Row) -> Value {
    match row {
        Row::Usage(usage) => json!({
            "type": "usage",
            "request": usage.request.to_hex(),
            "choice": usage.choice,
            "pairs": pairs_json(&usage.pairs),
            "first_sequence": usage.first_sequence,
            "last_sequence": usage.last_sequence,
            "tokens": tokens_json(&usage.tokens),
        }),
        Row::Completion(completion) => completion_json(completion),
    }
}

/// A completion row's fields.
pub(crate) fn completion_json(row: &Completion) -> Value {
    json!({
        "type": "completion",
        "request": row.request.to_hex(),
        "choice": row.choice,
        "tenant": row.tenant.to_hex(),
        "pairs": pairs_json(&row.pairs),
        "first": step_json(&row.first),
        "last": step_json(&row.last),
        "tokens": tokens_json(&row.tokens),
        "delivered_tokens": row.delivered_tokens,
        "finish": finish(row.finish),
        "fee_nano": row.fee_nano,
        "price_policy": row.price_policy.to_hex(),
        "request_bytes": row.request_bytes.to_hex(),
        "prompt": row.prompt.to_hex(),
        "text": row.text.to_hex(),
        "output_tokens": row.output_tokens.to_hex(),
        "sampling": row.sampling.to_hex(),
    })
}

fn pairs_json(pairs: &[Pair]) -> Value {
    let one =
        |pair: &Pair| json!({ "generation": pair.generation.to_hex(), "weight_millionths": pair.weight_millionths });
    pairs.iter().map(one).collect()
}

fn step_json(step: &Step) -> Value {
    json!({ "boot": hex_encode(&step.boot), "sequence": step.sequence })
}

fn tokens_json(tokens: &Tokens) -> Value {
    json!({
        "prefilled": tokens.prefilled,
        "reused": tokens.reused,
        "recomputed": tokens.recomputed,
        "discarded": tokens.discarded,
        "emitted": tokens.emitted,
    })
}

/// A granted row in lines.
pub(crate) fn granted_lines(lines: &mut Lines, number: usize, granted: &GrantedRow) {
    lines.plain("").plain(&format!("row {number}, leaf {}", granted.leaf()));
    match granted {
        GrantedRow::Hidden(_) => _ = lines.line("row", "hidden from this export's reader"),
        GrantedRow::Erased(_) => _ = lines.line("row", "erased"),
        GrantedRow::Open { row, .. } => match Row::decode(row) {
            Ok(row) => row_lines(lines, &row),
            Err(error) => _ = lines.line("row", format!("cannot be read: {error}")),
        },
    }
}

/// A granted row's fields.
pub(crate) fn granted_json(granted: &GrantedRow) -> Value {
    let mut fields = match granted {
        GrantedRow::Hidden(_) => json!({ "shown": "hidden" }),
        GrantedRow::Erased(_) => json!({ "shown": "erased" }),
        GrantedRow::Open { salt, row } => match Row::decode(row) {
            Ok(row) => json!({ "shown": "open", "salt": hex_encode(salt), "row": row_json(&row) }),
            Err(error) => json!({ "shown": "open", "salt": hex_encode(salt), "error": error.to_string() }),
        },
    };
    fields["leaf"] = granted.leaf().to_hex().into();
    fields
}
