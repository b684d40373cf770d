//! `loam adapter lineage`: from a generation to what it was made of, and to the people behind that.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use loam_datanet::picture;
use loam_ledger_core::lineage::{Link, Node, links};
use loam_ledger_core::record::{ActCount, Generation, RecordId};
use serde_json::{Map, Value, json};

use super::called;
use crate::records::book::{Book, BookArguments};
use crate::records::{names, write};

/// What it takes.
#[derive(Args)]
pub(crate) struct Lineage {
    #[command(flatten)]
    book: BookArguments,
    /// The adapter: its name, its generation, or the beginning of that.
    #[arg(value_name = "NAME|GENERATION")]
    adapter: String,
    /// A file to draw it in.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Say it as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(lineage: &Lineage) -> anyhow::Result<()> {
    let book = lineage.book.read()?;
    let generation = called::find(&*book, &lineage.adapter)?;
    let adapter = book.registry().adapters().adapter(&generation).context("it was found")?;
    let (root, links) = (Node::Generation(generation), links(book.registry(), &generation));
    let known = known(&*book, root, &links)?;
    let name = |node: &Node| known.get(node).cloned();
    if let Some(path) = &lineage.svg {
        write(path, picture::svg(root, &links, &name))?;
    }
    let revoked = revoked(&*book, &links);
    let must_retrain = book.registry().adapters().must_retrain(book.registry().datasets(), &generation);
    if lineage.json {
        let node = |node: &Node| json!({"kind": picture::kind(node), "id": picture::id(node).to_hex()});
        let link = |link: &Link| {
            let (from, to) = (node(&link.from), node(&link.to));
            json!({"from": from, "to": to, "share_millionths": link.share, "agreed": link.agreed})
        };
        let nodes = known_nodes(root, &links).into_iter().map(|node| described(&*book, &node, known.get(&node)));
        let revoked =
            revoked.iter().map(|(grant, dataset)| json!({"grant": grant.to_hex(), "dataset": dataset.to_hex()}));
        let told = json!({
            "generation": generation.to_hex(), "name": known.get(&root), "state": adapter.state.word(),
            "base": adapter.base.to_hex(), "record": adapter.record.to_hex(), "must_retrain": must_retrain,
            "revoked": revoked.collect::<Vec<_>>(), "nodes": nodes.collect::<Vec<_>>(),
            "links": links.iter().map(link).collect::<Vec<_>>(),
        });
        println!("{told}");
        return Ok(());
    }
    print!("{}", picture::text(root, &links, &name));
    println!("it is {}; base {}", adapter.state.word(), adapter.base);
    if must_retrain {
        println!("its authors must retrain or retire it, for what it was trained under was revoked:");
        for (grant, dataset) in &revoked {
            println!("  grant {grant} of {}", names::about(&*book, dataset)?.name);
        }
    }
    if let Some(path) = &lineage.svg {
        println!("drawn in {}", path.display());
    }
    Ok(())
}

/// All that links lead through, once each.
fn known_nodes(root: Node, links: &[Link]) -> BTreeSet<Node> {
    links.iter().flat_map(|link| [link.from, link.to]).chain([root]).collect()
}

/// What is known of nodes besides their ids: adapters' and datasets' names, what contributions did, who people are.
fn known(book: &dyn Book, root: Node, links: &[Link]) -> anyhow::Result<BTreeMap<Node, String>> {
    let (registry, adapters) = (book.registry(), called::names(book)?);
    let (mut known, mut datasets) = (BTreeMap::new(), BTreeMap::new());
    for node in known_nodes(root, links) {
        let name = match node {
            Node::Generation(generation) => adapters.get(&generation).cloned(),
            Node::Revision(id) => match registry.datasets().revision(&id).map(|revision| revision.dataset) {
                Some(dataset) => Some(dataset_name(book, &mut datasets, dataset)?),
                None => None,
            },
            Node::Contribution(id) => registry.datasets().contribution(&id).map(|work| acts(&work.acts)),
            Node::Contributor(id) => registry.people().find(&id).map(|person| person.kind.word()),
            Node::TrainRun(_) => None,
        };
        known.extend(name.map(|name| (node, name)));
    }
    Ok(known)
}

fn dataset_name(book: &dyn Book, known: &mut BTreeMap<RecordId, String>, dataset: RecordId) -> anyhow::Result<String> {
    if let Some(name) = known.get(&dataset) {
        return Ok(name.clone());
    }
    let name = names::about(book, &dataset)?.name;
    known.insert(dataset, name.clone());
    Ok(name)
}

/// What a contribution did: `3 add, 1 correct`.
fn acts(acts: &[ActCount]) -> String {
    acts.iter().map(|act| format!("{} {}", act.count, act.kind.word())).collect::<Vec<_>>().join(", ")
}

/// Grants that were revoked, of trainings along the way, with the datasets that they were of.
fn revoked(book: &dyn Book, links: &[Link]) -> BTreeMap<RecordId, RecordId> {
    let registry = book.registry();
    let run = |link: &Link| match link.to {
        Node::TrainRun(id) => registry.adapters().run(&id),
        _ => None,
    };
    let grants = links.iter().filter_map(run).flat_map(|run| &run.grants);
    let taken_back = |grant: &RecordId| {
        let found = registry.datasets().grant(grant).filter(|found| found.revoked)?;
        Some((*grant, found.dataset))
    };
    grants.filter_map(taken_back).collect()
}

/// A node, with what is known of its kind.
fn described(book: &dyn Book, node: &Node, name: Option<&String>) -> Value {
    let registry = book.registry();
    let mut told = Map::new();
    told.insert("kind".to_owned(), picture::kind(node).into());
    told.insert("id".to_owned(), picture::id(node).to_hex().into());
    let more: Option<(&str, Value)> = match node {
        Node::Generation(generation) => state(book, generation).map(|state| ("state", state.into())),
        Node::Revision(id) => {
            registry.datasets().revision(id).map(|revision| ("dataset", revision.dataset.to_hex().into()))
        }
        Node::Contribution(id) => registry.datasets().contribution(id).map(|work| {
            let counts = work.acts.iter().map(|act| (act.kind.word(), Value::from(act.count)));
            ("acts", Value::Object(counts.collect()))
        }),
        Node::TrainRun(id) => registry.adapters().run(id).map(|run| ("agreed", run.agreed.into())),
        Node::Contributor(id) => registry.people().find(id).map(|person| ("is", person.kind.word().into())),
    };
    told.extend(more.map(|(key, value)| (key.to_owned(), value)));
    if let (Node::Generation(_) | Node::Revision(_), Some(name)) = (node, name) {
        told.insert("name".to_owned(), name.as_str().into());
    }
    Value::Object(told)
}

fn state(book: &dyn Book, generation: &Generation) -> Option<String> {
    Some(book.registry().adapters().adapter(generation)?.state.word())
}
