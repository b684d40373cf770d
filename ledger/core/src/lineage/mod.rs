//! Lineage: from a generation to what it was made of, and to the people behind that.

mod blame;
mod gains;

use std::collections::BTreeSet;

pub use blame::{Blame, Touch};
pub use gains::{Measured, measure};

use crate::record::{ContributorId, Generation, Millionths, RecordId};
use crate::registry::Registry;

/// Something that a lineage leads through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    /// An adapter generation; published or not.
    Generation(Generation),
    /// A training.
    TrainRun(RecordId),
    /// A dataset revision.
    Revision(RecordId),
    /// Work that is in a revision.
    Contribution(RecordId),
    /// Somebody who signed.
    Contributor(ContributorId),
}

/// One step of a lineage: this owes something to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// This.
    pub from: Node,
    /// That.
    pub to: Node,
    /// The share that was signed, where one was.
    pub share: Option<Millionths>,
    /// Whether all whom the share concerns signed it. One that some did not sign divides nothing.
    pub agreed: bool,
}

/// Every link from a generation down to people, each once, parents' links included.
pub fn links(registry: &Registry, generation: &Generation) -> Vec<Link> {
    let (mut links, mut open, mut seen) = (BTreeSet::new(), vec![Node::Generation(*generation)], BTreeSet::new());
    while let Some(node) = open.pop() {
        if !seen.insert(node) {
            continue;
        }
        for link in links_from(registry, &node) {
            open.push(link.to);
            links.insert(link);
        }
    }
    links.into_iter().collect()
}

fn links_from(registry: &Registry, from: &Node) -> Vec<Link> {
    let from = *from;
    let link = |to, share, agreed| Link { from, to, share, agreed };
    let people = |authors: &[crate::record::Author], agreed: bool| -> Vec<Link> {
        authors.iter().map(|a| link(Node::Contributor(a.contributor), Some(a.share), agreed)).collect()
    };
    match from {
        Node::Generation(generation) => {
            let Some(adapter) = registry.adapters().adapter(&generation) else { return Vec::new() };
            let mut links = people(&adapter.authors, true);
            let parent =
                |p: &crate::record::ParentShare| link(Node::Generation(p.generation), Some(p.share), adapter.agreed);
            links.extend(adapter.parents.iter().map(parent));
            links.extend(adapter.train_run.map(|run| link(Node::TrainRun(run), None, true)));
            links
        }
        Node::TrainRun(run) => {
            let Some(run) = registry.adapters().run(&run) else { return Vec::new() };
            let source = |s: &crate::record::RevisionShare| link(Node::Revision(s.revision), Some(s.share), run.agreed);
            run.sources.iter().map(source).collect()
        }
        Node::Revision(id) => {
            let Some(revision) = registry.datasets().revision(&id) else { return Vec::new() };
            let mut links: Vec<Link> =
                revision.contributions.iter().map(|work| link(Node::Contribution(*work), None, true)).collect();
            links.extend(revision.parents.iter().map(|parent| link(Node::Revision(*parent), None, true)));
            links.extend(revision.agreed.iter().flat_map(|authors| people(authors, true)));
            links
        }
        Node::Contribution(id) => {
            let Some(work) = registry.datasets().contribution(&id) else { return Vec::new() };
            match work.attested_for {
                // Their own word is missing, so they have no share that was signed.
                Some(whom) => vec![link(Node::Contributor(whom), None, false)],
                None => people(&work.authors, true),
            }
        }
        Node::Contributor(_) => Vec::new(),
    }
}
