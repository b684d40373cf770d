//! `loam datanet statement`: what one contributor did in a dataset, and what of it stands in a revision.

use std::collections::BTreeMap;

use clap::Args;
use loam_datanet::shown::short;
use loam_ledger_core::record::{Act, ActCount, ActKind, ContributorId, RecordId};
use serde_json::{Value, json};

use super::changes::{behind, follow};
use super::ground::Ground;
use super::history;
use super::offer::{acts_shown, acts_told};
use super::{many, thousands};
use crate::records::book::{Book, BookArguments};
use crate::records::names;

#[derive(Args)]
pub(crate) struct Account {
    #[command(flatten)]
    book: BookArguments,
    /// The dataset, by its name or its id.
    dataset: String,
    /// Whose: their id or the beginning of it, as `loam id show` tells it.
    contributor: String,
    /// The revision that their work may stand in; the newest where it is absent.
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
    /// Say it as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(account: &Account) -> anyhow::Result<()> {
    let book = account.book.read()?;
    let ground = Ground::find(&*book, &account.dataset, account.revision.as_deref())?;
    let people = book.registry().people().all().map(|(id, _)| *id);
    let contributor = names::one_of(&account.contributor, people, "contributors")?;
    let done = Done::by(&*book, &ground, &contributor)?;
    let stands = Stands::of(&*book, &ground, &contributor)?;
    if account.json {
        let mut all = json!({
            "dataset": ground.dataset.to_hex(), "contributor": contributor.to_hex(),
            "revision": ground.revision.map(|revision| revision.to_hex()), "rows": ground.rows.len(),
        });
        done.show(&mut all);
        stands.show(&mut all);
        println!("{all}");
    } else {
        println!("{} in {}", contributor, ground.about.name);
        done.tell(&ground);
        stands.tell(&ground);
    }
    book.close()
}

type Counts = BTreeMap<ActKind, u64>;

/// What somebody signed, or the operator for them.
#[derive(Default)]
struct Done {
    contributions: usize,
    offered: Counts,
    /// Of those, what is in the revision.
    committed: Counts,
    /// By verdict.
    reviews: BTreeMap<String, usize>,
    revisions: usize,
    redactions: usize,
}

impl Done {
    fn by(book: &dyn Book, ground: &Ground, contributor: &ContributorId) -> anyhow::Result<Self> {
        let (mut done, within) = (Self::default(), within(book, ground));
        for event in history::of(book, &ground.dataset)? {
            if !event.authors().iter().any(|author| author.contributor == *contributor) {
                continue;
            }
            match &event.record.body.act {
                Act::ContributionProposed(act) => {
                    done.contributions += 1;
                    add(&mut done.offered, &act.acts);
                    if within.contains(&event.id) {
                        add(&mut done.committed, &act.acts);
                    }
                }
                Act::Review(act) => *done.reviews.entry(act.verdict.word()).or_default() += 1,
                Act::RevisionCommitted(_) => done.revisions += 1,
                Act::RowRedacted(_) => done.redactions += 1,
                _ => {}
            }
        }
        Ok(done)
    }

    fn tell(&self, ground: &Ground) {
        let told = |counts: &Counts| match &list(counts)[..] {
            [] => "nothing".to_owned(),
            acts => acts_told(acts),
        };
        if self.contributions == 0 {
            println!("  offered    nothing");
        } else {
            let contributions = many(self.contributions, "contribution", "contributions");
            println!("  offered    {} in {contributions}", told(&self.offered));
            println!("  committed  {} of that, up to {}", told(&self.committed), ground.revision_word());
        }
        if !self.reviews.is_empty() {
            let reviews: Vec<String> = self.reviews.iter().map(|(word, count)| format!("{count} {word}")).collect();
            println!("  reviewed   {}", reviews.join(", "));
        }
        if self.revisions > 0 {
            println!("  made       {}", many(self.revisions, "revision", "revisions"));
        }
        if self.redactions > 0 {
            println!("  redacted   {}", many(self.redactions, "row", "rows"));
        }
    }

    fn show(&self, all: &mut Value) {
        all["contributions"] = self.contributions.into();
        all["offered"] = acts_shown(&list(&self.offered));
        all["committed"] = acts_shown(&list(&self.committed));
        all["reviews"] = json!(self.reviews);
        all["revisions"] = self.revisions.into();
        all["redactions"] = self.redactions.into();
    }
}

/// Contributions that are in the revision, and those before it.
fn within(book: &dyn Book, ground: &Ground) -> Vec<RecordId> {
    let chain = ground.revision.iter().flat_map(|revision| book.registry().datasets().chain(revision));
    chain.flat_map(|(_, revision)| revision.contributions.iter().copied()).collect()
}

fn add(counts: &mut Counts, acts: &[ActCount]) {
    for act in acts {
        *counts.entry(act.kind).or_default() += act.count;
    }
}

fn list(counts: &Counts) -> Vec<ActCount> {
    counts.iter().map(|(kind, count)| ActCount { kind: *kind, count: *count }).collect()
}

/// Rows of the revision that somebody's work is in.
#[derive(Default)]
struct Stands {
    /// They brought it, as the first of its chain.
    brought: usize,
    /// They brought it, and nobody changed it since.
    untouched: usize,
    /// They have a part in it, the first or a later one.
    touched: usize,
    /// Of all edits that made the rows what they are, theirs.
    edits: Counts,
}

impl Stands {
    fn of(book: &dyn Book, ground: &Ground, contributor: &ContributorId) -> anyhow::Result<Self> {
        let mut stands = Self::default();
        let Some(revision) = &ground.revision else { return Ok(stands) };
        let mut theirs: BTreeMap<RecordId, bool> = BTreeMap::new();
        for (_, chain) in follow(book, revision)?.rows() {
            let by: Vec<bool> = chain
                .iter()
                .map(|touch| {
                    let is_theirs =
                        || behind(book, &touch.contribution).authors.iter().any(|it| it.contributor == *contributor);
                    *theirs.entry(touch.contribution).or_insert_with(is_theirs)
                })
                .collect();
            let first = by.first() == Some(&true);
            stands.brought += usize::from(first);
            stands.untouched += usize::from(first && by.len() == 1);
            stands.touched += usize::from(by.contains(&true));
            for touch in chain.iter().zip(by).filter(|(_, theirs)| *theirs).map(|(touch, _)| touch) {
                *stands.edits.entry(touch.kind).or_default() += 1;
            }
        }
        Ok(stands)
    }

    fn tell(&self, ground: &Ground) {
        let Some(revision) = &ground.revision else { return };
        let all = many(ground.rows.len(), "row", "rows");
        println!("  stands in  {} of the {all} of revision {}", thousands(self.touched), short(revision));
        if self.touched > 0 {
            let [brought, untouched] = [self.brought, self.untouched].map(thousands);
            println!("             by {}", acts_told(&list(&self.edits)));
            println!("             {brought} brought by them, {untouched} of these as they brought them");
        }
    }

    fn show(&self, all: &mut Value) {
        all["rows_brought"] = self.brought.into();
        all["rows_untouched"] = self.untouched.into();
        all["rows_standing"] = self.touched.into();
        all["edits_standing"] = acts_shown(&list(&self.edits));
    }
}
