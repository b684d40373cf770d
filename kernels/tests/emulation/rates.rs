//! How fast the emulation is: printed, not asserted. To see it: `cargo nextest run ... rates --no-capture`.

use std::time::Instant;

use loam_kernels::cuda::device::DeviceMemory;
use loam_kernels::cuda::rates::{Turn, run};

#[test]
fn rates() {
    let mut values = DeviceMemory::of("values", &[0.0_f32; 1024]).expect("memory");
    for (turn, threads, what) in [
        (Turn::Barrier, 32, "thread barriers"),
        (Turn::Barrier, 256, "thread barriers"),
        (Turn::Barrier, 1024, "thread barriers"),
        (Turn::Shuffle, 256, "lane shuffles"),
        (Turn::Multiply, 128, "lanes of mma.m16n8k16 (32 a product)"),
        (Turn::Load, 256, "loads"),
        (Turn::SharedLoad, 256, "shared loads"),
    ] {
        let turns = 1_000_000 / u32::from(threads);
        let begun = Instant::now();
        run(turn, threads, turns, &mut values).expect("a kernel without a fault");
        let rate = f64::from(turns) * f64::from(threads) / begun.elapsed().as_secs_f64() / 1e6;
        eprintln!("{threads:5} threads: {rate:8.1} M {what} a second");
    }
}
