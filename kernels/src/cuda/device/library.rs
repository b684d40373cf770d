//! Products by cuBLASLt, where it is there and is faster than `gemm.cu`.
//!
//! The first time that a product of some shape is wanted, the library's best guesses and `gemm.cu` compute it against the
//! clock, and the fastest has that shape from then on. So two processes may choose differently, and their bits may
//! differ; in one process the same step has the same bits.

use std::collections::HashMap;
use std::ffi::c_void;
use std::ptr;
use std::sync::{Mutex, PoisonError};

use cudarc::cublaslt::result::{self as lt, CublasError};
use cudarc::cublaslt::sys;
use cudarc::driver::result::{DriverError, event, stream};
use cudarc::driver::sys::CUevent_flags;

use super::driver::first_stream;
use super::{DeviceMemory, LaunchError, Stream};
use crate::backend::GraphKey;
use crate::cuda::ffi::{LoamLayer, LoamRows, LoamType, RawStream};
use crate::error::Error;
use crate::layout::DType;

/// Memory that a product may use meanwhile; all run in one stream, one after the other.
const WORKSPACE_BYTES: usize = 32 << 20;
/// Guesses that are tried, and how often each, after once to warm up.
const GUESSES: usize = 8;
const TRIES: usize = 5;
/// More than a GPU keeps of what it read last.
const CACHE_BYTES: usize = 128 << 20;
/// `CUBLAS_OP_T`.
const TRANSPOSED: i32 = 1;
/// Addresses are looked at up to this alignment, which is an allocation's.
const ALIGNMENT_MAX: usize = 256;

/// The library, and what was found to be fastest.
#[derive(Debug)]
pub(in crate::cuda) struct Library {
    handle: sys::cublasLtHandle_t,
    workspace: DeviceMemory,
    plans: Mutex<HashMap<Shape, Plan>>,
}

/// What makes two products the same but for their values.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Shape {
    /// The most that fit into this plan.
    rows: usize,
    k: i32,
    outs: Vec<i32>,
    strides: [i64; 2],
    types: [LoamType; 2],
    has_bias: bool,
    alignment: usize,
}

/// An algorithm for each layer; none where `gemm.cu` is faster.
type Plan = Option<Vec<sys::cublasLtMatmulAlgo_t>>;

// SAFETY: the library's handle may be used by several threads at once.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

impl Library {
    /// None where the library is absent, or does not work with this driver. A GPU was opened.
    pub(in crate::cuda) fn open() -> Option<Self> {
        // SAFETY: opens a library and closes it again; where it is absent, its callers panic.
        if !unsafe { sys::is_culib_present() } {
            return None;
        }
        let workspace = DeviceMemory::new("cuBLASLt's workspace", DType::U32, WORKSPACE_BYTES / 4).ok()?;
        Some(Self { handle: lt::create_handle().ok()?, workspace, plans: Mutex::default() })
    }

    /// `out = x weights + bias`, layers side by side, by whoever is fastest. All fits, as who calls has seen. `ours` does
    /// the same.
    pub(in crate::cuda) fn linear(
        &self,
        x: LoamRows,
        (layers, weight_type): (&[LoamLayer], LoamType),
        out: LoamRows,
        stream: RawStream,
        ours: &mut dyn FnMut() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let is_alike = x.dtype == weight_type && layers.iter().all(|it| it.bias.is_null() || it.bias_type == out.dtype);
        if !is_alike {
            return ours();
        }
        let shape = Shape::of(x, layers, out);
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = plans.get(&shape) {
            let Some(algorithms) = plan else { return ours() };
            // Fewer rows than the plan was made for may not suit its algorithms.
            let done = products(x, layers, out).and_then(|products| {
                let mut each = products.iter().zip(algorithms);
                each.try_for_each(|(product, algorithm)| product.run(self, algorithm, stream))
            });
            return done.or_else(|_| ours());
        }
        // While launches are recorded, nothing runs that could be timed.
        if stream != first_stream() {
            return ours();
        }
        let plan = match self.contest(x, layers, out, shape.alignment, ours) {
            // Where there is no room to try anything, nothing is tried.
            Err(Error::OutOfMemory { .. }) => {
                ours()?;
                None
            }
            contest => contest?,
        };
        plans.insert(shape, plan);
        Ok(())
    }

