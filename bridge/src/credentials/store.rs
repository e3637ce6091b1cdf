use std::{
    collections::HashSet,
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use tempfile::TempPath;

use super::{Issuer, to_text};
use crate::{
    registry::{Connection, End},
    secrets::{TEMPORARY_PREFIX, create_private_dir, give_to_owner_of, private_temporary},
};

/// Where credential files are, in the data directory.
pub const CREDENTIALS_DIR: &str = "credentials";

/// What [`write_all`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Files that were already right.
    pub unchanged: usize,
    /// Files that were written.
    pub written: Vec<PathBuf>,
    /// Files of connections that are gone.
    pub removed: Vec<PathBuf>,
}

/// Where the credential file of one end of a connection is: `credentials/<user>/<connection id>/from.json`.
pub fn path(data_dir: &Path, connection: &Connection, end: End) -> PathBuf {
    let dir = data_dir.join(CREDENTIALS_DIR).join(&*connection.user).join(&*connection.id);
    dir.join(file_name(end))
}

/// Writes every credential file that is missing, differs or is open to others (files 0600, directories 0700), and
/// removes those of connections that are gone. Nothing else in the directory is touched.
///
/// # Errors
/// The first file that cannot be written or removed, with its path.
pub fn write_all(data_dir: &Path, issuer: &Issuer<'_>) -> io::Result<Written> {
    Staged::write(data_dir, issuer)?.commit()
}

/// Credential files that are on the disk, but not in place yet. Dropped without a commit, everything is as before.
#[derive(Debug)]
pub struct Staged {
    root: PathBuf,
    unchanged: usize,
    /// In the order of the connections.
    written: Vec<PathBuf>,
    /// New files, which replace none and so are in place already.
    created: Vec<PathBuf>,
    /// With the paths that they belong to.
    replacing: Vec<(TempPath, PathBuf)>,
    kept: HashSet<PathBuf>,
}

impl Staged {
    /// Writes what [`write_all`] would, except that no file is replaced or removed.
    ///
    /// # Errors
    /// The first file that cannot be written, with its path; then nothing is left of the others.
    pub fn write(data_dir: &Path, issuer: &Issuer<'_>) -> io::Result<Self> {
        let mut staged = Self {
            root: data_dir.join(CREDENTIALS_DIR),
            unchanged: 0,
            written: Vec::new(),
            created: Vec::new(),
            replacing: Vec::new(),
            kept: HashSet::new(),
        };
        for connection in issuer.registry().connections() {
            for end in End::BOTH {
                let path = path(data_dir, connection, end);
                let text = to_text(&issuer.file(connection, end));
                if is_right(&path, text.as_bytes()) {
                    staged.unchanged += 1;
                } else {
                    // Not synced: after a power cut it differs, and is written again.
                    staged.add(&path, text.as_bytes()).map_err(|error| with_path(&path, &error))?;
                    staged.written.push(path.clone());
                }
                staged.kept.insert(path);
            }
        }
        Ok(staged)
    }

    /// Puts the files in place, and removes those of connections that are gone.
    ///
    /// # Errors
    /// The first file that cannot be put in place or removed, with its path.
    pub fn commit(mut self) -> io::Result<Written> {
        self.created.clear();
        for (file, path) in std::mem::take(&mut self.replacing) {
            file.persist(&path).map_err(|error| with_path(&path, &error.error))?;
        }
        let mut removed = Vec::new();
        if self.root.is_dir() {
            remove_gone(&self.root, &self.kept, &mut removed)?;
        }
        Ok(Written { unchanged: self.unchanged, written: std::mem::take(&mut self.written), removed })
    }

    fn add(&mut self, path: &Path, text: &[u8]) -> io::Result<()> {
        let dir = path.parent().unwrap_or(Path::new("."));
        create_private_dir(dir)?;
        // A new file has no reader yet, and renaming a temporary one into place takes several times as long.
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(mut file) => {
                self.created.push(path.to_owned());
                give_to_owner_of(dir, &file)?;
                file.write_all(text)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let file = private_temporary(dir, text)?.into_temp_path();
                self.replacing.push((file, path.to_owned()));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        for path in &self.created {
            // Whatever stays is removed by the next commit, since its connection is unknown.
            let _ = fs::remove_file(path);
        }
    }
}

fn is_right(path: &Path, text: &[u8]) -> bool {
    let private =
        fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.mode() & 0o077 == 0);
    private && fs::read(path).is_ok_and(|found| found == text)
}

/// Removes files that only we make, by their place and name, if they are not in `kept`.
fn remove_gone(root: &Path, kept: &HashSet<PathBuf>, removed: &mut Vec<PathBuf>) -> io::Result<()> {
    for user in directories(root)? {
        for connection in directories(&user)? {
            for entry in fs::read_dir(&connection).map_err(|error| with_path(&connection, &error))? {
                let path = entry.map_err(|error| with_path(&connection, &error))?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let unfinished = name.starts_with(TEMPORARY_PREFIX);
                let ours = End::BOTH.map(file_name).contains(&&*name);
                if unfinished || (ours && !kept.contains(&path)) {
                    fs::remove_file(&path).map_err(|error| with_path(&path, &error))?;
                    removed.push(path);
                }
            }
            remove_if_empty(&connection)?;
        }
        remove_if_empty(&user)?;
    }
    removed.sort();
    Ok(())
}

/// Real directories only: a link may lead anywhere.
fn directories(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| with_path(dir, &error))? {
        let entry = entry.map_err(|error| with_path(dir, &error))?;
        if entry.file_type().map_err(|error| with_path(dir, &error))?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn remove_if_empty(dir: &Path) -> io::Result<()> {
    match fs::remove_dir(dir) {
        // Whoever may not write does not even hear that it is not empty.
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem && !is_empty(dir) => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => Err(with_path(dir, &error)),
        _ => Ok(()),
    }
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none())
}

fn file_name(end: End) -> &'static str {
    match end {
        End::From => "from.json",
        End::To => "to.json",
    }
}

fn with_path(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
