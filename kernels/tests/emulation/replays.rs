//! Steps that are recorded once and replayed: the same bits as when they run, whoever is in them.

use loam_kernels::Error;
use loam_kernels::backend::{Adapted, Device, GraphKey};
use loam_kernels::cuda::device::DeviceMemory;
use loam_kernels::cuda::{Cuda, CudaMode};
use loam_kernels::layout::{DType, Pair, Scored, Segment, StepInputs};

use crate::decoder::{Decoder, LIMITS, VOCABULARY};
use crate::gpu;

/// Pages of each sequence, up to the last that there is; the last four belong to nobody.
const PAGES_EACH: usize = 37;
const SCRATCH: [u32; 4] = [116, 117, 118, 119];
const RANKS: [u32; 6] = [8, 1, 16, 32, 3, 20];

/// One row each of sequences at these positions, with these adapters. Sequences 0 to 2 may be long, all others are
/// short.
fn decode(requests: &[(u32, &[u32])]) -> StepInputs {
    let mut inputs = StepInputs::default();
    for (row, &(first_position, _)) in (0..).zip(requests) {
        let pages = first_position / 16 + 1;
        assert!(row < 3 && pages as usize <= PAGES_EACH || pages == 1, "sequences have pages of their own");
        let first_page = inputs.pages.len() as u32;
        let page = |page: u32| if row < 3 { page * 7 % PAGES_EACH as u32 * 3 + row } else { 111 + row - 3 };
        inputs.pages.extend((0..pages).map(page));
        inputs.segments.push(Segment { first_row: row, rows: 1, first_position, first_page, pages });
        inputs.tokens.push((first_position * 11 + row) % VOCABULARY as u32);
        inputs.sampled.push(row);
    }
    for slot in 0..RANKS.len() as u32 {
        let own = (0..).zip(requests).filter(|(_, (_, slots))| slots.contains(&slot));
        inputs.pairs.extend(own.map(|(row, _)| Pair { row, slot, weight: 0.5 + slot as f32 }));
    }
    inputs
}

/// Rows at one position that share all but their last page.
fn sharing(rows: u32, first_position: u32) -> StepInputs {
    let (mut inputs, shared) = (StepInputs::default(), first_position / 16);
    for row in 0..rows {
        let (first_page, pages) = (inputs.pages.len() as u32, shared + 1);
        inputs.pages.extend((0..shared).chain([shared + row]));
        inputs.segments.push(Segment { first_row: row, rows: 1, first_position, first_page, pages });
        inputs.tokens.push(row);
        inputs.sampled.push(row);
    }
    inputs
}

fn decoder(gpu: &Cuda, layers: usize) -> Decoder<'_> {
    let mut decoder = Decoder::new(gpu, layers);
    for (slot, rank) in (0..).zip(RANKS) {
        decoder.install(slot, 100 * slot as usize + rank as usize, Some(rank));
    }
    decoder
}

const fn key(rows: u32, with_adapters: bool) -> GraphKey {
    let adapted = if with_adapters { Adapted::Everywhere } else { Adapted::Nowhere };
    GraphKey { model: 0, rows, adapted }
}

/// Runs a step from poisoned activations.
fn run(gpu: &Cuda, decoder: &mut Decoder<'_>, inputs: &StepInputs, key: Option<GraphKey>) -> Result<Vec<u8>, Error> {
    decoder.poison();
    let step = gpu.step(inputs.clone(), LIMITS)?;
    gpu.run(key.map(|key| (key, &step)), &mut || decoder.forward(&step))?;
    Ok(decoder.logits(inputs.sampled.len()))
}

/// A step by its key must leave what it leaves when it is run: logits and pages, to the bit.
#[track_caller]
fn same(gpu: &Cuda, decoder: &mut Decoder<'_>, inputs: &StepInputs, key: GraphKey) -> Vec<u8> {
    let expected = run(gpu, decoder, inputs, None).expect("a step");
    let pages = decoder.pages();
    let found = run(gpu, decoder, inputs, Some(key)).expect("a step by its key");
    let finite = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]).is_finite();
    assert!(expected.chunks_exact(4).all(finite), "what nobody wrote is NaN");
    assert!(expected == found && pages == decoder.pages(), "{inputs:?}");
    found
}

