//! Duplicates: rows that say the same, to the byte or nearly, found by MinHash and shown as clusters.
//!
//! What is compared is what a row's values say, in lower case and with single spaces, as the set of all runs of [`RUN`]
//! characters. Rows whose signatures agree in one band are candidates; then the two sets themselves are compared, so
//! that chance decides what is looked at, never what is found. The same rows give the same clusters.

use std::collections::{BTreeMap, HashMap};

use loam_ledger_core::record::{MILLION, Millionths};
use serde_json::Value;

use crate::row::Row;

/// Characters of a run.
pub const RUN: usize = 5;

/// Rows at least this similar are near duplicates, where nothing else is asked for: four fifths.
pub const SIMILAR: Millionths = 800_000;

/// Two rows of similarity s meet in a band with probability 1 - (1 - s^5)^24: 0.9999 at 0.8.
const BANDS: usize = 24;
const BAND: usize = 5;
const PERMUTATIONS: usize = BANDS * BAND;

/// Rows of one band that others are compared with. A flood of rows that are alike is one cluster after the first few,
/// and costs no more than as many rows that are not.
const HEADS_MAX: usize = 8;

/// Where a row comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// It is there already: which of those.
    There(usize),
    /// It is new: which of those.
    New(usize),
}

/// A row of a cluster, against its first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Which row.
    pub place: Place,
    /// How much of the two sets of runs is in both, in millionths. Below what was asked for where it belongs to the
    /// first only by others between.
    pub similarity: Millionths,
    /// Whether it is the same to the byte.
    pub exact: bool,
}

/// Rows that say the same: one that is there or, of new ones alone, the earliest; and those that add nothing to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// The first.
    pub first: Place,
    /// The others, in their order.
    pub others: Vec<Member>,
}

/// Clusters with a new row in them, by their first rows.
pub fn find(there: &[Row], new: &[Row], similar: Millionths) -> Vec<Cluster> {
    let rows: Vec<&Row> = there.iter().chain(new).collect();
    let mut groups = Groups::new(rows.len());
    let mut firsts: HashMap<&str, usize> = HashMap::with_capacity(rows.len());
    let mut distinct = Vec::new();
    for (place, row) in rows.iter().enumerate() {
        match firsts.get(row.text()) {
            Some(first) => groups.join(*first, place),
            None => {
                firsts.insert(row.text(), place);
                distinct.push(place);
            }
        }
    }
    let runs: Vec<Vec<u32>> = distinct.iter().map(|place| runs_of(rows[*place])).collect();
    join_similar(&distinct, &runs, similar, &mut groups);
    let of = |place: usize| &runs[distinct.binary_search(&firsts[rows[place].text()]).expect("it is distinct")];
    let place = |at: usize| at.checked_sub(there.len()).map_or(Place::There(at), Place::New);
    let mut clusters: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for at in 0..rows.len() {
        clusters.entry(groups.first(at)).or_default().push(at);
    }
    clusters.retain(|_, members| members.len() > 1 && members.last().is_some_and(|last| *last >= there.len()));
    let cluster = |(first, members): (usize, Vec<usize>)| {
        let member = |at: &usize| Member {
            place: place(*at),
            similarity: similarity(of(first), of(*at)),
            exact: rows[first].text() == rows[*at].text(),
        };
        Cluster { first: place(first), others: members[1..].iter().map(member).collect() }
    };
    clusters.into_iter().map(cluster).collect()
}

