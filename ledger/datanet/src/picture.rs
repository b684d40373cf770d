//! A lineage for people: a tree in text, and a drawing.

mod drawing;

use core::fmt::Write as _;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use loam_ledger_core::lineage::{Link, Node};

use crate::shown::{line, percent, short};

pub use drawing::svg;

/// Nodes that a drawing has; of more, it says how many.
pub const DRAWN_MAX: usize = 60;

/// Lines that a tree has; of more, it says how many links there are beyond.
pub const LINES_MAX: usize = 500;

/// Levels that a tree goes down.
const LEVELS_MAX: usize = 64;

/// Characters of a name that are shown.
const NAME_SHOWN: usize = 24;

/// What a node is, in words.
pub fn kind(node: &Node) -> &'static str {
    match node {
        Node::Generation(_) => "generation",
        Node::TrainRun(_) => "train run",
        Node::Revision(_) => "revision",
        Node::Contribution(_) => "contribution",
        Node::Contributor(_) => "contributor",
    }
}

/// A node's id.
pub fn id(node: &Node) -> &loam_ledger_core::Hash {
    match node {
        Node::Generation(id)
        | Node::TrainRun(id)
        | Node::Revision(id)
        | Node::Contribution(id)
        | Node::Contributor(id) => id,
    }
}

/// What is known of a node besides its id, such as a contributor's name.
pub type Names<'a> = &'a dyn Fn(&Node) -> Option<String>;

fn named(node: &Node, names: Names<'_>) -> String {
    let name = names(node).map_or(String::new(), |name| format!(" {}", line(&name, NAME_SHOWN)));
    format!("{} {}{name}", kind(node), short(id(node)))
}

/// What a link says of its share.
fn share(link: &Link) -> String {
    let share = link.share.map_or(String::new(), percent);
    match (share.is_empty(), link.agreed) {
        (_, true) => share,
        (true, false) => "not signed by them".to_owned(),
        (false, false) => format!("{share}, not signed by all"),
    }
}

/// Links by where they come from, each list in the order of the links.
fn by_source(links: &[Link]) -> BTreeMap<Node, Vec<&Link>> {
    let mut below: BTreeMap<Node, Vec<&Link>> = BTreeMap::new();
    for link in links {
        below.entry(link.from).or_default().push(link);
    }
    below
}

/// The tree below a node: a line a link, each node's own links where it stands first.
pub fn text(root: Node, links: &[Link], names: Names<'_>) -> String {
    let below = by_source(links);
    let mut text = format!("{}\n", named(&root, names));
    let (mut seen, mut lines) = (BTreeSet::from([root]), 0);
    let none = Vec::new();
    let mut open = vec![below.get(&root).unwrap_or(&none).iter()];
    while let Some(level) = open.last_mut() {
        let Some(link) = level.next() else {
            open.pop();
            continue;
        };
        if lines == LINES_MAX {
            break;
        }
        lines += 1;
        let share =
            Some(share(link)).filter(|share| !share.is_empty()).map_or(String::new(), |share| format!(" ({share})"));
        let children = below.get(&link.to).unwrap_or(&none);
        let first = seen.insert(link.to);
        let deep = open.len() >= LEVELS_MAX;
        let mark = match (children.is_empty(), first, deep) {
            (false, false, _) => ", see above",
            (false, true, true) => ", and what is below it",
            _ => "",
        };
        let indent = "  ".repeat(open.len());
        writeln!(text, "{indent}{}{share}{mark}", named(&link.to, names)).expect("a string takes everything");
        if first && !deep {
            open.push(children.iter());
        }
    }
    if links.len() > lines && lines == LINES_MAX {
        writeln!(text, "and {} more links", links.len() - lines).expect("a string takes everything");
    }
    text
}

/// Nodes from a root on, nearest first.
fn nearest(root: Node, links: &[Link]) -> Vec<Node> {
    let below = by_source(links);
    let (mut nodes, mut seen, mut open) = (Vec::new(), BTreeSet::from([root]), VecDeque::from([root]));
    while let Some(node) = open.pop_front() {
        nodes.push(node);
        let next = below.get(&node).into_iter().flatten().map(|link| link.to);
        open.extend(next.filter(|node| seen.insert(*node)).collect::<Vec<_>>());
    }
    nodes
}
