use std::{
    fmt,
    fs::{self, File, Metadata},
    io::{self, Write},
    os::unix::fs::{MetadataExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use super::source::BOM;
use crate::{leftovers, links::real_path};

/// Another text for a configuration file, on the disk beside it. Dropped without a commit, it is gone.
#[derive(Debug)]
pub struct Replacement {
    file: NamedTempFile,
    /// What it replaces; no link.
    path: PathBuf,
    /// What stands there, and must when it is replaced.
    before: Vec<u8>,
}

impl Replacement {
    /// Writes and syncs a text for the file that held another one when it was read. Its mode, owner and byte order mark
    /// stay, and a link stays one.
    pub(super) fn write(path: &Path, read: &str, text: &str) -> io::Result<Self> {
        let path = real_path(path)?;
        let before = fs::read(&path)?;
        let (mark, text_before) = before.split_at(if before.starts_with(BOM) { BOM.len() } else { 0 });
        if text_before != read.as_bytes() {
            return Err(changed());
        }
        let metadata = fs::metadata(&path)?;
        leftovers::remove(directory(&path));
        let mut file = leftovers::temporary_in(directory(&path))?;
        give_owner_of(&metadata, file.as_file())?;
        file.as_file().set_permissions(metadata.permissions())?;
        file.write_all(mark)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        Ok(Self { file, path, before })
    }

    /// Puts it in place: all of it or nothing, also if the power fails.
    ///
    /// # Errors
    /// The file was changed meanwhile, or cannot be replaced.
    pub fn commit(self) -> io::Result<()> {
        if fs::read(&self.path)? != self.before {
            return Err(changed());
        }
        self.file.persist(&self.path)?;
        File::open(directory(&self.path))?.sync_all()
    }
}

fn directory(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// Root's file may become that of whoever replaces it: root can read it nevertheless.
fn give_owner_of(before: &Metadata, file: &File) -> io::Result<()> {
    let made = file.metadata()?;
    if (made.uid(), made.gid()) == (before.uid(), before.gid()) {
        return Ok(());
    }
    fchown(file, Some(before.uid()), Some(before.gid())).or_else(|error| {
        let mode = before.permissions().mode();
        let group_is_everybody = mode >> 3 & 0o7 == mode & 0o7;
        match before.uid() {
            0 if group_is_everybody => Ok(()),
            0 => fchown(file, None, Some(before.gid())),
            _ => Err(error),
        }
    })
}

/// The file was changed since it was read.
#[derive(Debug)]
struct Changed;

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("somebody else changed it at the same time: try again")
    }
}

impl std::error::Error for Changed {}

fn changed() -> io::Error {
    io::Error::other(Changed)
}

/// Whether this is why a file was not replaced: it was changed since it was read.
pub(crate) fn is_changed_meanwhile(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Changed>())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::document::Source;

    #[test]
    fn a_replaced_file_keeps_all_but_its_text() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "\u{feff}old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o646)).unwrap();
        symlink("file", &link).unwrap();
        let source = Source::read(&link).unwrap().unwrap();
        source.prepare("new").unwrap().commit().unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "\u{feff}new");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o646);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(source.prepare("newer").unwrap_err().to_string().contains("try again"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "no temporary file is left");
    }

    #[test]
    fn what_somebody_else_wrote_meanwhile_stays() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "old").unwrap();
        let replacement = Source::read(&file).unwrap().unwrap().prepare("new").unwrap();
        fs::write(&file, "theirs").unwrap();
        assert!(replacement.commit().unwrap_err().to_string().contains("try again"));
        assert_eq!(fs::read_to_string(&file).unwrap(), "theirs");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
    }
}
