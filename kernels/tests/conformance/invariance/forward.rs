//! Whole models: a request has the same logits alone, in a crowd, in chunks, and token by token.

use loam_kernels::backend::{Adapted, Device, GraphKey};
use loam_kernels::layout::DType::{self, Bf16, F32};

use super::machine::{Machine, each_level, hash, same};
use super::model::{Model, VOCABULARY};
use super::schedule::{Request, Schedule, Space, chunks, crowd, whole};

/// Positions of the longest request: beyond a split's end.
const POSITIONS: usize = 530;

/// Requests with no adapter, one, and up to four, at weights of their own.
fn requests(with_adapters: bool) -> Vec<Request> {
    let request = |(index, (tokens, adapters)): (usize, (usize, &[usize]))| Request {
        tokens: (0..tokens).map(|at| (hash(9, index, at) % VOCABULARY as u64) as u32).collect(),
        adapters: adapters.iter().filter(|_| with_adapters).map(|it| (*it, 0.5 + *it as f32 / 3.0)).collect(),
    };
    let wanted: [(usize, &[usize]); 8] = [
        (POSITIONS, &[]),
        (70, &[0]),
        (65, &[1, 3]),
        (1, &[4]),
        (40, &[0, 1, 2, 4]),
        (129, &[2]),
        (9, &[]),
        (33, &[3]),
    ];
    wanted.into_iter().enumerate().map(request).collect()
}

/// Every request's rows, in bits.
fn run(
    model: &Model<'_>,
    machine: &Machine,
    requests: &[Request],
    schedule: &Schedule,
    slots: &[u32],
) -> Vec<Vec<Vec<u32>>> {
    let space = Space::new(requests, VOCABULARY, 16, slots.len());
    let mut kv = model.pages(space.pages, space.page_tokens);
    let (mut done, mut out) = (vec![0; requests.len()], vec![Vec::new(); requests.len()]);
    for shares in schedule {
        let inputs = space.inputs(requests, &done, shares, slots);
        let adapted = if inputs.pairs.is_empty() { Adapted::Nowhere } else { Adapted::Everywhere };
        let key = GraphKey { model: 0, rows: inputs.tokens.len() as u32, adapted };
        let step = machine.step(inputs, space.limits(requests)).unwrap();
        let mut rows = Vec::new();
        let mut operations = || {
            rows = model.forward(&step, &mut kv);
            Ok(())
        };
        machine.run(Some((key, &step)), &mut operations).unwrap();
        let mut rows = rows.into_iter();
        for &(request, count) in shares {
            out[request].extend(rows.by_ref().take(count));
            done[request] += count;
        }
    }
    out
}

#[track_caller]
fn compare(what: &str, expected: &[Vec<Vec<u32>>], found: &[Vec<Vec<u32>>]) {
    for (request, (expected, found)) in expected.iter().zip(found).enumerate() {
        assert_eq!(expected.len(), found.len(), "{what}: request {request}");
        for (position, (expected, found)) in expected.iter().zip(found).enumerate() {
            same(expected, found, || format!("{what}: request {request}, position {position}"));
        }
    }
}

/// Compares a schedule with the requests one by one and whole.
#[track_caller]
fn check(name: &str, dtype: DType, schedule: impl Fn(&[Request]) -> Schedule) {
    let requests = requests(true);
    each_level(|level, machines| {
        // Where adapters are resident must not matter, as long as their order of generation stays.
        let slots: [&[u32]; 2] = [&[0, 1, 2, 3, 4], &[3, 0, 4, 2, 1]];
        let (one, another) = (&machines[0], &machines[machines.len() - 1]);
        let models = [(one, slots[0]), (another, slots[1])];
        let models = models.map(|(machine, slots)| Model::new(machine, dtype, POSITIONS, Some(slots)));
        let expected = run(&models[0], one, &requests, &whole(&requests), slots[0]);
        let finite = |bits: &u32| f32::from_bits(*bits).is_finite();
        assert!(expected.iter().flatten().flatten().all(finite), "what nobody may read is NaN");
        let found = run(&models[1], another, &requests, &schedule(&requests), slots[1]);
        compare(&format!("{name}, {dtype}, {level}"), &expected, &found);
    });
}

#[test]
fn whole_again() {
    check("whole, again", Bf16, whole);
}

#[test]
fn token_by_token() {
    check("token by token", Bf16, |requests| chunks(requests, 1));
}

#[test]
fn in_chunks_of_7() {
    check("chunks of 7", Bf16, |requests| chunks(requests, 7));
}

#[test]
fn in_chunks_of_64() {
    check("chunks of 64", Bf16, |requests| chunks(requests, 64));
}

#[test]
fn in_a_crowd() {
    check("a crowd in one step", Bf16, |requests| crowd(requests, &[200]));
}

#[test]
fn in_a_crowd_in_chunks() {
    check("a crowd in chunks", Bf16, |requests| crowd(requests, &[17, 1, 64, 5]));
}

#[test]
fn in_a_crowd_token_by_token() {
    check("a crowd token by token", Bf16, |requests| crowd(requests, &[1]));
}

#[test]
fn in_a_crowd_in_chunks_of_f32() {
    check("a crowd in chunks", F32, |requests| crowd(requests, &[30, 1, 100]));
}

/// A step in which nobody uses an adapter is the base's, to the bit: with the adapters' operations and without.
#[test]
fn without_adapters_nothing_is_added() {
    let requests = requests(false);
    each_level(|level, machines| {
        let (slots, positions) = ([0, 1, 2, 3, 4], POSITIONS);
        let machine = &machines[machines.len() / 2];
        let with = Model::new(machine, Bf16, positions, Some(&slots));
        let without = Model::new(machine, Bf16, positions, None);
        let schedule = crowd(&requests, &[17, 1, 64, 5]);
        let expected = run(&without, machine, &requests, &schedule, &slots);
        let found = run(&with, machine, &requests, &schedule, &slots);
        compare(&format!("nobody uses an adapter, {level}"), &expected, &found);
    });
}

/// Requests without an adapter have the base's bits also beside others that use some.
#[test]
fn beside_adapters_the_base_is_unchanged() {
    let (plain, mixed) = (requests(false), requests(true));
    each_level(|level, machines| {
        let (slots, positions) = ([0, 1, 2, 3, 4], POSITIONS);
        let machine = &machines[machines.len() / 2];
        let with = Model::new(machine, Bf16, positions, Some(&slots));
        let without = Model::new(machine, Bf16, positions, None);
        let expected = run(&without, machine, &plain, &whole(&plain), &slots);
        let found = run(&with, machine, &mixed, &crowd(&mixed, &[40, 3]), &slots);
        let base = |rows: &[Vec<Vec<u32>>]| [rows[0].clone(), rows[6].clone()];
        compare(&format!("beside adapters, {level}"), &base(&expected), &base(&found));
        assert!(expected[1] != found[1], "an adapter changes the logits of who uses it");
    });
}
