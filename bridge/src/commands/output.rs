use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use super::CommandError;
use crate::leftovers;

/// A file that only its owner can read, and that is there once it is complete.
pub(super) struct Output {
    path: PathBuf,
    /// Whether a file that is there is replaced.
    force: bool,
    file: NamedTempFile,
}

impl Output {
    /// Begins it.
    ///
    /// # Errors
    /// There is one already, or it cannot be written.
    pub(super) fn create(path: &Path, force: bool) -> Result<Self, CommandError> {
        if !force && path.symlink_metadata().is_ok() {
            return Err(is_there(path));
        }
        leftovers::remove(place(path));
        let file = leftovers::temporary_in(place(path)).map_err(|error| unwritten(path, &error))?;
        Ok(Self { path: path.to_owned(), force, file })
    }

    /// What is to be written to.
    pub(super) fn file(&mut self) -> &mut File {
        self.file.as_file_mut()
    }

    /// It is complete.
    ///
    /// # Errors
    /// As [`Output::create`]; then there is nothing.
    pub(super) fn persist(self) -> Result<(), CommandError> {
        let Self { path, force, file } = self;
        let persisted = file.as_file().sync_all().and_then(|()| {
            let persisted = if force { file.persist(&path) } else { file.persist_noclobber(&path) };
            persisted.map_err(|error| error.error)?;
            File::open(place(&path))?.sync_all()
        });
        persisted.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => is_there(&path),
            _ => unwritten(&path, &error),
        })
    }
}

fn place(path: &Path) -> &Path {
    path.parent().filter(|place| !place.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn is_there(path: &Path) -> CommandError {
    CommandError::failed(format!("{} is there already: --force replaces it", path.display()))
}

fn unwritten(path: &Path, error: &io::Error) -> CommandError {
    CommandError::failed(format!("{} cannot be written: {error}; nothing was left there", path.display()))
}
