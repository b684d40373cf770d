//! Witness cosignatures (C2SP tlog-cosignature, `cosignature/v1` with Ed25519): "at this time I knew of no fork".

use crate::error::Error;
use crate::note::{KeyKind, Note, VerifierKey};

/// Finds and checks this witness's cosignature on a checkpoint, and returns its time in seconds since 1970.
///
/// Without one, `None`. One in the witness's name that fails spoils the note.
pub fn cosigned_at(note: &Note, witness: &VerifierKey) -> Result<Option<u64>, Error> {
    if witness.kind() != KeyKind::CosignatureV1 {
        return Err(Error::WitnessKey { key: witness.name().to_owned() });
    }
    let mut latest = None;
    for signature in note.signatures_of(witness) {
        let bad = || Error::Signature { key: witness.name().to_owned() };
        let (time, signature) = signature.split_first_chunk::<8>().ok_or_else(bad)?;
        let time = u64::from_be_bytes(*time);
        i64::try_from(time).map_err(|_| bad())?;
        witness.check(cosigned_text(time, note.text()).as_bytes(), signature)?;
        latest = latest.max(Some(time));
    }
    Ok(latest)
}

/// What a witness signs.
fn cosigned_text(time_s: u64, checkpoint: &str) -> String {
    format!("cosignature/v1\ntime {time_s}\n{checkpoint}")
}
