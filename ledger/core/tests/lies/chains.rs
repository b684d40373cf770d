//! Engines' chains: no gap, no repetition, no turn back in time, and every boot closes the one before it.

use loam_ledger_core::Hash;
use loam_ledger_core::entry::{Entry, PreviousBoot, Unrowed};

use super::Lie::{Said, Stored};
use super::a_small_request;
use super::world::World;

lies! {
    sequence_gap: Sequence, "goes from sequence",
        Said(|world| world.batch(a_batch(world)).place.sequence += 1);
    sequence_repeated: Sequence, "goes from sequence",
        Said(|world| world.batch(a_batch(world)).place.sequence -= 1);
    entry_left_out: Sequence, "goes from sequence",
        Said(|world| drop(world.entries.remove(a_batch(world))));
    entry_twice: Sequence, "goes from sequence",
        Said(|world| world.entries.insert(a_batch(world), world.entries[a_batch(world)].clone()));
    entries_swapped: Sequence, "goes from sequence",
        Said(|world| {
            let batches = world.batches();
            let at = batches.iter().position(|&at| at == a_batch(world)).unwrap();
            world.entries.swap(batches[at], batches[at + 1]);
        });
    batch_before_any_boot: Sequence, "runs without a boot entry",
        Said(|world| drop(world.entries.remove(0)));
    batch_of_another_boot: Sequence, "without a boot entry",
        Said(|world| world.batch(a_batch(world)).place.boot = [7; 16]);
    batch_turns_back_in_time: Sequence, "turns back in time",
        Said(|world| world.batch(a_batch(world)).time_ms -= 1_000_000);
    batch_follows_another_entry: Sequence, "follows another entry than its last",
        Stored(|shards| shards[0][100].edit(|entry| match entry {
            Entry::Batch(batch) => batch.previous = Hash::ZERO,
            other => panic!("{other:?} is no batch"),
        }));
    first_boot_claims_another: Sequence, "a boot that is not in the log",
        Said(|world| world.boot(0).previous = Some(PreviousBoot {
            boot: [7; 16],
            sequence: 3,
            leaf: Hash::ZERO,
            clean: true,
            unrowed: Unrowed::default(),
        }));
    boot_forgets_the_last: Sequence, "boots as if it never had",
        Said(|world| world.boot(world.later_boots(|_| true)[2]).previous = None);
    boot_after_an_unknown_one: Sequence, "boots after sequence",
        Said(|world| previous(world).boot = [7; 16]);
    boot_forgets_a_batch: Sequence, "boots after sequence",
        Said(|world| previous(world).sequence -= 1);
    boot_after_another_entry: Sequence, "boots after another entry than its last",
        Stored(|shards| {
            let at = World::new(700).later_boots(|_| true)[0];
            shards[0][at].edit(|entry| match entry {
                Entry::Boot(boot) => boot.previous.as_mut().unwrap().leaf = Hash::ZERO,
                other => panic!("{other:?} is no boot"),
            });
        });
    boot_forgets_open_requests: Sequence, "forgets requests",
        Said(|world| previous(world).unrowed.requests -= 1);
    boot_is_not_clean: Sequence, "calls a boot clean",
        Said(|world| previous(world).clean = true);
    boot_turns_back_in_time: Sequence, "turns back in time",
        Said(|world| world.boot(world.later_boots(|_| true)[2]).time_ms -= 1_000_000);
    boot_id_used_again: Sequence, "uses boot id",
        Said(|world| {
            let engine = world.boot(0).engine;
            let first = world.boot(0).boot;
            let boots = world.later_boots(|_| true);
            let own: Vec<usize> = boots.into_iter().filter(|&at| world.boot(at).engine == engine).collect();
            world.boot(own[1]).boot = first;
        });
    boot_declares_more_prompt_than_was_left: Totals, "left other tokens",
        Said(|world| previous(world).unrowed.prefilled_tokens += 1);
    boot_declares_fewer_emitted_than_were_left: Totals, "left other tokens",
        Said(|world| previous(world).unrowed.emitted_tokens -= 1);
}

/// A batch well within its boot and the first shard.
fn a_batch(world: &World) -> usize {
    let within = |at: &usize| world.entries[*at].entry.place().is_some_and(|place| place.sequence > 5);
    world.batches().into_iter().find(within).expect("some boot has more than five batches")
}

/// What the first boot after a crash that left tokens says of the boot before it. It lies in the first shard, and
/// in a boot of which no row is erased, so that the audit knows exactly what was left.
fn previous(world: &mut World) -> &mut PreviousBoot {
    let erased = world.rows_where(|row| row.request() == a_small_request(world))[0];
    let boot = world.entries[erased.0].entry.place().expect("usage entries have a place").boot;
    let left = |p: &PreviousBoot| p.unrowed.emitted_tokens > 0 && p.sequence > 0 && p.boot != boot;
    world.boot(world.later_boots(left)[0]).previous.as_mut().expect("a later boot has one before")
}
