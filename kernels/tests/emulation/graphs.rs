//! Streams, events, graphs.

use loam_kernels::Error;
use loam_kernels::cuda::device::{DeviceMemory, Event, LaunchError, Stream};
use loam_kernels::cuda::planted::Sheet;
use loam_kernels::layout::DType;

const VALUES: [f32; 1024] = [2.0; 1024];

#[test]
fn a_capture_runs_nothing_and_a_replay_runs_all() {
    let stream = Stream::new().expect("a stream");
    let sheet = Sheet::new(&VALUES).expect("memory");
    let mut copy = DeviceMemory::new("copy", DType::F32, 1024).expect("memory");
    copy.fill(&stream, 0).expect("zeros");
    let work = || -> Result<(), Error> {
        sheet.run(&stream, "shared_race", false)?;
        sheet.run(&stream, "global_race", false)?;
        copy.copy_from(&stream, &sheet.out)
    };
    let graph = stream.capture(work).expect("a graph");
    let names: Vec<_> = graph.nodes().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["shared_race", "global_race", "copy"]);
    assert_eq!(copy.read::<f32>(&stream).expect("values")[0], 0.0);
    for _ in 0..3 {
        graph.launch(&stream).expect("a replay");
    }
    assert_eq!(copy.read::<f32>(&stream).expect("values")[..256], [2.0; 256]);
}

#[test]
fn branches_fork_and_join_by_events() {
    let (main, side) = (Stream::new().expect("a stream"), Stream::new().expect("a stream"));
    let (fork, join) = (Event::new().expect("an event"), Event::new().expect("an event"));
    let (one, two) = (Sheet::new(&VALUES).expect("memory"), Sheet::new(&VALUES).expect("memory"));
    let graph = main.capture(|| -> Result<(), LaunchError> {
        one.run(&main, "shared_race", false)?;
        fork.record(&main)?;
        side.wait(&fork)?;
        two.run(&side, "shared_race", false)?;
        one.run(&main, "global_race", false)?;
        join.record(&side)?;
        main.wait(&join)?;
        one.run(&main, "shared_race", false)
    });
    let waits: Vec<_> = graph.expect("a graph").nodes().into_iter().map(|(_, waits)| waits).collect();
    assert_eq!(waits, [0, 1, 1, 2]);
}

#[test]
fn a_branch_that_is_not_joined_is_named() {
    let (main, side) = (Stream::new().expect("a stream"), Stream::new().expect("a stream"));
    let fork = Event::new().expect("an event");
    let sheet = Sheet::new(&VALUES).expect("memory");
    let graph = main.capture(|| -> Result<(), LaunchError> {
        sheet.run(&main, "shared_race", false)?;
        fork.record(&main)?;
        side.wait(&fork)?;
        sheet.run(&side, "shared_race", false)
    });
    assert_eq!(graph.expect_err("a loose branch").name(), "branch_not_joined");
}

#[test]
fn copies_stay_inside_their_allocations() {
    let (stream, mut small) = (Stream::default(), DeviceMemory::new("small", DType::F32, 4).expect("memory"));
    let refused = small.write(&stream, &[0.0_f32; 5]).expect_err("too many");
    assert!(matches!(refused, Error::OutOfBounds { from: 0, to: 5, len: 4, .. }), "{refused}");
    let large = DeviceMemory::new("large", DType::F32, 5).expect("memory");
    let refused = small.copy_from(&stream, &large).expect_err("too many");
    assert!(matches!(refused, Error::OutOfBounds { from: 0, to: 5, len: 4, .. }), "{refused}");
}

#[test]
fn what_cannot_be_addressed_is_refused_before_the_device_is_asked() {
    for len in [usize::MAX, usize::MAX / 4, isize::MAX as usize / 2] {
        let refused = DeviceMemory::new("values", DType::F32, len).expect_err("too much");
        assert!(matches!(refused, Error::TooLarge { what: "values" }), "{refused}");
    }
}
