//! `loam datanet log`: all that was recorded of a dataset, in the order of the log.

use anyhow::Context as _;
use clap::Args;
use loam_datanet::shown::{line, percent, short};
use loam_ledger_core::Hash;
use loam_ledger_core::record::{
    Act, Author, ContributionProposed, DatasetCreated, Record, RecordId, RevisionCommitted,
};
use loam_ledger_core::registry::{Datasets, Registry};
use serde_json::{Map, Value, json};

use super::offer::{acts_shown, acts_told};
use super::{calendar, many};
use crate::records::book::{Book, BookArguments, text_of};
use crate::records::names;

/// Characters of a text's line.
const LINE_SHOWN: usize = 500;

#[derive(Args)]
pub(crate) struct Log {
    #[command(flatten)]
    book: BookArguments,
    /// The dataset, by its name or its id.
    dataset: String,
    /// Say it as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(log: &Log) -> anyhow::Result<()> {
    let book = log.book.read()?;
    let dataset = names::dataset(&*book, &log.dataset)?;
    let events = of(&*book, &dataset)?;
    let about = names::about(&*book, &dataset)?;
    if log.json {
        let events = events.iter().map(|event| event.shown(book.registry())).collect::<Vec<_>>();
        println!("{}", json!({"dataset": dataset.to_hex(), "name": about.name, "log": events}));
    } else {
        events.iter().for_each(|event| event.tell(book.registry()));
    }
    book.close()
}

/// A record that is about a dataset.
pub(super) struct Event {
    pub(super) id: RecordId,
    index: u64,
    pub(super) record: Record,
    text: Option<String>,
}

/// All records about a dataset, in their order.
pub(super) fn of(book: &dyn Book, dataset: &RecordId) -> anyhow::Result<Vec<Event>> {
    let registry = book.registry();
    let mut found: Vec<(u64, RecordId)> = registry.records().map(|(id, noted)| (noted.index, *id)).collect();
    found.sort_unstable();
    let mut events = Vec::new();
    for (index, id) in found {
        let record = book.record(&id)?;
        if about(registry.datasets(), &id, &record.body.act) == Some(*dataset) {
            // What the first record says of the dataset is JSON, and told otherwise.
            let says = !matches!(record.body.act, Act::DatasetCreated(_));
            let text = if says { text_of(book, &id)? } else { None };
            events.push(Event { id, index, record, text });
        }
    }
    Ok(events)
}

/// Which dataset an act is about, if it is about one.
fn about(datasets: &Datasets, id: &RecordId, act: &Act) -> Option<RecordId> {
    match act {
        Act::DatasetCreated(_) => Some(*id),
        Act::OwnersChanged(act) => Some(act.dataset),
        Act::ContributionProposed(act) => Some(act.dataset),
        Act::RevisionCommitted(act) => Some(act.dataset),
        Act::RowRedacted(act) => Some(act.dataset),
        Act::GrantGiven(act) => Some(act.dataset),
        Act::GrantRevoked(act) => datasets.grant(&act.grant).map(|grant| grant.dataset),
        Act::Review(act) => {
            let contribution = datasets.contribution(&act.target).map(|found| found.dataset);
            contribution.or_else(|| datasets.revision(&act.target).map(|found| found.dataset))
        }
        _ => None,
    }
}

impl Event {
    /// Who says it: whoever the operator speaks for, where it does.
    pub(super) fn authors(&self) -> Vec<Author> {
        let body = &self.record.body;
        let share = body.authors.iter().map(|author| author.share).sum();
        body.attested_for.map_or_else(|| body.authors.clone(), |contributor| vec![Author { contributor, share }])
    }

    fn people(&self) -> String {
        let authors = self.authors();
        let name = |author: &Author| match authors.len() {
            1 => short(&author.contributor),
            _ => format!("{} {}", short(&author.contributor), percent(author.share)),
        };
        let attested = if self.record.body.attested_for.is_some() { " (attested by operator)" } else { "" };
        authors.iter().map(name).collect::<Vec<_>>().join(", ") + attested
    }

    fn tell(&self, registry: &Registry) {
        let (time, id) = (calendar::minute(self.record.time_ms), short(&self.id));
        println!("{time}  {id}  by {}: {}", self.people(), self.told(registry.datasets()));
        for said in self.text.iter().flat_map(|text| text.lines()).filter(|said| !said.is_empty()) {
            println!("    {}", line(said, LINE_SHOWN));
        }
    }

