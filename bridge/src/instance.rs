//! One process at a time works on a data directory.

use std::{
    fmt,
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::{
    secrets::{create_private_dir, give_to_owner_of},
    storage::advice,
};

/// File name of the lock in the data directory. It holds the process id of whoever has it.
pub const LOCK_FILE: &str = "lock";

/// The right to work on a data directory. Ends with the process at the latest, however that ends: a lock file that
/// nobody holds means nothing.
#[derive(Debug)]
pub struct Instance {
    _lock: File,
}

/// Who works on a data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// Its process id, if it could write it down.
    pub pid: Option<u32>,
}

/// Why a data directory cannot be worked on. Says what to do.
#[derive(Debug)]
pub enum InstanceError {
    /// Somebody else works on it.
    Taken {
        /// The data directory.
        data_dir: PathBuf,
        /// Who.
        holder: Holder,
    },
    /// The directory or the lock file cannot be made, or the file system knows no locks.
    Failed {
        /// The lock file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl Instance {
    /// Takes a data directory, and makes it (mode 0700) if it does not exist.
    ///
    /// # Errors
    /// [`InstanceError`].
    pub fn claim(data_dir: &Path) -> Result<Self, InstanceError> {
        let path = data_dir.join(LOCK_FILE);
        let failed = |error| InstanceError::Failed { path: path.clone(), error };
        create_private_dir(data_dir).map_err(failed)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut lock = options.open(&path).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = Holder { pid: read_pid(&mut lock) };
                return Err(InstanceError::Taken { data_dir: data_dir.to_owned(), holder });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        give_to_owner_of(data_dir, &lock).map_err(failed)?;
        // Only for messages, so a full disk is no reason not to start.
        let _ = lock.set_len(0).and_then(|()| write!(lock, "{}", std::process::id()));
        Ok(Self { _lock: lock })
    }

    /// The same for whoever only reads there. On a disk that is read-only, as Linux makes it after an error, there is nothing to
    /// be taken where nobody works: nobody can begin to.
    ///
    /// # Errors
    /// [`InstanceError`].
    pub fn claim_to_read(data_dir: &Path) -> Result<Option<Self>, InstanceError> {
        match Self::claim(data_dir) {
            Err(InstanceError::Failed { path, error })
                if error.kind() == io::ErrorKind::ReadOnlyFilesystem =>
            {
                match Self::holder(data_dir) {
                    Ok(None) => Ok(None),
                    Ok(Some(holder)) => Err(InstanceError::Taken { data_dir: data_dir.to_owned(), holder }),
                    Err(_) => Err(InstanceError::Failed { path, error }),
                }
            }
            claimed => claimed.map(Some),
        }
    }

    /// Who works on a data directory now; takes nothing and writes nothing.
    ///
    /// # Errors
    /// There is a lock file that cannot be read, or the file system knows no locks.
    pub fn holder(data_dir: &Path) -> io::Result<Option<Holder>> {
        let mut lock = match File::open(data_dir.join(LOCK_FILE)) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match lock.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(Some(Holder { pid: read_pid(&mut lock) })),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "another ior-bridge (process {pid})"),
            None => f.write_str("another ior-bridge"),
        }
    }
}

impl fmt::Display for InstanceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken { data_dir, holder } => write!(
                f,
                "{holder} works on the data directory {}: stop that one first, or give this one a directory of its own \
                 (data_dir in server.json, or the variable IOR_BRIDGE__DATA_DIR)",
                data_dir.display()
            ),
            Self::Failed { path, error } => {
                write!(f, "the lock {} cannot be taken: {error}; {}", path.display(), advice(error))
            }
        }
    }
}

impl std::error::Error for InstanceError {}

fn read_pid(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.take(16).read_to_string(&mut text).ok()?;
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{
        fs,
        os::unix::fs::{MetadataExt, PermissionsExt},
    };

    use super::*;

    #[test]
    fn a_data_directory_has_one_instance_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("data");
        assert_eq!(Instance::holder(&data_dir).unwrap(), None);
        let first = Instance::claim(&data_dir).unwrap();
        let holder = Holder { pid: Some(std::process::id()) };
        assert_eq!(Instance::holder(&data_dir).unwrap(), Some(holder));
        let text = Instance::claim(&data_dir).unwrap_err().to_string();
        let pid = format!("another ior-bridge (process {})", std::process::id());
        assert!(text.contains(&pid) && text.contains(&data_dir.display().to_string()), "{text}");
        drop(first);
        assert_eq!(Instance::holder(&data_dir).unwrap(), None, "a lock file that nobody holds means nothing");
        Instance::claim(&data_dir).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&data_dir), mode(&data_dir.join(LOCK_FILE))), (0o700, 0o600));
    }

    #[test]
    fn a_lock_that_root_took_can_be_taken_by_the_bridge() {
        const SOMEBODY: u32 = 65_534;
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::lchown(dir.path(), Some(SOMEBODY), Some(SOMEBODY)).unwrap();
        Instance::claim(dir.path()).unwrap();
        assert_eq!(fs::metadata(dir.path().join(LOCK_FILE)).unwrap().uid(), SOMEBODY);
    }

    #[test]
    fn whatever_stood_in_the_lock_file_does_not_matter() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(LOCK_FILE), "4294967296 and more").unwrap();
        let _first = Instance::claim(dir.path()).unwrap();
        let text = fs::read_to_string(dir.path().join(LOCK_FILE)).unwrap();
        assert_eq!(text, std::process::id().to_string());
        fs::write(dir.path().join(LOCK_FILE), "nonsense").unwrap();
        assert_eq!(Instance::holder(dir.path()).unwrap(), Some(Holder { pid: None }));
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let text = Instance::claim(&file.join("data")).unwrap_err().to_string();
        assert!(text.contains("file/data/lock") && text.contains("data_dir"), "{text}");
    }
}