/// Joins rows that are similar, band by band.
fn join_similar(distinct: &[usize], runs: &[Vec<u32>], similar: Millionths, groups: &mut Groups) {
    let signatures: Vec<[u32; PERMUTATIONS]> = runs.iter().map(|runs| signature(runs)).collect();
    for band in 0..BANDS {
        let mut buckets: HashMap<&[u32], Vec<usize>> = HashMap::with_capacity(distinct.len());
        for (at, signature) in signatures.iter().enumerate() {
            let heads = buckets.entry(&signature[band * BAND..][..BAND]).or_default();
            let mut joins = |head: &usize| {
                let together = groups.first(distinct[*head]) == groups.first(distinct[at]);
                together || similarity(&runs[*head], &runs[at]) >= similar
            };
            match heads.iter().copied().find(|head| joins(head)) {
                Some(head) => groups.join(distinct[head], distinct[at]),
                None if heads.len() < HEADS_MAX => heads.push(at),
                None => {}
            }
        }
    }
}

/// What a row's values say, each after a mark of its own, so that no run goes from one into the next unseen.
fn said(row: &Row) -> Vec<char> {
    let mut said = Vec::new();
    say(&Value::Object(row.fields()), &mut said);
    said
}

fn say(value: &Value, said: &mut Vec<char>) {
    match value {
        Value::Array(list) => list.iter().for_each(|item| say(item, said)),
        Value::Object(map) => map.values().for_each(|item| say(item, said)),
        Value::String(text) => {
            said.push('\n');
            for (place, word) in text.split_whitespace().enumerate() {
                if place > 0 {
                    said.push(' ');
                }
                said.extend(word.chars().flat_map(char::to_lowercase));
            }
        }
        other => {
            said.push('\n');
            said.extend(other.to_string().chars());
        }
    }
}

/// The set of a row's runs, each as a hash, ascending.
fn runs_of(row: &Row) -> Vec<u32> {
    let said = said(row);
    let run = |run: &[char]| {
        // FNV-1a over the characters, its high half mixed in: runs are few, and equal hashes make rows no more than
        // alike.
        let hash = run.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, letter| {
            (hash ^ u64::from(u32::from(*letter))).wrapping_mul(0x0000_0100_0000_01b3)
        });
        (mixed(hash) >> 32) as u32
    };
    let mut runs: Vec<u32> = if said.len() < RUN { vec![run(&said)] } else { said.windows(RUN).map(run).collect() };
    runs.sort_unstable();
    runs.dedup();
    runs
}

/// The finisher of SplitMix64.
fn mixed(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// For each permutation of hashes the least; a permutation is a multiplication by an odd number, and its upper half.
fn signature(runs: &[u32]) -> [u32; PERMUTATIONS] {
    let mut least = [u32::MAX; PERMUTATIONS];
    let mut factors = [(0, 0); PERMUTATIONS];
    for (place, factor) in (1_u64..).zip(&mut factors) {
        *factor = (mixed(place) | 1, mixed(place << 32));
    }
    for run in runs {
        let run = mixed(u64::from(*run) + 1);
        for (least, (factor, offset)) in least.iter_mut().zip(&factors) {
            *least = (*least).min((run.wrapping_mul(*factor).wrapping_add(*offset) >> 32) as u32);
        }
    }
    least
}

/// How much of two ascending sets is in both: Jaccard's index.
fn similarity(a: &[u32], b: &[u32]) -> Millionths {
    let (mut left, mut right, mut both) = (0, 0, 0_u64);
    while let (Some(x), Some(y)) = (a.get(left), b.get(right)) {
        both += u64::from(x == y);
        left += usize::from(x <= y);
        right += usize::from(y <= x);
    }
    let either = (a.len() + b.len()) as u64 - both;
    u32::try_from(both * u64::from(MILLION) / either.max(1)).expect("a part is at most the whole")
}

/// Which rows belong together: union-find, each group named by its first row.
struct Groups {
    above: Vec<usize>,
}

impl Groups {
    fn new(rows: usize) -> Self {
        Self { above: (0..rows).collect() }
    }

    fn first(&mut self, mut row: usize) -> usize {
        while self.above[row] != row {
            // Ways are halved as they are walked.
            self.above[row] = self.above[self.above[row]];
            row = self.above[row];
        }
        row
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.first(one), self.first(other));
        let first = one.min(other);
        (self.above[one], self.above[other]) = (first, first);
    }
}