    /// Computes with all that could, and leaves the fastest one's result.
    fn contest(
        &self,
        x: LoamRows,
        layers: &[LoamLayer],
        out: LoamRows,
        alignment: usize,
        ours: &mut dyn FnMut() -> Result<(), Error>,
    ) -> Result<Plan, Error> {
        let mut clock = Clock::new()?;
        let mut theirs = Some((0.0, Vec::new()));
        for product in products(x, layers, out).unwrap_or_default() {
            let mut best: Option<(f32, sys::cublasLtMatmulAlgo_t)> = None;
            for algorithm in product.guesses(self, alignment).unwrap_or_default() {
                let stream = clock.stream;
                let run = &mut || product.run(self, &algorithm, stream).map_err(refused);
                // A guess that does not run is no candidate.
                let Ok(ms) = clock.time(run) else { continue };
                if best.is_none_or(|(least, _)| ms < least) {
                    best = Some((ms, algorithm));
                }
            }
            theirs = theirs.zip(best).map(|((sum, mut all), (ms, algorithm))| {
                all.push(algorithm);
                (sum + ms, all)
            });
        }
        let ours_ms = clock.time(ours)?;
        let fastest = theirs.filter(|(ms, all)| all.len() == layers.len() && *ms < ours_ms).map(|(_, all)| all);
        if let Some(algorithms) = &fastest {
            let products = products(x, layers, out).map_err(refused)?;
            let mut each = products.iter().zip(algorithms);
            each.try_for_each(|(product, algorithm)| product.run(self, algorithm, clock.stream)).map_err(refused)?;
        }
        Ok(fastest)
    }
}

impl Shape {
    fn of(x: LoamRows, layers: &[LoamLayer], out: LoamRows) -> Self {
        let rows = x.rows as usize;
        let addresses = layers.iter().flat_map(|it| [it.weight.addr(), it.bias.addr()]);
        let together = addresses.chain([x.at.addr(), out.at.addr()]).fold(ALIGNMENT_MAX, |all, at| all | at);
        Self {
            rows: GraphKey::rows_for(rows).map_or_else(|| rows.next_power_of_two(), |fit| fit as usize),
            k: x.width,
            outs: layers.iter().map(|it| it.out_features).collect(),
            strides: [x.stride, out.stride],
            types: [x.dtype, out.dtype],
            has_bias: layers.iter().any(|it| !it.bias.is_null()),
            alignment: 1 << together.trailing_zeros(),
        }
    }
}

fn refused(error: CublasError) -> Error {
    Error::Launch { report: format!("cuBLASLt: {error}") }
}

/// One product for each layer.
fn products(x: LoamRows, layers: &[LoamLayer], out: LoamRows) -> Result<Vec<Product>, CublasError> {
    let mut from = 0;
    let each = layers.iter().map(|layer| {
        let width = layer.out_features as usize;
        from += width;
        Product::new(x, layer, out.columns(from - width, width))
    });
    each.collect()
}

/// A product as the library describes it. It counts columns first, so that our rows are its columns:
/// `out^T = weights x^T`, with the weights, whose rows are its columns too, transposed.
struct Product {
    operation: sys::cublasLtMatmulDesc_t,
    weight: Matrix,
    x: Matrix,
    out: Matrix,
}

struct Matrix {
    layout: sys::cublasLtMatrixLayout_t,
    at: *mut c_void,
}