    /// What it says.
    fn told(&self, datasets: &Datasets) -> String {
        match &self.record.body.act {
            Act::DatasetCreated(act) => format!("dataset created, {}", act.access.word()),
            Act::OwnersChanged(act) => {
                format!("owners from now on {}", act.owners.iter().map(short).collect::<Vec<_>>().join(", "))
            }
            Act::ContributionProposed(act) => {
                let waits = if datasets.is_committed(&self.id) { "" } else { " (in no revision)" };
                let on = act.revision.map_or_else(|| "no rows yet".to_owned(), |revision| short(&revision));
                format!("contribution on {on}, {}{waits}", acts_told(&act.acts))
            }
            Act::Review(act) => {
                format!("{} {} of {}", act.verdict.word(), percent(act.probability), short(&act.target))
            }
            Act::RevisionCommitted(act) => {
                let rows = many(usize::try_from(act.rows.count).unwrap_or(usize::MAX), "row", "rows");
                let joined = act.parents.iter().skip(1).map(|parent| format!(", joining {}", short(parent)));
                let joined = joined.collect::<String>();
                format!("revision {}{joined}, {rows}, with {}", number(datasets, &self.id), contributions(act))
            }
            Act::RowRedacted(act) => format!("row {} redacted, {}", short(&act.row), act.reason.word()),
            Act::GrantGiven(act) => format!("{} may {}", short(&act.grantee), act.allows.word()),
            Act::GrantRevoked(act) => format!("grant {} revoked", short(&act.grant)),
            act => act.words().to_owned(),
        }
    }

    fn shown(&self, registry: &Registry) -> Value {
        let author =
            |author: &Author| json!({"contributor": author.contributor.to_hex(), "share_millionths": author.share});
        let body = &self.record.body;
        let shown = json!({
            "record": self.id.to_hex(), "entry": self.index, "time_ms": self.record.time_ms, "what": body.act.words(),
            "authors": self.authors().iter().map(author).collect::<Vec<_>>(),
            "attested": body.attested_for.is_some(), "text": self.text,
        });
        let Value::Object(mut shown) = shown else { unreachable!("it was made as an object") };
        shown.extend(more(registry.datasets(), &self.id, &body.act));
        Value::Object(shown)
    }
}

/// What is said besides who says it, for a program.
fn more(datasets: &Datasets, id: &RecordId, act: &Act) -> Map<String, Value> {
    let more = match act {
        Act::DatasetCreated(DatasetCreated { access, licence, .. }) => {
            json!({"access": access.word(), "licence_digest": licence.to_hex()})
        }
        Act::OwnersChanged(act) => json!({"owners": act.owners.iter().map(Hash::to_hex).collect::<Vec<_>>()}),
        Act::ContributionProposed(ContributionProposed { revision, acts, .. }) => json!({
            "revision": revision.map(|revision| revision.to_hex()), "acts": acts_shown(acts),
            "committed": datasets.is_committed(id),
        }),
        Act::Review(act) => json!({
            "target": act.target.to_hex(), "verdict": act.verdict.word(), "probability_millionths": act.probability,
        }),
        Act::RevisionCommitted(act) => json!({
            "number": number(datasets, id), "rows": act.rows.count,
            "parents": act.parents.iter().map(Hash::to_hex).collect::<Vec<_>>(),
            "contributions": act.contributions.iter().map(Hash::to_hex).collect::<Vec<_>>(),
        }),
        Act::RowRedacted(act) => json!({"row": act.row.to_hex(), "reason": act.reason.word()}),
        Act::GrantGiven(act) => json!({"grantee": act.grantee.to_hex(), "allows": act.allows.word()}),
        Act::GrantRevoked(act) => json!({"grant": act.grant.to_hex()}),
        _ => json!({}),
    };
    match more {
        Value::Object(more) => more,
        _ => unreachable!("each was made as an object"),
    }
}

/// Which revision it is, from the first on.
fn number(datasets: &Datasets, revision: &RecordId) -> usize {
    datasets.chain(revision).count()
}

fn contributions(act: &RevisionCommitted) -> String {
    const SHOWN: usize = 8;
    let ids: Vec<String> = act.contributions.iter().take(SHOWN).map(short).collect();
    let count = many(act.contributions.len(), "contribution", "contributions");
    let more = if act.contributions.len() > SHOWN { ", ..." } else { "" };
    format!("{count} ({}{more})", ids.join(", "))
}

/// When a record was made.
pub(super) fn day_of(book: &dyn Book, id: &RecordId) -> anyhow::Result<String> {
    let noted = book.registry().record(id).with_context(|| format!("no record {id} is in this ledger"))?;
    Ok(calendar::day(noted.time_ms))
}
