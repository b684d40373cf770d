//! Configurations of adapters and of models.

use std::path::Path;

use loam_engine::adapter::PeftConfig;
use loam_engine::json::Json;
use loam_engine::model::{ModelConfig, Sites};
use loam_kernels::layout::RANK_MAX;

use super::{refused, sites, soon};

/// The same value without a blank too many, numbers and escapes as this crate writes them.
fn respelled(data: &[u8]) -> String {
    let text = core::str::from_utf8(data).expect("JSON is text");
    serde_json::to_string(&Json::parse(text).expect("it was read before")).expect("a value has a JSON form")
}

/// Adapters' configurations.
pub(crate) fn adapter_config(data: &[u8]) {
    let path = Path::new("adapter_config.json");
    let config = match soon(|| PeftConfig::parse(path, data)) {
        Ok(config) => config,
        Err(error) => return refused(&error),
    };
    let sites = sites();
    let chosen = soon(|| config.choose(&sites));
    let again = PeftConfig::parse(path, respelled(data).as_bytes()).expect("another spelling of the same");
    match (chosen, again.choose(&sites)) {
        (Ok(chosen), again) => {
            assert!(!chosen.is_empty() && chosen.len() <= sites.modules().len());
            assert!(chosen.is_sorted_by(|a, b| a.module < b.module), "each module once: {chosen:?}");
            for one in &chosen {
                assert!((1..=RANK_MAX).contains(&one.rank) && one.scale.is_finite(), "{one:?}");
            }
            assert_eq!(again.expect("it chose before"), chosen);
        }
        (Err(error), again) => {
            refused(&error);
            assert_eq!(again.expect_err("it was refused before").to_string(), error.to_string());
        }
    }
}

/// Models' configurations.
pub(crate) fn model_config(data: &[u8]) {
    let path = Path::new("config.json");
    let config = match ModelConfig::parse(path, data) {
        Ok(config) => config,
        Err(error) => return refused(&error),
    };
    let shape = config.shape;
    assert!(shape.q_heads.is_multiple_of(shape.kv_heads), "{shape:?}");
    assert_eq!(config.windows.len(), shape.layers);
    assert!(config.windows.iter().all(|window| *window != Some(0)), "every row sees itself");
    assert!(config.epsilon.is_finite() && config.epsilon > 0.0, "{}", config.epsilon);
    // Nothing was allocated for what the configuration promises, and every size of it can be multiplied out.
    let modules = Sites::new(&shape).modules().iter().fold(0_u64, |sum, module| {
        let values = (module.in_features as u64).checked_mul(module.out_features as u64).expect("values of a module");
        sum.checked_add(values).expect("values of a model")
    });
    assert!(modules > 0 && config.positions_max.checked_mul(shape.head_dim).is_some());
    let frequencies = config.rope.frequencies().expect("what was accepted has frequencies");
    assert_eq!(frequencies.len(), config.rope.rotary_dim / 2);
    let table = config.rope.table(config.positions_max.min(64)).expect("a table of some positions");
    assert!(table.iter().all(|angle| angle.is_finite()), "{:?}", config.rope);
    let last = frequencies.iter().map(|frequency| frequency * config.positions_max as f64);
    assert!(last.into_iter().all(|angle| angle.is_finite()), "{:?}", config.rope);
    // A key that stands twice is taken as its last, which another spelling has alone; this crate's JSON refuses it.
    if Json::parse(core::str::from_utf8(data).expect("JSON is text")).is_ok() {
        let again = ModelConfig::parse(path, respelled(data).as_bytes());
        assert_eq!(again.expect("another spelling of the same"), config);
    }
}
