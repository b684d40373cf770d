//! Dividing a step's rows.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{SequenceId, TenantId};

/// A prompt that could use rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) id: SequenceId,
    pub(super) tenant: TenantId,
    /// What its tenant was given.
    pub(super) level: u64,
    pub(super) priority: i32,
    pub(super) rows: u32,
}

/// Gives each so many rows: equally to tenants, within a tenant to the highest priority first and equally among those.
/// Whoever needs less than its share leaves the rest to the others. The answer has all who got rows, in order of
/// levels.
pub(super) fn share_rows(readings: &[Reading], budget: u32) -> Vec<(SequenceId, u32)> {
    let mut tenants: BTreeMap<(u64, TenantId), BTreeMap<Reverse<i32>, Vec<Reading>>> = BTreeMap::new();
    for reading in readings {
        let tenant = tenants.entry((reading.level, reading.tenant)).or_default();
        tenant.entry(Reverse(reading.priority)).or_default().push(*reading);
    }
    let rows_of = |group: &Vec<Reading>| group.iter().map(|reading| u64::from(reading.rows)).sum::<u64>();
    let needs: Vec<u64> = tenants.values().map(|tenant| tenant.values().map(rows_of).sum()).collect();
    let mut given = Vec::new();
    for (tenant, mut budget) in tenants.values().zip(level(&needs, u64::from(budget))) {
        for group in tenant.values() {
            let needs: Vec<u64> = group.iter().map(|reading| u64::from(reading.rows)).collect();
            let rows = level(&needs, budget);
            budget -= rows.iter().sum::<u64>();
            given.extend(group.iter().zip(rows).map(|(reading, rows)| (reading.id, rows as u32)));
        }
    }
    given.retain(|(_, rows)| *rows > 0);
    given
}

/// Divides `budget` so that nobody gets more than it needs, and whoever gets less than that gets as much as anybody, or
/// one less than those before it.
fn level(needs: &[u64], budget: u64) -> Vec<u64> {
    let mut order: Vec<usize> = (0..needs.len()).collect();
    // Of equal needs the later comes first, so that the earlier gets what is left over.
    order.sort_by_key(|&index| (needs[index], Reverse(index)));
    let (mut given, mut left) = (vec![0; needs.len()], budget);
    for (place, &index) in order.iter().enumerate() {
        let others = (order.len() - place) as u64;
        given[index] = needs[index].min(left / others);
        left -= given[index];
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_needs_are_met_and_large_ones_share() {
        assert_eq!(level(&[5, 100, 100], 65), [5, 30, 30]);
        assert_eq!(level(&[100, 5, 100], 66), [31, 5, 30]);
        assert_eq!(level(&[3, 4], 100), [3, 4]);
        assert_eq!(level(&[9, 9, 9], 2), [1, 1, 0]);
        assert_eq!(level(&[], 7), [0; 0]);
    }

    #[test]
    fn tenants_share_before_their_prompts_do() {
        let reading = |id, tenant, priority, rows| Reading {
            id: SequenceId(id),
            tenant: TenantId(tenant),
            level: u64::from(tenant),
            priority,
            rows,
        };
        let crowd = [reading(1, 1, 0, 90), reading(2, 1, 0, 90), reading(3, 1, 5, 10), reading(4, 2, -3, 90)];
        let given: Vec<(u64, u32)> = share_rows(&crowd, 60).into_iter().map(|(id, rows)| (id.0, rows)).collect();
        assert_eq!(given, [(3, 10), (1, 10), (2, 10), (4, 30)]);
    }
}
