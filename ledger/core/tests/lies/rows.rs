//! Rows: those of their entries, adding up to what entries count and to what completions say.

use loam_ledger_core::Hash;
use loam_ledger_core::entry::{Entry, Place};
use loam_ledger_core::granted::GrantedRow;
use loam_ledger_core::row::{Completion, Pair, Row, Step, Tokens, Usage};
use loam_ledger_core::tree::root_of_leaves;

use super::CUT;
use super::Lie::{Said, Stored};
use super::world::{Leaf, Salted, World};

lies! {
    rows_withheld: Rows, "where the entry has",
        Stored(|shards| drop(rows_of(shards, 2).pop()));
    rows_added: Rows, "where the entry has",
        Stored(|shards| rows_of(shards, 2).push(GrantedRow::Hidden(Hash::ZERO)));
    rows_swapped: Rows, "not those of the entry",
        Stored(|shards| rows_of(shards, 2).swap(0, 1));
    rows_of_another_entry: Rows, "not those of the entry",
        Stored(|shards| {
            let with_two: Vec<usize> = (0..CUT).filter(|&at| shards[0][at].rows.len() == 2).collect();
            let (one, other) = (with_two[0], with_two[1]);
            let rows = shards[0][other].rows.clone();
            shards[0][one].rows = rows;
        });
    row_with_another_salt: Rows, "not those of the entry",
        Stored(|shards| match &mut rows_of(shards, 2)[1] {
            GrantedRow::Open { salt, .. } => salt[0] ^= 1,
            other => panic!("{other:?} is not open"),
        });
    row_count_is_another: Rows, "where the entry has",
        Stored(|shards| {
            let at = (0..CUT).find(|&at| shards[0][at].rows.len() == 2).unwrap();
            shards[0][at].edit(|entry| match entry {
                Entry::Batch(batch) => batch.row_count += 1,
                other => panic!("{other:?} is no batch"),
            });
        });
    row_is_garbage: Malformed, "expected a map",
        Stored(|shards| garbage(shards, b"garbage"));
    row_is_empty: Malformed, "ends early",
        Stored(|shards| garbage(shards, b""));
    rows_of_a_boot: Malformed, "only batch entries have rows",
        Stored(|shards| shards[0][0].rows.push(GrantedRow::Hidden(Hash::ZERO)));
    completion_is_not_the_sum: Totals, "not the sum of its usage rows",
        Said(|world| world.completion(world.a_completion()).tokens.recomputed += 1);
    completion_begins_elsewhere: Totals, "first and last steps",
        Said(|world| world.completion(world.a_completion()).first.sequence -= 1);
    completion_has_other_weights: Totals, "its adapters are not those",
        Said(|world| {
            let with_pair = world.rows_where(|row| matches!(row, Row::Completion(c) if c.pairs.len() == 2
                && c.tokens.emitted > 0));
            world.completion(with_pair[3]).pairs[0].weight_millionths += 1;
        });
    completion_has_other_adapters: Totals, "its adapters are not those",
        Said(|world| world.completion(world.a_completion()).pairs = vec![Pair {
            generation: Hash::ZERO,
            weight_millionths: 1,
        }]);
    completion_of_nobody: Totals, "of which no usage row tells",
        Said(|world| world.completion(world.a_completion()).request = Hash::ZERO);
    completion_twice: Totals, "its answer is complete already",
        Said(|world| {
            let (at, row) = world.a_completion();
            let again = world.entries[at].rows[row].clone();
            world.entries[at].rows.push(again);
        });
    another_completion_with_a_usage_row_of_its_own: Totals, "its answer is complete already",
        Said(|world| {
            let at = world.a_completion().0;
            complete_again(world, at, true);
        });
    another_completion_in_a_later_boot_and_shard: Totals, "its answer is complete already",
        Said(|world| {
            let last = *world.batches().last().unwrap();
            complete_again(world, last, false);
        });
    completion_after_its_entry: Totals, "it ends at a step that is not of its boot",
        Said(|world| world.completion(world.a_completion()).last.sequence += 1000);
    completion_of_another_boot: Totals, "it ends at a step that is not of its boot",
        Said(|world| {
            let completion = world.completion(world.a_completion());
            (completion.first.boot, completion.last.boot) = ([7; 16], [7; 16]);
        });
    completion_that_outlives_its_boot: Totals, "it begins in another boot",
        Said(|world| world.completion(world.a_completion()).first.boot = [7; 16]);
    usage_counts_a_step_again: Totals, "once more",
        Said(|world| world.usage(world.a_later_usage()).first_sequence -= 1);
    usage_twice: Totals, "once more",
        Said(|world| {
            let (at, row) = world.a_later_usage();
            let again = world.entries[at].rows[row].clone();
            world.entries[at].rows.insert(row, again);
        });
    usage_after_its_entry: Totals, "steps that lie after its entry",
        Said(|world| world.usage(world.a_later_usage()).last_sequence += 1000);
    usage_with_other_adapters: Totals, "adapters changed on the way",
        Said(|world| world.usage(world.a_later_usage()).pairs = vec![Pair {
            generation: Hash::ZERO,
            weight_millionths: 1,
        }]);
    usage_on_another_engine: Totals, "on another engine",
        Said(usage_elsewhere);
    entry_counts_more_than_rows: Totals, "no request is open",
        Said(|world| {
            let at = an_idle_end(world);
            world.batch(at).emitted_tokens += 1;
        });
    entry_hides_an_open_request: Totals, "no request is open",
        Said(|world| {
            let open = world.batches().into_iter().find(|&at| world.clone().batch(at).open_requests > 0);
            world.batch(open.unwrap()).open_requests = 0;
        });
    rows_count_more_than_entries: Totals, "rows count more tokens than entries do",
        Said(|world| {
            let (at, row) = world.a_later_usage();
            let tokens = Tokens { prefilled: 1_000_000, ..Tokens::default() };
            world.usage((at, row)).tokens = tokens;
        });
    tokens_overflow: Totals, "tokens overflow",
        Said(|world| world.usage(world.a_later_usage()).tokens.discarded = u64::MAX);
    more_tokens_than_a_step_can_have: Malformed, "contradict each other",
        Said(|world| {
            let first = world.batches()[0];
            world.batch(first).prefilled_tokens = (1 << 40) + 1;
        });
}

