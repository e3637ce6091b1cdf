//! Backups: all that an instance is, as one archive, and how it takes the place of what is there.
//!
//! In the archive, what belongs into the configuration directory is below `config/`, and what belongs into the data
//! directory below `data/`.

mod apply;
mod parts;
mod staged;

use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
};

use ior_broker::store::Snapshot;

pub use apply::{RestoreError, finish_pending, kept_before_restores};
pub use parts::Parts;
pub use staged::{Checked, Staged, remove_leftovers};

use crate::{
    archive::{Kind, Manifest, Writer},
    settings::STORE_DIR,
};

/// Where the configuration directory is in an archive.
const CONFIG: &str = "config";
/// Where the data directory is in an archive.
const DATA: &str = "data";

/// The store's database.
const DATABASE: &str = "store.db";
/// What is not in it yet.
const LOG: &str = "store.db-wal";

/// A file of the store with its length.
pub struct StoreFile<'a> {
    name: &'static str,
    length: u64,
    contents: Box<dyn Read + 'a>,
}

impl<'a> StoreFile<'a> {
    /// The files of a store as a running bridge copies them.
    ///
    /// # Errors
    /// They cannot be found.
    pub fn of_snapshot(snapshot: Snapshot) -> io::Result<Vec<Self>> {
        let file =
            |name, snapshot: Snapshot| Self { name, length: snapshot.length(), contents: Box::new(snapshot) };
        let log = snapshot.log()?.map(|log| file(LOG, log));
        Ok(std::iter::once(file(DATABASE, snapshot)).chain(log).collect())
    }

    /// The files of a store that nobody uses.
    ///
    /// # Errors
    /// They cannot be read, or a salvage was interrupted.
    pub fn of_directory(store: &Path) -> io::Result<Vec<Self>> {
        if store.join("store.db.salvaged").exists() {
            return Err(io::Error::other("a salvage was interrupted: run `ior-bridge store salvage` first"));
        }
        let mut files = Vec::new();
        for name in [DATABASE, LOG] {
            match File::open(store.join(name)) {
                Ok(file) => {
                    files.push(Self { name, length: file.metadata()?.len(), contents: Box::new(file) })
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(files)
    }

    /// Bytes.
    pub fn length(&self) -> u64 {
        self.length
    }
}

/// Writes a backup. `told` is given the bytes that were read so far.
///
/// # Errors
/// Something cannot be read or written.
pub fn write<W: Write>(
    out: W,
    host: &str,
    parts: &Parts,
    store: Vec<StoreFile<'_>>,
    told: impl Fn(u64),
) -> io::Result<(Manifest, W)> {
    let mut writer = Writer::new(out, Kind::Backup, host);
    let mut before = 0;
    for (path, contents) in parts.files() {
        writer.add(path, contents.len() as u64, contents)?;
        before += contents.len() as u64;
        told(before);
    }
    for StoreFile { name, length, contents } in store {
        let counted = Told { inner: contents, read: before, told: &told };
        writer.add(&format!("{DATA}/{STORE_DIR}/{name}"), length, counted)?;
        before += length;
    }
    writer.finish()
}

struct Told<'a, R, F> {
    inner: R,
    read: u64,
    told: &'a F,
}

impl<R: Read, F: Fn(u64)> Read for Told<'_, R, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read += read as u64;
        (self.told)(self.read);
        Ok(read)
    }
}
