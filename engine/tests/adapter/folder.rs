//! Folders with an adapter's files, made to order.

use std::fs;
use std::path::{Path, PathBuf};

use loam_engine::Error;
use loam_engine::adapter::{
    BaseTensors, CONFIG_FILE, HostAdapter, NoBaseTensors, PeftConfig, TENSORS_FILE, TensorFile, load,
};
use loam_engine::model::{ModelShape, Sites};

pub(crate) fn golden(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/golden").join(model)
}

/// The sites of one of the golden models.
pub(crate) fn sites_of(model: &str) -> Sites {
    let path = golden(model).join("base/config.json");
    let config: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let known = |field: &str| config[field].as_u64().map(|size| usize::try_from(size).unwrap());
    let size = |field: &str| known(field).unwrap();
    Sites::new(&ModelShape {
        vocabulary: size("vocab_size"),
        hidden: size("hidden_size"),
        intermediate: size("intermediate_size"),
        layers: size("num_hidden_layers"),
        q_heads: size("num_attention_heads"),
        kv_heads: size("num_key_value_heads"),
        head_dim: known("head_dim").unwrap_or_else(|| size("hidden_size") / size("num_attention_heads")),
    })
}

pub(crate) fn load_folder(folder: &Path, sites: &Sites, base: &dyn BaseTensors) -> Result<HostAdapter, Error> {
    let config = PeftConfig::read(folder)?;
    let path = folder.join(TENSORS_FILE);
    let file = TensorFile::open(&path, fs::File::open(&path).unwrap())?;
    load(&config, &file, sites, base)
}

pub(crate) fn load_alone(folder: &Path, sites: &Sites) -> Result<HostAdapter, Error> {
    load_folder(folder, sites, &NoBaseTensors)
}

/// A configuration's text in a folder of a golden adapter.
pub(crate) fn config_text(folder: &Path) -> String {
    fs::read_to_string(folder.join(CONFIG_FILE)).unwrap()
}
