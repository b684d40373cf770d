//! Steps on a device that records them: what they are called, and rows of nobody's that nobody sees.

use loam_engine::adapter::HostAdapter;
use loam_engine::executor::{Batch, Executor as _, Uploaded};
use loam_engine::model::Sites;
use loam_engine::runner::Runner;
use loam_kernels::backend::{Adapted, GraphKey};
use loam_kernels::layout::{ADAPTERS_PER_ROW_MAX, RANK_MAX, RowSet, Rows, Sampling, Scored};

use crate::machine::{Part, ROWS_MAX, adapter, batch, model, recording, uploaded, watched};
use crate::watched::{Call, Watched};

/// Looks at nothing: a step with a tap is run as it is.
struct Blind;

impl loam_engine::model::Tap<loam_kernels::cpu::CpuMemory> for Blind {
    fn input(
        &mut self,
        _: usize,
        _: RowSet,
        _: Rows<'_, loam_kernels::cpu::CpuMemory>,
    ) -> Result<(), loam_kernels::Error> {
        Ok(())
    }
}

/// The key of a step's operations; what follows them has none.
#[track_caller]
fn key(calls: &[Call]) -> Option<GraphKey> {
    let keys: Vec<_> = calls.iter().filter(|call| call.name == "run").map(|call| call.key).collect();
    assert_eq!((keys.len(), keys[1]), (2, None), "sampling is never replayed");
    keys[0]
}

/// One row each of so many sequences after prompts of one token, with adapters.
fn decode(rows: u32, adapters: &[(u32, f32)]) -> Batch {
    // Four sequences have pages; more rows are further positions of theirs.
    let part = |row: u32| Part::new(row % 4, &[row]).at(row / 4).with(adapters);
    batch(&(0..rows).map(part).collect::<Vec<_>>())
}

fn install(runner: &mut Runner<Watched>, adapters: &[(u32, &Uploaded)]) {
    let installs = adapters.iter().map(|(slot, adapter)| (*slot, Some((*adapter).clone()))).collect();
    runner.execute(&Batch { installs, ..Batch::default() }).unwrap();
}

#[test]
fn only_steps_that_are_alike_have_a_name() {
    let (watched, mut runner) = recording(RANK_MAX);
    let everywhere = uploaded(&runner, 1);
    let sites = Sites::new(&self::model().shape);
    let in_layers = adapter(sites.shapes(), 2, |site| site != sites.embedding() && site != sites.head());
    let in_layers = runner.uploader().upload(&in_layers).unwrap();
    install(&mut runner, &[(0, &in_layers), (1, &everywhere)]);
    let model = runner.model();
    let name = |rows, adapted| Some(GraphKey { model, rows, adapted });
    watched.take();
    let mut named = |step| {
        runner.execute(&step).unwrap();
        key(&watched.take())
    };
    for (rows, padded) in [(1, 1), (2, 2), (3, 4), (9, 16), (17, 24), (25, 32), (33, 48), (48, 48)] {
        assert_eq!(named(decode(rows, &[])), name(padded, Adapted::Nowhere), "{rows} rows");
        assert_eq!(named(decode(rows, &[(0, 1.0)])), name(padded, Adapted::Layers), "{rows} rows");
        assert_eq!(named(decode(rows, &[(0, 1.0), (1, 1.0)])), name(padded, Adapted::Everywhere), "{rows} rows");
    }
    let mut one = decode(3, &[]);
    one.inputs.pairs = decode(1, &[(0, 1.0)]).inputs.pairs;
    assert_eq!(named(one), name(4, Adapted::Layers), "one of three uses an adapter");
    assert_eq!(named(batch(&[Part::new(0, &[1, 2])])), None, "prefill");
    let mut twice = decode(2, &[]);
    twice.inputs.sampled = vec![0, 0];
    assert_eq!(named(twice), None, "a row sampled twice");
    let mut scored = decode(2, &[]);
    scored.inputs.scored = vec![Scored { row: 0, token: 1 }];
    assert_eq!(named(scored), None, "a row scored");
}

#[test]
fn what_records_nothing_is_given_no_names_and_no_padding() {
    let (watched, mut runner) = watched();
    runner.execute(&decode(3, &[])).unwrap();
    assert_eq!(key(&watched.take()), None);
    // Pages of padding are there for nobody else.
    let beyond = |runner: &mut Runner<Watched>| {
        let mut step = decode(3, &[]);
        step.inputs.pages[0] = 16;
        let read = runner.execute(&step).expect_err("no such page").to_string();
        let copied = runner.execute(&Batch { copies: vec![(16, 0)], ..Batch::default() });
        assert_eq!(read, copied.expect_err("no such page").to_string());
        read
    };
    assert_eq!(beyond(&mut runner), "a page 16 is not below 16");
    let (_, mut runner) = recording(RANK_MAX);
    assert_eq!(beyond(&mut runner), "a page 16 is not below 16");
    assert_eq!(runner.limits().step.pages, 16, "nobody is told of the others");
}