impl Matrix {
    fn new(at: *mut c_void, dtype: LoamType, [rows, columns]: [i32; 2], stride: i64) -> Result<Self, CublasError> {
        let layout = lt::create_matrix_layout(data_type(dtype), rows as u64, columns as u64, stride)?;
        Ok(Self { layout, at })
    }
}

impl Drop for Matrix {
    fn drop(&mut self) {
        // SAFETY: made by `new`, ended once.
        let _ = unsafe { lt::destroy_matrix_layout(self.layout) };
    }
}

const fn data_type(dtype: LoamType) -> sys::cudaDataType {
    match dtype {
        LoamType::F32 => sys::cudaDataType::CUDA_R_32F,
        LoamType::Bf16 => sys::cudaDataType::CUDA_R_16BF,
        LoamType::F16 => sys::cudaDataType::CUDA_R_16F,
    }
}

impl Product {
    fn new(x: LoamRows, layer: &LoamLayer, out: LoamRows) -> Result<Self, CublasError> {
        let (k, outputs) = (x.width, layer.out_features);
        // f32 is computed as f32: never as what a tensor core makes of it.
        let compute = sys::cublasComputeType_t::CUBLAS_COMPUTE_32F;
        let product = Self {
            weight: Matrix::new(layer.weight.cast_mut(), x.dtype, [k, outputs], layer.stride)?,
            x: Matrix::new(x.at, x.dtype, [k, x.rows], x.stride)?,
            out: Matrix::new(out.at, out.dtype, [outputs, out.rows], out.stride)?,
            operation: lt::create_matmul_desc(compute, sys::cudaDataType::CUDA_R_32F)?,
        };
        use sys::cublasLtMatmulDescAttributes_t as Attribute;
        product.say(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, &TRANSPOSED)?;
        if !layer.bias.is_null() {
            let epilogue = sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS;
            product.say(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue)?;
            product.say(Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &layer.bias)?;
            product.say(Attribute::CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &data_type(layer.bias_type))?;
        }
        Ok(product)
    }

    fn say<T>(&self, what: sys::cublasLtMatmulDescAttributes_t, value: &T) -> Result<(), CublasError> {
        // SAFETY: a descriptor that lives, and a value of the size that is said.
        unsafe { lt::set_matmul_desc_attribute(self.operation, what, ptr::from_ref(value).cast(), size_of::<T>()) }
    }

    /// What the library would try first, for addresses that are no better than this alignment.
    fn guesses(&self, library: &Library, alignment: usize) -> Result<Vec<sys::cublasLtMatmulAlgo_t>, CublasError> {
        let wish = Wish(lt::create_matmul_pref()?);
        use sys::cublasLtMatmulPreferenceAttributes_t as Attribute;
        wish.say(Attribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &WORKSPACE_BYTES)?;
        // Parts of a sum that was split stay f32 until all are added: by itself the library may round each to the output's type.
        let in_f32 = sys::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE as u32;
        wish.say(Attribute::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &in_f32)?;
        let alignment = |at: *mut c_void| 1u32 << (at.addr() | alignment).trailing_zeros();
        for (which, matrix) in [
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &self.weight),
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &self.x),
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &self.out),
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &self.out),
        ] {
            wish.say(which, &alignment(matrix.at))?;
        }
        let mut found = Vec::with_capacity(GUESSES);
        let mut count = 0;
        // SAFETY: descriptors that live, and room for as many results as are asked for, of which so many are written.
        unsafe {
            let [weight, x, out] = [&self.weight, &self.x, &self.out].map(|matrix| matrix.layout);
            let (most, at) = (GUESSES as i32, found.as_mut_ptr());
            let (handle, wish) = (library.handle, wish.0);
            let asked = sys::cublasLtMatmulAlgoGetHeuristic(
                handle,
                self.operation,
                weight,
                x,
                out,
                out,
                wish,
                most,
                at,
                &raw mut count,
            );
            asked.result()?;
            found.set_len(usize::try_from(count).unwrap_or(0).min(GUESSES));
        }
        let works = |it: &&sys::cublasLtMatmulHeuristicResult_t| it.state.result().is_ok();
        Ok(found.iter().filter(works).map(|it| it.algo).collect())
    }

    fn run(
        &self,
        library: &Library,
        algorithm: &sys::cublasLtMatmulAlgo_t,
        stream: RawStream,
    ) -> Result<(), CublasError> {
        let (one, zero) = (1.0_f32, 0.0_f32);
        // SAFETY: descriptors that live, over matrices that are there, as who calls has seen; factors are read at once.
        unsafe {
            lt::matmul(
                library.handle,
                self.operation,
                (&raw const one).cast(),
                (&raw const zero).cast(),
                self.weight.at,
                self.weight.layout,
                self.x.at,
                self.x.layout,
                self.out.at,
                self.out.layout,
                self.out.at,
                self.out.layout,
                algorithm,
                library.workspace.address(),
                WORKSPACE_BYTES,
                stream.cast(),
            )
        }
    }
}

