//! `loam datanet export` and `import`: a revision as a Croissant folder, for other tools and other ledgers; and back.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use loam_datanet::Row;
use loam_datanet::croissant::{Description, Source, write as described};
use loam_datanet::rows::Placed;
use loam_datanet::shown::short;
use loam_ledger_core::Hash;
use loam_ledger_core::record::{Access, ContributorId, ContributorKind, RecordId, Rows};
use serde_json::json;

use super::changes::behind;
use super::create::{begin, check_name};
use super::ground::{Ground, Texts, texts};
use super::history::day_of;
use super::many;
use super::offer::{Terms, message, offer, work_of_rows};
use crate::records::book::{Book, BookArguments};
use crate::records::licence::{self, Licence};
use crate::records::names::About;
use crate::records::{Signing, write};

/// The description's name in a folder that is written, and others that are read.
const DESCRIPTIONS: [&str; 2] = ["croissant.json", "metadata.json"];

/// The rows' file beside it.
const ROWS_FILE: &str = "rows.jsonl";

/// The licence's text, where there is one.
const LICENCE_FILE: &str = "LICENSE";

#[derive(Args)]
pub(crate) struct Export {
    #[command(flatten)]
    book: BookArguments,
    /// The dataset, by its name or its id.
    dataset: String,
    /// The folder to make, with croissant.json and rows.jsonl in it, and the licence's text where it is kept here.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The revision; the newest where it is absent.
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
    /// The dataset's page, where it has one.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Say it as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn export(export: &Export) -> anyhow::Result<()> {
    let out = &export.out;
    let empty = !out.exists() || std::fs::read_dir(out).is_ok_and(|mut files| files.next().is_none());
    ensure!(empty, "{} is there, and is no empty folder: name another", out.display());
    let book = export.book.read()?;
    let ground = Ground::find(&*book, &export.dataset, export.revision.as_deref())?;
    let revision = ground.revision()?;
    let mut opened = texts(&*book, ground.rows.values())?;
    let rows: Vec<Row> = ground.rows.values().filter_map(|content| opened.remove(content)).collect();
    let written = described(&description(&*book, &ground, &revision, export.url.as_deref())?, &rows);
    std::fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    // The description last: a folder without it is no dataset.
    write(&out.join(ROWS_FILE), &written.data)?;
    if let Some(text) = &ground.about.licence_text {
        write(&out.join(LICENCE_FILE), text)?;
    }
    write(&out.join(DESCRIPTIONS[0]), &written.metadata)?;
    let left_out = ground.rows.len() - rows.len();
    if export.json {
        println!(
            "{}",
            json!({
                "dataset": ground.dataset.to_hex(), "revision": revision.to_hex(), "rows": rows.len(),
                "left_out": left_out, "out": out.display().to_string(),
            })
        );
    } else {
        let count = many(rows.len(), "row", "rows");
        println!("{}, revision {}: {count} in {}", ground.about.name, short(&revision), out.display());
        if left_out > 0 {
            println!("left out: {} that can no longer be opened", many(left_out, "row", "rows"));
        }
    }
    book.close()
}

fn description(
    book: &dyn Book,
    ground: &Ground,
    revision: &RecordId,
    url: Option<&str>,
) -> anyhow::Result<Description> {
    let registry = book.registry();
    let chain: Vec<_> = registry.datasets().chain(revision).collect();
    let ids = chain.iter().rev().flat_map(|(_, revision)| &revision.contributions);
    let authors = |id: &RecordId| behind(book, id).authors.iter().map(|author| author.contributor).collect::<Vec<_>>();
    let contributions: Vec<(RecordId, Vec<ContributorId>)> = ids.map(|id| (*id, authors(id))).collect();
    let kind = |who: &ContributorId| Some((*who, registry.people().find(who)?.kind));
    let people: BTreeMap<ContributorId, ContributorKind> =
        contributions.iter().flat_map(|(_, authors)| authors).filter_map(kind).collect();
    Ok(Description {
        name: ground.about.name.clone(),
        description: ground.about.description.clone(),
        url: url.map_or_else(|| format!("urn:loam:record:{}", ground.dataset), str::to_owned),
        licence: licence::address(&ground.about.licence, &ground.noted(book)?.licence),
        date: day_of(book, revision)?,
        number: chain.len() as u64,
        dataset: ground.dataset,
        revision: *revision,
        parents: chain.first().map(|(_, revision)| revision.parents.clone()).unwrap_or_default(),
        contributions,
        people,
        file: ROWS_FILE.to_owned(),
    })
}

