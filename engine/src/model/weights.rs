//! A model's tensors: in safetensors, single or sharded, mapped or copied; or made up from a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use loam_kernels::backend::{Device, Source};
use loam_kernels::layout::DType;
use loam_kernels::mapped::Mapped;

use super::digest::Stamp;
use super::dummy;
use crate::adapter::{BaseTensor, BaseTensors, Tensor, TensorFile};
use crate::error::Error;

/// Bytes of an index of files.
const INDEX_BYTES_MAX: u64 = 64 << 20;

/// How far the reading of a model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes read so far.
    pub bytes_done: u64,
    /// Bytes in all.
    pub bytes_total: u64,
}

/// Where weights lie while they are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Residence {
    /// Copied to memory: slower to start, faster to read, and safe from whoever writes to the files.
    #[default]
    Copied,
    /// In their files, which must not change meanwhile; other processes share them.
    Mapped,
}

/// All tensors of a model.
pub struct Weights {
    pub(super) folder: PathBuf,
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    Files { files: Vec<Held>, tensors: BTreeMap<String, Place> },
    Dummy { seed: u64, dtype: DType },
}

/// One file, and what it was when it was read.
pub(super) struct Held {
    pub(super) file: Arc<Mapped>,
    pub(super) stamp: Stamp,
}

/// A tensor that a model has.
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
}

impl Wanted {
    fn values(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Where a tensor lies.
pub(super) struct Place {
    file: usize,
    dtype: DType,
    shape: Vec<usize>,
    offset: u64,
    bytes: u64,
}

impl Weights {
    /// Opens a folder's safetensors. `progress` hears of copying; mapping takes no time.
    pub fn open(folder: &Path, residence: Residence, progress: &mut dyn FnMut(Progress)) -> Result<Self, Error> {
        let paths = shards(folder)?;
        let stamps = paths.iter().map(|path| Stamp::of(path)).collect::<Result<Vec<_>, _>>()?;
        let bytes_total = stamps.iter().map(|stamp| stamp.bytes).sum();
        let (mut files, mut tensors, mut bytes_done) = (Vec::new(), BTreeMap::new(), 0);
        for (path, stamp) in paths.into_iter().zip(stamps) {
            for (name, place) in header(&path, files.len())? {
                if tensors.insert(name.clone(), place).is_some() {
                    let reason = format!("tensor `{name}` is in two files");
                    return Err(Error::Malformed { path, reason });
                }
            }
            let file = match residence {
                Residence::Mapped => Mapped::open(&path)?,
                Residence::Copied => Mapped::read(&path)?,
            };
            // The header, the bytes and the digest must be of one file.
            if !stamp.is_of(&path)? {
                return Err(Error::Malformed { path, reason: "it changed while it was read".to_owned() });
            }
            bytes_done += stamp.bytes;
            files.push(Held { file: Arc::new(file), stamp });
            if residence == Residence::Copied {
                progress(Progress { bytes_done, bytes_total });
            }
        }
        Ok(Self { folder: folder.to_owned(), kind: Kind::Files { files, tensors } })
    }

    /// Random weights that follow from a seed.
    pub fn dummy(folder: &Path, seed: u64, dtype: DType) -> Self {
        Self { folder: folder.to_owned(), kind: Kind::Dummy { seed, dtype } }
    }

    /// How many bytes they are; no file says it of random ones.
    pub(crate) fn bytes(&self) -> Option<usize> {
        match &self.kind {
            Kind::Files { tensors, .. } => Some(tensors.values().map(|place| place.bytes as usize).sum()),
            Kind::Dummy { .. } => None,
        }
    }

    /// A tensor's values on a device, if it has the shape that belongs there.
    pub(super) fn load<D: Device>(&self, device: &D, wanted: &Wanted) -> Result<D::Memory, Error> {
        if let Kind::Files { files, tensors } = &self.kind {
            let place = self.place(tensors, wanted)?;
            // A header of odd length puts values where they cannot be read in place.
            if place.offset.is_multiple_of(place.dtype.bytes() as u64) {
                let source = Source { file: Arc::clone(&files[place.file].file), offset: place.offset };
                return Ok(device.load(&source, place.dtype, wanted.values())?);
            }
        }
        self.load_joined(device, std::slice::from_ref(wanted))
    }

    /// Tensors of one type behind one another, in one memory.
    pub(super) fn load_joined<D: Device>(&self, device: &D, wanted: &[Wanted]) -> Result<D::Memory, Error> {
        let dtype = wanted.first().map_or(Ok(DType::F32), |first| self.dtype(first))?;
        let mut memory = device.allocate(dtype, wanted.iter().map(Wanted::values).sum())?;
        let mut from = 0;
        for tensor in wanted {
            match &self.kind {
                Kind::Dummy { seed, dtype } => {
                    let write = |at, bytes: &[u8]| device.write(&mut memory, from + at, bytes);
                    dummy::values(*seed, &tensor.name, &tensor.shape, *dtype, write)?;
                }
                Kind::Files { files, tensors } => {
                    let place = self.place(tensors, tensor)?;
                    let stored = files[place.file].file.range(place.offset..place.offset + place.bytes)?;
                    device.write(&mut memory, from, stored)?;
                }
            }
            from += tensor.values();
        }
        Ok(memory)
    }

    /// The type that a tensor is stored in.
    pub(super) fn dtype(&self, wanted: &Wanted) -> Result<DType, Error> {
        match &self.kind {
            Kind::Dummy { dtype, .. } => Ok(*dtype),
            Kind::Files { tensors, .. } => Ok(self.place(tensors, wanted)?.dtype),
        }
    }

    fn place<'a>(&self, tensors: &'a BTreeMap<String, Place>, wanted: &Wanted) -> Result<&'a Place, Error> {
        let (path, name) = (self.folder.clone(), wanted.name.clone());
        let Some(place) = tensors.get(&name) else { return Err(Error::TensorMissing { path, name }) };
        if place.shape != wanted.shape {
            let (expected, found) = (wanted.shape.clone(), place.shape.clone());
            return Err(Error::TensorShape { path, name, expected, found });
        }
        Ok(place)
    }