impl Drop for Product {
    fn drop(&mut self) {
        // SAFETY: made by `new`, ended once.
        let _ = unsafe { lt::destroy_matmul_desc(self.operation) };
    }
}

/// What guesses have to keep to.
struct Wish(sys::cublasLtMatmulPreference_t);

impl Wish {
    fn say<T>(&self, what: sys::cublasLtMatmulPreferenceAttributes_t, value: &T) -> Result<(), CublasError> {
        // SAFETY: a descriptor that lives, and a value of the size that is said.
        unsafe { lt::set_matmul_pref_attribute(self.0, what, ptr::from_ref(value).cast(), size_of::<T>()) }
    }
}

impl Drop for Wish {
    fn drop(&mut self) {
        // SAFETY: made where it is, ended once.
        let _ = unsafe { lt::destroy_matmul_pref(self.0) };
    }
}

/// Times work of the first stream.
struct Clock {
    stream: RawStream,
    began: cudarc::driver::sys::CUevent,
    ended: cudarc::driver::sys::CUevent,
    /// Written before each try, so that weights come from memory, as they do where a step has many layers.
    between: DeviceMemory,
}

impl Clock {
    fn new() -> Result<Self, Error> {
        let create = || event::create(CUevent_flags::CU_EVENT_DEFAULT).map_err(LaunchError::from);
        let between = DeviceMemory::new("a contest's cache", DType::U32, CACHE_BYTES / 4)?;
        Ok(Self { stream: first_stream(), began: create()?, ended: create()?, between })
    }

    /// Milliseconds that some work takes at best.
    fn time(&mut self, work: &mut dyn FnMut() -> Result<(), Error>) -> Result<f32, Error> {
        let timed = |result: Result<(), DriverError>| result.map_err(LaunchError::from);
        work()?;
        let mut least = f32::INFINITY;
        for _ in 0..TRIES {
            self.between.fill(&Stream::default(), 0)?;
            // SAFETY: events and a stream that live.
            timed(unsafe { event::record(self.began, self.stream.cast()) })?;
            work()?;
            // SAFETY: as above.
            let took = unsafe {
                timed(event::record(self.ended, self.stream.cast()))?;
                timed(stream::synchronize(self.stream.cast()))?;
                event::elapsed(self.began, self.ended)
            };
            least = least.min(took.map_err(LaunchError::from)?);
        }
        Ok(least)
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        for event in [self.began, self.ended] {
            // SAFETY: made by `new`, ended once.
            let _ = unsafe { event::destroy(event) };
        }
    }
}

// Where a stand-in is there, `tests/rehearsal.rs` looks at it.
#[cfg(all(test, not(any(feature = "rehearse", feature = "interpret"))))]
mod tests {
    use super::Library;

    /// Where the library is absent, and where it is there without a GPU, `gemm.cu` computes all.
    #[test]
    fn without_a_gpu_it_is_not_there() {
        assert!(Library::open().is_none());
    }
}
