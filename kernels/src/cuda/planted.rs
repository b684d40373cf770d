//! Kernels with a fault in them, each with a twin that has none: they show that the emulation sees what it is for.

use super::device::{DeviceMemory, LaunchError, Stream};
use super::ffi::emulated::{Given, PLANTED};
use crate::error::Error;

/// The names of all faults.
pub fn names() -> impl Iterator<Item = &'static str> {
    PLANTED.iter().map(|(name, _)| *name)
}

/// What a planted kernel works on.
#[derive(Debug)]
pub struct Sheet {
    /// 1,024 values of f32, to read.
    pub input: DeviceMemory,
    /// As many, to write.
    pub out: DeviceMemory,
    /// As many, which a kernel has written.
    pub neighbour: DeviceMemory,
    /// One zero of u32.
    pub ticket: DeviceMemory,
}

impl Sheet {
    /// `input` and `neighbour` hold `values`.
    pub fn new(values: &[f32; 1024]) -> Result<Self, Error> {
        let sheet = Self {
            input: DeviceMemory::of("in", values)?,
            out: DeviceMemory::of("out", &[0.0_f32; 1024])?,
            neighbour: DeviceMemory::of("neighbour", &[0.0_f32; 1024])?,
            ticket: DeviceMemory::of("ticket", &[0_u32])?,
        };
        // A kernel that is right copies the input there.
        let stream = Stream::default();
        sheet.launch(&stream, "barrier_not_reached", false, &sheet.neighbour)?;
        Ok(sheet)
    }

    /// Runs a fault's kernel, or its twin without.
    pub fn run(&self, stream: &Stream, name: &str, fault: bool) -> Result<(), LaunchError> {
        self.launch(stream, name, fault, &self.out)
    }

    fn launch(&self, stream: &Stream, name: &str, fault: bool, out: &DeviceMemory) -> Result<(), LaunchError> {
        let (_, launcher) = PLANTED.iter().find(|(known, _)| *known == name).expect("a planted fault of this name");
        let given = Given {
            input: self.input.address().cast(),
            out: out.address().cast(),
            neighbour: self.neighbour.address().cast(),
            ticket: self.ticket.address().cast(),
            stream: stream.raw(),
        };
        // SAFETY: all are alive; what a fault does beyond them the emulation refuses before it is done.
        super::device::checked(unsafe { launcher(fault, &raw const given) })
    }
}
