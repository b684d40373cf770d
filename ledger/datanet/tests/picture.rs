//! Lineages as text and as drawings.

use loam_datanet::picture::{DRAWN_MAX, LINES_MAX, svg, text};
use loam_ledger_core::Hash;
use loam_ledger_core::lineage::{Link, Node};

fn hash(number: usize) -> Hash {
    let mut hash = Hash::ZERO;
    hash.0[..4].copy_from_slice(&u32::try_from(number).expect("it is small").to_be_bytes());
    hash
}

fn link(from: Node, to: Node, share: Option<u32>, agreed: bool) -> Link {
    Link { from, to, share, agreed }
}

/// A generation with a parent, a train run on two revisions, two contributions and three people.
fn town() -> (Node, Vec<Link>) {
    let [child, parent] = [1, 2].map(|n| Node::Generation(hash(n)));
    let run = Node::TrainRun(hash(3));
    let [new, old] = [4, 5].map(|n| Node::Revision(hash(n)));
    let [add, fix] = [6, 7].map(|n| Node::Contribution(hash(n)));
    let [ada, bob, eve] = [8, 9, 10].map(|n| Node::Contributor(hash(n)));
    let links = vec![
        link(child, parent, Some(400_000), false),
        link(child, run, None, true),
        link(child, ada, Some(1_000_000), true),
        link(parent, bob, Some(1_000_000), true),
        link(run, new, Some(1_000_000), true),
        link(new, old, None, true),
        link(new, fix, None, true),
        link(old, add, None, true),
        link(add, ada, Some(1_000_000), true),
        link(fix, bob, Some(333_333), true),
        link(fix, eve, None, false),
    ];
    (child, links)
}

fn names(node: &Node) -> Option<String> {
    match node {
        Node::Contributor(id) if *id == hash(8) => Some("Ada <&\"'\u{202e}>".to_owned()),
        Node::Generation(id) if *id == hash(1) => Some("boiler".to_owned()),
        _ => None,
    }
}

#[track_caller]
fn check(root: Node, links: &[Link], expected: &str) {
    assert_eq!(text(root, links, &names), expected);
}

#[test]
fn the_tree_has_a_line_for_each_link() {
    let (root, links) = town();
    let expected = "\
generation 000000010000 boiler
  generation 000000020000 (40%, not signed by all)
    contributor 000000090000 (100%)
  train run 000000030000
    revision 000000040000 (100%)
      revision 000000050000
        contribution 000000060000
          contributor 000000080000 Ada <&\"'\\u{202e}> (100%)
      contribution 000000070000
        contributor 000000090000 (33.3333%)
        contributor 0000000a0000 (not signed by them)
  contributor 000000080000 Ada <&\"'\\u{202e}> (100%)
";
    check(root, &links, expected);
    check(root, &[], "generation 000000010000 boiler\n");
    // A ring, which no registry lets in, ends all the same.
    let ring = [link(root, root, None, true)];
    check(root, &ring, "generation 000000010000 boiler\n  generation 000000010000 boiler, see above\n");
}

#[test]
fn the_drawing_stands_alone() {
    let (root, links) = town();
    let drawing = svg(root, &links, &names);
    assert_eq!(drawing.matches("<path").count(), links.len());
    assert_eq!(drawing.matches("class=\"box\"").count(), 10);
    assert_eq!(drawing.matches("class=\"link open\"").count(), 2);
    assert!(drawing.contains(&format!("<title>contributor {}</title>", hash(8))), "the whole id is in the title");
    assert!(drawing.contains("Ada &lt;&amp;&quot;&#39;\\u{202e}&gt;"));
    assert!(!drawing.contains("Ada <") && !drawing.contains("href") && !drawing.contains("url("));
    assert!(!drawing.contains(" more"));
    assert!(drawing.contains(">40%<") && drawing.contains(">dashed: not signed by all"));
    if let Some(path) = std::env::var_os("LOAM_WRITE_DRAWING") {
        std::fs::write(path, drawing).expect("the path can be written");
    }
}

#[test]
fn what_is_left_out_is_counted() {
    let root = Node::Generation(hash(0));
    let people: Vec<Link> = (1..=1_000).map(|n| link(root, Node::Contributor(hash(n)), Some(1_000), true)).collect();
    let drawing = svg(root, &people, &names);
    assert!(drawing.contains(&format!(">and {} more<", 1_001 - DRAWN_MAX)));
    let tree = text(root, &people, &names);
    assert!(tree.ends_with(&format!("and {} more links\n", 1_000 - LINES_MAX)), "{tree}");
    // A chain longer than a stack of calls would hold.
    let chain: Vec<Link> =
        (0..100_000).map(|n| link(Node::Generation(hash(n)), Node::Generation(hash(n + 1)), None, true)).collect();
    assert!(text(root, &chain, &names).ends_with(", and what is below it\n"));
    assert!(svg(root, &chain, &names).contains(&format!("and {} more", 100_001 - DRAWN_MAX)));
}
