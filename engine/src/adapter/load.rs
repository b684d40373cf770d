//! From an adapter's files to its slab in host memory: all of it, or an error and nothing.

use std::collections::HashMap;
use std::path::Path;

use half::{bf16, f16};
use loam_kernels::layout::{AdapterLayout, DType, SiteKind};
use sha2::{Digest as _, Sha256};

use super::generation::{self, DigestModule, DigestTensor};
use super::peft::PeftConfig;
use super::targets::Chosen;
use super::tensors::{Tensor, TensorFile};
use super::{Generation, HostAdapter};
use crate::error::Error;
use crate::model::{Module, Sites};

/// What PEFT puts before a module's path.
const PREFIX: &str = "base_model.model.";

/// Values that are compared with the base's at a time.
const COMPARED_VALUES: usize = 1 << 16;

/// The base model's own tensors. PEFT saves a copy of the embedding and the head with adapters that add to them, and puts
/// that copy in place of the base's: an adapter with such a copy is loaded only where it changes nothing.
pub trait BaseTensors: Send + Sync {
    /// The tensor that the model's own files call so, as `lm_head.weight`; with tied embeddings, the embedding is the head
    /// too. None where there is none.
    fn tensor(&self, name: &str) -> Option<BaseTensor<'_>>;
}

/// A tensor of the base model as its files have it.
#[derive(Clone, Copy, Debug)]
pub struct BaseTensor<'a> {
    /// Type of its values.
    pub dtype: DType,
    /// How many values in each dimension.
    pub shape: &'a [usize],
    /// Its values, little-endian.
    pub bytes: &'a [u8],
}

/// A base whose tensors nobody has at hand: adapters that bring copies of them are refused.
#[derive(Clone, Copy, Debug)]
pub struct NoBaseTensors;

impl BaseTensors for NoBaseTensors {
    fn tensor(&self, _name: &str) -> Option<BaseTensor<'_>> {
        None
    }
}

/// Loads an adapter: everything that its file holds has its place in the model, and everything that its configuration
/// promises is in the file.
///
/// Shapes are checked before anything is allocated for values. Each value is read once, so the generation is of what was
/// loaded, whatever becomes of the file meanwhile.
pub fn load(
    config: &PeftConfig,
    file: &TensorFile,
    sites: &Sites,
    base: &dyn BaseTensors,
) -> Result<HostAdapter, Error> {
    let chosen = config.choose(sites)?;
    let places = places(file, sites, &chosen)?;
    let dtype = shared_type(file.tensors(), &places);
    let layout = AdapterLayout::new(dtype, sites.shapes(), &ranks(sites, &chosen))?;
    let mut slab = vec![0; layout.len() * dtype.bytes()];
    let mut digests: Vec<[Option<DigestTensor>; 2]> = vec![[None; 2]; chosen.len()];
    for (tensor, place) in file.tensors().iter().zip(&places) {
        let (chosen_at, matrix) = match place {
            Place::Copy(of) => {
                expect_copy(file, tensor, of, base)?;
                continue;
            }
            Place::Matrix { chosen, matrix } => (*chosen, *matrix),
        };
        let mut bytes = vec![0; tensor.len];
        file.read(tensor, 0, &mut bytes)?;
        expect_finite(file.path(), tensor, &bytes)?;
        let digest = Sha256::digest(&bytes).into();
        let shape = [tensor.shape[0], tensor.shape[1]];
        digests[chosen_at][matrix as usize] = Some(DigestTensor { dtype: tensor.dtype, shape, digest });
        if tensor.dtype != dtype {
            bytes = widen(tensor.dtype, &bytes).flat_map(f32::to_le_bytes).collect();
        }
        let Module { site, module, .. } = sites.modules()[chosen[chosen_at].module];
        match matrix {
            Matrix::A => layout.write_a(&mut slab, site, module, &bytes)?,
            Matrix::B => layout.write_b(&mut slab, site, module, &bytes)?,
        }
    }
    let generation = digest(sites, &chosen, &digests);
    Ok(HostAdapter { generation, layout, slab })
}

/// Ranks and scales of all modules of all sites, 0 where the adapter does nothing.
pub(super) fn ranks(sites: &Sites, chosen: &[Chosen]) -> Vec<Vec<(u32, f32)>> {
    let mut ranks: Vec<Vec<_>> = sites.shapes().iter().map(|site| vec![(0, 0.0); site.modules.len()]).collect();
    for Chosen { module, rank, scale } in chosen {
        let Module { site, module, .. } = sites.modules()[*module];
        ranks[site][module] = (*rank, *scale);
    }
    ranks
}

