//! stub
use loam_wire::{Kind, Problem};
use std::sync::Arc;
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Infer,
    AuditSelf,
    AuditAll,
    RecordsWrite,
    Admin,
}
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) name: Arc<str>,
    pub(crate) tenant: Arc<str>,
}
pub(crate) struct Permit;
pub(crate) struct Keys;
impl Keys {
    pub(crate) fn from_settings(_: &crate::settings::Settings) -> anyhow::Result<Self> {
        Ok(Self)
    }
    pub(crate) fn identify(&self, _: Option<&str>) -> Result<Caller, Problem> {
        Ok(Caller { name: "local".into(), tenant: "default".into() })
    }
}
impl Caller {
    pub(crate) fn need(&self, _: Scope) -> Result<(), Problem> {
        if false {
            return Err(Problem::new(Kind::Forbidden, ""));
        }
        Ok(())
    }
    pub(crate) fn admit(&self) -> Result<Permit, Problem> {
        Ok(Permit)
    }
}
pub(crate) fn bearer(header: &str) -> Option<&str> {
    header.strip_prefix("Bearer ")
}