#[test]
fn models_have_names_of_their_own() {
    let (one, other) = (recording(RANK_MAX).1, recording(RANK_MAX).1);
    assert_ne!(one.model(), other.model());
}

#[test]
fn padding_is_seen_by_nobody() {
    let (_, mut plain) = watched();
    let (_, mut padded) = recording(RANK_MAX);
    let mixes: [&[(u32, f32)]; 3] = [&[], &[(0, 1.0)], &[(0, 0.5), (2, -1.25)]];
    for runner in [&mut plain, &mut padded] {
        let adapters = [uploaded(runner, 1), uploaded(runner, 2)];
        install(runner, &[(0, &adapters[0]), (2, &adapters[1])]);
    }
    for rows in [1, 3, 5, 7, 13, 24, 33, ROWS_MAX as u32] {
        for mix in mixes {
            let mut step = decode(rows, mix);
            step.sampling = (0..rows.into())
                .map(|seed| Sampling { temperature: 1.0, seed, top_log_probabilities: 3, ..Sampling::default() })
                .collect();
            step.logits.reverse();
            let expected = plain.execute(&step).unwrap();
            let found = padded.execute(&step).unwrap();
            assert!(found == expected, "{rows} rows with {mix:?}");
            assert_eq!(found.sampled.len(), rows as usize);
            assert!(
                padded.execute_tapped(&step, &mut Blind).unwrap() == expected,
                "as it is, {rows} rows with {mix:?}"
            );
        }
    }
}

/// What is recorded under a key serves all adapters: it asks at every site of the layers, through an `h` for any rank. At
/// the embedding and the head only under a key of its own.
#[test]
fn a_recorded_step_asks_at_every_site() {
    let (watched, mut runner) = recording(8);
    let all = Sites::new(&model().shape);
    let few = [5, all.head()].map(|at| {
        let few = adapter(all.shapes(), 1, |site| site == at);
        runner.uploader().upload(&few).unwrap()
    });
    install(&mut runner, &[(0, &few[0]), (1, &few[1])]);
    watched.take();
    let mut asked = |slot| {
        runner.execute(&decode(3, &[(slot, 1.0)])).unwrap();
        let calls = watched.take();
        let sites = |name: &str| {
            let calls = calls.iter().filter(|call| call.name == name);
            calls.map(|call| call.site.unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(sites("lora_shrink"), sites("lora_expand"));
        (sites("lora_shrink"), calls.iter().filter_map(|call| call.h).collect::<Vec<_>>())
    };
    let sizes = |modules: Vec<usize>| -> Vec<_> {
        modules.into_iter().map(|modules| [4 * ADAPTERS_PER_ROW_MAX, modules * 8]).collect()
    };
    let layers = [3, 1, 2, 1].repeat(2);
    assert_eq!(asked(0), ((0..8).collect(), sizes(layers.clone())), "modules of rank 8 at most");
    let everywhere = [vec![1], layers, vec![1]].concat();
    assert_eq!(asked(1), (vec![9, 0, 1, 2, 3, 4, 5, 6, 7, 8], sizes(everywhere)));

    runner.execute(&decode(3, &[])).unwrap();
    let calls = watched.take();
    assert!(calls.iter().all(|call| call.site.is_none() && !call.delta), "the base's step adds nothing");

    // A prompt is not recorded, and pays for what it uses alone.
    runner.execute(&batch(&[Part::new(0, &[1, 2, 3]).with(&[(0, 1.0)])])).unwrap();
    let calls = watched.take();
    assert_eq!(calls.iter().filter_map(|call| call.h).collect::<Vec<_>>(), [[3, 4]]);
}

#[test]
fn a_rank_that_no_recorded_step_has_room_for_is_refused() {
    let (_, runner) = recording(4);
    let four: HostAdapter = adapter(Sites::new(&model().shape).shapes(), 1, |site| site == 1);
    assert!(runner.uploader().upload(&four).is_ok());
    let (_, runner) = recording(3);
    let error = runner.uploader().upload(&four).err().expect("its rank is 4").to_string();
    assert_eq!(error, "the rank of module 0 at site 1 is 4; a rank is at most 3");
}

/// Whichever operation of a padded step fails, the same step run again is what it would have been.
#[test]
fn a_padded_step_that_failed_can_be_run_again() {
    let (watched, mut runner) = recording(RANK_MAX);
    let resident = uploaded(&runner, 1);
    install(&mut runner, &[(0, &resident)]);
    let step = decode(5, &[(0, 1.0)]);
    watched.take();
    let expected = runner.execute(&step).unwrap();
    for (failing, call) in watched.take().iter().enumerate() {
        watched.fail_after(failing);
        runner.execute(&step).expect_err("it was made to fail");
        assert!(runner.execute(&step).unwrap() == expected, "after call {failing}, {}", call.name);
    }
}
