//! Files that are being written, and what is left of them by a process that was killed.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
    time::{Duration, SystemTime},
};

use rustix::fs::OFlags;
use tempfile::NamedTempFile;

use crate::secrets::TEMPORARY_PREFIX;

/// How many letters follow [`TEMPORARY_PREFIX`].
const RANDOM: usize = 6;
/// Nobody takes so long to lock what he has made.
const AGE: Duration = Duration::from_secs(60);

/// A file that only its owner can read, with a name of its own until it is put in place. Whoever has it holds its lock.
pub(crate) fn temporary_in(dir: &Path) -> io::Result<NamedTempFile> {
    let file = tempfile::Builder::new().prefix(TEMPORARY_PREFIX).rand_bytes(RANDOM).tempfile_in(dir)?;
    // Where there are no locks, nobody else gets one either, and nothing is removed.
    let _ = file.as_file().try_lock();
    Ok(file)
}

/// Removes what nobody works on any more: files with such a name in this directory that belong to this user, or to the
/// directory's owner.
pub(crate) fn remove(dir: &Path) {
    let Ok(owner) = fs::metadata(dir).map(|metadata| metadata.uid()) else { return };
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let random = name.to_str().and_then(|name| name.strip_prefix(TEMPORARY_PREFIX));
        if random.is_some_and(|random| random.len() == RANDOM)
            && let Ok(Some(_lock)) = abandoned(&entry.path(), owner)
        {
            // One that stays does no harm.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The file, if nobody has its lock.
fn abandoned(path: &Path, owner: u32) -> io::Result<Option<File>> {
    // A link may lead anywhere, and a pipe may keep whoever opens it.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    let is_own = [owner, rustix::process::geteuid().as_raw()].contains(&metadata.uid());
    let age = SystemTime::now().duration_since(metadata.modified()?).unwrap_or_default();
    Ok((metadata.is_file() && is_own && age >= AGE && file.try_lock().is_ok()).then_some(file))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_what_nobody_works_on_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let old = SystemTime::now() - 2 * AGE;
        let make = |name: &str, modified| {
            let file = File::create(dir.path().join(name)).unwrap();
            file.set_modified(modified).unwrap();
            file
        };
        make(".ior-bridge-abcdef", old);
        make(".ior-bridge-fresh1", SystemTime::now());
        make(".ior-bridge-notes", old);
        make("another", old);
        let locked = make(".ior-bridge-locked", old);
        locked.lock().unwrap();
        let at_work = temporary_in(dir.path()).unwrap();
        at_work.as_file().set_modified(old).unwrap();
        std::os::unix::fs::symlink("another", dir.path().join(".ior-bridge-a_link")).unwrap();
        let foreign = rustix::process::geteuid().is_root().then(|| {
            make(".ior-bridge-others", old);
            let path = dir.path().join(".ior-bridge-others");
            std::os::unix::fs::lchown(&path, Some(65_534), None).unwrap();
            path
        });
        remove(dir.path());
        assert!(!dir.path().join(".ior-bridge-abcdef").exists());
        for kept in
            [".ior-bridge-fresh1", ".ior-bridge-notes", "another", ".ior-bridge-locked", ".ior-bridge-a_link"]
        {
            assert!(dir.path().join(kept).exists(), "{kept}");
        }
        assert!(at_work.path().exists() && foreign.is_none_or(|path| path.exists()));
    }
}
