//! `loam adapter publish`: a generation is bound to who made it and what of, in a record and in a statement for other
//! tools that says the same.

use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use loam_datanet::shown::line;
use loam_datanet::statement::{Envelope, Statement};
use loam_engine::adapter::check_name;
use loam_ledger::Appended;
use loam_ledger_core::entry::RECORD_ENTRY_BYTES_MAX;
use loam_ledger_core::record::{
    Act, AdapterPublished, AdapterState, AdapterStateChanged, Generation, ParentShare, RecordId, RevisionShare,
    TrainRunFinished,
};
use serde_json::json;

use super::called;
use super::content::{Content, Digests};
use super::training::{Training, one, told};
use crate::records::book::Book;
use crate::records::licence::Licence;
use crate::records::rehearsal::Rehearsal;
use crate::records::shares::{Part, part, rest_is_ours};
use crate::records::{CoSigning, Pen, Said, write};

/// What `loam adapter publish` takes.
#[derive(Args)]
pub(crate) struct Publish {
    #[command(flatten)]
    signing: CoSigning,
    /// What people call it; servers can load it under this name.
    name: String,
    #[command(flatten)]
    content: Content,
    /// The licence of the adapter: an SPDX identifier such as Apache-2.0, or a file with the text, as ./LICENSE.
    #[arg(long, value_name = "SPDX-OR-FILE")]
    licence: String,
    /// The training that made it, where `loam adapter train` recorded it before.
    #[arg(long, value_name = "RECORD", conflicts_with_all = ["sources", "grants", "configuration", "code"])]
    run: Option<String>,
    #[command(flatten)]
    training: Training,
    /// A published generation that it goes on from, with its share: 3f2a9c41=40%. What is left is your own.
    #[arg(long = "parent", value_name = "GENERATION=SHARE", value_parser = part)]
    parents: Vec<Part>,
    /// Where it stands from now on: a draft is recorded and not for use yet.
    #[arg(long, value_name = "STATE", value_parser = ["draft", "published"], default_value = "draft")]
    state: String,
    /// A file to write: the in-toto statement in its DSSE envelope, for other tools.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Say it as one JSON object.
    #[arg(long)]
    json: bool,
}

/// The training that made it, as far as it is said.
enum Run {
    Unsaid,
    Recorded(RecordId),
    New(TrainRunFinished),
}

/// What is to be recorded: nothing of it breaks a rule.
struct Plan {
    /// A training that is not recorded yet.
    training: Option<TrainRunFinished>,
    published: AdapterPublished,
    /// The statement in its envelope, as it is kept beside the record.
    text: String,
    /// Where it stands then, where that is not a draft.
    stands: Option<AdapterStateChanged>,
    sources: Vec<RevisionShare>,
}

pub(super) fn run(publish: &Publish) -> anyhow::Result<()> {
    check_name(&publish.name)?;
    let licence = Licence::named(&publish.licence)?;
    let digests = publish.content.digests()?;
    let mut pen = publish.signing.open(publish.json)?;
    let plan = publish.plan(&pen, &digests, &licence)?;
    let sources = told(&*pen.book, &plan.sources)?;
    for other in called::others(&*pen.book, &publish.name, &plan.published.generation)? {
        let name = &publish.name;
        eprintln!("loam: another adapter here is called {name:?}, {other}: whoever says {name} will have to say which");
    }
    if let Some(out) = &publish.out {
        write(out, &plan.text)?;
    }
    let published = plan.published.clone();
    let Some(at) = plan.say(&mut pen)? else { return pen.book.close() };
    pen.book.close()?;

    let (generation, statement) = (published.generation, published.statement);
    if publish.json {
        let told = json!({
            "name": publish.name, "generation": generation.to_hex(), "record": at.id.to_hex(), "entry": at.index,
            "base": digests.base.to_hex(), "run": published.train_run.map(|run| run.to_hex()),
            "state": publish.state, "licence": licence.digest.to_hex(), "statement": statement.to_hex(),
        });
        println!("{told}");
        return Ok(());
    }
    println!("{} is {generation}", publish.name);
    println!("  base       {}", digests.base);
    println!("  licence    {}", line(&licence.words, 64));
    sources.iter().for_each(|line| println!("  trained on {line}"));
    println!("  statement  {statement}");
    println!("recorded as {}, entry {}: {}", at.id, at.index, publish.state);
    if publish.state == AdapterState::Draft.word() {
        println!("`loam adapter state {generation} published` says that it is for use");
    }
    Ok(())
}

impl Plan {
    /// Says it: up to three records, one after the other. Where others sign too it is one, and said when all have.
    fn say(self, pen: &mut Pen) -> anyhow::Result<Option<Appended>> {
        // The receipt that was asked for is the publication's.
        let receipt = pen.receipt.take();
        let run = self.published.train_run;
        if let Some(training) = self.training {
            let at = pen.say(Act::TrainRunFinished(training))?.at;
            ensure!(Some(at.id) == run, "the training is recorded as {0}: publish it with --run {0}", at.id);
        }
        pen.receipt = receipt;
        let said = Said { text: Some(self.text), ..Act::AdapterPublished(self.published).into() };
        let taken = pen.say_together(said).with_context(|| match run {
            Some(run) => format!("the training is recorded as {run}: try again with --run {run}"),
            None => "it is not published".to_owned(),
        })?;
        let Some(taken) = taken else { return Ok(None) };
        pen.receipt = None;
        if let Some(stands) = self.stands {
            pen.say(Act::AdapterStateChanged(stands)).context("it is published as a draft")?;
        }
        Ok(Some(taken.at))
    }
}