/// The generation of modules whose matrices have all been read.
pub(super) fn digest(sites: &Sites, chosen: &[Chosen], digests: &[[Option<DigestTensor>; 2]]) -> Generation {
    let module = |(Chosen { module, rank, scale }, [a, b]): (&Chosen, &[Option<DigestTensor>; 2])| DigestModule {
        path: &sites.modules()[*module].path,
        rank: *rank,
        scale: *scale,
        a: a.expect("every chosen module's A was found in the file"),
        b: b.expect("every chosen module's B was found in the file"),
    };
    generation::digest(chosen.iter().zip(digests).map(module).collect())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Matrix {
    A,
    B,
}

/// What a tensor of the file is.
#[derive(Clone, Debug)]
enum Place {
    /// A matrix of one of the chosen modules.
    Matrix { chosen: usize, matrix: Matrix },
    /// A copy of the base's tensor of this name.
    Copy(String),
}

/// What each tensor is; an error for one that has no place, or not its place's shape, and for a place without a tensor.
fn places(file: &TensorFile, sites: &Sites, chosen: &[Chosen]) -> Result<Vec<Place>, Error> {
    let mut wanted: HashMap<String, (Place, Vec<usize>)> = HashMap::new();
    for (index, Chosen { module, rank, .. }) in chosen.iter().enumerate() {
        let module = &sites.modules()[*module];
        let rank = *rank as usize;
        let (a, b) = names(sites, module);
        let place = |matrix| Place::Matrix { chosen: index, matrix };
        wanted.insert(a, (place(Matrix::A), vec![rank, module.in_features]));
        wanted.insert(b, (place(Matrix::B), vec![module.out_features, rank]));
    }
    let path = || file.path().to_owned();
    let mut places = Vec::with_capacity(file.tensors().len());
    for Tensor { name, shape, .. } in file.tensors() {
        if let Some(of) = copied(sites, name) {
            places.push(Place::Copy(of));
            continue;
        }
        let Some((place, expected)) = wanted.remove(name) else { return Err(strange(file.path(), sites, name)) };
        if *shape != expected {
            return Err(Error::TensorShape { path: path(), name: name.clone(), expected, found: shape.clone() });
        }
        places.push(place);
    }
    match wanted.into_keys().min() {
        Some(name) => Err(Error::TensorMissing { path: path(), name }),
        None => Ok(places),
    }
}

/// What PEFT calls a module's matrices.
fn names(sites: &Sites, module: &Module) -> (String, String) {
    let path = &module.path;
    match sites.shapes()[module.site].kind {
        SiteKind::Linear => (format!("{PREFIX}{path}.lora_A.weight"), format!("{PREFIX}{path}.lora_B.weight")),
        SiteKind::Embedding => (format!("{PREFIX}{path}.lora_embedding_A"), format!("{PREFIX}{path}.lora_embedding_B")),
    }
}

/// The base's tensor that a tensor of this name is a copy of: the embedding's or the head's.
fn copied(sites: &Sites, name: &str) -> Option<String> {
    let path = name.strip_prefix(PREFIX)?.strip_suffix(".weight")?;
    let path = path.strip_suffix(".base_layer").unwrap_or(path);
    let module = sites.modules().iter().rev().take(2).find(|module| module.path == path)?;
    debug_assert!(module.layer.is_none(), "the head's and the embedding's sites are the last two");
    Some(format!("{path}.weight"))
}

fn strange(path: &Path, sites: &Sites, name: &str) -> Error {
    let module = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once(".lora_")).map(|(module, _)| module);
    match sites.modules().iter().find(|known| Some(known.path.as_str()) == module) {
        Some(known) => Error::Malformed {
            path: path.to_owned(),
            reason: format!("tensor `{name}`: the configuration does not choose `{}`, or not so", known.path),
        },
        None => Error::TensorStrange { path: path.to_owned(), name: name.to_owned() },
    }
}

/// The type of all matrices, or the one that holds the values of all.
fn shared_type(tensors: &[Tensor], places: &[Place]) -> DType {
    let matrices = tensors.iter().zip(places).filter(|(_, place)| matches!(place, Place::Matrix { .. }));
    let mut types = matrices.map(|(tensor, _)| tensor.dtype);
    let first = types.next().unwrap_or(DType::F32);
    if types.all(|dtype| dtype == first) { first } else { DType::F32 }
}

fn expect_finite(path: &Path, tensor: &Tensor, bytes: &[u8]) -> Result<(), Error> {
    let finite = match tensor.dtype {
        DType::F32 | DType::U32 => bytes.chunks_exact(4).all(|b| b[3] & 0x7f != 0x7f || b[2] & 0x80 == 0),
        DType::Bf16 => bytes.chunks_exact(2).all(|b| b[1] & 0x7f != 0x7f || b[0] & 0x80 == 0),
        DType::F16 => bytes.chunks_exact(2).all(|b| b[1] & 0x7c != 0x7c),
    };
    if finite {
        return Ok(());
    }
    let (name, found) = (tensor.name.clone(), "a value that is not finite".to_owned());
    Err(Error::TensorType { path: path.to_owned(), name, found, allowed: "finite values" })
}

/// Checks a copy of one of the base's tensors against the base, value for value.
fn expect_copy(file: &TensorFile, tensor: &Tensor, of: &str, base: &dyn BaseTensors) -> Result<(), Error> {
    let differs = |found: &str| Error::TensorType {
        path: file.path().to_owned(),
        name: tensor.name.clone(),
        found: found.to_owned(),
        allowed: "a copy of the base's own values only",
    };
    let own = base.tensor(of).ok_or_else(|| differs("a copy of what the base does not show"))?;
    if own.shape != tensor.shape {
        return Err(differs("a matrix of another shape than the base's"));
    }
    let values = tensor.len / tensor.dtype.bytes();
    let width = own.dtype.bytes();
    if own.bytes.len() != values * width {
        return Err(differs("other values than the base's"));
    }
    let mut bytes = vec![0; COMPARED_VALUES.min(values) * tensor.dtype.bytes()];
    for from in (0..values).step_by(COMPARED_VALUES) {
        let count = COMPARED_VALUES.min(values - from);
        let copy = &mut bytes[..count * tensor.dtype.bytes()];
        file.read(tensor, from, copy)?;
        let own_part = &own.bytes[from * width..][..count * width];
        if !widen(tensor.dtype, copy).eq(widen(own.dtype, own_part)) {
            return Err(differs("other values than the base's"));
        }
    }
    Ok(())
}

/// Values as f32, none of them changed.
fn widen(dtype: DType, bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.chunks_exact(dtype.bytes()).map(move |b| match dtype {
        DType::F32 | DType::U32 => f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
        DType::Bf16 => bf16::from_le_bytes([b[0], b[1]]).to_f32(),
        DType::F16 => f16::from_le_bytes([b[0], b[1]]).to_f32(),
    })
}
