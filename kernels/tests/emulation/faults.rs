//! Every planted fault is named, with its kernel, block and thread; its twin without the fault is not.

use loam_kernels::cuda::device::{Emulation, Stream};
use loam_kernels::cuda::planted::{Sheet, names};

/// Orders of blocks and threads that each is tried in.
const SEEDS: u64 = 8;

fn values() -> [f32; 1024] {
    // Small integers: every sum and every bfloat16 of them is exact.
    std::array::from_fn(|i| ((i * 7 + i / 64) % 13) as f32 - 6.0)
}

/// Runs the right twin, which must be, then the wrong one, which must be named.
#[track_caller]
fn check(planted: &str, fault: &str, place: &str) {
    let stream = Stream::default();
    for seed in 1..=SEEDS {
        Emulation::seed(seed * 0x9e37_79b9);
        let sheet = Sheet::new(&values()).expect("memory for a test");
        let right = sheet.run(&stream, planted, false);
        assert_eq!(right, Ok(()), "a false alarm, with seed {seed}");
    }
    if !Emulation::CHECKED {
        return;
    }
    for seed in 1..=SEEDS {
        Emulation::seed(seed * 0x9e37_79b9);
        let sheet = Sheet::new(&values()).expect("memory for a test");
        let wrong = sheet.run(&stream, planted, true).expect_err("the fault is seen");
        eprintln!("{wrong}");
        assert!(fault.split('|').any(|name| name == wrong.name()), "{fault} is seen as {wrong}");
        for part in [&format!("kernel {planted}, block (") as &str, "thread (", place] {
            let whole_block = ["no_dependency_wait", "copy_never_waited"].contains(&fault) && part == "thread (";
            assert!(whole_block || wrong.report.contains(part), "{part:?} is not in: {wrong}");
        }
    }
}

/// A test for each: the fault's name, what it is reported as (which of several, the order of threads decides), and a part of
/// what the report must say beside.
macro_rules! faults {
    ($($planted:ident: $fault:literal, $place:expr;)+) => {
        $(
            #[test]
            fn $planted() {
                check(stringify!($planted), $fault, $place);
            }
        )+
        const TESTED: &[&str] = &[$(stringify!($planted)),+];
    };
}

faults! {
    barrier_not_reached: "barrier_not_reached", "barrier_not_reached.cu:5";
    barriers_differ: "barrier_not_reached", "barriers_differ.cu:";
    lanes_differ: "collective_lanes_differ", "lanes_differ.cu:";
    lanes_missing: "collective_not_reached", "lanes_missing.cu:";
    mask_differs: "collective_lanes_differ|collective_not_reached", "mask_differs.cu:";
    unwritten_shared: "unwritten_shared_read", "byte 508";
    shared_race: "shared_race|unwritten_shared_read", "shared window";
    shared_race_reuse: "shared_race", "shared window";
    shuffle_orders_nothing: "shared_race|unwritten_shared_read", "shared window";
    outside_allocation: "outside_allocation", "byte 4096 of \"in\", which has 4096";
    neighbour_allocation: "outside_window", "of \"neighbour\"";
    outside_window: "outside_window", "of \"in\"";
    write_to_input: "outside_window", "write of 4 bytes";
    outside_shared_window: "outside_shared_window", "a shared window of 448";
    misaligned: "misaligned", "misaligned.cu:";
    misaligned_load: "misaligned", "misaligned_load.cu:";
    two_blocks_one_word: "two_blocks_one_word", "of \"out\"";
    block_race: "block_race", "of \"out\"";
    told_too_early: "block_race", "of \"out\"";
    heard_by_one: "block_race", "of \"out\"";
    heard_elsewhere: "block_race", "of \"out\"";
    changing_read: "changing_read", "of \"out\"";
    global_race: "global_race", "of \"out\"";
    read_before_dependency: "read_before_dependency", "of \"neighbour\"";
    no_dependency_wait: "no_dependency_wait", "";
    no_final_wait: "copy_never_waited", "no_final_wait.cu:";
    short_wait: "copy_in_flight", "shared window";
    wait_without_barrier: "copy_in_flight|shared_race|unwritten_shared_read", "shared window";
    spin_without_end: "spin_without_end", "";
    stale_phase: "copy_in_flight|shared_race", "shared window";
    bytes_missing: "mbarrier_never_ends", "256 bytes";
    bulk_never_waited: "copy_never_waited", "bulk_never_waited.cu:";
    mbarrier_not_ready: "mbarrier_not_ready", "mbarrier_not_ready.cu:";
    ring_refilled_early: "mbarrier_overrun|copy_in_flight|shared_race", "ring_refilled_early.cu:";
    named_barrier_not_reached: "named_barrier_not_reached", "named_barrier_not_reached.cu:";
    named_barrier_too_small: "shared_race|unwritten_shared_read", "shared window";
    float_atomic: "float_atomic", "float_atomic.cu:";
}

/// Nothing is broken but the numbers, so the reference must see it.
#[track_caller]
fn check_numbers(planted: &str) {
    let stream = Stream::default();
    let given = values();
    let product = |row: usize, column: usize| -> f32 {
        (0..16).map(|k| given[row * 16 + k] * given[256 + column * 16 + k]).sum()
    };
    let is_product = |fault: bool| {
        let sheet = Sheet::new(&given).expect("memory for a test");
        sheet.run(&stream, planted, fault).expect("a kernel that breaks no rule");
        let out: Vec<f32> = sheet.out.read(&stream).expect("values");
        (0..128).all(|i| out[i] == product(i / 8, i % 8))
    };
    assert!(is_product(false), "the twin without the fault multiplies matrices");
    assert!(!is_product(true), "the reference sees the fault");
}

#[test]
fn wrong_fragment() {
    check_numbers("wrong_fragment");
}

#[test]
fn swapped_fragment() {
    check_numbers("swapped_fragment");
}

#[test]
fn every_planted_fault_has_its_test() {
    let untested: Vec<_> = names().filter(|name| !TESTED.contains(name) && !name.ends_with("_fragment")).collect();
    assert!(untested.is_empty(), "{untested:?}");
}
