//! The interpreter of PTX: what instructions do, as NVIDIA's manual of them says, and what is refused by name.
//!
//! `cargo nextest run -p loam-kernels --features interpret --test interpreted`

use std::ffi::{CStr, CString, c_char, c_void};

use loam_kernels as _; // which brings the interpreter

const LANES: usize = 32;

unsafe extern "C" {
    fn loam_interpret(
        text: *const c_char,
        block: *const u32,
        shared_bytes: u32,
        parameters: *const c_void,
    ) -> *const c_char;
}

/// What a body of PTX leaves in `out`, four bytes for each of a block's threads. Where it begins `%rd1` is the address of the
/// thread's own, and `%r1` the thread.
fn threads(body: &str, threads: u32) -> Result<Vec<u32>, String> {
    let text = format!(
        ".version 9.0\n.target sm_90\n.address_size 64\n.extern .shared .align 16 .b8 window[];\n\
         .entry body(.param .u64 body_param_0)\n{{\n\
         .reg .pred %p<9>; .reg .b16 %rs<9>; .reg .b32 %r<30>; .reg .f32 %f<30>; .reg .b64 %rd<9>; .reg .f64 %fd<9>;\n\
         ld.param.u64 %rd2, [body_param_0]; mov.u32 %r1, %tid.x; mul.wide.u32 %rd3, %r1, 4; add.s64 %rd1, %rd2, %rd3;\n\
         {body}\nret;\n}}\n"
    );
    let mut out = vec![0u32; threads as usize];
    let parameter = out.as_mut_ptr() as u64;
    let text = CString::new(text).expect("a text without zeros");
    // SAFETY: one parameter of eight bytes, and an array of as many threads as write to it.
    let why = unsafe { loam_interpret(text.as_ptr(), [threads, 1, 1].as_ptr(), 4096, (&raw const parameter).cast()) };
    if why.is_null() {
        return Ok(out);
    }
    // SAFETY: a text that stays until this thread asks again.
    Err(unsafe { CStr::from_ptr(why) }.to_string_lossy().into_owned())
}

fn lanes(body: &str) -> Vec<u32> {
    threads(body, 32).unwrap_or_else(|why| panic!("{why}"))
}

/// One instruction of values that are bits.
#[track_caller]
fn gives(instruction: &str, expected: u32) {
    let found = lanes(&format!("{instruction} st.global.u32 [%rd1], %r9;"))[0];
    assert_eq!(found, expected, "{instruction} gives {found:#010x}, not {expected:#010x}");
}

/// One instruction of numbers: of what is in `%f1`, `%f2`, `%f3`, into `%f9`.
#[track_caller]
fn counts(instruction: &str, from: [f32; 3], expected: f32) {
    let [a, b, c] = from.map(f32::to_bits);
    let body = format!(
        "mov.f32 %f1, 0f{a:08X}; mov.f32 %f2, 0f{b:08X}; mov.f32 %f3, 0f{c:08X}; {instruction} st.global.f32 [%rd1], %f9;"
    );
    let found = f32::from_bits(lanes(&body)[0]);
    assert!(
        found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan()),
        "{instruction} of {from:?} gives {found:e}, not {expected:e}"
    );
}

#[track_caller]
fn refused(body: &str, why: &str) {
    let found = threads(body, 64).expect_err("it is refused");
    assert!(found.contains(why), "`{found}` says nothing of `{why}`");
}

#[test]
fn whole_numbers_wrap_and_shift_as_told() {
    gives("mov.u32 %r2, -1; add.s32 %r9, %r2, 2;", 1);
    gives("mov.u32 %r2, -7; shr.s32 %r9, %r2, 1;", -4i32 as u32);
    gives("mov.u32 %r2, -7; shr.u32 %r9, %r2, 40;", 0);
    gives("mov.u32 %r2, -7; shr.s32 %r9, %r2, 40;", -1i32 as u32);
    gives("mov.u32 %r2, 1; shl.b32 %r9, %r2, 32;", 0);
    gives("mov.u32 %r2, -2147483648; mul.hi.s32 %r9, %r2, %r2;", 0x4000_0000);
    gives("mov.u32 %r2, -7; rem.s32 %r9, %r2, 3;", -1i32 as u32);
    gives("mov.u32 %r2, -7; div.s32 %r9, %r2, 2;", -3i32 as u32);
    gives("mov.u32 %r2, 3; mad.lo.s32 %r9, %r2, -5, 20;", 5);
    gives("mov.u32 %r2, 171; mov.u32 %r3, -1; bfi.b32 %r9, %r2, %r3, 8, 8;", 0xffff_abff);
    gives("mov.u32 %r2, 287454020; prmt.b32 %r9, %r2, %r2, 291;", 0x4433_2211);
    gives("mov.u32 %r2, 1; brev.b32 %r9, %r2;", 0x8000_0000);
    gives("mov.u32 %r2, 256; bfind.shiftamt.u32 %r9, %r2;", 23);
    gives("mov.b32 %r2, 305419896; mov.b32 {%rs1, %rs2}, %r2; mov.b32 %r9, {%rs2, %rs1};", 0x5678_1234);
}

