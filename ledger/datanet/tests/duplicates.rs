//! Duplicates: what is found, what is not, how often, and how fast.

use std::collections::BTreeSet;
use std::time::Instant;

use loam_datanet::Row;
use loam_datanet::duplicates::{Cluster, Place, SIMILAR, find};

fn rows(texts: &[&str]) -> Vec<Row> {
    texts.iter().map(|text| Row::of_text(text).expect("it is short")).collect()
}

fn shown(cluster: &Cluster) -> String {
    let place = |place| match place {
        Place::There(at) => format!("there {at}"),
        Place::New(at) => format!("new {at}"),
    };
    let others = cluster.others.iter().map(|other| {
        let how = if other.exact { "=" } else { "~" };
        format!(" {how}{} {}%", place(other.place), other.similarity / 10_000)
    });
    format!("{}:{}", place(cluster.first), others.collect::<String>())
}

#[track_caller]
fn check(there: &[&str], new: &[&str], expected: &[&str]) {
    let found: Vec<String> = find(&rows(there), &rows(new), SIMILAR).iter().map(shown).collect();
    assert_eq!(found, expected);
}

const LONG: &str = "The pressure in the boiler must be read every hour and written down in the book by the door.";

#[test]
fn clusters_have_a_first_row_and_the_others() {
    check(&["a", "b"], &["c", "d"], &[]);
    check(&["a", "b"], &["c", "b", "d", "c"], &["there 1: =new 1 100%", "new 0: =new 3 100%"]);
    check(&["a", "a"], &["b"], &[]);
    let close = LONG.replace("hour", "day");
    check(&["x", LONG], &[&close, "y"], &["there 1: ~new 0 83%"]);
    check(&[], &[LONG, &LONG.to_uppercase(), &LONG.replace(' ', "\n ")], &["new 0: ~new 1 100% ~new 2 100%"]);
    check(&[], &[LONG, &LONG[..45]], &[]);
    check(&[], &["", "", " "], &["new 0: =new 1 100% ~new 2 100%"]);
}

#[test]
fn only_values_are_compared_and_none_runs_into_the_next() {
    let row = |text: &str| Row::parse(text).expect("it is a row");
    let new = [row(r#"{"a":"one two","b":"three"}"#), row(r#"{"a":"one","b":"two three"}"#)];
    assert_eq!(find(&[], &new, SIMILAR), []);
    let new = [row(r#"{"a":"one two","b":[1,true]}"#), row(r#"{"c":"one two","d":{"e":1,"f":true}}"#)];
    assert_eq!(find(&[], &new, SIMILAR).len(), 1);
}

/// A generator that every machine runs alike.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % sides as u64).expect("it is below the sides")
    }

    fn words(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.word()).collect()
    }

    fn word(&mut self) -> String {
        let letters = 3 + self.below(6);
        (0..letters).map(|_| char::from(b"etaoinshrdlucmfw"[self.below(16)])).collect()
    }
}

/// Runs of five characters, counted anew: what the similarity of two texts truly is.
fn truly(a: &str, b: &str) -> f64 {
    let runs = |text: &str| {
        let letters: Vec<char> = format!("\n{text}").chars().collect();
        letters.windows(5).map(<[char]>::to_vec).collect::<BTreeSet<_>>()
    };
    let (a, b) = (runs(a), runs(b));
    a.intersection(&b).count() as f64 / a.union(&b).count() as f64
}

/// Two thousand texts, each with a copy in which some words are others: found are those similar enough, and no others.
#[test]
fn recall_and_precision() {
    let mut dice = Dice(7);
    let mut texts = Vec::new();
    for pair in 0..2_000 {
        let words = dice.words(30);
        let mut copy = words.clone();
        for _ in 0..pair % 6 {
            let at = dice.below(copy.len());
            copy[at] = dice.word();
        }
        texts.extend([words.join(" "), copy.join(" ")]);
    }
    let similar: BTreeSet<usize> =
        (0..2_000).filter(|pair| truly(&texts[2 * pair], &texts[2 * pair + 1]) >= 0.8).collect();
    let new: Vec<&str> = texts.iter().map(String::as_str).collect();
    let clusters = find(&[], &rows(&new), SIMILAR);
    let mut found = BTreeSet::new();
    for cluster in &clusters {
        let (Place::New(first), [other]) = (cluster.first, &cluster.others[..]) else { panic!("{}", shown(cluster)) };
        assert_eq!(other.place, Place::New(first + 1), "texts that were made apart are found apart");
        assert!(other.similarity >= SIMILAR);
        found.insert(first / 2);
    }
    let right = found.intersection(&similar).count();
    eprintln!("{} similar pairs, {} found, {right} rightly", similar.len(), found.len());
    assert!(similar.len() > 1_000, "the set tests what it should");
    assert_eq!(right, found.len(), "precision is 1: every candidate is compared");
    assert!(right * 1_000 >= similar.len() * 998, "recall is 0.998 at least");
}

#[test]
fn order_changes_names_and_nothing_else() {
    let mut dice = Dice(3);
    let mut texts: Vec<String> = (0..200).map(|_| dice.words(20).join(" ")).collect();
    texts.extend((0..100).map(|at| format!("{} again", texts[at])).collect::<Vec<_>>());
    let sets = |texts: &[String]| -> BTreeSet<BTreeSet<String>> {
        let new: Vec<&str> = texts.iter().map(String::as_str).collect();
        let text = |place| if let Place::New(at) = place { texts[at].clone() } else { panic!("all are new") };
        let all = |cluster: &Cluster| {
            cluster.others.iter().map(|other| text(other.place)).chain([text(cluster.first)]).collect()
        };
        find(&[], &rows(&new), SIMILAR).iter().map(all).collect()
    };
    let forward = sets(&texts);
    texts.reverse();
    assert_eq!((forward.len(), &sets(&texts)), (100, &forward));
}

/// A hundred thousand rows that differ, and as many that are nearly the same: a flood costs no more.
#[test]
fn a_hundred_thousand_rows_take_seconds() {
    let mut dice = Dice(1);
    let apart: Vec<Row> = (0..100_000).map(|_| Row::of_text(&dice.words(15).join(" ")).expect("it is short")).collect();
    let flood: Vec<Row> = (0..100_000).map(|n| Row::of_text(&format!("{LONG} {n}")).expect("it is short")).collect();
    for (name, rows, expected) in [("apart", apart, 0), ("a flood", flood, 1)] {
        let begun = Instant::now();
        let clusters = find(&[], &rows, SIMILAR);
        let took = begun.elapsed();
        eprintln!("100,000 rows, {name}: {} clusters in {took:?}", clusters.len());
        assert_eq!(clusters.len(), expected);
        assert!(took.as_secs() < 120, "many times what it should take: {took:?}");
    }
}
