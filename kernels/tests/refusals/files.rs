//! Mapped files: ranges, alignment, and what happens to them later.

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::Arc;

use loam_kernels::backend::{
    AddRmsNorm, ApplyLinear, Dense, Device, Embed, Expand, Lora, Product, QkNorm, RmsNorm, Sampler, Score, Shrink,
    Source,
};
use loam_kernels::backend::{HeadShape, RopeStore};
use loam_kernels::cpu::{CpuMemory, CpuStep};
use loam_kernels::layout::DType::{self, Bf16, F32, U32};
use loam_kernels::layout::{Adapter, AdapterLayout, KvShape, Linear, PagedKv, Part, RowSet, Rows, SiteKind, SiteShape};
use loam_kernels::layout::{Split, Stored};
use loam_kernels::mapped::Mapped;
use loam_kernels::{Cpu, Error};
use tempfile::TempDir;

use crate::given::{Held, Outcome, ROWS, VOCABULARY, cpu, error, given, step, unsupported, untouched};

/// Several pages of a file, so that what is cut off is no longer there at all.
const FILE_BYTES: u64 = 1 << 16;
const WIDTH: usize = 6;

/// A file of weights, which may be cut while it is mapped.
struct Cut {
    folder: TempDir,
    file: Arc<Mapped>,
}

impl Cut {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("weights");
        std::fs::write(&path, vec![0x3c; FILE_BYTES as usize]).unwrap();
        let file = Arc::new(Mapped::open(&path).unwrap());
        Self { folder, file }
    }

    fn memory(&self, cpu: &Cpu, dtype: DType, len: usize) -> CpuMemory {
        cpu.load(&Source { file: self.file.clone(), offset: 0 }, dtype, len).unwrap()
    }

    fn cut(&self) {
        let path = self.folder.path().join("weights");
        OpenOptions::new().write(true).open(path).unwrap().set_len(0).unwrap();
    }

    fn shrank(&self) -> Error {
        Error::FileShrank { path: self.file.path().to_owned(), held: FILE_BYTES, found: 0 }
    }
}

/// An operation over weights of a file that was cut after they were loaded: an error, and not a signal.
#[track_caller]
fn check(operation: impl FnOnce(&Cpu, &Cut) -> Outcome) {
    let (cpu, file) = (cpu(), Cut::new());
    let outcome = operation(&cpu, &file);
    error(outcome.result, file.shrank(), "65536 bytes when it was opened, 0 now; files of weights must not change");
    assert!(outcome.untouched, "something was written");
}

/// The output of an operation, and an operation into it.
fn into(cpu: &Cpu, rows: usize, width: usize, operation: impl FnOnce(&mut Held) -> Result<(), Error>) -> Outcome {
    let mut out = Held::new(cpu, given(F32, rows, width));
    let result = operation(&mut out);
    Outcome::of(cpu, result, &[&out])
}

#[track_caller]
fn check_linear(weight_is_cut: bool) {
    check(|cpu, file| {
        let held = |cut: bool, len| {
            let plain = || Held::new(cpu, given(Bf16, 1, len)).memory;
            Arc::new(if cut { file.memory(cpu, Bf16, len) } else { plain() })
        };
        let part = Part { weight: Stored::Dense(held(weight_is_cut, 5 * WIDTH)), bias: Some(held(!weight_is_cut, 5)) };
        let weights = Linear::new(WIDTH, Split::Column, vec![part]).unwrap();
        let x = Held::new(cpu, given(Bf16, ROWS, WIDTH));
        file.cut();
        into(cpu, ROWS, 5, |out| cpu.linear(ApplyLinear { x: x.rows(), weights: &weights, out: out.rows_mut() }))
    });
}

#[test]
fn cut_weights_of_a_linear() {
    check_linear(true);
}

#[test]
fn cut_bias_of_a_linear() {
    check_linear(false);
}

#[test]
fn cut_operand_of_a_product() {
    check(|cpu, file| {
        let (a, b) = (Held::new(cpu, given(F32, ROWS, WIDTH)), file.memory(cpu, Bf16, 5 * WIDTH));
        let b = Rows::new(&b, 5, WIDTH).unwrap();
        file.cut();
        into(cpu, ROWS, 5, |out| {
            let out = out.rows_mut();
            cpu.product(Product { a: a.rows(), a_transposed: false, b, b_transposed: true, out })
        })
    });
}

#[test]
fn cut_embedding() {
    check(|cpu, file| {
        let table = file.memory(cpu, Bf16, VOCABULARY * WIDTH);
        file.cut();
        into(cpu, ROWS, WIDTH, |out| cpu.embed(&step(cpu), Embed { table: &table, out: out.rows_mut() }))
    });
}

#[test]
fn cut_weight_of_a_norm() {
    check(|cpu, file| {
        let (x, weight) = (Held::new(cpu, given(F32, ROWS, WIDTH)), file.memory(cpu, Bf16, WIDTH));
        file.cut();
        into(cpu, ROWS, WIDTH, |out| {
            let (x, out) = (x.rows(), out.rows_mut());
            cpu.rms_norm(RmsNorm { x, weight: &weight, epsilon: 1e-5, out, inverse: None })
        })
    });
}

