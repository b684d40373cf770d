//! Money in words: amounts, where they are and why, for whoever earns from what they gave.

use loam_ledger_core::Hash;
use loam_ledger_core::epoch::{Account, Line, Reason, Statement};
use loam_ledger_core::fee::lane_word;
use loam_ledger_core::record::{Lane, PerLane};
use serde_json::{Value, json};

use crate::text::number;

/// An amount: `1,234 nano-units`.
pub(crate) fn nano(amount: u128) -> String {
    if amount == 1 { "1 nano-unit".to_owned() } else { format!("{} nano-units", number(amount)) }
}

/// Why somebody is paid, or why something waits.
pub(crate) fn why(reason: Reason, subject: &Hash) -> String {
    match reason {
        Reason::Host => "for running the requests".to_owned(),
        Reason::Base => "for the base model".to_owned(),
        Reason::Adapter => format!("for making adapter {subject}, by the shares that its authors signed"),
        Reason::Data => format!("for work in revision {subject}, by the shares that all its contributors signed"),
        Reason::AdapterLater => format!("for making adapter {subject}, used in an earlier epoch and settled since"),
        Reason::DataLater => format!("for work in revision {subject}, used in an earlier epoch and settled since"),
        Reason::Unpublished => format!("nobody has recorded who made adapter {subject}"),
        Reason::LineageOpen => {
            format!("the adapters that {subject} goes on from: their part is neither agreed nor measured yet")
        }
        Reason::NoSources => format!("nobody has recorded what data adapter {subject} was trained on"),
        Reason::SourcesOpen => {
            format!("adapter {subject} has several revisions, whose owners have not all signed their shares")
        }
        Reason::SharesOpen => format!("the contributors of revision {subject} have not all signed their shares"),
        Reason::Contested => format!("a dispute about {subject} was upheld, and nobody has put it right yet"),
        Reason::NoPayee => "the policy names nobody who is paid for the base model".to_owned(),
        Reason::UpkeepWaits => "kept for quiet work, until its effect can be measured".to_owned(),
        Reason::BondLane => "kept to stand behind claims".to_owned(),
        Reason::ReserveLane => "kept in reserve".to_owned(),
        Reason::PolicyNotInForce => "its rows name another policy than was in force".to_owned(),
        Reason::Subsidy => "a gift, which nothing divides yet".to_owned(),
    }
}

/// The reason in a word, for programs.
pub(crate) fn word(reason: Reason) -> &'static str {
    match reason {
        Reason::Host => "host",
        Reason::Base => "base",
        Reason::Adapter => "adapter",
        Reason::Data => "data",
        Reason::AdapterLater => "adapter-later",
        Reason::DataLater => "data-later",
        Reason::Unpublished => "unpublished",
        Reason::LineageOpen => "lineage-open",
        Reason::NoSources => "no-sources",
        Reason::SourcesOpen => "sources-open",
        Reason::SharesOpen => "shares-open",
        Reason::Contested => "contested",
        Reason::NoPayee => "no-payee",
        Reason::UpkeepWaits => "upkeep",
        Reason::BondLane => "bond",
        Reason::ReserveLane => "reserve",
        Reason::PolicyNotInForce => "policy-not-in-force",
        Reason::Subsidy => "subsidy",
    }
}

/// A statement, a line each.
pub(crate) fn statement_lines(statement: &Statement) -> Vec<String> {
    let lines: Vec<Line> = statement.lines().collect();
    let width = lines.iter().map(|line| number(line.amount_nano).len()).max().unwrap_or_default();
    let one = |line: &Line| format!("{:>width$}  {}", number(line.amount_nano), why(line.reason, &line.subject));
    lines.iter().map(one).collect()
}

/// A statement's lines. Amounts are strings: they can pass what other programs' numbers hold.
pub(crate) fn statement_json(statement: &Statement) -> Value {
    let one = |line: Line| {
        json!({
            "reason": word(line.reason),
            "code": line.reason.code(),
            "subject": (line.subject != Hash::ZERO).then(|| line.subject.to_hex()),
            "amount_nano": line.amount_nano.to_string(),
            "why": why(line.reason, &line.subject),
        })
    };
    statement.lines().map(one).collect()
}

/// Amounts by lane, a line each.
pub(crate) fn lane_lines<T: Copy + Into<u128>>(lanes: &PerLane<T>) -> Vec<String> {
    let amounts: Vec<(&str, String)> =
        Lane::ALL.iter().map(|lane| (lane_word(*lane), number(lanes.of(*lane)))).collect();
    let width = amounts.iter().map(|(_, amount)| amount.len()).max().unwrap_or_default();
    amounts.iter().map(|(word, amount)| format!("{amount:>width$}  {word}")).collect()
}

/// Amounts by lane.
pub(crate) fn lanes_json<T: Copy + Into<u128>>(lanes: &PerLane<T>) -> Value {
    let one = |lane: &Lane| (lane_word(*lane).to_owned(), Value::from(lanes.of(*lane).into().to_string()));
    Value::Object(Lane::ALL.iter().map(one).collect())
}

/// An account in a word or two, for what waits in it.
pub(crate) fn account_word(account: &Account) -> String {
    match account {
        Account::Contributor(id) => format!("contributor {id}"),
        Account::LineageAdapter(generation) => format!("authors behind adapter {generation}"),
        Account::LineageData(generation) => format!("data behind adapter {generation}"),
        Account::Sources(generation) => format!("data of adapter {generation}"),
        Account::Revision(revision) => format!("revision {revision}"),
        Account::Lane(lane) => format!("the {} lane", lane_word(*lane)),
        Account::Subsidies => "subsidies".to_owned(),
    }
}