#[test]
fn numbers_are_rounded_as_told() {
    // What is lost between a product and a sum stays where they are one instruction.
    let (third, tiny) = (1.0f32 + f32::EPSILON, -1.0f32 - 2.0 * f32::EPSILON);
    counts("fma.rn.f32 %f9, %f1, %f1, %f2;", [third, tiny, 0.0], f32::EPSILON * f32::EPSILON);
    counts("mul.rn.f32 %f9, %f1, %f1; add.f32 %f9, %f9, %f2;", [third, tiny, 0.0], 0.0);
    // Down is another way than to the nearest, on both sides of zero.
    counts("fma.rm.f32 %f9, %f1, %f1, %f2;", [third, 0.0, 0.0], 1.0 + 2.0 * f32::EPSILON);
    counts("fma.rm.f32 %f9, %f1, %f2, %f3;", [-1.0, 1e-20, -1.0], (-1.0f32).next_down());
    counts("fma.rn.f32 %f9, %f1, %f2, %f3;", [-1.0, 1e-20, -1.0], -1.0);
    counts("min.f32 %f9, %f1, %f2;", [f32::NAN, 3.0, 0.0], 3.0);
    counts("max.f32 %f9, %f1, %f2;", [-0.0, 0.0, 0.0], 0.0);
    counts("cvt.sat.f32.f32 %f9, %f1;", [f32::NAN, 0.0, 0.0], 0.0);
    counts("cvt.sat.f32.f32 %f9, %f1;", [1.5, 0.0, 0.0], 1.0);
    counts("ex2.approx.ftz.f32 %f9, %f1;", [-126.5, 0.0, 0.0], 0.0);
    counts("ex2.approx.ftz.f32 %f9, %f1;", [10.0, 0.0, 0.0], 1024.0);
    counts("rcp.approx.ftz.f32 %f9, %f1;", [f32::from_bits(1), 0.0, 0.0], f32::INFINITY);
    counts("copysign.f32 %f9, %f1, %f2;", [-0.0, 2.0, 0.0], -2.0);
    counts("cvt.rzi.f32.f32 %f9, %f1;", [-2.7, 0.0, 0.0], -2.0);
    // To the even one of two that are as near.
    for (value, expected) in
        [(0x3f80_8000, 0x3f80), (0x3f81_8000, 0x3f82), (0x3f80_8001, 0x3f81), (0x7fc0_0001, 0x7fff)]
    {
        gives(&format!("mov.b32 %f1, {value}; cvt.rn.bf16.f32 %rs1, %f1; cvt.u32.u16 %r9, %rs1;"), expected);
    }
    gives("mov.f32 %f1, 0f477FF000; cvt.rn.f16.f32 %rs1, %f1; cvt.u32.u16 %r9, %rs1;", 0x7c00);
    gives("mov.f32 %f1, 0fBF800000; cvt.rzi.u64.f32 %rd4, %f1; cvt.u32.u64 %r9, %rd4;", 0);
    gives("mov.f32 %f1, 0f7F800000; cvt.rzi.s32.f32 %r9, %f1;", i32::MAX as u32);
    gives("mov.f32 %f1, 0f7F800000; cvt.rzi.u32.f32 %r9, %f1;", u32::MAX);
}

#[test]
fn what_is_no_number_is_less_than_nothing() {
    for (test, expected) in [("lt", 0), ("ltu", 1), ("geu", 1), ("eq", 0), ("neu", 1), ("ne", 0), ("equ", 1)] {
        gives(
            &format!("mov.f32 %f1, 0f7FC00000; setp.{test}.f32 %p1, %f1, 0f3F800000; selp.u32 %r9, 1, 0, %p1;"),
            expected,
        );
    }
}

#[test]
fn lanes_that_part_meet_again() {
    // Each turns as often as its number; then all tell all.
    let found = lanes(
        "mov.u32 %r2, 0; mov.u32 %r3, 0;
         $turn: setp.ge.u32 %p1, %r2, %r1; @%p1 bra $done; add.s32 %r3, %r3, 3; add.s32 %r2, %r2, 1; bra.uni $turn;
         $done: shfl.sync.bfly.b32 %r4|%p2, %r3, 1, 31, -1;
         and.b32 %r5, %r1, 1; setp.eq.s32 %p3, %r5, 0; @%p3 bra $even; add.s32 %r4, %r4, 1000; bra $all;
         $even: add.s32 %r4, %r4, 2000;
         $all: vote.sync.ballot.b32 %r6, %p3, -1; setp.eq.b32 %p4, %r6, 1431655765; @!%p4 trap;
         st.global.u32 [%rd1], %r4;",
    );
    let expected = (0..32).map(|lane| (lane ^ 1) * 3 + if lane % 2 == 0 { 2000 } else { 1000 });
    assert_eq!(found, Vec::from_iter(expected));
}

