//! Archives: `.tar.gz` files whose last entry, the manifest, says what is in them. An archive that ends before it, or does
//! not hold what it says, is refused. Any `tar` can read them.

use std::{
    collections::HashSet,
    fmt,
    io::{self, Read, Write},
    time::SystemTime,
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// The name of the last entry.
pub const MANIFEST: &str = "manifest.json";

/// The format that this version writes, and the newest that it reads.
const FORMAT: u32 = 1;

/// Most files that are read from an archive.
const MAX_FILES: usize = 10_000;
/// Longest manifest, in bytes.
const MAX_MANIFEST: u64 = 4 << 20;
/// Most bytes behind the last entry.
const MAX_PADDING: u64 = 64 << 10;
/// Mode of the files: their owner may read and write them.
const MODE: u32 = 0o600;

/// What an archive is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// All that an instance is.
    Backup,
    /// What a bug report needs.
    Diagnosis,
}

/// What is in an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// What it is for.
    pub kind: Kind,
    /// The format of the archive.
    pub format: u32,
    /// The version of the bridge that made it.
    pub version: String,
    /// When, RFC 3339.
    pub made: String,
    /// The host name of the machine.
    pub host: String,
    /// Every other entry, in order.
    pub files: Vec<Listed>,
}

/// A file of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Where it is in the archive, with `/` between names.
    pub path: String,
    /// Its bytes.
    pub bytes: u64,
    /// Their SHA-256, hexadecimal.
    pub sha256: String,
}

/// Why an archive cannot be read.
#[derive(Debug)]
pub struct ArchiveError(String);

/// Writes an archive.
pub struct Writer<W: Write> {
    builder: Builder<GzEncoder<W>>,
    manifest: Manifest,
}

/// Counts and sums up what passes.
struct Passing<R> {
    inner: R,
    bytes: u64,
    sum: Sha256,
}

impl<W: Write> Writer<W> {
    /// Into this, which need not be buffered.
    pub fn new(out: W, kind: Kind, host: &str) -> Self {
        let manifest = Manifest {
            kind,
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            made: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            host: host.to_owned(),
            files: Vec::new(),
        };
        // A Raspberry Pi is busy for long with more, for little.
        Self { builder: Builder::new(GzEncoder::new(out, Compression::fast())), manifest }
    }

    /// Adds a file of so many bytes.
    ///
    /// # Errors
    /// It cannot be read or written, has another length, or its path is longer than the format takes (about 200 bytes).
    pub fn add(&mut self, path: &str, length: u64, contents: impl Read) -> io::Result<()> {
        let mut passing = Passing { inner: contents.take(length), bytes: 0, sum: Sha256::new() };
        self.append(path, length, &mut passing)?;
        if passing.bytes != length {
            return Err(io::Error::other(format!("{path} became shorter while it was read")));
        }
        let sha256 = hex(&passing.sum.finalize());
        self.manifest.files.push(Listed { path: path.to_owned(), bytes: length, sha256 });
        Ok(())
    }

    /// Writes the manifest, and gives it with what all was written to.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(mut self) -> io::Result<(Manifest, W)> {
        let text = serde_json::to_vec_pretty(&self.manifest)?;
        self.append(MANIFEST, text.len() as u64, &*text)?;
        let mut out = self.builder.into_inner()?.finish()?;
        out.flush()?;
        Ok((self.manifest, out))
    }

    fn append(&mut self, path: &str, length: u64, contents: impl Read) -> io::Result<()> {
        let mut header = Header::new_ustar();
        header.set_path(path)?;
        header.set_size(length);
        header.set_mode(MODE);
        header.set_entry_type(EntryType::Regular);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        header.set_mtime(now.as_secs());
        header.set_cksum();
        self.builder.append(&header, contents)
    }
}

