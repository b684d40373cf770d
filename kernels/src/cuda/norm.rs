//! Norms on the device.

use super::device::{DeviceMemory, LaunchError, Stream};
use super::ffi::loam_rms_norm;
use super::rows::{loam_type, start_of};
use crate::backend::RmsNorm;
use crate::error::Error;
use crate::layout::Memory;

/// See [`RmsNorm`]. Refusals are those of every backend, made before anything is launched.
pub fn rms_norm(stream: &Stream, op: RmsNorm<'_, DeviceMemory>) -> Result<Result<(), LaunchError>, Error> {
    op.check()?;
    let (rows, width) = (op.x.rows(), op.x.width());
    let count = |what, value| i32::try_from(value).map_err(|_| Error::TooLarge { what });
    let (rows, width) = (count("the rows of a norm", rows)?, count("the width of a norm", width)?);
    let (out_type, out_stride) = (loam_type(op.out.dtype()), op.out.stride() as i64);
    let out = start_of(&op.out.reading());
    let inverse = op.inverse.as_ref().map(|inverse| (start_of(&inverse.reading()), inverse.stride() as i64));
    let (inverse, inverse_stride) = inverse.unwrap_or((std::ptr::null_mut(), 0));
    // SAFETY: `check` has seen that rows, widths and types fit, and a matrix lies inside its memory.
    let code = unsafe {
        loam_rms_norm(
            start_of(&op.x),
            loam_type(op.x.dtype()),
            op.x.stride() as i64,
            op.weight.address(),
            loam_type(op.weight.dtype()),
            out,
            out_type,
            out_stride,
            inverse.cast(),
            inverse_stride,
            rows,
            width,
            op.epsilon,
            stream.raw(),
        )
    };
    Ok(super::device::checked(code))
}