#[derive(Args)]
pub(crate) struct Import {
    #[command(flatten)]
    signing: Signing,
    /// A folder with a Croissant description (croissant.json or metadata.json) and its data, or the description itself.
    from: PathBuf,
    /// What people will call the dataset here.
    #[arg(long)]
    name: String,
    /// Its licence, where the description does not say it: an SPDX identifier, or a file with the text, as ./LICENSE.
    #[arg(long, value_name = "SPDX-or-FILE")]
    licence: Option<String>,
    /// What it is for.
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
    /// Who may train on it: everybody, or who is given a grant.
    #[arg(long, value_name = "ACCESS", value_parser = ["open", "by-grant"], default_value = "open")]
    access: String,
    #[command(flatten)]
    terms: Terms,
}

pub(super) fn import(import: &Import) -> anyhow::Result<()> {
    let (source, placed) = read(&import.from)?;
    let licence = licence_of(&source, import.licence.as_deref())?;
    let access = if import.access == "open" { Access::Open } else { Access::ByGrant };
    let origin = format!("Imported from the Croissant dataset {}, SHA-256 {}.", source.name, source.sha256);
    let terms = Terms { message: message(import.terms.message.as_deref(), &[origin])?, ..import.terms };
    let mut pen = import.signing.open()?;
    let dataset = if terms.dry_run {
        check_name(&*pen.book, &import.name)?;
        Hash::ZERO
    } else {
        let begun = begin(&mut pen, &import.name, &import.description, &licence, access)?;
        begun.context("one author imports alone")?.at.id
    };
    if !terms.json && !terms.dry_run {
        println!("dataset {dataset}\n  {}, under {}, {}", import.name, licence.words, import.access);
    }
    let about = About::new(&import.name, &import.description, &licence);
    let ground = Ground { dataset, about, revision: None, rows: Rows::new() };
    let work = work_of_rows(&ground, placed)?;
    offer(&mut pen, &ground, work, Texts::new(), &terms)?;
    pen.book.close()
}

/// A description, and all rows of its data file, whose digest was checked.
fn read(from: &Path) -> anyhow::Result<(Source, Vec<Placed>)> {
    let file = if from.is_dir() {
        let there = DESCRIPTIONS.iter().map(|name| from.join(name)).find(|path| path.is_file());
        there.with_context(|| format!("{} has neither {} nor {}", from.display(), DESCRIPTIONS[0], DESCRIPTIONS[1]))?
    } else {
        from.to_owned()
    };
    let shown = || file.display().to_string();
    let source = Source::read(&std::fs::read(&file).with_context(shown)?).with_context(shown)?;
    let data = beside(&file, &source.file).with_context(shown)?;
    let bytes = std::fs::read(&data).with_context(|| data.display().to_string())?;
    let rows = source.rows(&bytes).with_context(|| data.display().to_string())?;
    Ok((source, rows))
}

/// The data file, which lies in the description's folder or below it: nothing is fetched, and nothing else is read.
fn beside(description: &Path, file: &str) -> anyhow::Result<PathBuf> {
    if file.contains("://") {
        bail!("the data lies at {file}, and is not fetched: put it beside the description, and its name in contentUrl");
    }
    let below = Path::new(file).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    ensure!(below, "contentUrl {file:?} leads out of the description's folder: put the data beside the description");
    Ok(description.parent().unwrap_or(Path::new("")).join(file))
}

fn licence_of(source: &Source, given: Option<&str>) -> anyhow::Result<Licence> {
    match (given, &source.licence) {
        (Some(given), _) => Licence::named(given),
        (None, Some(stated)) => Ok(Licence::stated(licence::identifier(stated))),
        (None, None) => bail!("the description names no licence: name it with --licence"),
    }
}