/// Reads an archive and hands every file's path, length and contents to `visit`; not more than `limit` bytes of them in all.
/// What `visit` got may be used only if this succeeds.
///
/// # Errors
/// It is not an archive of this kind, is not complete, or holds anything but files with plain paths below a directory;
/// `visit` failed.
pub fn read(
    archive: impl Read,
    kind: Kind,
    limit: u64,
    mut visit: impl FnMut(&str, u64, &mut dyn Read) -> io::Result<()>,
) -> Result<Manifest, ArchiveError> {
    let broken = |error: io::Error| ArchiveError(format!("cannot be read: {error}; is it complete?"));
    let mut archive = tar::Archive::new(GzDecoder::new(archive));
    let mut manifest: Option<Manifest> = None;
    let mut found = Vec::new();
    let mut paths = HashSet::new();
    let mut left = limit;
    // Raw: no entry gets a name or a length from another one.
    for entry in archive.entries().map_err(broken)?.raw(true) {
        let mut entry = entry.map_err(broken)?;
        if manifest.is_some() {
            return Err(ArchiveError(format!("goes on behind {MANIFEST}")));
        }
        let path = path_of(entry.header())?;
        let bytes = entry.size();
        if path == MANIFEST {
            manifest = Some(read_manifest(&mut entry, bytes)?);
            continue;
        }
        if found.len() == MAX_FILES || !paths.insert(path.clone()) {
            return Err(ArchiveError(format!("holds {path} twice, or too many files")));
        }
        left = left.checked_sub(bytes).ok_or_else(|| {
            ArchiveError("needs more room than is left there: make room on that disk".to_owned())
        })?;
        let mut passing = Passing { inner: &mut entry, bytes: 0, sum: Sha256::new() };
        visit(&path, bytes, &mut passing).map_err(|error| ArchiveError(format!("{path}: {error}")))?;
        io::copy(&mut passing, &mut io::sink()).map_err(broken)?;
        if passing.bytes != bytes {
            return Err(broken(io::ErrorKind::UnexpectedEof.into()));
        }
        found.push(Listed { path, bytes, sha256: hex(&passing.sum.finalize()) });
    }
    let manifest = manifest.ok_or_else(|| {
        ArchiveError(format!("has no {MANIFEST}: it is not complete, or no archive of ior-bridge"))
    })?;
    let padding = io::copy(&mut archive.into_inner().take(MAX_PADDING + 1), &mut io::sink());
    if padding.map_err(broken)? > MAX_PADDING {
        return Err(ArchiveError("goes on behind its end".to_owned()));
    }
    check(&manifest, kind, &found)?;
    Ok(manifest)
}

impl<R: Read> Read for Passing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes += read as u64;
        self.sum.update(&buffer[..read]);
        Ok(read)
    }
}

impl fmt::Display for ArchiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ArchiveError {}

/// The path of a regular file that stays below where it is put.
fn path_of(header: &Header) -> Result<String, ArchiveError> {
    let bytes = header.path_bytes();
    let shown = String::from_utf8_lossy(&bytes).escape_debug().to_string();
    if header.entry_type() != EntryType::Regular {
        return Err(ArchiveError(format!("holds {shown}, which is not a file")));
    }
    let is_plain = |name: &str| {
        !matches!(name, "" | "." | "..") && !name.contains(|c: char| c.is_control() || c == '\\')
    };
    match std::str::from_utf8(&bytes) {
        Ok(path) if path.split('/').all(is_plain) => Ok(path.to_owned()),
        _ => Err(ArchiveError(format!("holds the path {shown}, which leads elsewhere"))),
    }
}

fn read_manifest(entry: &mut impl Read, bytes: u64) -> Result<Manifest, ArchiveError> {
    let damaged = |what: String| ArchiveError(format!("has a damaged {MANIFEST}: {what}"));
    if bytes > MAX_MANIFEST {
        return Err(damaged("it is too long".to_owned()));
    }
    let mut text = Vec::new();
    entry.read_to_end(&mut text).map_err(|error| damaged(error.to_string()))?;
    serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))
}