impl Publish {
    /// Works out what is to be said, and tries it out: what the rules refuse is refused here, with nothing recorded.
    fn plan(&self, pen: &Pen, digests: &Digests, licence: &Licence) -> anyhow::Result<Plan> {
        let book = &*pen.book;
        let generation =
            digests.generation.context("name the adapter: --folder PEFT_DIR with --model DIR, or --generation HEX")?;
        refuse_second(book, &generation)?;
        let alone = pen.with.is_empty();
        if !alone {
            self.refuse_more_than_one_record()?;
        }
        let parents = rest_is_ours(&self.parents, "parents", |word| called::find(book, word))?;
        let parents: Vec<ParentShare> =
            parents.into_iter().map(|(generation, share)| ParentShare { generation, share }).collect();
        let mut rehearsal = Rehearsal::of(pen)?;
        let (train_run, training, sources) = match self.run(book, digests, &generation, &parents)? {
            Run::Unsaid => (None, None, Vec::new()),
            Run::Recorded(id) => {
                let sources = book.registry().adapters().run(&id).map(|run| run.sources.clone());
                (Some(id), None, sources.unwrap_or_default())
            }
            Run::New(act) => {
                let id =
                    rehearsal.say(Act::TrainRunFinished(act.clone())).context("the training cannot be recorded")?;
                (Some(id), Some(act.clone()), act.sources)
            }
        };
        let statement = Statement {
            name: self.name.clone(),
            generation,
            base: digests.base,
            licence: licence.digest,
            author: pen.file.contributor(),
            train_run,
            parents: parents.clone(),
            revisions: sources.clone(),
        };
        let envelope = Envelope::signed(&statement, &[&pen.key]);
        let (base, licence, statement) = (digests.base, licence.digest, envelope.digest());
        let published = AdapterPublished { generation, base, train_run, parents, licence, statement };
        // What others have yet to sign is held against the rules when they have.
        if alone {
            rehearsal.say(Act::AdapterPublished(published.clone())).context("it cannot be published")?;
        }
        let (from, to) = (AdapterState::Draft, AdapterState::Published);
        let stands = (self.state == to.word()).then_some(AdapterStateChanged { generation, from, to });
        if let Some(stands) = &stands {
            let tried = rehearsal.say(Act::AdapterStateChanged(stands.clone()));
            tried.context("it could be a draft (--state draft), and not for use")?;
        }
        let text = envelope.to_json();
        let bytes = text.len();
        ensure!(bytes <= RECORD_ENTRY_BYTES_MAX, "its statement has {bytes} bytes: name fewer sources and parents");
        Ok(Plan { training, published, text, stands, sources })
    }

    /// A paper has one record on it.
    fn refuse_more_than_one_record(&self) -> anyhow::Result<()> {
        ensure!(
            !self.training.is_said(),
            "others sign too: record the training before, with `loam adapter train`, and name it with --run"
        );
        let draft = AdapterState::Draft.word();
        ensure!(
            self.state == draft,
            "others sign too, so it is a {draft} until all have; `loam adapter state` then says that it is for use"
        );
        Ok(())
    }

    fn run(
        &self,
        book: &dyn Book,
        digests: &Digests,
        generation: &Generation,
        parents: &[ParentShare],
    ) -> anyhow::Result<Run> {
        let generations: Vec<Generation> = parents.iter().map(|parent| parent.generation).collect();
        let Some(word) = &self.run else {
            return match self.training.is_said() {
                true => Ok(Run::New(self.training.act(book, digests, generations)?)),
                false => Ok(Run::Unsaid),
            };
        };
        let adapters = book.registry().adapters();
        let id = one(book, word, "trainings", |id| adapters.run(id).is_some())?;
        let run = adapters.run(&id).context("it was found")?;
        match run.generation {
            None => bail!("training {id} led nowhere, so nothing of it can be published"),
            Some(made) => ensure!(made == *generation, "training {id} made {made}, and not {generation}"),
        }
        ensure!(run.base == digests.base, "training {id} began with base {}, and not {}", run.base, digests.base);
        if run.parents != generations {
            let wanted: Vec<String> = run.parents.iter().map(|parent| format!("--parent {parent}=SHARE")).collect();
            match wanted.is_empty() {
                true => bail!("training {id} went on from no other generation: leave --parent out"),
                false => bail!("training {id} went on from others; say so: {}", wanted.join(" ")),
            }
        }
        Ok(Run::Recorded(id))
    }
}

/// A generation is published once, by whoever does so first.
fn refuse_second(book: &dyn Book, generation: &Generation) -> anyhow::Result<()> {
    let Some(adapter) = book.registry().adapters().adapter(generation) else { return Ok(()) };
    let authors: Vec<String> = adapter.authors.iter().map(|author| author.contributor.to_hex()).collect();
    bail!("{generation} is published already, by {} (record {})", authors.join(", "), adapter.record)
}