/// Different adapters, numbers of them, ranks, contexts of one split and of two; nobody with an adapter.
fn mixes() -> Vec<StepInputs> {
    vec![
        decode(&[(40, &[0]), (3, &[]), (511, &[2]), (0, &[0])]),
        decode(&[(512, &[1, 2, 3, 5]), (17, &[0, 4]), (590, &[5]), (15, &[1, 2, 3, 5])]),
        decode(&[(41, &[]), (4, &[]), (512, &[]), (1, &[])]),
        decode(&[(513, &[3]), (518, &[3]), (519, &[3]), (2, &[3])]),
        decode(&[(0, &[]), (0, &[]), (0, &[]), (9, &[4])]),
    ]
}

#[test]
fn one_graph_serves_every_mix_of_adapters() {
    // Whichever step comes first, none with adapters too.
    for first in [0, 2] {
        let gpu = gpu(CudaMode::Deterministic);
        let mut decoder = decoder(&gpu, 2);
        let mut mixes = mixes();
        mixes.rotate_left(first);
        let mut nodes = Vec::new();
        let mut seen = Vec::new();
        for inputs in mixes.iter().chain(&mixes[..1]) {
            seen.push(same(&gpu, &mut decoder, inputs, key(4, true)));
            let now = gpu.nodes(key(4, true));
            assert!(nodes.is_empty() || nodes == now, "a graph is recorded once");
            nodes = now;
        }
        assert!(seen[0] != seen[1], "steps differ");
    }
}

/// In fast mode a step of 12 rows has 12 splits of 128 positions, 24 of 256, 24 of 512.
#[test]
fn one_graph_serves_every_length_of_splits() {
    let gpu = gpu(CudaMode::Fast);
    let mut decoder = decoder(&gpu, 1);
    for position in [20, 300, 515, 21] {
        same(&gpu, &mut decoder, &sharing(12, position), key(12, false));
    }
    assert!(!gpu.nodes(key(12, false)).is_empty());
}

#[test]
fn the_base_has_a_graph_of_its_own() {
    let gpu = gpu(CudaMode::Deterministic);
    let mut decoder = decoder(&gpu, 1);
    for positions in [[20, 511, 7], [512, 0, 590], [21, 512, 8]] {
        let inputs = decode(&positions.map(|position| (position, &[][..])));
        let base = same(&gpu, &mut decoder, &inputs, key(3, false));
        let with = same(&gpu, &mut decoder, &inputs, key(3, true));
        assert!(base == with, "who uses no adapter has the same bits in both");
    }
    assert!(gpu.nodes(key(3, false)).len() < gpu.nodes(key(3, true)).len());
}

#[test]
fn a_graph_ends_with_its_memories() {
    let gpu = gpu(CudaMode::Deterministic);
    let inputs = decode(&[(40, &[0]), (3, &[1])]);
    for layers in [1, 2] {
        same(&gpu, &mut decoder(&gpu, layers), &inputs, key(2, true));
        assert_eq!(gpu.nodes(key(2, true)).len(), 10 + 18 * layers, "of the decoder that is there");
    }
}

