//! A person's key in a file of their own. The private part is never printed, and leaves the file for no server.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use loam_ledger_core::Hash;
use loam_ledger_core::hash::digest;
use loam_ledger_core::record::{AuthorKey, ContributorId, key_id};

use super::book::Book;

const FIRST_LINE: &str = "loam-id-v1";

/// What the file holds.
pub(super) struct KeyFile {
    /// Who signs: the id of their first key.
    contributor: ContributorId,
    /// What the key grows from.
    seed: [u8; 32],
    /// What seeds of epochs grow from: the seed of the first key, which a close has committed to when the key is rotated.
    epochs: [u8; 32],
}

impl KeyFile {
    /// Draws a key.
    pub(super) fn draw() -> anyhow::Result<Self> {
        let seed = draw()?;
        Ok(Self { contributor: AuthorKey::from_seed(&seed).contributor(), seed, epochs: seed })
    }

    /// Another key for the same contributor, with what it grows from.
    pub(super) fn rotated(&self) -> anyhow::Result<(Self, [u8; 32])> {
        let seed = draw()?;
        Ok((Self { contributor: self.contributor, seed, epochs: self.epochs }, seed))
    }

    pub(super) fn contributor(&self) -> ContributorId {
        self.contributor
    }

    /// The key's public part.
    pub(super) fn public_key(&self) -> [u8; 32] {
        AuthorKey::from_seed(&self.seed).public_key()
    }

    /// The key of somebody who has signed nothing yet.
    pub(super) fn fresh(&self) -> AuthorKey {
        AuthorKey::from_seed(&self.seed)
    }

    /// The key, at the place in its owner's chain that a ledger waits for.
    pub(super) fn standing(&self, book: &dyn Book) -> anyhow::Result<AuthorKey> {
        let found = book.registry().people().find(&self.contributor).with_context(|| {
            format!("{} is not registered in {}: `loam id new` registers a new key", self.contributor, book.name())
        })?;
        let key = AuthorKey::resumed(&self.seed, self.contributor, found.sequence, found.previous);
        if key_id(&found.public_key) != key_id(&key.public_key()) {
            bail!("{} signs with another key by now: use the file that has it", self.contributor);
        }
        Ok(key)
    }

    /// The seed of an epoch's ties, which only the key's owner can tell before the epoch is closed; nothing must be kept
    /// for it but the key.
    pub(super) fn epoch_seed(&self, origin: &str, epoch: u32) -> Hash {
        let parts = [b"loam/secret-epoch-seed/v1\0", &self.epochs[..], origin.as_bytes(), &epoch.to_be_bytes()];
        digest(&parts.concat())
    }

    /// Writes a file that must not be there yet, and that only its owner may read.
    pub(super) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let shown = || path.display().to_string();
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let mut file = file.map_err(|error| super::not_made(path, error))?;
        let (seed, epochs) = (Hash(self.seed).to_hex(), Hash(self.epochs).to_hex());
        let text = format!("{FIRST_LINE}\ncontributor {}\nepochs {epochs}\nseed {seed}\n", self.contributor);
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).with_context(shown)
    }

    /// Whether a file is one of these.
    pub(super) fn is_at(path: &Path) -> bool {
        std::fs::read(path).is_ok_and(|bytes| bytes.starts_with(FIRST_LINE.as_bytes()))
    }

    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let mode = std::fs::metadata(path).with_context(|| path.display().to_string())?.permissions().mode();
        if mode & 0o077 != 0 && text.starts_with(FIRST_LINE) {
            let shown = path.display();
            bail!("others of this machine can read {shown}: `chmod 600 {shown}`, and rotate the key if they may have");
        }
        Self::parse(&text).with_context(|| format!("{} is not a key of `loam id new`", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let lines: Vec<&str> = text.lines().collect();
        let [FIRST_LINE, contributor, epochs, seed] = lines[..] else {
            bail!("it has not the four lines that one has")
        };
        let value = |line: &str, name: &str| {
            let value = line.strip_prefix(name).and_then(|rest| rest.strip_prefix(' '));
            value.and_then(|hex| Hash::from_hex(hex).ok()).with_context(|| format!("{name}: 64 hexadecimal digits"))
        };
        Ok(Self {
            contributor: value(contributor, "contributor")?,
            seed: value(seed, "seed")?.0,
            epochs: value(epochs, "epochs")?.0,
        })
    }
}

fn draw() -> anyhow::Result<[u8; 32]> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| anyhow!("no randomness: {error}"))?;
    Ok(seed)
}
