//! Where a store's files are: a directory, or in tests a simulated disk.

use std::{
    collections::HashMap,
    fs::{self, File, TryLockError},
    io::{self, ErrorKind, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;

use super::error::{OpenError, OpenProblem};

/// The database.
pub const STORE: &str = "store.db";
/// Its write-ahead log.
pub const LOG: &str = "store.db-wal";
/// A database that is being made.
pub const UNFINISHED: &str = "store.db.new";
/// A database that a salvage has finished and not yet put in place.
pub const SALVAGED: &str = "store.db.salvaged";
const LOCK: &str = "store.lock";

const BUFFER: usize = 64 * 1024;

/// What is needed of a file system besides what SQLite does through its own interface.
pub trait Place: Send + Sync {
    /// The SQLite VFS that reaches the files; `None` for the operating system's.
    fn vfs(&self) -> Option<&str>;

    /// A file's path for SQLite and for messages.
    fn path(&self, name: &str) -> PathBuf;

    /// Bytes of the file; `None` if there is none.
    fn size(&self, name: &str) -> io::Result<Option<u64>>;

    /// The first bytes of the file, as many as there are up to `buffer`'s length.
    fn read_start(&self, name: &str, buffer: &mut [u8]) -> io::Result<usize>;

    /// Bytes of the file from `at` on. It is opened once and stays open: a process that closes a database's file loses
    /// SQLite's locks on it.
    fn read_at(&self, name: &str, at: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Syncs the file, then gives it another name, in place of a file that has it; then syncs the directory.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Writes the file's bytes to where they are and syncs it. An operating system takes what it could not write for
    /// written once it has reported that, and shows it until the power goes: after this, what it shows is on the disk.
    fn rewrite(&self, name: &str) -> io::Result<()>;

    /// Fills a file with zeros up to this size and syncs it: writes to what is there already change nothing else on the
    /// disk, where a file that grows makes the file system keep its books.
    fn fill(&self, name: &str, size: u64) -> io::Result<()>;

    /// Removes the file if it is there.
    fn remove(&self, name: &str) -> io::Result<()>;
}

/// A directory of the operating system. Locked as long as this lives.
pub struct Directory {
    path: PathBuf,
    /// Nothing can be written there, as on a disk that has failed.
    is_read_only: bool,
    _lock: Option<File>,
    /// Those that [`Place::read_at`] has opened.
    open: Mutex<HashMap<String, Arc<File>>>,
}

impl Directory {
    /// Makes the directory if it does not exist, and locks it.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        if !path.is_dir() {
            fs::create_dir_all(path)
                .and_then(|()| path.parent().map_or(Ok(()), sync_directory))
                .map_err(|error| OpenError::io(path, "cannot make the directory of the store", &error))?;
        }
        let lock_path = path.join(LOCK);
        let lock =
            File::options().create(true).truncate(false).write(true).open(&lock_path).map_err(|error| {
                OpenError::io(&lock_path, "cannot open the lock file of the store", &error)
            })?;
        lock_file(&lock, path)?;
        Ok(Self { path: path.to_owned(), is_read_only: false, _lock: Some(lock), open: Mutex::default() })
    }

    /// The same for somebody who only looks: makes nothing. There is nobody to be kept out where there is no lock file.
    pub fn inspect(path: &Path) -> Result<Self, OpenError> {
        let lock_path = path.join(LOCK);
        let lock = match File::open(&lock_path) {
            Ok(lock) => Some(lock),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                return Err(OpenError::io(&lock_path, "cannot open the lock file of the store", &error));
            }
        };
        if let Some(lock) = &lock {
            lock_file(lock, path)?;
        }
        let is_read_only = File::options()
            .write(true)
            .open(path.join(STORE))
            .is_err_and(|error| error.kind() == ErrorKind::ReadOnlyFilesystem);
        Ok(Self { path: path.to_owned(), is_read_only, _lock: lock, open: Mutex::default() })
    }
}

impl Place for Directory {
    fn vfs(&self) -> Option<&str> {
        // SQLite's locks need a file that can be written. Ours keeps others out.
        self.is_read_only.then_some("unix-none")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn size(&self, name: &str) -> io::Result<Option<u64>> {
        match fs::metadata(self.path(name)) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read_start(&self, name: &str, buffer: &mut [u8]) -> io::Result<usize> {
        let mut file = File::open(self.path(name))?;
        let mut filled = 0;
        while filled < buffer.len() {
            match file.read(&mut buffer[filled..])? {
                0 => break,
                read => filled += read,
            }
        }
        Ok(filled)
    }

    fn read_at(&self, name: &str, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut open = self.open.lock();
        let file = match open.get(name) {
            Some(file) => Arc::clone(file),
            None => {
                let file = Arc::new(File::open(self.path(name))?);
                open.insert(name.to_owned(), Arc::clone(&file));
                file
            }
        };
        drop(open);
        file.read_at(buffer, at)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        File::open(self.path(from))?.sync_all()?;
        fs::rename(self.path(from), self.path(to))?;
        sync_directory(&self.path)
    }

    fn rewrite(&self, name: &str) -> io::Result<()> {
        let file = File::options().read(true).write(true).open(self.path(name))?;
        let mut buffer = vec![0; BUFFER];
        let mut at = 0;
        loop {
            let read = file.read_at(&mut buffer, at)?;
            if read == 0 {
                return file.sync_all();
            }
            file.write_all_at(&buffer[..read], at)?;
            at += read as u64;
        }
    }

    fn fill(&self, name: &str, size: u64) -> io::Result<()> {
        let file = File::options().write(true).open(self.path(name))?;
        let zeros = vec![0; BUFFER];
        let mut at = file.metadata()?.len();
        while at < size {
            let length = (size - at).min(BUFFER as u64);
            file.write_all_at(&zeros[..length as usize], at)?;
            at += length;
        }
        file.sync_all()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn lock_file(lock: &File, directory: &Path) -> Result<(), OpenError> {
    match lock.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(OpenError::new(directory, OpenProblem::InUse)),
        Err(TryLockError::Error(error)) => Err(OpenError::io(directory, "cannot lock the store", &error)),
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path)?.sync_all()
}