#[test]
fn those_who_leave_are_not_waited_for() {
    let found = lanes(
        "setp.ge.u32 %p1, %r1, 8; @%p1 ret; shfl.sync.idx.b32 %r2, %r1, 7, 31, 255; bar.sync 0; st.global.u32 [%rd1], %r2;",
    );
    assert_eq!(found[..8], [7; 8]);
    assert_eq!(found[8..], [0; 24]);
}

#[track_caller]
fn hears(way: &str, by: u32, bounds: u32, from: impl Fn(u32) -> u32) {
    let found = lanes(&format!("shfl.sync.{way}.b32 %r2|%p1, %r1, {by}, {bounds}, -1; st.global.u32 [%rd1], %r2;"));
    assert_eq!(found, Vec::from_iter((0..32).map(from)), "{way}");
}

#[test]
fn lanes_hear_those_that_the_manual_says() {
    // Segments of eight lanes: their mask is 24, and the last lane of one is 7, but for `up`, which counts from the first.
    let (from_first, to_last) = (24 << 8, 24 << 8 | 31);
    hears("up", 3, from_first, |lane| if lane % 8 < 3 { lane } else { lane - 3 });
    hears("down", 3, to_last, |lane| if lane % 8 + 3 > 7 { lane } else { lane + 3 });
    hears("bfly", 4, to_last, |lane| lane ^ 4);
    hears("idx", 5, to_last, |lane| lane / 8 * 8 + 5);
    // Who hears nobody is told so.
    let told = lanes("shfl.sync.down.b32 %r2|%p1, %r1, 3, 31, -1; selp.u32 %r3, 1, 0, %p1; st.global.u32 [%rd1], %r3;");
    assert_eq!(told, Vec::from_iter((0..32).map(|lane| u32::from(lane + 3 < 32))));
}

#[test]
fn warps_meet_at_barriers() {
    let found = threads(
        "shl.b32 %r2, %r1, 2; mov.u32 %r3, window; add.s32 %r2, %r2, %r3; st.shared.u32 [%r2], %r1; bar.sync 0;
         xor.b32 %r4, %r1, 127; shl.b32 %r4, %r4, 2; ld.shared.u32 %r5, [%r4]; st.global.u32 [%rd1], %r5;",
        128,
    );
    assert_eq!(found, Ok(Vec::from_iter((0..128).map(|thread| thread ^ 127))));
}

#[test]
fn copies_land_when_they_are_waited_for() {
    // Each of four lanes copies four of its sixteen bytes; the rest is zeros.
    let found = lanes(
        "setp.ge.u32 %p1, %r1, 1; @%p1 ret; mov.u32 %r2, 7; st.global.u32 [%rd1], %r2; st.global.u32 [%rd1+4], %r2;
         st.shared.u32 [window], %r2; st.shared.u32 [window+4], %r2; mov.u32 %r3, window; mov.u32 %r4, 9;
         st.global.u32 [%rd1], %r4;
         cp.async.cg.shared.global [%r3], [%rd2], 16, 4; cp.async.commit_group;
         cp.async.wait_group 1; ld.shared.u32 %r5, [window]; st.global.u32 [%rd1+8], %r5;
         cp.async.wait_group 0; ld.shared.u32 %r6, [window]; st.global.u32 [%rd1+12], %r6;
         ld.shared.u32 %r7, [window+4]; st.global.u32 [%rd1+16], %r7;",
    );
    assert_eq!(found[2..5], [7, 9, 0], "before the wait, after it, and beyond what was valid");
}