#[test]
fn cut_weight_of_a_sums_norm() {
    check(|cpu, file| {
        let (x, weight) = (Held::new(cpu, given(F32, ROWS, WIDTH)), file.memory(cpu, Bf16, WIDTH));
        let mut out = Held::new(cpu, given(F32, ROWS, WIDTH));
        file.cut();
        into(cpu, ROWS, WIDTH, |residual| {
            let (residual, x, out, weight) = (residual.rows_mut(), x.rows(), out.rows_mut(), &weight);
            let (set, delta, inverse) = (RowSet::Batch, None, None);
            cpu.add_rms_norm(&step(cpu), AddRmsNorm { residual, x, delta, set, weight, epsilon: 1e-5, out, inverse })
        })
    });
}

#[test]
fn cut_weight_of_a_head_norm() {
    check(|cpu, file| {
        let (q_weight, k_weight) = (Held::new(cpu, given(F32, 1, 2)).memory, file.memory(cpu, Bf16, 2));
        let heads = HeadShape { q_heads: 2, kv_heads: 1, head_dim: 2 };
        file.cut();
        into(cpu, ROWS, 8, |qkv| {
            let (qkv, q_weight, k_weight) = (qkv.rows_mut(), &q_weight, &k_weight);
            cpu.qk_norm(&step(cpu), QkNorm { qkv, delta: None, heads, q_weight, k_weight, epsilon: 1e-5 })
        })
    });
}

#[test]
fn cut_angles() {
    check(|cpu, file| {
        let angles = file.memory(cpu, F32, 64 * 64);
        let shape = KvShape { layers: 1, kv_heads: 1, head_dim: 64, page_tokens: 16 };
        let pages = Held::new(cpu, given(F32, 4, shape.page_len())).memory;
        let mut kv = PagedKv::new(pages, shape).unwrap();
        file.cut();
        let outcome = into(cpu, ROWS, 192, |qkv| {
            let (qkv, angles) = (qkv.rows_mut(), Rows::new(&angles, 64, 64)?);
            let op = RopeStore { qkv, delta: None, q_heads: 1, angles, kv: &mut kv, layer: 0 };
            loam_kernels::backend::Attention::rope_store(cpu, &step(cpu), op)
        });
        Outcome { untouched: outcome.untouched && untouched(cpu, kv.memory()), ..outcome }
    });
}

#[test]
fn cut_head() {
    check(|cpu, file| {
        let weight = Arc::new(file.memory(cpu, Bf16, VOCABULARY * WIDTH));
        let head = Linear::dense(WIDTH, Split::Column, weight, None).unwrap();
        let x = Held::new(cpu, given(F32, 2, WIDTH));
        let mut others = [U32, U32, F32].map(|dtype| Held::new(cpu, given(dtype, 2, 1)));
        file.cut();
        into(cpu, 2, 1, |out| {
            let log_probabilities = out.rows_mut();
            let [ranks, best_tokens, best_log_probabilities] = others.each_mut().map(|other| other.rows_mut());
            let x = x.rows();
            let op =
                Score { x, head: &head, delta: None, log_probabilities, ranks, best_tokens, best_log_probabilities };
            cpu.log_probability_of(&step(cpu), op)
        })
    });
}

/// Both halves of an adapter whose slab was cut.
#[track_caller]
fn check_adapter(half: impl Fn(&Cpu, &CpuStep, &<Cpu as Device>::Adapters, &Held, &mut Held) -> Result<(), Error>) {
    check(|cpu, file| {
        let sites = [SiteShape { kind: SiteKind::Linear, in_features: WIDTH, modules: vec![WIDTH] }];
        let layout = AdapterLayout::new(Bf16, &sites, &[vec![(WIDTH as u32, 1.0)]]).unwrap();
        let adapter = Adapter::new(file.memory(cpu, Bf16, layout.len()), layout).unwrap();
        let mut adapters = cpu.adapters(&sites, 3).unwrap();
        assert!(cpu.install(&mut adapters, 1, Some(Arc::new(adapter))).unwrap().is_none());
        let x = Held::new(cpu, given(F32, ROWS, WIDTH));
        file.cut();
        into(cpu, ROWS, WIDTH, |out| half(cpu, &step(cpu), &adapters, &x, out))
    });
}

#[test]
fn cut_adapter_shrinking() {
    check_adapter(|cpu, step, adapters, x, out| {
        let (set, x, h) = (RowSet::Batch, Some(x.rows()), out.rows_mut());
        cpu.lora_shrink(step, Shrink { adapters, site: 0, set, x, h })
    });
}

#[test]
fn cut_adapter_expanding() {
    check_adapter(|cpu, step, adapters, h, out| {
        let (set, h, delta) = (RowSet::Batch, h.rows(), out.rows_mut());
        cpu.lora_expand(step, Expand { adapters, site: 0, set, h, delta })
    });
}

