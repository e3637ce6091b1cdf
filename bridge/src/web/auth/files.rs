//! Files that commands change, too: whether they are still those that were read, and whose turn it is to change them.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::Path,
};

use crate::secrets::create_private_dir;

/// What changes whenever a file is replaced; all the same while there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp(Option<(i64, i64, u64, u64)>);

impl Stamp {
    /// Of the file that is there now.
    pub(super) fn of(path: &Path) -> Self {
        let metadata = fs::metadata(path).ok();
        Self(metadata.map(|file| (file.mtime(), file.mtime_nsec(), file.len(), file.ino())))
    }
}

/// A lock on the data directory itself: whoever changes the files of this room holds it. Ends with the process.
///
/// # Errors
/// The directory is not there, or its file system knows no locks.
pub(super) fn lock(data_dir: &Path) -> io::Result<File> {
    create_private_dir(data_dir)?;
    let lock = File::open(data_dir)?;
    lock.lock()?;
    Ok(lock)
}
