use std::{
    fs::OpenOptions,
    io::{self, ErrorKind, Read},
    ops::Range,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::OFlags;

use super::{Problem, Replacement};

/// Byte offsets into a [`Source`]'s text.
pub(crate) type Span = Range<usize>;

/// Longest configuration file, in bytes: room for some 100,000 devices.
pub const MAX_FILE_SIZE: u64 = 16 * 1024 * 1024;

pub(super) const BOM: &[u8] = b"\xEF\xBB\xBF";

/// A configuration file's text. A byte order mark at its start is left out.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// Reads a file; `None` if there is none.
    ///
    /// # Errors
    /// It cannot be read, is longer than [`MAX_FILE_SIZE`] or is not UTF-8.
    pub fn read(path: &Path) -> Result<Option<Arc<Self>>, Problem> {
        let bytes = match read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Problem::unreadable(path, &error)),
        };
        if bytes.len() as u64 > MAX_FILE_SIZE {
            return Err(Problem::of_file(path, format!("is larger than {MAX_FILE_SIZE} bytes"))
                .hint("is this the right file? 1,000 devices need about 100,000 bytes"));
        }
        Self::from_bytes(path, &bytes).map(Some)
    }

    /// Puts another text beside the file that this was read from, ready to take its place.
    ///
    /// # Errors
    /// The file was changed since it was read, or nothing can be written beside it with the same owner.
    pub fn prepare(&self, text: &str) -> io::Result<Replacement> {
        Replacement::write(&self.path, &self.text, text)
    }

    /// A file's text, given by the caller.
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { path: path.into(), text: text.into() })
    }

    /// Where it came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Line and column of a byte offset: both from 1, the column counted in characters.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        (line, before.get(line_start..).unwrap_or_default().chars().count() + 1)
    }

    fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Arc<Self>, Problem> {
        let bytes = bytes.strip_prefix(BOM).unwrap_or(bytes);
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Self::new(path, text)),
            Err(error) => {
                let at = error.valid_up_to();
                let source = Self::new(path, String::from_utf8_lossy(bytes));
                let end = at + char::REPLACEMENT_CHARACTER.len_utf8();
                let hint = match bytes {
                    [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => "it looks like UTF-16: save it as UTF-8",
                    _ => "save the file as UTF-8 (it may be in Latin-1 or Windows-1252)",
                };
                Err(Problem::at(&source, at..end, "this is not UTF-8").hint(hint))
            }
        }
    }
}

/// At most one byte more than is allowed. What is no file is refused, and never waited for, as a named pipe would be.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is no file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_SIZE + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_no_file_is_told_and_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        for path in [&fifo, dir.path(), Path::new("/dev/null")] {
            let problem = Source::read(path).unwrap_err();
            assert!(problem.message().contains("it is no file"), "{}", problem.message());
        }
        assert_eq!(Source::read(&dir.path().join("gone")).unwrap(), None);
    }
}
