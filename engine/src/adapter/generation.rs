//! What an adapter is: one digest over all that determines what it computes.

use loam_kernels::layout::DType;
use loam_ledger_core::Hash;
use sha2::{Digest as _, Sha256};

use super::Generation;

/// Separates these digests from all others.
const LABEL: &[u8] = b"loam/generation/v1\0";

/// A module that an adapter adds to, as the digest has it.
pub(super) struct DigestModule<'a> {
    /// As the model's own files call it.
    pub(super) path: &'a str,
    /// Its rank.
    pub(super) rank: u32,
    /// What its delta is multiplied by.
    pub(super) scale: f32,
    /// Its two matrices.
    pub(super) a: DigestTensor,
    /// The second.
    pub(super) b: DigestTensor,
}

/// A matrix, as the digest has it.
#[derive(Clone, Copy)]
pub(super) struct DigestTensor {
    /// Type of its values in the file.
    pub(super) dtype: DType,
    /// Rows and columns in the file.
    pub(super) shape: [usize; 2],
    /// SHA-256 of its bytes in the file.
    pub(super) digest: [u8; 32],
}

/// A generation is SHA-256 over these bytes. Integers are unsigned and little-endian; modules come in the order of their
/// paths' bytes, whatever order files have.
///
/// ```text
/// generation = label  count:u64  module*
/// label      = "loam/generation/v1" 0x00
/// module     = path_length:u32  path  rank:u32  scale:u32  matrix(A)  matrix(B)
/// scale      = the bits of the scale as IEEE binary32
/// matrix     = type:u8  rows:u64  columns:u64  SHA-256 of the values as stored
/// type       = 0 for F32, 1 for BF16, 2 for F16
/// ```
///
/// A path is the module's in the model's own files, as `model.layers.0.self_attn.q_proj`. `A` is `[rank, inputs]` and `B`
/// `[outputs, rank]`, as PEFT stores them. Names, fields of the configuration that change nothing, and copies of the
/// base's own tensors are no part of it.
pub(super) fn digest(mut modules: Vec<DigestModule<'_>>) -> Generation {
    modules.sort_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
    let mut hash = Sha256::new().chain_update(LABEL).chain_update((modules.len() as u64).to_le_bytes());
    for DigestModule { path, rank, scale, a, b } in &modules {
        let path_length = u32::try_from(path.len()).expect("a path of a few dozen bytes");
        hash.update(path_length.to_le_bytes());
        hash.update(path);
        hash.update(rank.to_le_bytes());
        hash.update(scale.to_bits().to_le_bytes());
        for matrix in [a, b] {
            let code = match matrix.dtype {
                DType::F32 => 0,
                DType::Bf16 => 1,
                DType::F16 => 2,
                DType::U32 => unreachable!("adapters hold floating-point values"),
            };
            hash.update([code]);
            hash.update((matrix.shape[0] as u64).to_le_bytes());
            hash.update((matrix.shape[1] as u64).to_le_bytes());
            hash.update(matrix.digest);
        }
    }
    Generation(Hash(hash.finalize().into()))
}
