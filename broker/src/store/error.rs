//! What can go wrong with a store.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Why changes were not kept, or messages not loaded. Nothing of a submission that failed is in effect; after
/// [`StoreError::Failed`] it may turn out to be, if the process dies before the store has recovered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreError {
    /// No space is left on the device.
    Full,
    /// The device or the file system reported an error.
    Failed(Arc<str>),
    /// The file is damaged.
    Damaged(Arc<str>),
    /// A slot or sequence number is out of range.
    OutOfRange,
    /// The store was closed.
    Closed,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("no space left for the store: free some; it recovers by itself"),
            Self::Failed(why) => write!(f, "the store cannot be written or read ({why}); it is tried again"),
            Self::Damaged(why) => write!(f, "the store is damaged ({why}): {WAY_OUT}"),
            Self::OutOfRange => f.write_str("the store has no such slot or sequence number"),
            Self::Closed => f.write_str("the store is closed"),
        }
    }
}

impl std::error::Error for StoreError {}

/// What to do about a damaged store.
pub(super) const WAY_OUT: &str = "stop the bridge, look at it with `ior-bridge store verify`, then keep what is whole with \
                                  `ior-bridge store salvage`";

/// Why a store cannot be opened, verified or salvaged. Says what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenError {
    /// The file or directory that it is about.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: OpenProblem,
}

/// What is wrong with a store that cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenProblem {
    /// Another process has it.
    InUse,
    /// There is none.
    Missing,
    /// It is not whole: how.
    Damaged(String),
    /// Not a file that this program wrote, as far as its beginning tells.
    Foreign,
    /// A newer version of this program wrote it, in this format.
    Newer(u32),
    /// An older version of this program wrote it, in this format, which can no longer be read.
    Older(u32),
    /// The write-ahead log is there without its store.
    LogWithoutStore,
    /// A salvage was interrupted.
    SalvageUnfinished,
    /// The operating system refused something: what and why.
    Io(String),
}

impl OpenError {
    pub(super) fn new(path: &Path, problem: OpenProblem) -> Self {
        Self { path: path.to_owned(), problem }
    }

    pub(super) fn io(path: &Path, doing: &str, error: &std::io::Error) -> Self {
        Self::new(path, OpenProblem::Io(format!("{doing}: {error}")))
    }

    /// What SQLite said about this file.
    pub(super) fn sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        let problem = match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
                OpenProblem::InUse
            }
            Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
                OpenProblem::Damaged(error.to_string())
            }
            _ => OpenProblem::Io(error.to_string()),
        };
        Self::new(path, problem)
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path.display())?;
        match &self.problem {
            OpenProblem::InUse => f.write_str("another process has this store: stop it first, or give each its own data directory"),
            OpenProblem::Missing => f.write_str("there is no store here"),
            OpenProblem::Damaged(how) => write!(f, "the store is damaged ({how}): {WAY_OUT}"),
            OpenProblem::Foreign => write!(
                f,
                "this is not a store of IOR Bridge, or its beginning is damaged. If it is another program's, name another data \
                 directory; if not, {WAY_OUT}"
            ),
            OpenProblem::Newer(format) => write!(
                f,
                "the store was written by a newer version of IOR Bridge (format {format}, this one reads up to {}): use that version",
                super::schema::FORMAT
            ),
            OpenProblem::Older(format) => write!(
                f,
                "the store was written by an older version of IOR Bridge (format {format}) that this one cannot read: use that version, or move the file away to begin without it"
            ),
            OpenProblem::LogWithoutStore => f.write_str(
                "the store's write-ahead log is here, but store.db is not: put store.db back, or move the log away to begin without it",
            ),
            OpenProblem::SalvageUnfinished => {
                f.write_str("a salvage was interrupted: run `ior-bridge store salvage` again, which finishes it")
            }
            OpenProblem::Io(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for OpenError {}
