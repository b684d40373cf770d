//! The first operation, from Rust through its launcher to the emulated kernel, against the CPU backend.

use half::bf16;
use loam_kernels::backend::{Dense, Device, RmsNorm};
use loam_kernels::cpu::{Cpu, CpuOptions};
use loam_kernels::cuda::device::{DeviceMemory, Stream};
use loam_kernels::cuda::rms_norm;
use loam_kernels::layout::{Element, Rows, RowsMut};

fn check<T: Element + Into<f32>>(rows: usize, width: usize, of: impl Fn(f32) -> T, tolerance: f32) {
    let value = |i: usize| of(((i * 37 % 101) as f32 - 50.0) / 17.0);
    let x: Vec<T> = (0..rows * width).map(value).collect();
    let weight: Vec<T> = (0..width).map(|i| value(i + 3)).collect();
    let bytes = |values: &[T]| -> Vec<u8> {
        // SAFETY: an `Element` is plain bits.
        unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(values)) }.to_vec()
    };
    let cpu = Cpu::new(CpuOptions::default()).expect("threads");
    let upload = |values: &[T]| {
        let mut memory = cpu.allocate(T::DTYPE, values.len()).expect("memory");
        cpu.write(&mut memory, 0, &bytes(values)).expect("room");
        memory
    };
    let (cpu_x, cpu_weight) = (upload(&x), upload(&weight));
    let mut cpu_out = cpu.allocate(T::DTYPE, x.len()).expect("memory");
    cpu.rms_norm(RmsNorm {
        x: Rows::new(&cpu_x, rows, width).expect("it fits"),
        weight: &cpu_weight,
        epsilon: 1e-5,
        out: RowsMut::new(&mut cpu_out, rows, width).expect("it fits"),
        inverse: None,
    })
    .expect("the CPU's norm");
    let mut want = vec![T::default(); x.len()];
    let mut want_bytes = vec![0; size_of_val(want.as_slice())];
    cpu.read(&cpu_out, 0, &mut want_bytes).expect("values");
    // SAFETY: as many bytes, and any bits are an `Element`.
    unsafe { want.as_mut_ptr().cast::<u8>().copy_from(want_bytes.as_ptr(), want_bytes.len()) };

    let (x, weight) =
        (DeviceMemory::of("x", &x).expect("memory"), DeviceMemory::of("weight", &weight).expect("memory"));
    let mut out = DeviceMemory::new("out", T::DTYPE, rows * width).expect("memory");
    let stream = Stream::default();
    let op = RmsNorm {
        x: Rows::new(&x, rows, width).expect("it fits"),
        weight: &weight,
        epsilon: 1e-5,
        out: RowsMut::new(&mut out, rows, width).expect("it fits"),
        inverse: None,
    };
    rms_norm(&stream, op).expect("what fits the CPU fits here").expect("a kernel without a fault");
    let got: Vec<T> = out.read(&stream).expect("values");
    for (at, (got, want)) in got.into_iter().zip(want).enumerate() {
        let (got, want): (f32, f32) = (got.into(), want.into());
        assert!(
            (got - want).abs() <= tolerance * want.abs().max(1e-3),
            "[{}, {}]: {got}, not {want}",
            at / width,
            at % width
        );
    }
}

#[test]
fn rms_norm_is_the_cpus() {
    for (rows, width) in [(1, 1), (3, 5), (17, 64), (5, 255), (2, 4096)] {
        check::<f32>(rows, width, |v| v, 1e-5);
        check::<bf16>(rows, width, bf16::from_f32, 8e-3);
    }
}
