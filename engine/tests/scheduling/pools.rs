//! The pool of adapters, alone.

use loam_engine::adapter::AdapterId;
use loam_engine::adapter::pool::{AdapterPool, PoolAction, PoolOptions, Tier};

const OPTIONS: PoolOptions = PoolOptions { slots: 2, loads_max: 2, host_bytes_max: 100, device_bytes_max: 100 };

fn ids<const N: usize>(numbers: [u32; N]) -> [AdapterId; N] {
    numbers.map(AdapterId)
}

/// Does all that is wanted, ten bytes each, in these demands' order, until nothing is.
fn settle(pool: &mut AdapterPool, demands: &[AdapterId]) -> Vec<PoolAction> {
    let mut done = Vec::new();
    loop {
        pool.serve(demands.iter().copied());
        let actions = pool.take_actions();
        let installs = pool.installs();
        if actions.is_empty() && installs.is_empty() {
            return done;
        }
        for action in &actions {
            match action {
                PoolAction::Load(adapter) => pool.loaded(*adapter, 10),
                PoolAction::Upload { adapter, .. } => pool.uploaded(*adapter),
                PoolAction::DropHost(_) => {}
            }
        }
        pool.installed(&installs);
        done.extend(actions);
    }
}

fn resident<const N: usize>(pool: &AdapterPool, numbers: [u32; N]) -> [bool; N] {
    ids(numbers).map(|adapter| pool.residency(adapter).device == Tier::Here)
}

#[test]
fn the_longest_unused_goes_and_nothing_that_somebody_wants() {
    let mut pool = AdapterPool::new(OPTIONS);
    for adapter in ids([1, 2]) {
        pool.want(&[adapter]);
        settle(&mut pool, &[adapter]);
        pool.acquire(&[adapter]);
    }
    for adapter in ids([2, 1]) {
        pool.release(&[adapter]);
        pool.unwant(&[adapter]);
    }
    let [third, fourth] = ids([3, 4]);
    pool.want(&[third]);
    settle(&mut pool, &[third]);
    assert_eq!(resident(&pool, [1, 2, 3]), [true, false, true], "2 was let go first");
    pool.want(&ids([1]));
    pool.want(&[fourth]);
    settle(&mut pool, &[fourth]);
    assert_eq!(resident(&pool, [1, 3, 4]), [true, true, false], "both are wanted");
}

#[test]
fn a_claim_drives_out_what_others_wait_with_once_it_may_and_never_its_own() {
    let mut pool = AdapterPool::new(PoolOptions { slots: 3, device_bytes_max: 20, ..OPTIONS });
    let [own, other, missing] = ids([1, 2, 3]);
    pool.want(&[own, missing]);
    pool.want(&[other]);
    settle(&mut pool, &[own, other, missing]);
    assert_eq!(resident(&pool, [1, 2, 3]), [true, true, false], "there are bytes for two");
    pool.set_claim(&[own, missing], false);
    settle(&mut pool, &[]);
    assert_eq!(resident(&pool, [1, 2, 3]), [true, true, false]);
    pool.set_claim(&[own, missing], true);
    let done = settle(&mut pool, &[other]);
    assert_eq!(done, [PoolAction::Upload { adapter: missing, slot: 1 }], "its own was unused longer, and stays");
    assert_eq!(resident(&pool, [1, 2, 3]), [true, false, true]);
}

#[test]
fn a_claim_drives_others_out_of_host_memory_once_it_may() {
    let mut pool = AdapterPool::new(PoolOptions { slots: 2, host_bytes_max: 10, ..OPTIONS });
    // Two hold a slot each and a third host memory; all wait for something else.
    let [first, second, third, missing] = ids([1, 2, 3, 4]);
    pool.want(&[first, missing]);
    pool.want(&[second, third]);
    settle(&mut pool, &[first, second, third, missing]);
    assert_eq!(resident(&pool, [1, 2, 3, 4]), [true, true, false, false]);
    assert_eq!((pool.residency(third).host, pool.residency(missing).host), (Tier::Here, Tier::Absent));
    pool.set_claim(&[first, missing], true);
    settle(&mut pool, &[second, third]);
    assert!(pool.ready(&[first, missing]));
}

#[test]
fn what_comes_and_has_no_room_is_loaded_again_when_there_is() {
    let mut pool = AdapterPool::new(PoolOptions { slots: 1, host_bytes_max: 10, ..OPTIONS });
    let [first, second] = ids([1, 2]);
    pool.want(&[first]);
    pool.want(&[second]);
    pool.serve([first, second]);
    assert_eq!(pool.take_actions(), [PoolAction::Load(first), PoolAction::Load(second)], "their sizes are unknown");
    pool.loaded(first, 10);
    pool.loaded(second, 10);
    assert_eq!(pool.take_actions(), [PoolAction::DropHost(second)]);
    let done = settle(&mut pool, &[first, second]);
    let again = [PoolAction::Upload { adapter: first, slot: 0 }, PoolAction::DropHost(first), PoolAction::Load(second)];
    assert_eq!(done, again);
}

#[test]
fn whoever_is_made_room_for_makes_no_more_while_it_comes() {
    let mut pool = AdapterPool::new(OPTIONS);
    let [first, second, third] = ids([1, 2, 3]);
    pool.want(&[first, second]);
    settle(&mut pool, &[first, second]);
    pool.unwant(&[first, second]);
    pool.want(&[third]);
    pool.serve([third]);
    pool.take_actions();
    pool.loaded(third, 10);
    (0..3).for_each(|_| pool.serve([third]));
    assert_eq!((pool.installs().len(), resident(&pool, [1, 2])), (1, [false, true]), "one is emptied, the other stays");
}
