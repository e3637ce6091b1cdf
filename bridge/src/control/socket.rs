//! The file of the control socket: made at the start, removed at the end, and never another bridge's.

use std::{
    fmt, fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use tokio::net::{UnixListener, UnixStream};

use super::reachable;
use crate::{
    secrets::{create_private_dir, give_path_to_owner_of},
    storage::advice,
};

/// Its owner and group may speak to the bridge.
const MODE: u32 = 0o660;

/// The open control socket. Its file is removed when this is dropped.
#[derive(Debug)]
pub struct Control {
    pub(super) listener: UnixListener,
    _file: SocketFile,
}

/// Why the control socket could not be opened. Says what to do.
#[derive(Debug)]
pub enum OpenError {
    /// Somebody answers there: another bridge with the same runtime directory.
    Taken(PathBuf),
    /// There is something that is no socket.
    NoSocket(PathBuf),
    /// The directory or the socket cannot be made.
    Failed(PathBuf, io::Error),
}

/// The file that was made here, as opposed to one that somebody else made at the same place later.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl Control {
    /// Opens the socket, mode 0660, in its directory, which is made (mode 0700) if it is not there. What an earlier run left
    /// behind is replaced.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(path: &Path) -> Result<Self, OpenError> {
        let failed = |error| OpenError::Failed(path.to_owned(), error);
        path.parent().map_or(Ok(()), create_private_dir).map_err(failed)?;
        remove_stale(path).await?;
        let (listener, file) = bind(path).map_err(failed)?;
        Ok(Self { listener, _file: file })
    }
}

/// Removes a socket that nobody listens to.
async fn remove_stale(path: &Path) -> Result<(), OpenError> {
    let failed = |error| OpenError::Failed(path.to_owned(), error);
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => return Err(OpenError::NoSocket(path.to_owned())),
        Ok(_) => {}
    }
    let (short, _dir) = reachable(path).map_err(failed)?;
    match UnixStream::connect(short).await {
        // Full of askers that wait: somebody is there.
        Ok(_) => Err(OpenError::Taken(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(OpenError::Taken(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

fn bind(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let (short, _dir) = reachable(path)?;
    let listener = UnixListener::bind(&short)?;
    let file = SocketFile { path: path.to_owned(), identity: identity(path)? };
    fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
    path.parent().map_or(Ok(()), |dir| give_path_to_owner_of(dir, path))?;
    Ok((listener, file))
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            // If it cannot be removed, the next start does.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken(path) => write!(
                f,
                "another ior-bridge answers at the socket {}: stop that one first, or give this one a runtime directory \
                 of its own (the variable RUNTIME_DIRECTORY)",
                path.display()
            ),
            Self::NoSocket(path) => write!(
                f,
                "the running bridge is spoken to through a socket at {}, where there is something else: move it away",
                path.display()
            ),
            Self::Failed(path, error) => {
                write!(f, "the socket {} cannot be opened: {error}; {}", path.display(), advice(error))
            }
        }
    }
}

impl std::error::Error for OpenError {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn only_owner_and_group_may_open_it_and_nothing_is_left_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/control.sock");
        let control = Control::open(&path).await.unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(path.parent().unwrap()), mode(&path)), (0o700, 0o660));
        drop(control);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_an_earlier_run_left_is_replaced_and_another_bridge_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        // As after kill -9: nothing listens, and the file is there.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let first = Control::open(&path).await.unwrap();
        assert!(matches!(Control::open(&path).await, Err(OpenError::Taken(_))));
        UnixStream::connect(&path).await.unwrap();

        // Somebody removed it, and another bridge took the place: that one's socket stays.
        fs::remove_file(&path).unwrap();
        let second = Control::open(&path).await.unwrap();
        drop(first);
        UnixStream::connect(&path).await.unwrap();
        drop(second);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_is_no_socket_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        fs::write(&path, "mine").unwrap();
        let error = Control::open(&path).await.unwrap_err();
        assert!(error.to_string().contains("move it away"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &path).unwrap();
        assert!(matches!(Control::open(&path).await, Err(OpenError::NoSocket(_))));
    }

    #[tokio::test]
    async fn a_path_may_be_longer_than_the_system_takes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d".repeat(120)).join("a:b").join("control.sock");
        let control = Control::open(&path).await.unwrap();
        assert!(matches!(Control::open(&path).await, Err(OpenError::Taken(_))));
        assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());
        drop(control);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_root_opens_belongs_to_the_owner_of_the_directory() {
        const SOMEBODY: u32 = 65_534;
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::lchown(dir.path(), Some(SOMEBODY), Some(SOMEBODY)).unwrap();
        let path = dir.path().join("control.sock");
        let _control = Control::open(&path).await.unwrap();
        let made = fs::metadata(&path).unwrap();
        assert_eq!((made.uid(), made.gid()), (SOMEBODY, SOMEBODY));
    }
}
