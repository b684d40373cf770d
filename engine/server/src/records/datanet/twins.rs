//! Rows that say the same, shown before any of them is offered.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use loam_datanet::duplicates::{Cluster, Place, SIMILAR, find};
use loam_datanet::shown::{line, percent, short};
use loam_datanet::{Proposal, Row};
use loam_ledger_core::record::{ActKind, Millionths, RowId, Rows};
use serde_json::{Value, json};

use super::ground::Texts;
use super::many;

/// Clusters that a person is shown; all are counted.
const CLUSTERS_SHOWN: usize = 10;

/// Rows of each.
const MEMBERS_SHOWN: usize = 5;

/// Characters of a row's text.
const TEXT_SHOWN: usize = 100;

/// What a proposal brings beside what is there.
pub(super) struct Twins {
    there: Side,
    new: Side,
    clusters: Vec<Cluster>,
    /// Where a new row stands in its file.
    lines: BTreeMap<RowId, u64>,
}

/// Rows, and their ids in the same order.
#[derive(Default)]
struct Side {
    ids: Vec<RowId>,
    rows: Vec<Row>,
}

impl Side {
    fn push(&mut self, id: RowId, row: Row) {
        self.ids.push(id);
        self.rows.push(row);
    }
}

impl Twins {
    /// Looks for them among the rows as they will be. `after` is what the proposal makes of the rows.
    pub(super) fn of(proposal: &Proposal, after: &Rows, mut texts: Texts, lines: BTreeMap<RowId, u64>) -> Self {
        let (mut there, mut new, mut brought) = (Side::default(), Side::default(), BTreeSet::new());
        // In the order of the file, for the first of those that say the same is told as such.
        for to in proposal.operations.iter().flat_map(|operation| &operation.to) {
            if let Some(payload) = proposal.payloads.get(&to.content)
                && after.get(&to.row) == Some(&to.content)
                && brought.insert(to.row)
            {
                new.push(to.row, payload.row.clone());
            }
        }
        for (row, content) in after.iter().filter(|(row, _)| !brought.contains(*row)) {
            if let Some(text) = texts.remove(content) {
                there.push(*row, text);
            }
        }
        let clusters = if new.ids.is_empty() { Vec::new() } else { find(&there.rows, &new.rows, SIMILAR) };
        Self { there, new, clusters, lines }
    }

    fn at(&self, place: Place) -> (&RowId, &Row) {
        match place {
            Place::There(at) => (&self.there.ids[at], &self.there.rows[at]),
            Place::New(at) => (&self.new.ids[at], &self.new.rows[at]),
        }
    }

    /// Where a person finds a row.
    fn name(&self, place: Place) -> String {
        let (row, _) = self.at(place);
        match (place, self.lines.get(row)) {
            (Place::There(_), _) => format!("row {}", short(row)),
            (Place::New(_), Some(line)) => format!("line {line}"),
            (Place::New(_), None) => format!("new row {}", short(row)),
        }
    }

    /// Whether no two rows say the same.
    pub(super) fn is_empty(&self) -> bool {
        self.clusters.is_empty()
    }

    /// For a person; nothing where there are none.
    pub(super) fn tell(&self) {
        if self.clusters.is_empty() {
            return;
        }
        println!("{}:", many(self.clusters.len(), "group of rows says the same", "groups of rows say the same"));
        for cluster in self.clusters.iter().take(CLUSTERS_SHOWN) {
            let first = line(self.at(cluster.first).1.text(), TEXT_SHOWN);
            println!("  {:<20} {first}", self.name(cluster.first));
            for member in cluster.others.iter().take(MEMBERS_SHOWN) {
                let name = self.name(member.place);
                if member.exact {
                    println!("    {name:<18} the same");
                } else {
                    let text = line(self.at(member.place).1.text(), TEXT_SHOWN);
                    println!("    {name:<18} {:<8} {text}", alike(member.similarity));
                }
            }
            if cluster.others.len() > MEMBERS_SHOWN {
                println!("    and {}", many(cluster.others.len() - MEMBERS_SHOWN, "more row", "more rows"));
            }
        }
        if self.clusters.len() > CLUSTERS_SHOWN {
            println!("  and {}", many(self.clusters.len() - CLUSTERS_SHOWN, "more group", "more groups"));
        }
    }

    /// All of them, for a program.
    pub(super) fn shown(&self) -> Value {
        let named = |place: Place| {
            let (row, text) = self.at(place);
            let line = self.lines.get(row).filter(|_| matches!(place, Place::New(_)));
            json!({
                "new": matches!(place, Place::New(_)), "row": row.to_hex(), "line": line,
                "text": line.is_none().then(|| text.text()),
            })
        };
        let cluster = |cluster: &Cluster| {
            let others = cluster.others.iter().map(|member| {
                let mut other = named(member.place);
                other["similarity_millionths"] = member.similarity.into();
                other["exact"] = member.exact.into();
                other
            });
            json!({"first": named(cluster.first), "others": others.collect::<Vec<_>>()})
        };
        Value::Array(self.clusters.iter().map(cluster).collect())
    }

    /// Takes out of a proposal the rows that it adds and that say, to the byte, what another row will; says how many.
    pub(super) fn leave_out(&self, proposal: &mut Proposal) -> usize {
        let mut said: HashSet<&str> = self.there.rows.iter().map(Row::text).collect();
        let new = self.new.ids.iter().zip(&self.new.rows);
        let again: BTreeSet<RowId> = new.filter(|(_, row)| !said.insert(row.text())).map(|(id, _)| *id).collect();
        let (mut left_out, payloads) = (0, &mut proposal.payloads);
        proposal.operations.retain_mut(|operation| {
            if !matches!(operation.kind, ActKind::Add | ActKind::AddTestCase) {
                return true;
            }
            operation.to.retain(|to| {
                let stays = !again.contains(&to.row);
                if !stays {
                    payloads.remove(&to.content);
                    left_out += 1;
                }
                stays
            });
            !operation.to.is_empty()
        });
        left_out
    }
}

/// A similarity in whole percent, rounded down: what is not quite the same is never shown as the same.
fn alike(similarity: Millionths) -> String {
    percent(similarity / 10_000 * 10_000)
}
