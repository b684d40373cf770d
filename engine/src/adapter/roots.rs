//! The folders that adapters may come from, and the way into them that no link leads out of.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::error::Error;

/// Links that one path may go through.
const LINKS_MAX: usize = 40;

/// How often the kernel is asked again after something was renamed under its feet.
#[cfg(target_os = "linux")]
const RETRIES_MAX: usize = 16;

/// Opened for reading; something that is no file, as a pipe, does not hold the caller up.
const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// Folders that adapters may come from. With none, an adapter may come from anywhere: for programs whose user could read
/// the files anyway.
#[derive(Debug)]
pub struct Roots {
    roots: Vec<Root>,
    way: Way,
}

#[derive(Debug)]
struct Root {
    given: PathBuf,
    real: PathBuf,
    folder: OwnedFd,
}

/// Who sees to it that a path stays below its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The kernel where it can, we elsewhere.
    Any,
    /// We, one name after the other: what older kernels need. Links are followed by hand and must stay inside as well.
    NameByName,
}

/// A file inside, opened.
#[derive(Debug)]
pub(super) struct Inside {
    /// Where it was found, for people.
    pub(super) path: PathBuf,
    /// A regular file.
    pub(super) file: File,
}

impl Roots {
    /// Opens the folders, which must be there.
    pub fn new(paths: &[PathBuf], way: Way) -> Result<Self, Error> {
        let open = |path: &PathBuf| {
            let failed = |source| Error::File { path: path.clone(), source };
            let real = path.canonicalize().map_err(failed)?;
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY;
            let folder = rustix::fs::open(&real, flags, Mode::empty()).map_err(|e| failed(e.into()))?;
            Ok(Root { given: path.clone(), real, folder })
        };
        Ok(Self { roots: paths.iter().map(open).collect::<Result<_, Error>>()?, way })
    }

    /// Opens `file` of `folder`: a path below a root, or one relative to the first root that has it.
    pub(super) fn open(&self, folder: &Path, file: &str) -> Result<Inside, Error> {
        let path = folder.join(file);
        if self.roots.is_empty() {
            let opened = rustix::fs::open(&path, READ, Mode::empty()).map_err(io::Error::from);
            return regular(path, opened);
        }
        if folder.components().any(|part| part == Component::ParentDir) {
            return Err(outside(folder));
        }
        let mut first_missing = None;
        for root in &self.roots {
            let below = if folder.is_absolute() {
                folder.strip_prefix(&root.given).or_else(|_| folder.strip_prefix(&root.real)).ok()
            } else {
                Some(folder)
            };
            let Some(below) = below else { continue };
            let path = root.real.join(below).join(file);
            match self.open_below(root.folder.as_fd(), &below.join(file)) {
                Err(Errno::XDEV) => return Err(outside(&path)),
                Err(e @ Errno::NOENT) => {
                    first_missing.get_or_insert(Error::File { path, source: e.into() });
                }
                opened => return regular(path, opened.map_err(io::Error::from)),
            }
        }
        Err(first_missing.unwrap_or_else(|| outside(folder)))
    }

    fn open_below(&self, root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
        #[cfg(target_os = "linux")]
        if self.way == Way::Any {
            use rustix::fs::ResolveFlags;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
            for _ in 0..RETRIES_MAX {
                match rustix::fs::openat2(root, path, READ, Mode::empty(), resolve) {
                    Err(Errno::AGAIN) => {}
                    // Not known to this kernel, or forbidden by a filter that does not know it.
                    Err(Errno::NOSYS | Errno::PERM) => return walk(root, path),
                    opened => return opened,
                }
            }
            return Err(Errno::AGAIN);
        }
        walk(root, path)
    }
}

/// Opens a path name by name. What was opened is kept, so that `..` in a link goes back to it and never above the root.
fn walk(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let names =
        |path: &Path| path.components().rev().map(|name| name.as_os_str().to_owned()).collect::<Vec<OsString>>();
    let mut ahead = names(path);
    let mut folders: Vec<OwnedFd> = Vec::new();
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        if name == "." {
            continue;
        }
        if name == ".." {
            // Above the root lies the outside.
            folders.pop().ok_or(Errno::XDEV)?;
            continue;
        }
        let here = folders.last().map_or(root, |folder| folder.as_fd());
        let is_last = ahead.is_empty();
        let folder = if is_last { OFlags::empty() } else { OFlags::DIRECTORY };
        match rustix::fs::openat(here, &name, READ | OFlags::NOFOLLOW | folder, Mode::empty()) {
            Ok(opened) if is_last => return Ok(opened),
            Ok(opened) => folders.push(opened),
            // A link, perhaps: the one asked about is the same name in the same open folder.
            Err(e @ (Errno::LOOP | Errno::NOTDIR)) => {
                let link = rustix::fs::readlinkat(here, &name, Vec::new()).map_err(|_| e)?;
                let link = PathBuf::from(OsString::from_vec(link.into_bytes()));
                links += 1;
                if links > LINKS_MAX {
                    return Err(Errno::LOOP);
                }
                if link.is_absolute() {
                    return Err(Errno::XDEV);
                }
                ahead.extend(names(&link));
            }
            Err(e) => return Err(e),
        }
    }
    Err(Errno::ISDIR)
}

fn regular(path: PathBuf, opened: io::Result<OwnedFd>) -> Result<Inside, Error> {
    let file = opened.map(File::from).and_then(|file| Ok((file.metadata()?.is_file(), file)));
    match file {
        Ok((true, file)) => Ok(Inside { path, file }),
        Ok((false, _)) => Err(Error::Malformed { path, reason: "it is not a regular file".to_owned() }),
        Err(source) => Err(Error::File { path, source }),
    }
}

fn outside(path: &Path) -> Error {
    let reason = "it leads out of the folders that adapters may come from".to_owned();
    Error::Malformed { path: path.to_owned(), reason }
}