#[test]
fn matrices_are_dealt_out_and_multiplied_as_the_manual_draws_them() {
    // A matrix of 8 by 8 whose value at (r, c) is 8 r + c: lane l has the pair of row l / 4, columns l % 4 * 2.
    let fill =
        "shl.b32 %r2, %r1, 2; shl.b32 %r3, %r1, 1; add.s32 %r4, %r3, 1; shl.b32 %r4, %r4, 16; or.b32 %r3, %r3, %r4;
         st.shared.u32 [%r2], %r3; bar.warp.sync -1; and.b32 %r5, %r1, 7; shl.b32 %r5, %r5, 4;";
    let pair = |one: u32, two: u32| one | two << 16;
    let found =
        lanes(&format!("{fill} ldmatrix.sync.aligned.m8n8.x1.shared.b16 {{%r6}}, [%r5]; st.global.u32 [%rd1], %r6;"));
    assert_eq!(found, Vec::from_iter((0..32).map(|l| pair(2 * l, 2 * l + 1))));
    let found = lanes(&format!(
        "{fill} ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {{%r6}}, [%r5]; st.global.u32 [%rd1], %r6;"
    ));
    assert_eq!(found, Vec::from_iter((0..32).map(|l| pair(l % 4 * 16 + l / 4, l % 4 * 16 + 8 + l / 4))));
    // Rows of a are their numbers, all of b is 1: each row's sum is 16 times that, and what was there is added.
    let found = lanes(
        "shr.u32 %r2, %r1, 2; cvt.rn.f32.u32 %f1, %r2; cvt.rn.bf16.f32 %rs1, %f1; mov.b32 %r3, {%rs1, %rs1};
         add.s32 %r2, %r2, 8; cvt.rn.f32.u32 %f1, %r2; cvt.rn.bf16.f32 %rs1, %f1; mov.b32 %r4, {%rs1, %rs1};
         mov.u32 %r5, 1065369472; mov.f32 %f2, 0f3F000000;
         mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f3, %f4, %f5, %f6}, {%r3, %r4, %r3, %r4}, {%r5, %r5},
             {%f2, %f2, %f2, %f2};
         add.f32 %f7, %f3, %f5; st.global.f32 [%rd1], %f7;",
    );
    let expected = (0..32).map(|l| (16 * (l / 4) + 16 * (l / 4 + 8) + 1) as f32);
    assert_eq!(Vec::from_iter(found.into_iter().map(f32::from_bits)), Vec::from_iter(expected));
}

#[test]
fn atomic_operations_are_one_after_the_other() {
    let found = lanes(
        "atom.global.inc.u32 %r2, [%rd2], 9; bar.warp.sync -1; ld.global.u32 %r3, [%rd2]; setp.ne.s32 %p1, %r1, 0;
         @%p1 st.global.u32 [%rd1], %r2; bar.warp.sync -1; @!%p1 st.global.u32 [%rd1], %r3;",
    );
    assert_eq!(found[0], 2, "thirty-two draws from ten numbers");
    assert_eq!(found[1..], *Vec::from_iter((1..32).map(|lane| lane % 10)));
}

#[test]
fn faults_are_named() {
    refused("sin.approx.f32 %f1, %f2;", "does not know `sin.approx.f32`");
    refused("add.s32 %rd4, %r1, 1;", "has 8 bytes and not 4");
    refused("add.s32 %r2, %r1, %nothing;", "nothing is called `%nothing`");
    refused("bra $nowhere;", "no label $nowhere");
    refused("ld.global.u32 %r2, [%rd2+2];", "not aligned");
    refused("mov.u32 %r2, 4096; ld.shared.u32 %r3, [%r2];", "of a shared window of 4096");
    refused("mov.u32 %r2, 4088; ld.shared.v4.u32 {%r3, %r4, %r5, %r6}, [%r2];", "of a shared window of 4096");
    refused("trap;", "trap");
    refused("$on: bra $on;", "a loop without an end");
    refused("setp.lt.u32 %p1, %r1, 8; @%p1 bar.sync 0;", "lanes wait for others that do not come");
    refused("setp.lt.u32 %p1, %r1, 32; @%p1 bar.sync 1; @!%p1 bar.sync 2;", "warps wait at barriers");
    refused("shfl.sync.idx.b32 %r2, %r1, 9, 31, 255;", "are not among those that they name");
    refused(
        "setp.ge.u32 %p1, %r1, 8; @%p1 ret; shfl.sync.idx.b32 %r2, %r1, 9, 31, -1;",
        "lane 0 hears lane 9, which is not there",
    );
    refused(
        "mov.u32 %r2, 0; cp.async.cg.shared.global [%r2], [%rd2], 16, 17;",
        "an asynchronous copy of 17 of 16 bytes",
    );
    let found = threads("trap;", 64).expect_err("it is refused");
    assert_eq!(found, "trap; kernel body, block (0, 0, 0), warp 0, `trap` at ?:0");
}

#[test]
fn a_thread_knows_its_place() {
    let found = threads(
        "mov.u32 %r2, %laneid; mov.u32 %r3, %ntid.x; mad.lo.s32 %r2, %r3, 100, %r2; st.global.u32 [%rd1], %r2;",
        40,
    );
    assert_eq!(found, Ok(Vec::from_iter((0..40).map(|thread| 4000 + thread % LANES as u32))));
}
