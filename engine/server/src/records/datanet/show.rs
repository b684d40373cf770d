//! `loam datanet show`: a dataset as it stands, one of its rows, or what a contribution would do to it.

use clap::Args;
use loam_datanet::Row;
use loam_datanet::shown::{line, short};
use loam_ledger_core::record::{ContributorId, RecordId, Rows, apply};
use serde_json::{Value, json};

use super::changes::Seen;
use super::commit::{Standing, standing};
use super::ground::{Ground, heads, place, proposed, texts};
use super::offer::{acts_shown, acts_told};
use super::review::recorded;
use super::{CLOSED, many};
use crate::records::book::{Book, BookArguments, rows, text_of};
use crate::records::names;

/// Characters of a row in a list of rows.
const TEXT_SHOWN: usize = 160;

/// Characters of a line of what somebody says.
const LINE_SHOWN: usize = 500;

#[derive(Args)]
pub(crate) struct Show {
    #[command(flatten)]
    book: BookArguments,
    /// The dataset, by its name or its id.
    dataset: String,
    /// A row or a contribution, by its id or the beginning of it. Without it: the dataset and its first rows.
    what: Option<String>,
    /// The revision whose rows are shown; the newest where it is absent.
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
    /// Rows that are shown. All of them are counted.
    #[arg(long, value_name = "ROWS", default_value_t = 20)]
    most: usize,
    /// Say it as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(show: &Show) -> anyhow::Result<()> {
    let book = show.book.read()?;
    let ground = Ground::find(&*book, &show.dataset, show.revision.as_deref())?;
    let contributions = || book.registry().datasets().contributions_to(&ground.dataset).map(|(id, _)| *id);
    match &show.what {
        None => whole(&*book, &ground, show)?,
        Some(word) => match names::one_of(word, contributions(), "contributions") {
            Ok(contribution) => one_contribution(&*book, &contribution, show)?,
            Err(_) => one_row(&*book, &ground, word, show.json)?,
        },
    }
    book.close()
}

fn whole(book: &dyn Book, ground: &Ground, show: &Show) -> anyhow::Result<()> {
    let (noted, datasets) = (ground.noted(book)?, book.registry().datasets());
    let number = ground.revision.map_or(0, |revision| datasets.chain(&revision).count());
    let contributors = ground.revision.map_or(0, |revision| datasets.contributors(&revision).len());
    let waiting = waiting(book, &ground.dataset)?;
    let texts = texts(book, ground.rows.values().take(show.most))?;
    if show.json {
        let ids = |ids: &[ContributorId]| ids.iter().map(|id| id.to_hex()).collect::<Vec<_>>();
        let row =
            |(row, content): (&RecordId, &_)| json!({"row": row.to_hex(), "text": texts.get(content).map(Row::text)});
        println!(
            "{}",
            json!({
                "dataset": ground.dataset.to_hex(), "name": ground.about.name,
                "description": ground.about.description, "licence": ground.about.licence,
                "licence_digest": noted.licence.to_hex(), "licence_text": ground.about.licence_text, "access": noted.access.word(), "owners": ids(&noted.owners),
                "revision": ground.revision.map(|revision| revision.to_hex()), "number": number,
                "heads": ids(&heads(book, &ground.dataset)), "contributors": contributors, "rows": ground.rows.len(),
                "redacted": noted.redacted.len(), "waiting": ids(&waiting),
                "first_rows": ground.rows.iter().take(show.most).map(row).collect::<Vec<_>>(),
            })
        );
        return Ok(());
    }
    let owners = noted.owners.iter().map(short).collect::<Vec<_>>().join(", ");
    println!(
        "{} ({}), under {}, {}",
        ground.about.name,
        short(&ground.dataset),
        ground.about.licence,
        noted.access.word()
    );
    if !ground.about.description.is_empty() {
        println!("  {}", line(&ground.about.description, LINE_SHOWN));
    }
    println!("  owned by {owners}");
    match ground.revision {
        None => println!("  no revision yet"),
        Some(revision) => {
            let people = many(contributors, "contributor", "contributors");
            println!("  revision {number} is {revision}: {} by {people}", many(ground.rows.len(), "row", "rows"));
        }
    }
    if !waiting.is_empty() {
        let ids = waiting.iter().map(short).collect::<Vec<_>>().join(", ");
        println!("  {} in no revision: {ids}", many(waiting.len(), "contribution", "contributions"));
    }
    for (row, content) in ground.rows.iter().take(show.most) {
        println!(
            "{}  {}",
            short(row),
            texts.get(content).map_or(CLOSED.to_owned(), |text| line(text.text(), TEXT_SHOWN))
        );
    }
    if ground.rows.len() > show.most {
        println!("and {}", many(ground.rows.len() - show.most, "more row", "more rows"));
    }
    Ok(())
}

