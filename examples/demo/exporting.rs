//! The whole ledger as files, as the server sends them.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Component, Path};

use anyhow::{Context as _, bail};
use loam_proto::v1;

use crate::asking::Client;

impl Client {
    /// Writes all logs into a folder that is made for them, with the rows that are one's own.
    pub(crate) async fn export(&self, folder: &Path) -> anyhow::Result<()> {
        let mut ledger = v1::ledger_client::LedgerClient::new(self.channel.clone());
        let mut files = ledger.export(v1::ExportRequest::default()).await.context("Ledger.Export")?.into_inner();
        while let Some(part) = files.message().await.context("the export broke off")? {
            let inside = Path::new(&part.path);
            // A name from the network must not lead out of the folder.
            if !inside.components().all(|part| matches!(part, Component::Normal(_))) {
                bail!("the export names a file {:?}, which is outside its folder", part.path);
            }
            let path = folder.join(inside);
            append(&path, &part.bytes).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }
}

fn append(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    OpenOptions::new().create(true).append(true).open(path)?.write_all(bytes)
}
