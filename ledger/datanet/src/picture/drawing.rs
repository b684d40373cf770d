//! The drawing: one SVG file that needs no other, layered from left to right by what nodes are.

use core::fmt::Write as _;
use std::collections::BTreeMap;

use loam_ledger_core::lineage::{Link, Node};
use loam_ledger_core::record::MILLION;

use super::{DRAWN_MAX, Names, id, kind, nearest};
use crate::shown::{line, percent, short};

const WIDTH: usize = 176;
const HEIGHT: usize = 40;
const GAP_X: usize = 72;
const GAP_Y: usize = 16;
const MARGIN: usize = 44;

/// Colours for paper and for the dark, by what the reader's screen asks for; a drawing elsewhere has its own ground.
const STYLE: &str = "\
    .ground{fill:#fbfbf9}.box{fill:#fff;stroke:#8a8f98}.link{fill:none;stroke:#8a8f98}.open{stroke-dasharray:4 3}\
    text{font:11px system-ui,sans-serif;fill:#22262b}.kind,.share{fill:#5c636d;font-size:10px}\
    @media (prefers-color-scheme:dark){.ground{fill:#16181b}.box{fill:#202327;stroke:#747b85}.link{stroke:#747b85}\
    text{fill:#e7e9ec}.kind,.share{fill:#a5acb6}}";

/// Draws a node's lineage: the nearest [`DRAWN_MAX`] nodes, and how many there are beyond.
pub fn svg(root: Node, links: &[Link], names: Names<'_>) -> String {
    let nodes = nearest(root, links);
    let (drawn, beyond) = nodes.split_at(nodes.len().min(DRAWN_MAX));
    let places = places(drawn);
    let right = places.values().map(|(x, _)| x + WIDTH).max().unwrap_or(0) + MARGIN;
    let bottom = places.values().map(|(_, y)| y + HEIGHT).max().unwrap_or(0) + MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{right}\" height=\"{bottom}\" \
        viewBox=\"0 0 {right} {bottom}\" role=\"img\">\n<title>Lineage of {} {}</title>\n<style>{STYLE}</style>\n\
        <rect class=\"ground\" width=\"100%\" height=\"100%\"/>\n",
        kind(&root),
        id(&root),
    );
    let mut labels = String::new();
    for link in links {
        if let (Some(from), Some(to)) = (places.get(&link.from), places.get(&link.to)) {
            draw_link(&mut svg, &mut labels, link, *from, *to);
        }
    }
    for node in drawn {
        draw_node(&mut svg, node, places[node], names);
    }
    svg.push_str(&labels);
    let mut notes = Vec::new();
    if !beyond.is_empty() {
        notes.push(format!("and {} more", beyond.len()));
    }
    if links.iter().any(|link| !link.agreed) {
        notes.push("dashed: not signed by all whom it concerns".to_owned());
    }
    if !notes.is_empty() {
        let (y, notes) = (bottom - MARGIN / 3, notes.join("; "));
        writeln!(svg, "<text class=\"kind\" x=\"{MARGIN}\" y=\"{y}\">{notes}</text>")
            .expect("a string takes everything");
    }
    svg + "</svg>\n"
}

/// Each node's corner: a column for each kind, nodes in the order in which they were met, columns centred on the
/// longest.
fn places(nodes: &[Node]) -> BTreeMap<Node, (usize, usize)> {
    let column = |node: &Node| match node {
        Node::Generation(_) => 0,
        Node::TrainRun(_) => 1,
        Node::Revision(_) => 2,
        Node::Contribution(_) => 3,
        Node::Contributor(_) => 4,
    };
    let mut columns: BTreeMap<usize, Vec<Node>> = BTreeMap::new();
    for node in nodes {
        columns.entry(column(node)).or_default().push(*node);
    }
    let longest = columns.values().map(Vec::len).max().unwrap_or(0);
    let mut places = BTreeMap::new();
    for (at, nodes) in columns.values().enumerate() {
        let above = (longest - nodes.len()) * (HEIGHT + GAP_Y) / 2;
        for (row, node) in nodes.iter().enumerate() {
            places.insert(*node, (MARGIN + at * (WIDTH + GAP_X), MARGIN + above + row * (HEIGHT + GAP_Y)));
        }
    }
    places
}

fn draw_node(svg: &mut String, node: &Node, (x, y): (usize, usize), names: Names<'_>) {
    let name = names(node).map_or_else(|| short(id(node)), |name| line(&name, super::NAME_SHOWN));
    let words = [(y + 16, "kind", kind(node).to_owned()), (y + 31, "name", escaped(&name))];
    write!(
        svg,
        "<g><title>{} {}</title><rect class=\"box\" x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"6\"/>",
        kind(node),
        id(node),
    )
    .expect("a string takes everything");
    for (y, class, words) in words {
        write!(svg, "<text class=\"{class}\" x=\"{}\" y=\"{y}\">{words}</text>", x + 10)
            .expect("a string takes everything");
    }
    svg.push_str("</g>\n");
}

/// A curve from the right side to the left one; within a column, from left to left.
fn draw_link(svg: &mut String, labels: &mut String, link: &Link, from: (usize, usize), to: (usize, usize)) {
    let (y, end_y) = (from.1 + HEIGHT / 2, to.1 + HEIGHT / 2);
    let (x, bend, end_x, end_bend) = if from.0 < to.0 {
        (from.0 + WIDTH, from.0 + WIDTH + GAP_X / 2, to.0, to.0 - GAP_X / 2)
    } else {
        (from.0, from.0 - MARGIN / 2, to.0, to.0.saturating_sub(MARGIN / 2))
    };
    let open = if link.agreed { "" } else { " open" };
    writeln!(svg, "<path class=\"link{open}\" d=\"M{x} {y}C{bend} {y} {end_bend} {end_y} {end_x} {end_y}\"/>")
        .expect("a string takes everything");
    // A whole that everybody signed goes without saying; what was not signed shows in the line.
    let Some(share) = link.share.filter(|share| *share < MILLION || !link.agreed).map(percent) else { return };
    let (x, y) = if from.0 == to.0 {
        (from.0 - MARGIN / 2, y.midpoint(end_y) + 4)
    } else if from.0 + WIDTH + GAP_X == to.0 {
        (x.midpoint(end_x), y.midpoint(end_y) + 4)
    } else {
        // Behind the boxes between; it is seen again where it ends.
        (end_x - GAP_X / 3, end_y - 4)
    };
    let (width, top) = (6 * share.len() + 4, y - 10);
    writeln!(
        labels,
        "<rect class=\"ground\" x=\"{}\" y=\"{top}\" width=\"{width}\" height=\"13\"/>\
        <text class=\"share\" text-anchor=\"middle\" x=\"{x}\" y=\"{y}\">{share}</text>",
        x.saturating_sub(width / 2),
    )
    .expect("a string takes everything");
}

/// Text that is no markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}