/// Contributions that are in no revision, in the order of the log.
fn waiting(book: &dyn Book, dataset: &RecordId) -> anyhow::Result<Vec<RecordId>> {
    let (datasets, reviews) = (book.registry().datasets(), recorded(book)?);
    let all = datasets.contributions_to(dataset).map(|(id, _)| *id);
    let stands = |id: &RecordId| standing(reviews.get(id).map_or(&[], |reviews| reviews));
    let mut waiting: Vec<RecordId> =
        all.filter(|id| !datasets.is_committed(id) && stands(id) != Standing::Rejected).collect();
    waiting.sort_by_key(|id| place(book, id));
    Ok(waiting)
}

fn one_row(book: &dyn Book, ground: &Ground, word: &str, json: bool) -> anyhow::Result<()> {
    let row = ground.row(word)?;
    let text = texts(book, ground.rows.get(&row))?.into_values().next();
    let redacted = ground.noted(book)?.redacted.contains(&row);
    if json {
        println!("{}", json!({"row": row.to_hex(), "text": text.as_ref().map(Row::text), "redacted": redacted}));
        return Ok(());
    }
    println!("row {row} of {}", ground.revision_word());
    match text {
        Some(text) => println!("{:#}", Value::Object(text.fields())),
        None => println!("{CLOSED}"),
    }
    println!("next: loam datanet blame {} {} tells who made it what it is", ground.word(), short(&row));
    Ok(())
}

/// What a contribution does to the rows that it was made on: what its reviewers look at.
fn one_contribution(book: &dyn Book, contribution: &RecordId, show: &Show) -> anyhow::Result<()> {
    let act = proposed(book, contribution)?;
    let before = act.revision.map_or_else(|| Ok(Rows::new()), |revision| rows(book, &revision))?;
    let mut after = before.clone();
    apply(&mut after, &book.operations(&act.operations)?)?;
    let most = if show.json { usize::MAX } else { show.most };
    let (seen, text) = (Seen::of(book, &before, &after, most)?, text_of(book, contribution)?);
    let behind = super::changes::behind(book, contribution);
    if show.json {
        let mut all = seen.shown();
        all["contribution"] = contribution.to_hex().into();
        all["revision"] = act.revision.map(|revision| revision.to_hex()).into();
        all["acts"] = acts_shown(&act.acts);
        all["authors"] = behind.authors.iter().map(|author| author.contributor.to_hex()).collect::<Vec<_>>().into();
        all["text"] = text.into();
        println!("{all}");
        return Ok(());
    }
    let people = behind.authors.iter().map(|author| short(&author.contributor)).collect::<Vec<_>>().join(", ");
    let on = act.revision.map_or_else(|| "no rows yet".to_owned(), |revision| short(&revision));
    println!("contribution {contribution} by {people}, on {on}: {}", acts_told(&act.acts));
    for said in text.iter().flat_map(|text| text.lines()).filter(|said| !said.is_empty()) {
        println!("    {}", line(said, LINE_SHOWN));
    }
    println!("{}", seen.told(most).trim_end());
    Ok(())
}