/// Puts another completion of an answer into an entry: with another output, and nothing in it that does not add up.
fn complete_again(world: &mut World, at: usize, used: bool) {
    let complete = world.a_completion();
    let mut again = world.completion(complete).clone();
    let Place { boot, sequence, .. } = world.entries[at].entry.place().expect("an engine's entry");
    (again.first, again.last) = (Step { boot, sequence }, Step { boot, sequence });
    (again.tokens, again.delivered_tokens, again.text) = (Tokens::default(), 0, Hash::ZERO);
    let Completion { request, choice, .. } = again;
    let (pairs, tokens, first_sequence) = (again.pairs.clone(), again.tokens, sequence);
    let usage = Usage { request, choice, pairs, first_sequence, last_sequence: sequence, tokens };
    let rows = [used.then_some(Row::Usage(usage)), Some(Row::Completion(Box::new(again)))];
    let salted = rows.into_iter().flatten().map(|row| Salted { salt: [7; 16], row });
    world.entries[at].rows.extend(salted);
}

/// The rows of the first entry that has so many, all of them in clear.
fn rows_of(shards: &mut [Vec<Leaf>], count: usize) -> &mut Vec<GrantedRow> {
    let open = |rows: &[GrantedRow]| rows.iter().all(|row| matches!(row, GrantedRow::Open { .. }));
    let mut leaves = shards[0].iter_mut();
    let leaf = leaves.find(|leaf| leaf.rows.len() == count && open(&leaf.rows));
    &mut leaf.expect("some entry has so many rows").rows
}

/// Puts these bytes in the place of an entry's first row, and says so in the entry.
fn garbage(shards: &mut [Vec<Leaf>], bytes: &[u8]) {
    let leaf = shards[0].iter_mut().find(|leaf| leaf.rows.len() == 2).expect("some entry has two rows");
    leaf.rows[0] = GrantedRow::Open { salt: [0; 16], row: bytes.to_vec() };
    let root = root_of_leaves(&[leaf.rows[0].leaf(), leaf.rows[1].leaf()]);
    leaf.edit(|entry| match entry {
        Entry::Batch(batch) => batch.rows_root = root,
        other => panic!("{other:?} is no batch"),
    });
}

/// A batch after which no request is open and whose boot has all its rows in clear.
fn an_idle_end(world: &mut World) -> usize {
    let batches = world.batches().into_iter().filter(|&at| at > 20);
    let idle = batches.filter(|&at| world.batch(at).open_requests == 0).collect::<Vec<_>>();
    idle[0]
}

/// Puts a usage row of a request that is still running into the next entry of the other engine.
fn usage_elsewhere(world: &mut World) {
    let engine = |world: &World, at: usize| world.entries[at].entry.place().map(|place| place.engine);
    let running = world.rows_where(|row| matches!(row, Row::Usage(_)));
    let running = running.into_iter().find(|&(at, row)| {
        let ended = matches!(world.entries[at].rows.get(row + 1), Some(next) if matches!(next.row, Row::Completion(_)));
        let next = matches!(world.entries[at + 1].entry, Entry::Batch(_));
        !ended && next && engine(world, at) != engine(world, at + 1)
    });
    let (at, row) = running.expect("the engines take turns");
    let moved = world.entries[at].rows[row].clone();
    world.entries[at + 1].rows.push(moved);
    let last = world.entries[at + 1].rows.len() - 1;
    let usage = world.usage((at + 1, last));
    (usage.first_sequence, usage.last_sequence) = (1, 1);
}
