//! Compiles the `.proto` files without `protoc`.

use std::path::PathBuf;

use prost::Message as _;

const FILES: [&str; 5] = ["inference", "adapters", "ledger", "provenance", "server"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let paths = FILES.map(|name| format!("loam/v1/{name}.proto"));
    paths.iter().for_each(|path| println!("cargo::rerun-if-changed={path}"));
    let descriptors = protox::compile(&paths, ["."])?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo names a folder for what is made")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    // Generated documentation is the files' own comments; nobody writes more of it.
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
