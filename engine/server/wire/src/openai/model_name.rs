//! Which adapters answer: `model` names one, `adapters` mixes some, `adapter_id` is LoRAX's word for one.

use loam_engine::fields::{Fields, adapters, text};
use loam_engine::json::Json;
use loam_engine::request::AdapterUse;

use super::body::wrong;
use crate::problem::Problem;

/// The model as the client calls it, and the adapters that it means.
pub(super) struct Model {
    pub(super) name: String,
    /// Whether `name` is an adapter's.
    pub(super) is_adapter: bool,
    /// The field that names an adapter.
    pub(super) field: &'static str,
    pub(super) adapters: Vec<AdapterUse>,
}

/// Reads the name alone. Without one, it is the base's.
pub(super) fn name(fields: &mut Fields, base_names: &[String]) -> Result<Model, Problem> {
    let name = fields.read("model", text)?.unwrap_or_default();
    if name.is_empty() {
        let name = base_names.first().cloned().unwrap_or_default();
        return Ok(Model { name, is_adapter: false, field: "model", adapters: Vec::new() });
    }
    let is_adapter = !base_names.contains(&name);
    let adapters = if is_adapter { vec![AdapterUse { name: name.clone(), weight: 1.0 }] } else { Vec::new() };
    Ok(Model { name, is_adapter, field: "model", adapters })
}

/// Reads the name, and the other ways to say it.
pub(super) fn read(fields: &mut Fields, base_names: &[String]) -> Result<Model, Problem> {
    let mut model = name(fields, base_names)?;
    let mixed = fields.read("adapters", adapters)?.unwrap_or_default();
    let id = fields.read("adapter_id", text)?.unwrap_or_default();
    if let Some(source) = fields.take("adapter_source")
        && source.as_str() != Some("local")
    {
        let allowed = "\"local\" or absent: an adapter is loaded before it is used";
        return Err(wrong("adapter_source", &source.shown(), allowed));
    }
    if let Some(merged) = fields.take("merged_adapters") {
        let allowed = "absent: `adapters` mixes adapters, each with its `name` and `weight`";
        return Err(wrong("merged_adapters", &merged.shown(), allowed));
    }
    let beside = |field: &str, other: &str| {
        let reason = format!("`{field}` stands beside {other}; give one of them");
        Err(Problem::field(field, reason))
    };
    let shown = format!("`model` {}, which is an adapter's name", Json::from(model.name.as_str()).shown());
    match (mixed.is_empty(), id.is_empty()) {
        (false, _) if model.is_adapter => return beside("adapters", &shown),
        (_, false) if model.is_adapter => return beside("adapter_id", &shown),
        (false, false) => return beside("adapter_id", "`adapters`"),
        (false, true) => (model.field, model.adapters) = ("adapters.name", mixed),
        (true, false) => {
            (model.field, model.adapters) = ("adapter_id", vec![AdapterUse { name: id, weight: 1.0 }]);
        }
        (true, true) => {}
    }
    Ok(model)
}