/// The table in `cuda/README.md`.
#[test]
fn a_layer_is_10_nodes_and_18_with_adapters() {
    let gpu = gpu(CudaMode::Deterministic);
    let names = |layers, with_adapters| {
        let (mut decoder, key) = (decoder(&gpu, layers), key(2, with_adapters));
        let inputs = decode(&[(0, &[]), (40, &[])]);
        run(&gpu, &mut decoder, &inputs, Some(key)).expect("a step");
        gpu.nodes(key).into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    let base = [
        ("gemm_products", 4),
        ("qk_norm", 1),
        ("rope_store", 1),
        ("attention_decode", 1),
        ("add_rms_norm", 2),
        ("gate", 1),
    ];
    let adapters = [("lora_shrink", 4), ("lora_expand", 4)];
    for (with_adapters, around) in [(false, 4), (true, 10)] {
        let (one, two) = (names(1, with_adapters), names(2, with_adapters));
        let count = |names: &[String], name| names.iter().filter(|it| *it == name).count();
        let wanted = base.iter().chain(if with_adapters { &adapters[..] } else { &[] });
        for &(name, wanted) in wanted.clone() {
            assert_eq!(count(&two, name) - count(&one, name), wanted, "{name}: {two:?}");
        }
        let layer: usize = wanted.map(|(_, count)| count).sum();
        assert_eq!([one.len(), two.len()], [around + layer, around + 2 * layer]);
    }
}

/// What adapters compute waits for what it is computed from, and the linear layer of the same input does not wait for it:
/// only who adds up both does.
#[test]
fn adapters_run_beside_the_base() {
    let gpu = gpu(CudaMode::Deterministic);
    let mut decoder = decoder(&gpu, 1);
    same(&gpu, &mut decoder, &decode(&[(40, &[0]), (3, &[1])]), key(2, true));
    let nodes = gpu.nodes(key(2, true));
    for (at, (name, waits)) in nodes.iter().enumerate() {
        let expected = match name.as_str() {
            _ if at == 0 => 0,
            "qk_norm" | "gate" | "add_rms_norm" | "add" => 2,
            // Also for the branch's own last one, which its input has come after.
            "lora_shrink" => 2,
            _ => 1,
        };
        assert_eq!(*waits, expected, "{name}, of {nodes:?}");
    }
}

#[test]
fn replays_see_who_is_resident_now() {
    let gpu = gpu(CudaMode::Deterministic);
    let mut decoder = decoder(&gpu, 1);
    let inputs = decode(&[(40, &[0]), (515, &[0, 1])]);
    let before = same(&gpu, &mut decoder, &inputs, key(2, true));
    decoder.install(1, 7, Some(32));
    let after = same(&gpu, &mut decoder, &inputs, key(2, true));
    let row = VOCABULARY * 4;
    assert!(before[..row] == after[..row] && before[row..] != after[row..], "the second row has another adapter");
    decoder.install(1, 0, None);
    let error = run(&gpu, &mut decoder, &inputs, Some(key(2, true))).expect_err("an empty slot");
    assert!(matches!(error, Error::EmptySlot { slot: 1 }), "{error}");
    decoder.install(1, 7, Some(32));
    assert!(same(&gpu, &mut decoder, &inputs, key(2, true)) == after, "it is back");
}

#[test]
fn padding_harms_nobody() {
    let gpu = gpu(CudaMode::Deterministic);
    let mut decoder = decoder(&gpu, 1);
    for requests in [[(40, &[0, 3][..]), (515, &[]), (15, &[2])], [(41, &[]), (3, &[5]), (16, &[0])]] {
        let inputs = decode(&requests);
        let alone = run(&gpu, &mut decoder, &inputs, None).expect("a step");
        let pages = decoder.pages();
        let mut padded = inputs.clone();
        padded.pad(24, &SCRATCH, LIMITS.page_tokens).expect("pages enough");
        assert_eq!([padded.tokens.len(), padded.sampled.len()], [24, 24]);
        let found = run(&gpu, &mut decoder, &padded, Some(key(24, true))).expect("a step");
        assert!(found[..alone.len()] == alone, "own rows have their bits");
        let others = SCRATCH[0] as usize * decoder.page_bytes();
        assert!(decoder.pages()[..others] == pages[..others], "padding writes to pages of its own");
    }
    assert!(!gpu.nodes(key(24, true)).is_empty());
}

#[test]
fn scratch_that_a_graph_knows_stays() {
    let gpu = gpu(CudaMode::Deterministic);
    let mut decoder = decoder(&gpu, 1);
    let few = decode(&[(514, &[2]), (30, &[0])]);
    let many: Vec<(u32, &[u32])> = [&[0][..], &[1, 2], &[3, 4, 5], &[0, 1, 2, 3]].map(|slots| (530, slots)).to_vec();
    same(&gpu, &mut decoder, &few, key(2, true));
    let mut more = decode(&many[..3]);
    more.pad(20, &SCRATCH, LIMITS.page_tokens).expect("pages enough");
    same(&gpu, &mut decoder, &more, key(20, true));
    same(&gpu, &mut decoder, &few, key(2, true));
    same(&gpu, &mut decoder, &more, key(20, true));
}

#[test]
fn what_no_graph_serves_runs() {
    let gpu = gpu(CudaMode::Deterministic);
    let mut decoder = decoder(&gpu, 1);
    let mut scored = decode(&[(40, &[0]), (3, &[1])]);
    scored.scored.push(Scored { row: 1, token: 5 });
    let mut prompt = decode(&[(40, &[0]), (3, &[1])]);
    prompt.segments[0].rows = 2;
    prompt.segments.truncate(1);
    for inputs in [scored, prompt] {
        same(&gpu, &mut decoder, &inputs, key(2, true));
        assert!(gpu.nodes(key(2, true)).is_empty(), "nothing was recorded");
    }
    // They have more splits than there is room for, in a space of few pages.
    let limits = |pages| loam_kernels::layout::StepLimits { pages, ..LIMITS };
    for (pages, is_recorded) in [(40, false), (120, true)] {
        let step = gpu.step(sharing(8, 515), limits(pages)).expect("a step");
        gpu.run(Some((key(8, false), &step)), &mut || decoder.forward(&step)).expect("it runs");
        assert_eq!(!gpu.nodes(key(8, false)).is_empty(), is_recorded, "{pages} pages");
    }
}

#[test]
fn wrong_use_is_named() {
    let gpu = gpu(CudaMode::Deterministic);
    let mut decoder = decoder(&gpu, 1);
    let inputs = decode(&[(40, &[0]), (3, &[1])]);
    same(&gpu, &mut decoder, &inputs, key(2, true));
    let mut refused =
        |inputs: &StepInputs, key| run(&gpu, &mut decoder, inputs, Some(key)).expect_err("it does not fit").to_string();
    assert_eq!(refused(&inputs, key(3, true)), "a graph's rows has 2 where 3 belong");
    let error = "a step of the base's graph is with 2 pairs; it can be without pairs";
    assert_eq!(refused(&inputs, key(2, false)), error);
    let mut sampled = inputs.clone();
    sampled.sampled.pop();
    assert_eq!(refused(&sampled, key(2, true)), "a graph's sampled rows has 1 where 2 belong");

    decoder.install(1, 1, Some(64));
    let error = run(&gpu, &mut decoder, &inputs, Some(key(2, true))).expect_err("a rank beyond h").to_string();
    assert_eq!(error, "a graph's h, by rank, has 96 where 128 belong");
    decoder.install(1, 1, Some(8));

    let limits = loam_kernels::layout::StepLimits { positions: 599, ..LIMITS };
    let step = gpu.step(inputs.clone(), limits).expect("a step");
    let error = gpu.run(Some((key(2, true), &step)), &mut || Ok(())).expect_err("other limits").to_string();
    assert!(error.starts_with("the limits of a graph's step is"), "{error}");

    same(&gpu, &mut decoder, &inputs, key(2, true));
}

#[test]
fn what_cannot_be_recorded_is_named() {
    let gpu = gpu(CudaMode::Deterministic);
    let inputs = decode(&[(40, &[])]);
    let step = gpu.step(inputs, LIMITS).expect("a step");
    let mut held: DeviceMemory = gpu.allocate(DType::F32, 4).expect("memory");
    let key = key(1, false);
    let refused = |operations: &mut (dyn FnMut() -> Result<(), Error> + Send)| {
        gpu.run(Some((key, &step)), operations).expect_err("no graph can hold it").to_string()
    };
    let found = refused(&mut || gpu.write(&mut held, 0, &[0; 4]));
    assert!(found.starts_with("an operation to record is one with values to write"), "{found}");
    let found = refused(&mut || gpu.allocate(DType::F32, 4).map(drop));
    assert!(found.starts_with("an operation to record is one with memory to allocate"), "{found}");
    assert!(gpu.nodes(key).is_empty());
    gpu.write(&mut held, 0, &[0; 4]).expect("nothing is recorded any more");
}

/// A step that the driver does not record is run all the same, and who asks what computes is told why it is slow.
#[cfg(feature = "driver")]
#[test]
fn who_cannot_record_says_why() {
    let gpu = gpu(CudaMode::Deterministic);
    let step = gpu.step(decode(&[(40, &[])]), LIMITS).expect("a step");
    let mut calls = 0;
    let mut run = || {
        gpu.run(Some((key(1, false), &step)), &mut || {
            calls += 1;
            if calls == 2 { Err(Error::Launch { report: "no such capture".to_owned() }) } else { Ok(()) }
        })
    };
    run().expect("it was run before it was to be recorded");
    run().expect("it is run again");
    assert_eq!(calls, 3);
    assert!(gpu.nodes(key(1, false)).is_empty());
    assert!(gpu.describe().ends_with("since steps cannot be recorded (no such capture)"), "{}", gpu.describe());
}
