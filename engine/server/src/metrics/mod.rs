//! stub
use loam_ledger_core::row::Finish;
use loam_wire::Kind;
#[derive(Default)]
pub(crate) struct Meters;
impl Meters {
    pub(crate) fn receipt(&self, _: f64) {}
    pub(crate) fn refused(&self, _: Kind) {}
    pub(crate) fn began(&self, _: u32, _: Option<u32>) {}
    pub(crate) fn first_token(&self, _: f64) {}
    pub(crate) fn tokens(&self, _: u64, _: f64) {}
    pub(crate) fn finished(&self, _: Finish, _: u64, _: u64, _: f64) {}
}
