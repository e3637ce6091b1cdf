use std::{
    collections::HashSet,
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::{Issuer, to_text};
use crate::{
    registry::{Connection, End},
    secrets::{TEMPORARY_PREFIX, create_private_dir, write_private},
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
    let mut result = Written::default();
    let mut kept = HashSet::new();
    for connection in issuer.registry().connections() {
        for end in End::BOTH {
            let path = path(data_dir, connection, end);
            let text = to_text(&issuer.file(connection, end));
            if is_right(&path, text.as_bytes()) {
                result.unchanged += 1;
            } else {
                // Not synced: after a power cut it differs, and is written again.
                write(&path, text.as_bytes()).map_err(|error| with_path(&path, &error))?;
                result.written.push(path.clone());
            }
            kept.insert(path);
        }
    }
    let root = data_dir.join(CREDENTIALS_DIR);
    if root.is_dir() {
        remove_gone(&root, &kept, &mut result.removed)?;
    }
    Ok(result)
}

fn is_right(path: &Path, text: &[u8]) -> bool {
    let private =
        fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.mode() & 0o077 == 0);
    private && fs::read(path).is_ok_and(|found| found == text)
}

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        create_private_dir(dir)?;
    }
    // A new file has no reader yet, and renaming a temporary one into place takes several times as long.
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => file.write_all(text),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => write_private(path, text, false),
        Err(error) => Err(error),
    }
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
        Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => Err(with_path(dir, &error)),
        _ => Ok(()),
    }
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