    /// Refuses tensors that nothing of the model takes.
    pub(super) fn expect_all_known(&self, known: &BTreeSet<String>) -> Result<(), Error> {
        let Kind::Files { tensors, .. } = &self.kind else { return Ok(()) };
        let strange = |name: &&String| !known.contains(*name) && !name.ends_with("rotary_emb.inv_freq");
        match tensors.keys().find(strange) {
            None => Ok(()),
            Some(name) => Err(Error::TensorStrange { path: self.folder.clone(), name: name.clone() }),
        }
    }

    /// Refuses a head that a file repeats under its own name, but with other values: which of the two was meant?
    pub(super) fn expect_tied(&self) -> Result<(), Error> {
        let Kind::Files { files, tensors } = &self.kind else { return Ok(()) };
        let Some(head) = tensors.get("lm_head.weight") else { return Ok(()) };
        let bytes = |place: &Place| files[place.file].file.range(place.offset..place.offset + place.bytes);
        if let Some(embedding) = tensors.get("model.embed_tokens.weight")
            && embedding.dtype == head.dtype
            && embedding.shape == head.shape
            && bytes(embedding)? == bytes(head)?
        {
            return Ok(());
        }
        let reason = "`tie_word_embeddings` is true, but tensor `lm_head.weight` is another than \
            `model.embed_tokens.weight`: say false, or leave the tensor out"
            .to_owned();
        Err(Error::Malformed { path: self.folder.clone(), reason })
    }
}

/// Adapters that bring a copy of the base's head or embedding are held against these.
impl BaseTensors for Weights {
    fn tensor(&self, name: &str) -> Option<BaseTensor<'_>> {
        let Kind::Files { files, tensors } = &self.kind else { return None };
        let tied = || tensors.get("model.embed_tokens.weight").filter(|_| name == "lm_head.weight");
        let place = tensors.get(name).or_else(tied)?;
        let bytes = files[place.file].file.range(place.offset..place.offset + place.bytes).ok()?;
        Some(BaseTensor { dtype: place.dtype, shape: &place.shape, bytes })
    }
}

/// The files that hold the tensors. A single file comes before an index, as in Transformers.
fn shards(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let (single, index) = (folder.join("model.safetensors"), folder.join("model.safetensors.index.json"));
    // A link that leads nowhere is there: whoever opens it says so.
    let there = |path: &Path| path.symlink_metadata().is_ok();
    if there(&single) {
        return Ok(vec![single]);
    }
    if !there(&index) {
        let reason = "no model.safetensors and no model.safetensors.index.json; weights as pickles are not read, for \
            they can run code: convert them with Transformers' save_pretrained";
        return Err(Error::Malformed { path: folder.to_owned(), reason: reason.to_owned() });
    }
    let failed = |source| Error::File { path: index.clone(), source };
    let json = |reason: String| Error::Json { path: index.clone(), reason };
    let bytes = std::fs::metadata(&index).map_err(failed)?.len();
    if bytes > INDEX_BYTES_MAX {
        let reason = format!("{bytes} bytes; an index has at most {INDEX_BYTES_MAX}");
        return Err(Error::Malformed { path: index, reason });
    }
    let bytes = std::fs::read(&index).map_err(failed)?;
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| json(error.to_string()))?;
    let map = value["weight_map"].as_object().ok_or_else(|| json("`weight_map` is no object".to_owned()))?;
    let mut names = BTreeSet::new();
    for name in map.values() {
        let plain = name.as_str().filter(|name| {
            let mut parts = Path::new(name).components();
            matches!((parts.next(), parts.next()), (Some(std::path::Component::Normal(_)), None))
        });
        let refused = || json(format!("`weight_map` names {}, which is no file's name", shown(name)));
        names.insert(plain.ok_or_else(refused)?);
    }
    if names.is_empty() {
        return Err(json("`weight_map` is empty".to_owned()));
    }
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

/// What stands in an error, cut to where a person stops reading.
pub(super) fn shown(value: &serde_json::Value) -> String {
    let text = value.to_string();
    if text.len() > 80 { format!("{}...", text.chars().take(77).collect::<String>()) } else { text }
}

/// What a file says that it holds, checked against its length.
fn header(path: &Path, file: usize) -> Result<Vec<(String, Place)>, Error> {
    let opened = File::open(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
    let header = TensorFile::open(path, opened)?;
    let place = |tensor: &Tensor| Place {
        file,
        dtype: tensor.dtype,
        shape: tensor.shape.clone(),
        offset: header.data_at() + tensor.at,
        bytes: tensor.len as u64,
    };
    Ok(header.tensors().iter().map(|tensor| (tensor.name.clone(), place(tensor))).collect())
}
