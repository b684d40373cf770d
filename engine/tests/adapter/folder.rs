//! Folders with an adapter's files: PEFT's own, and some made to order.

use std::fs;
use std::path::{Path, PathBuf};

use loam_engine::Error;
use loam_engine::adapter::{
    BaseTensors, CONFIG_FILE, HostAdapter, NoBaseTensors, PeftConfig, TENSORS_FILE, TensorFile, load,
};
use loam_engine::model::{ModelShape, Sites};
use tempfile::TempDir;

/// A folder of the golden data.
pub(crate) fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/golden").join(path)
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

/// Sites of a model that fits on a page.
pub(crate) fn small_sites() -> Sites {
    let (vocabulary, hidden, intermediate) = (20, 8, 12);
    Sites::new(&ModelShape { vocabulary, hidden, intermediate, layers: 3, q_heads: 4, kv_heads: 2, head_dim: 2 })
}

pub(crate) fn load_folder(folder: &Path, sites: &Sites, base: &dyn BaseTensors) -> Result<HostAdapter, Error> {
    let config = PeftConfig::read(folder)?;
    let path = folder.join(TENSORS_FILE);
    load(&config, &TensorFile::open(&path, fs::File::open(&path).unwrap())?, sites, base)
}

pub(crate) fn load_alone(folder: &Path, sites: &Sites) -> Result<HostAdapter, Error> {
    load_folder(folder, sites, &NoBaseTensors)
}

/// A tensor to be written.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) name: String,
    pub(crate) dtype: &'static str,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

impl Made {
    /// Values that differ from tensor to tensor and from place to place, all of them exact in every type.
    pub(crate) fn new(name: &str, dtype: &'static str, shape: &[usize]) -> Self {
        let first = name.bytes().fold(7_usize, |sum, byte| (31 * sum + usize::from(byte)) % 1009);
        let values = (0..shape.iter().product()).map(|at: usize| ((first + at) % 61) as f32 / 8.0 - 3.0);
        let bytes = match dtype {
            "F16" => values.flat_map(|value| half::f16::from_f32(value).to_le_bytes()).collect(),
            "BF16" => values.flat_map(|value| half::bf16::from_f32(value).to_le_bytes()).collect(),
            _ => values.flat_map(f32::to_le_bytes).collect(),
        };
        Self { name: name.to_owned(), dtype, shape: shape.to_vec(), bytes }
    }
}

/// The tensors that PEFT would save for these modules at these ranks.
pub(crate) fn tensors(sites: &Sites, dtype: &'static str, modules: &[(&str, usize)]) -> Vec<Made> {
    let pair = |(path, rank): &(&str, usize)| {
        let module = sites.modules().iter().find(|module| module.path == *path).unwrap();
        let embedding = module.site == sites.embedding();
        let (a, b) =
            if embedding { ("lora_embedding_A", "lora_embedding_B") } else { ("lora_A.weight", "lora_B.weight") };
        let name = |matrix: &str| format!("base_model.model.{path}.{matrix}");
        [
            Made::new(&name(a), dtype, &[*rank, module.in_features]),
            Made::new(&name(b), dtype, &[module.out_features, *rank]),
        ]
    };
    modules.iter().flat_map(pair).collect()
}

/// A safetensors file of these tensors, in this order.
pub(crate) fn safetensors(tensors: &[Made]) -> Vec<u8> {
    let mut header = r#"{"__metadata__":{"format":"pt"}"#.to_owned();
    let mut data = Vec::new();
    for Made { name, dtype, shape, bytes } in tensors {
        let (from, to) = (data.len(), data.len() + bytes.len());
        header += &format!(r#","{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{from},{to}]}}"#);
        data.extend_from_slice(bytes);
    }
    header.push('}');
    with_header(&header, &data)
}

pub(crate) fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(data);
    file
}

/// A configuration with `r` 2 and `lora_alpha` 4, and these fields beside or in place of others.
pub(crate) fn config(fields: &str) -> String {
    let mut text = r#"{"peft_type": "LORA""#.to_owned();
    for (name, value) in [("r", "2"), ("lora_alpha", "4"), ("target_modules", r#"["q_proj"]"#)] {
        if !fields.contains(&format!("\"{name}\":")) {
            text += &format!(", \"{name}\": {value}");
        }
    }
    if fields.is_empty() { text + "}" } else { format!("{text}, {fields}}}") }
}

/// Writes an adapter's two files into a folder, which is made if need be.
pub(crate) fn write(folder: &Path, config: &str, tensors: &[u8]) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join(CONFIG_FILE), config).unwrap();
    fs::write(folder.join(TENSORS_FILE), tensors).unwrap();
}

/// An adapter in a folder of its own.
pub(crate) fn folder(config: &str, tensors: &[u8]) -> TempDir {
    let folder = TempDir::new().unwrap();
    write(folder.path(), config, tensors);
    folder
}

/// All of q_proj in the small model, which is what [`config`] without fields wants.
pub(crate) fn q_tensors(dtype: &'static str) -> Vec<Made> {
    let modules = [0, 1, 2].map(|layer| format!("model.layers.{layer}.self_attn.q_proj"));
    let modules: Vec<_> = modules.iter().map(|path| (path.as_str(), 2)).collect();
    tensors(&small_sites(), dtype, &modules)
}

/// The error's text, which is what people see.
#[track_caller]
pub(crate) fn refusal<T>(result: Result<T, Error>) -> String {
    match result {
        Ok(_) => panic!("it was accepted"),
        Err(error) => error.to_string(),
    }
}

/// The field that a configuration is refused by.
#[track_caller]
pub(crate) fn refused_field<T>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::Field { field, .. }) => field,
        Err(other) => panic!("refused, but by no field: {other}"),
        Ok(_) => panic!("it was accepted"),
    }
}
