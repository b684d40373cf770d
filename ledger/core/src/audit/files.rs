//! Where an audit reads from: a folder's files by name, without knowing what a folder is.

/// Why a file could not be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// There is none of this name.
    Missing,
    /// It is there, or may be, but cannot be read.
    Failed(String),
}

/// An export's files, by their paths below its top, with `/` between folders.
pub trait Files {
    /// A file's bytes, whole.
    fn read(&self, path: &str) -> Result<Vec<u8>, ReadError>;

    /// The names of the files and folders directly in a folder, in any order; one that is not there has none.
    fn list(&self, folder: &str) -> Result<Vec<String>, ReadError>;
}

/// A folder of other files, seen as if it were their top.
pub struct Folder<'a> {
    /// The files above.
    pub files: &'a dyn Files,
    /// The folder's path, without a slash at its end.
    pub path: String,
}

impl Files for Folder<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, ReadError> {
        self.files.read(&format!("{}/{path}", self.path))
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, ReadError> {
        self.files.list(&format!("{}/{folder}", self.path))
    }
}