fn check(manifest: &Manifest, kind: Kind, found: &[Listed]) -> Result<(), ArchiveError> {
    if manifest.format > FORMAT {
        return Err(ArchiveError(format!(
            "was made by a newer version of ior-bridge ({}): use that version",
            manifest.version.escape_debug()
        )));
    }
    if manifest.kind != kind {
        let what = match manifest.kind {
            Kind::Backup => "a backup",
            Kind::Diagnosis => "made for a bug report (`ior-bridge diag`)",
        };
        return Err(ArchiveError(format!("is {what}")));
    }
    if manifest.files == found {
        return Ok(());
    }
    let differs = manifest.files.iter().zip(found).find(|(listed, found)| listed != found);
    Err(ArchiveError(match differs {
        Some((listed, _)) => format!("is damaged: {} is not what it was", listed.path.escape_debug()),
        None => "is damaged: files are missing, or there are more than there were".to_owned(),
    }))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn made(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), Kind::Backup, "pi");
        for (path, contents) in files {
            writer.add(path, contents.len() as u64, *contents).unwrap();
        }
        writer.finish().unwrap().1
    }

    fn read_all(archive: &[u8], limit: u64) -> Result<Vec<(String, Vec<u8>)>, String> {
        let mut files = Vec::new();
        let read = read(archive, Kind::Backup, limit, |path, _, contents| {
            let mut bytes = Vec::new();
            contents.read_to_end(&mut bytes)?;
            files.push((path.to_owned(), bytes));
            Ok(())
        });
        read.map(|_| files).map_err(|error| error.to_string())
    }

    /// An archive that no [`Writer`] makes, with a manifest that says that all is well.
    fn forged(kind: EntryType, path: &[u8], contents: &[u8]) -> Vec<u8> {
        let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        let mut add = |kind, path: &[u8], contents: &[u8]| {
            let mut header = Header::new_ustar();
            header.as_old_mut().name[..path.len()].copy_from_slice(path);
            header.set_size(contents.len() as u64);
            header.set_entry_type(kind);
            if kind.is_symlink() {
                header.set_link_name("/etc/passwd").unwrap();
            }
            header.set_cksum();
            builder.append(&header, contents).unwrap();
        };
        add(kind, path, contents);
        let listed = Listed {
            path: String::from_utf8_lossy(path).into_owned(),
            bytes: contents.len() as u64,
            sha256: hex(&Sha256::digest(contents)),
        };
        let mut manifest = Writer::new(Vec::new(), Kind::Backup, "pi").manifest;
        manifest.files.push(listed);
        add(EntryType::Regular, MANIFEST.as_bytes(), &serde_json::to_vec(&manifest).unwrap());
        builder.into_inner().unwrap().finish().unwrap()
    }

    #[test]
    fn what_was_put_in_comes_out() {
        let long = format!("data/{}/x", "y".repeat(120));
        let large = vec![7; 100_000];
        let archive = made(&[("config/a.json", b"{}"), (&long, &large), ("data/empty", b"")]);
        let files = read_all(&archive, 100_002).unwrap();
        assert_eq!(files[1], (long, large));
        assert_eq!(files.len(), 3);
        assert!(read_all(&archive, 100_001).unwrap_err().contains("more room"));
    }

    #[test]
    fn nothing_that_is_cut_off_or_changed_is_taken() {
        let archive = made(&[("config/a.json", b"{}"), ("data/x", &[5; 3_000])]);
        for length in 0..archive.len() {
            assert!(read_all(&archive[..length], 1 << 20).is_err(), "{length} bytes");
        }
        let whole = read_all(&archive, 1 << 20).unwrap();
        for at in 0..archive.len() {
            let mut changed = archive.clone();
            changed[at] ^= 1;
            // Some bits of a compressed file mean nothing.
            assert!(!read_all(&changed, 1 << 20).is_ok_and(|files| files != whole), "byte {at}");
        }
        for other in [&b""[..], b"PK\x03\x04", &[0x1f, 0x8b], &[0; 4_096]] {
            assert!(read_all(other, 1 << 20).is_err());
        }
    }

    #[test]
    fn only_plain_files_below_a_directory_are_taken() {
        assert!(read_all(&forged(EntryType::Regular, b"data/x", b"1"), 10).is_ok());
        for path in [
            &b"/etc/passwd"[..],
            b"../x",
            b"data/../../x",
            b"data//x",
            b"data/./x",
            b"data/",
            b"a\xff",
            b"a\\b",
        ] {
            let error = read_all(&forged(EntryType::Regular, path, b"1"), 10).unwrap_err();
            assert!(error.contains("leads elsewhere"), "{error}");
        }
        for kind in [
            EntryType::Symlink,
            EntryType::Link,
            EntryType::Directory,
            EntryType::Fifo,
            EntryType::GNULongName,
        ] {
            let error = read_all(&forged(kind, b"data/x", b""), 10).unwrap_err();
            assert!(error.contains("not a file"), "{kind:?}: {error}");
        }
    }

    #[test]
    fn another_kind_or_a_newer_format_is_refused() {
        let archive = Writer::new(Vec::new(), Kind::Diagnosis, "pi").finish().unwrap().1;
        assert!(read_all(&archive, 10).unwrap_err().contains("bug report"));
        let mut writer = Writer::new(Vec::new(), Kind::Backup, "pi");
        writer.manifest.format = FORMAT + 1;
        assert!(read_all(&writer.finish().unwrap().1, 10).unwrap_err().contains("newer version"));
    }
}
