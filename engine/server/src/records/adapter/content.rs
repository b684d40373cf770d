//! What an adapter and its base are, by the digests that servers have of them: as typed, or computed from folders.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Args;
use loam_engine::adapter::{BaseTensors, Catalog, CatalogOptions, Expected, Source, Way};
use loam_engine::model::{ModelConfig, Residence, Sites, Weights};
use loam_ledger_core::Hash;

use crate::generate::digest_cache;
use crate::progress::Bar;

/// Which adapter, over which base model.
#[derive(Args)]
pub(super) struct Content {
    /// The adapter's generation, as `loam adapter add` prints it: 64 hexadecimal digits.
    #[arg(long, value_name = "HEX", value_parser = hash, conflicts_with = "folder")]
    generation: Option<Hash>,
    /// The adapter's folder, as PEFT saves it: its generation is computed as servers do. That needs --model.
    #[arg(long, value_name = "PEFT_DIR", requires = "model")]
    folder: Option<PathBuf>,
    /// The base model's digest: 64 hexadecimal digits.
    #[arg(long, value_name = "HEX", value_parser = hash, conflicts_with = "model")]
    base: Option<Hash>,
    /// The base model's folder: its digest is computed as servers do.
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
}

/// What records say of both.
pub(super) struct Digests {
    pub(super) generation: Option<Hash>,
    pub(super) base: Hash,
}

impl Content {
    /// Reads the folders that were named.
    pub(super) fn digests(&self) -> anyhow::Result<Digests> {
        let Some(model) = &self.model else {
            let base = self.base.context("name the base model: --base HEX, or --model DIR to compute its digest")?;
            return Ok(Digests { generation: self.generation, base });
        };
        let mut bar = Bar::new("reading the model");
        let weights = Weights::open(model, Residence::Mapped, &mut |read| bar.show(read));
        let weights = weights.with_context(|| format!("--model {}", model.display()))?;
        let base = weights.digest(digest_cache().as_deref(), &mut |read| bar.show(read));
        bar.end();
        let generation = match &self.folder {
            Some(folder) => Some(generation(folder, model, weights)?),
            None => self.generation,
        };
        Ok(Digests { generation, base: base? })
    }
}

/// The generation of an adapter's folder, as a server that loads it has it.
fn generation(folder: &Path, model: &Path, weights: Weights) -> anyhow::Result<Hash> {
    let shown = || format!("--folder {}", folder.display());
    let sites = Arc::new(Sites::new(&ModelConfig::read(model)?.shape));
    let base: Arc<dyn BaseTensors> = Arc::new(weights);
    let any = CatalogOptions { roots: Vec::new(), way: Way::Any, dummies: false, rank_max: None, sites, base };
    let source = Source::Folder(folder.canonicalize().with_context(shown)?);
    let loaded = Catalog::new(any)?.load("published", &source, Expected::Nothing).with_context(shown)?;
    Ok(loaded.adapter.generation.0)
}

/// A digest, for the command line.
pub(super) fn hash(text: &str) -> Result<Hash, String> {
    Hash::from_hex(text).map_err(|_| "64 hexadecimal digits".to_owned())
}

/// A file's digest, for what a record says of a training; zeros where no file is named.
pub(super) fn digest_of_file(path: Option<&Path>) -> anyhow::Result<Hash> {
    let Some(path) = path else { return Ok(Hash::ZERO) };
    match std::fs::read(path) {
        Ok(bytes) => Ok(loam_ledger_core::hash::digest(&bytes)),
        Err(error) => bail!("{}: {error}", path.display()),
    }
}
