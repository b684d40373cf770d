//! `loam datanet diff` and `blame`: what became of rows, and who made one what it is.

use anyhow::ensure;
use clap::Args;
use loam_datanet::Row;
use loam_datanet::diff::{Behind, Diff, blame as told};
use loam_datanet::shown::{line, short};
use loam_ledger_core::Hash;
use loam_ledger_core::lineage::{Blame, Touch};
use loam_ledger_core::record::{Author, MILLION, RecordId, RowId, Rows};
use serde_json::{Value, json};

use super::ground::{Ground, Texts, find_revision, texts};
use crate::records::book::{Book, BookArguments, rows};

/// Characters of a row that is told of.
const TEXT_SHOWN: usize = 300;

#[derive(Args)]
pub(crate) struct Compare {
    #[command(flatten)]
    book: BookArguments,
    /// The dataset, by its name or its id.
    dataset: String,
    /// From this revision; from the one before the other, where it is absent.
    from: Option<String>,
    /// To this one; the newest where it is absent.
    to: Option<String>,
    /// Rows that are shown of each kind: added, removed, changed. All of them are counted.
    #[arg(long, value_name = "ROWS", default_value_t = 20)]
    most: usize,
    /// Say it as one JSON object, with all rows.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct Trace {
    #[command(flatten)]
    book: BookArguments,
    /// The dataset, by its name or its id.
    dataset: String,
    /// The row, by its id or the beginning of it.
    row: String,
    /// The revision that it is in; the newest where it is absent.
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
    /// Say it as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn diff(compare: &Compare) -> anyhow::Result<()> {
    let book = compare.book.read()?;
    let ground = Ground::find(&*book, &compare.dataset, compare.to.as_deref())?;
    let to = ground.revision()?;
    let from = match &compare.from {
        Some(word) => Some(find_revision(&*book, &ground.dataset, word)?),
        None => book.registry().datasets().revision(&to).and_then(|revision| revision.parents.first().copied()),
    };
    let before = from.map_or_else(|| Ok(Rows::new()), |from| rows(&*book, &from))?;
    let most = if compare.json { usize::MAX } else { compare.most };
    let seen = Seen::of(&*book, &before, &ground.rows, most)?;
    if compare.json {
        let mut all = seen.shown();
        all["dataset"] = ground.dataset.to_hex().into();
        all["from"] = from.map(|from| from.to_hex()).into();
        all["to"] = to.to_hex().into();
        println!("{all}");
    } else {
        let from = from.map_or_else(|| "nothing".to_owned(), |from| short(&from));
        println!("{} from {from} to {}", ground.about.name, short(&to));
        println!("{}", seen.told(most).trim_end());
    }
    book.close()
}

/// What changed, with the texts of those rows that are to be seen.
pub(super) struct Seen<'r> {
    pub(super) diff: Diff,
    before: &'r Rows,
    after: &'r Rows,
    texts: Texts,
}

impl<'r> Seen<'r> {
    /// Opens at most so many rows of each list.
    pub(super) fn of(book: &dyn Book, before: &'r Rows, after: &'r Rows, most: usize) -> anyhow::Result<Self> {
        let diff = Diff::between(before, after);
        let contents = |rows: &'r Rows, ids: &[RowId]| -> Vec<&'r Hash> {
            ids.iter().take(most).filter_map(|row| rows.get(row)).collect()
        };
        let mut wanted = contents(after, &diff.added);
        wanted.extend(contents(before, &diff.removed));
        wanted.extend(contents(before, &diff.changed));
        wanted.extend(contents(after, &diff.changed));
        let texts = texts(book, wanted)?;
        Ok(Self { diff, before, after, texts })
    }

    fn text(&self, rows: &Rows, row: &RowId) -> Option<&Row> {
        rows.get(row).and_then(|content| self.texts.get(content))
    }

    /// For a person.
    pub(super) fn told(&self, most: usize) -> String {
        let of = |rows: &'r Rows| move |row: &RowId| self.text(rows, row).cloned();
        self.diff.render(of(self.before), of(self.after), most)
    }

    /// For a program: every row, with what it says where that can be opened.
    pub(super) fn shown(&self) -> Value {
        let row = |row: &RowId| {
            let of = |rows: &Rows| self.text(rows, row).map(Row::text);
            json!({"row": row.to_hex(), "before": of(self.before), "after": of(self.after)})
        };
        let list = |rows: &[RowId]| rows.iter().map(row).collect::<Vec<_>>();
        let Diff { added, removed, changed } = &self.diff;
        json!({"added": list(added), "removed": list(removed), "changed": list(changed)})
    }
}

pub(super) fn blame(trace: &Trace) -> anyhow::Result<()> {
    let book = trace.book.read()?;
    let ground = Ground::find(&*book, &trace.dataset, trace.revision.as_deref())?;
    let revision = ground.revision()?;
    let row = ground.row(&trace.row)?;
    let followed = follow(&*book, &revision)?;
    let chain = followed.of(&row);
    ensure!(!chain.is_empty(), "row {row} is there, and nothing brought it: the ledger is damaged, audit it");
    let content = ground.rows.get(&row);
    let text = texts(&*book, content)?.into_values().next();
    if trace.json {
        let touches: Vec<Value> = chain.iter().map(|touch| touched(&*book, touch)).collect();
        println!(
            "{}",
            json!({
                "row": row.to_hex(), "revision": revision.to_hex(), "text": text.as_ref().map(Row::text),
                "redacted": ground.noted(&*book)?.redacted.contains(&row), "chain": touches,
            })
        );
    } else {
        let words = text.map_or_else(|| super::CLOSED.to_owned(), |text| line(text.text(), TEXT_SHOWN));
        println!("{words}");
        println!("{}", told(&row, chain, |contribution| behind(&*book, contribution)).trim_end());
    }
    book.close()
}

/// The chains of edits of all rows of a revision.
pub(super) fn follow(book: &dyn Book, revision: &RecordId) -> anyhow::Result<Blame> {
    let datasets = book.registry().datasets();
    let chain: Vec<_> = datasets.chain(revision).collect();
    let mut blame = Blame::default();
    for id in chain.iter().rev().flat_map(|(_, revision)| &revision.contributions) {
        if let Some(contribution) = datasets.contribution(id) {
            blame.follow(*id, &book.operations(&contribution.operations)?);
        }
    }
    Ok(blame)
}

/// Who stands behind a contribution: who signed it, or whom the operator speaks for.
pub(super) fn behind(book: &dyn Book, contribution: &RecordId) -> Behind {
    let Some(found) = book.registry().datasets().contribution(contribution) else { return Behind::default() };
    match found.attested_for {
        Some(contributor) => Behind { authors: vec![Author { contributor, share: MILLION }], attested: true },
        None => Behind { authors: found.authors.clone(), attested: false },
    }
}

fn touched(book: &dyn Book, touch: &Touch) -> Value {
    let Behind { authors, attested } = behind(book, &touch.contribution);
    let author =
        |author: &Author| json!({"contributor": author.contributor.to_hex(), "share_millionths": author.share});
    json!({
        "act": touch.kind.word(), "contribution": touch.contribution.to_hex(), "operation": touch.operation + 1,
        "authors": authors.iter().map(author).collect::<Vec<_>>(), "attested": attested,
    })
}
