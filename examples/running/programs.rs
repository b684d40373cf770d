//! Where the programs are.

use std::path::PathBuf;

use anyhow::Context as _;

/// The folder that has all of these: the one that LOAM_BIN names, else this program's own, else .bin/ of this folder.
pub fn folder_of(programs: &[&str]) -> anyhow::Result<PathBuf> {
    let named = std::env::var_os("LOAM_BIN").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let places = match named {
        Some(folder) => vec![folder],
        None => own_folder().into_iter().chain([PathBuf::from(".bin")]).collect(),
    };
    let found = places.iter().find(|place| programs.iter().all(|program| place.join(program).is_file()));
    found.cloned().with_context(|| {
        let looked: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
        format!("{} are not in {}; run `make build`", programs.join(" and "), looked.join(" or "))
    })
}

/// Where this program itself lies.
pub fn own_folder() -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.parent()?.to_owned())
}
