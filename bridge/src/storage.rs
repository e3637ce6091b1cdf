//! Whether the data directory can keep what it is given.

use std::{
    io::{self, ErrorKind, Write},
    path::Path,
};

use rustix::{fs::statvfs, io::Errno};

/// Below this many free bytes the operator is warned.
pub const SCARCE: u64 = 64 << 20;

/// Free bytes that are left to the store by whatever can be done later, such as a backup.
pub const SPARE: u64 = 16 << 20;

/// What is written to try it, in bytes.
const PROBE: usize = 8 << 10;

/// Writes a few KB into a directory, syncs them and removes them again, and gives the bytes that are free there for who
/// runs this.
///
/// # Errors
/// What failed. [`advice`] says what to do about it.
pub fn probe(dir: &Path) -> io::Result<u64> {
    // Without a name: there is nothing to be left behind.
    let mut file = tempfile::tempfile_in(dir)?;
    file.write_all(&[0; PROBE])?;
    file.sync_all()?;
    free(dir)
}

/// Bytes that are free where a directory is, for who runs this.
///
/// # Errors
/// Nobody can tell.
pub fn free(dir: &Path) -> io::Result<u64> {
    let system = statvfs(dir)?;
    Ok(system.f_bavail.saturating_mul(system.f_frsize))
}

/// What to do about an error of the file system.
pub fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "the disk is full: remove what is not needed there, or move data_dir to a larger one"
        }
        ErrorKind::ReadOnlyFilesystem => {
            "the file system is read-only, as Linux makes it after an error: look at `dmesg`, repair it with fsck and \
             mount it again"
        }
        ErrorKind::PermissionDenied => {
            "run this as the bridge's user or with sudo, or give that user the directory"
        }
        _ if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => {
            "the disk or memory card fails: look at `dmesg`, copy data_dir to another one and replace it"
        }
        _ => "set data_dir in server.json to a directory that can be written",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_probe_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        assert!(probe(dir.path()).unwrap() > 0);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn every_error_has_its_advice() {
        for (errno, words) in [
            (Errno::NOSPC, "the disk is full"),
            (Errno::DQUOT, "the disk is full"),
            (Errno::IO, "memory card fails"),
            (Errno::ROFS, "read-only"),
            (Errno::ACCESS, "with sudo"),
            (Errno::NOTDIR, "set data_dir"),
        ] {
            let advice = advice(&errno.into());
            assert!(advice.contains(words), "{errno}: {advice}");
        }
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(probe(&dir.path().join("gone")).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
