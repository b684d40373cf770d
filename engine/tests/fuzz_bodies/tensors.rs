//! Files of tensors: the header, and what an adapter takes of the file.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use loam_engine::adapter::{NoBaseTensors, PeftConfig, TENSORS_MAX, TensorFile, load};
use safetensors::SafeTensors;

use super::{refused, sites, soon};

/// The configuration that the seeds' tensors are of.
pub(super) const CONFIG: &str =
    r#"{"peft_type": "LORA", "r": 1, "lora_alpha": 2, "target_modules": ["0.self_attn.q_proj"]}"#;

/// Files of tensors, and adapters of them.
pub(crate) fn tensors(data: &[u8]) {
    let path = Path::new("adapter_model.safetensors");
    let opened = match TensorFile::open(path, file(data)) {
        Ok(opened) => opened,
        Err(error) => return refused(&error),
    };
    header_is_of(&opened, data);
    let config = PeftConfig::parse(Path::new("adapter_config.json"), CONFIG.as_bytes()).expect("a configuration");
    match soon(|| load(&config, &opened, &sites(), &NoBaseTensors)) {
        Err(error) => refused(&error),
        Ok(adapter) => {
            assert_eq!(opened.tensors().len(), 2, "one module was chosen");
            // Its values and its padding, whatever the header says.
            assert!(adapter.slab.len() <= 16 << 10, "{} bytes", adapter.slab.len());
            let again = load(&config, &opened, &sites(), &NoBaseTensors).expect("it was loaded before");
            assert_eq!((again.generation, again.slab), (adapter.generation, adapter.slab));
        }
    }
}

/// Every byte after the header is one tensor's, and the format's own reader finds the same tensors there.
fn header_is_of(opened: &TensorFile, data: &[u8]) {
    let tensors = opened.tensors();
    assert!(tensors.len() <= TENSORS_MAX);
    let names: HashSet<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names.len(), tensors.len(), "each name once");
    let theirs = SafeTensors::deserialize(data).expect("what is accepted here is accepted by others");
    assert_eq!(theirs.len(), tensors.len());
    let mut next = opened.data_at();
    for tensor in tensors {
        assert_eq!(opened.data_at() + tensor.at, next);
        assert_eq!(tensor.shape.iter().product::<usize>() * tensor.dtype.bytes(), tensor.len);
        let mut bytes = vec![0; tensor.len];
        opened.read(tensor, 0, &mut bytes).expect("its bytes are in the file");
        let same = theirs.tensor(&tensor.name).expect("a tensor of the same name");
        assert_eq!((same.shape(), same.data()), (tensor.shape.as_slice(), bytes.as_slice()));
        assert_eq!(same.dtype().to_string(), tensor.dtype.to_string().to_uppercase());
        next += tensor.len as u64;
    }
    assert_eq!(next, data.len() as u64);
}

fn file(data: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(data).expect("it can be written");
    file
}
