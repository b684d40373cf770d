//! `adapter_model.safetensors`: a header that is believed in nothing, and bytes that are read once.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use loam_kernels::layout::DType;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use crate::error::Error;

/// What PEFT calls the file.
pub const TENSORS_FILE: &str = "adapter_model.safetensors";

/// Bytes of a header. A large model's adapter has a few hundred thousand.
pub const HEADER_BYTES_MAX: u64 = 16 << 20;

/// Tensors of a file.
pub const TENSORS_MAX: usize = 1 << 16;

/// The types that adapters are computed from.
const ALLOWED: &str = "F32, BF16 or F16";

/// An open file, its header checked against its length.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    file: File,
    data_at: u64,
    tensors: Vec<Tensor>,
}

/// One tensor of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Type of its values.
    pub dtype: DType,
    /// How many values in each dimension.
    pub shape: Vec<usize>,
    /// Where its bytes begin, from the header's end.
    pub at: u64,
    /// How many bytes it has.
    pub len: usize,
}

impl TensorFile {
    /// Reads and checks the header of an open file; `path` is what errors call it.
    pub fn open(path: &Path, file: File) -> Result<Self, Error> {
        let malformed = |reason: String| Error::Malformed { path: path.to_owned(), reason };
        let failed = |source| Error::File { path: path.to_owned(), source };
        let file_len = file.metadata().map_err(failed)?.len();
        let Some(rest) = file_len.checked_sub(8) else {
            return Err(malformed(format!("{file_len} bytes are no safetensors file")));
        };
        let mut length = [0; 8];
        file.read_exact_at(&mut length, 0).map_err(failed)?;
        let header_len = u64::from_le_bytes(length);
        // Before anything is allocated for it.
        if header_len > rest || header_len > HEADER_BYTES_MAX {
            let most = rest.min(HEADER_BYTES_MAX);
            return Err(malformed(format!("a header of {header_len} bytes where at most {most} can be")));
        }
        let mut header = vec![0; usize::try_from(header_len).expect("below the maximum")];
        file.read_exact_at(&mut header, 8).map_err(failed)?;
        let tensors = read_header(path, &header, rest - header_len)?;
        Ok(Self { path: path.to_owned(), file, data_at: 8 + header_len, tensors })
    }

    /// Its tensors, in the order of their bytes.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// Reads the bytes of `tensor` from its value `from` on, as many as `bytes` takes.
    pub fn read(&self, tensor: &Tensor, from: usize, bytes: &mut [u8]) -> Result<(), Error> {
        let at = self.data_at + tensor.at + (from * tensor.dtype.bytes()) as u64;
        let read = self.file.read_exact_at(bytes, at);
        read.map_err(|source| Error::File { path: self.path.clone(), source })
    }

    /// Where the first tensor's bytes begin.
    pub const fn data_at(&self) -> u64 {
        self.data_at
    }

    /// What errors call it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file.
    pub(super) const fn file(&self) -> &File {
        &self.file
    }
}

/// Reads a header's JSON. All bytes after it must be some tensor's, and no two tensors' the same.
fn read_header(path: &Path, header: &[u8], data_len: u64) -> Result<Vec<Tensor>, Error> {
    let entries: Entries =
        serde_json::from_slice(header).map_err(|e| Error::Json { path: path.to_owned(), reason: e.to_string() })?;
    let mut tensors = Vec::with_capacity(entries.0.len());
    for (name, entry) in entries.0 {
        tensors.push(entry.check(path, name)?);
    }
    tensors.sort_by_key(|tensor| (tensor.at, tensor.len));
    let malformed = |reason: String| Error::Malformed { path: path.to_owned(), reason };
    let mut next = 0;
    for tensor in &tensors {
        if tensor.at != next {
            let Tensor { name, at, .. } = tensor;
            return Err(malformed(format!(
                "tensor {name:?} begins at byte {at}, and what lies before it ends at {next}"
            )));
        }
        next = tensor.at + tensor.len as u64;
    }
    if next != data_len {
        return Err(malformed(format!("its tensors have {next} bytes together, and {data_len} follow its header")));
    }
    Ok(tensors)
}

/// A header in its own order, without `__metadata__`.
struct Entries(Vec<(String, Entry)>);

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

impl Entry {
    fn check(self, path: &Path, name: String) -> Result<Tensor, Error> {
        let dtype = match self.dtype.as_str() {
            "F32" => DType::F32,
            "BF16" => DType::Bf16,
            "F16" => DType::F16,
            _ => return Err(Error::TensorType { path: path.to_owned(), name, found: self.dtype, allowed: ALLOWED }),
        };
        let (from, to) = self.data_offsets;
        let shape: Option<Vec<usize>> = self.shape.iter().map(|size| usize::try_from(*size).ok()).collect();
        let product = |shape: &Vec<usize>| shape.iter().try_fold(dtype.bytes(), |len, size| len.checked_mul(*size));
        let len = shape.as_ref().and_then(product);
        match (shape, len) {
            (Some(shape), Some(len)) if to.checked_sub(from) == Some(len as u64) => {
                Ok(Tensor { name, dtype, shape, at: from, len })
            }
            _ => {
                let shape = self.shape;
                let reason =
                    format!("tensor {name:?} of shape {shape:?} and type {dtype} lies at bytes {from} to {to}");
                Err(Error::Malformed { path: path.to_owned(), reason })
            }
        }
    }
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a safetensors header")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut entries = Vec::new();
        let mut seen = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if !seen.insert(name.clone()) {
                return Err(A::Error::custom(format!("key {name:?} comes twice")));
            }
            if name == "__metadata__" {
                // What it says changes nothing, but the format has texts there, and other readers refuse all else.
                map.next_value::<HashMap<String, String>>()?;
                continue;
            }
            if entries.len() == TENSORS_MAX {
                return Err(A::Error::custom(format!("more than {TENSORS_MAX} tensors")));
            }
            let entry = map.next_value()?;
            entries.push((name, entry));
        }
        Ok(Entries(entries))
    }
}