#[test]
fn cut_file_read() {
    let (cpu, file) = (cpu(), Cut::new());
    let memory = file.memory(&cpu, Bf16, 20);
    file.cut();
    let mut bytes = [0; 4];
    error(cpu.read(&memory, 18, &mut bytes), file.shrank(), "0 now");
    let source = Source { file: file.file.clone(), offset: 0 };
    error(cpu.load(&source, Bf16, 1), file.shrank(), "0 now");
    error(file.file.range(0..1), file.shrank(), "0 now");
    error(file.file.unchanged(), file.shrank(), "0 now");
}

/// A copy is immune to what happens to its file.
#[test]
fn cut_file_that_was_copied() {
    let (cpu, file) = (cpu(), Cut::new());
    let copy = Arc::new(Mapped::read(file.file.path()).unwrap());
    let memory = cpu.load(&Source { file: copy.clone(), offset: 2 }, Bf16, 20).unwrap();
    file.cut();
    let mut bytes = [0; 40];
    cpu.read(&memory, 0, &mut bytes).unwrap();
    assert_eq!(bytes, [0x3c; 40]);
    assert_eq!(copy.bytes().len() as u64, FILE_BYTES);
}

/// A file that grows is none of anybody's business.
#[test]
fn file_that_grew() {
    let (cpu, file) = (cpu(), Cut::new());
    let memory = file.memory(&cpu, F32, 5);
    OpenOptions::new().write(true).open(file.file.path()).unwrap().set_len(FILE_BYTES + 1).unwrap();
    cpu.read(&memory, 0, &mut [0; 20]).unwrap();
}

#[test]
fn file_that_is_none() {
    let path = Path::new("no such file of weights");
    for opened in [Mapped::open(path), Mapped::read(path)] {
        let Err(Error::File { path: found, source }) = opened else { panic!("not refused") };
        assert_eq!((found.as_path(), source.kind()), (path, std::io::ErrorKind::NotFound));
        let text = Error::File { path: found, source }.to_string();
        assert!(text.starts_with("no such file of weights: "), "{text}");
    }
}

#[test]
fn ranges_beyond_the_end() {
    let (cpu, file) = (cpu(), Cut::new());
    let load = |offset, dtype, len| cpu.load(&Source { file: file.file.clone(), offset }, dtype, len);
    let range = |from, to| Error::FileRange { path: file.file.path().to_owned(), from, to, len: FILE_BYTES };
    error(load(FILE_BYTES - 2, Bf16, 2), range(65534, 65538), "bytes 65534 to 65538 of a file of 65536");
    error(load(FILE_BYTES + 4, F32, 0), range(65540, 65540), "bytes 65540 to 65540 of a file of 65536");
    error(load(0, F32, usize::MAX), range(0, u64::MAX), "of a file of 65536");
    error(load(u64::MAX, Bf16, 1), range(u64::MAX, u64::MAX), "of a file of 65536");
    error(file.file.range(9..70000), range(9, 70000), "bytes 9 to 70000 of a file of 65536");
    load(FILE_BYTES - 2, Bf16, 1).unwrap();
    load(FILE_BYTES, Bf16, 0).unwrap();
}

#[test]
fn writing_to_a_mapped_file() {
    let (cpu, file) = (cpu(), Cut::new());
    let mut memory = file.memory(&cpu, Bf16, 4);
    let expected = unsupported("what is written to", "a mapped file", "allocated memory");
    error(cpu.write(&mut memory, 0, &[1; 8]), expected, "what is written to is a mapped file");
    assert!(file.file.bytes().iter().all(|byte| *byte == 0x3c), "nothing was written");
}

/// Files of tensors promise no alignment: a tensor at an odd byte is copied, and is as good as another.
#[test]
fn tensors_at_odd_bytes() {
    let (cpu, folder) = (cpu(), TempDir::new().unwrap());
    let path = folder.path().join("weights");
    let values: Vec<u8> = (1..=40_u8).collect();
    for offset in 0..9_usize {
        std::fs::write(&path, [vec![0; offset], values.clone()].concat()).unwrap();
        let source = Source { file: Arc::new(Mapped::open(&path).unwrap()), offset: offset as u64 };
        let mut held = [0; 40];
        for (dtype, len) in [(F32, 10), (Bf16, 20)] {
            cpu.read(&cpu.load(&source, dtype, len).unwrap(), 0, &mut held).unwrap();
            assert_eq!(held[..], values, "{dtype} at byte {offset}");
        }
        let weights = Arc::new(cpu.load(&source, Bf16, 20).unwrap());
        let linear = Linear::dense(4, Split::Column, weights, None).unwrap();
        let x = Held::new(&cpu, given(Bf16, 1, 4));
        let mut out = Held::new(&cpu, given(F32, 1, 5));
        cpu.linear(ApplyLinear { x: x.rows(), weights: &linear, out: out.rows_mut() }).unwrap();
    }
}
