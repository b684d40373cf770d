//! `loam datanet create`: a dataset begins, with its licence and its owner.

use anyhow::{bail, ensure};
use clap::Args;
use loam_datanet::shown::line;
use loam_ledger_core::record::{Access, Act, DatasetCreated};
use serde_json::json;

use super::ground::typed;
use crate::records::book::{Book, Taken};
use crate::records::licence::Licence;
use crate::records::names::{self, About};
use crate::records::{CoSigning, Pen, Said};

/// Characters of a name: it stands in lists and on command lines.
const NAME_CHARS_MAX: usize = 100;

#[derive(Args)]
pub(crate) struct Create {
    #[command(flatten)]
    signing: CoSigning,
    /// What people will call it, such as quechua-medical.
    name: String,
    /// The licence of all its rows: an SPDX identifier such as CC-BY-4.0, or a file with the text, as ./LICENSE.
    #[arg(long, value_name = "SPDX-or-FILE")]
    licence: String,
    /// What it is for.
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
    /// Who may train on it: everybody, or who is given a grant.
    #[arg(long, value_name = "ACCESS", value_parser = ["open", "by-grant"], default_value = "open")]
    access: String,
    /// Say it as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(create: &Create) -> anyhow::Result<()> {
    let licence = Licence::named(&create.licence)?;
    let access = if create.access == "open" { Access::Open } else { Access::ByGrant };
    let mut pen = create.signing.open(create.json)?;
    let begun = begin(&mut pen, &create.name, &create.description, &licence, access)?;
    let Some(Taken { at, .. }) = begun else { return pen.book.close() };
    if create.json {
        let (dataset, licence) = (at.id.to_hex(), licence.digest.to_hex());
        println!("{}", json!({"dataset": dataset, "entry": at.index, "name": create.name, "licence": licence}));
    } else {
        println!("dataset {}, entry {}", at.id, at.index);
        println!("  {}, under {}, {}", create.name, line(&licence.words, NAME_CHARS_MAX), create.access);
        println!("next: loam datanet add {} FILE offers its first rows", typed(&create.name, &at.id));
    }
    pen.book.close()
}

/// Records that a dataset begins, under a name that no other has here.
pub(super) fn begin(
    pen: &mut Pen,
    name: &str,
    description: &str,
    licence: &Licence,
    access: Access,
) -> anyhow::Result<Option<Taken>> {
    check_name(&*pen.book, name)?;
    let about = About::new(name, description, licence);
    let mut owners: Vec<_> = pen.authors()?.iter().map(|author| author.contributor).collect();
    owners.sort_unstable();
    let act = DatasetCreated { owners, access, licence: licence.digest };
    pen.say_together(Said { text: Some(about.to_text()), ..Act::DatasetCreated(act).into() })
}

/// A name that can be typed, and leads to one dataset.
pub(super) fn check_name(book: &dyn Book, name: &str) -> anyhow::Result<()> {
    let few = (1..=NAME_CHARS_MAX).contains(&name.chars().count());
    ensure!(few && name.trim() == name, "a name has 1 to {NAME_CHARS_MAX} characters and no space around them");
    ensure!(line(name, NAME_CHARS_MAX) == name, "a name has no characters that move or hide others: {name:?}");
    let is_hex = name.len() >= names::PREFIX_MIN && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    ensure!(!is_hex, "the name {name} looks like the beginning of an id: give it another");
    for (id, _) in book.registry().datasets().all() {
        if names::about(book, id)?.name == name {
            bail!("a dataset here is called {name:?} already, {id}: give yours another name");
        }
    }
    Ok(())
}
