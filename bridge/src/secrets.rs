//! The one secret of an instance, and what is derived from it: nothing per device is stored.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, fchown, lchown},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// File name of the key in the data directory.
pub const KEY_FILE: &str = "secret.key";

const KEY_LEN: usize = 32;
const HMAC_BLOCK: usize = 64;
/// Characters of a password: 256 bits as base64url without padding.
pub const PASSWORD_LEN: usize = 43;
/// Bytes behind the 16 characters of a connection key.
const CONNECTION_KEY_BYTES: usize = 12;

/// A random 256-bit key. Forgotten (overwritten) when dropped.
#[derive(Clone)]
pub struct Secrets {
    key: Zeroizing<[u8; KEY_LEN]>,
}

/// Why the secret key cannot be used. Says what to do.
#[derive(Debug)]
pub struct SecretError {
    path: PathBuf,
    message: String,
}

/// Whether a text could be a password, so that nobody may read it.
pub fn looks_like_a_password(text: &str) -> bool {
    text.len() == PASSWORD_LEN
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

impl Secrets {
    /// Reads `secret.key` of the data directory, or makes both (modes 0600 and 0700) from the operating system's
    /// random numbers. Two processes that start at once agree on one key.
    ///
    /// # Errors
    /// The key cannot be read or written, is malformed, or others than its owner may read it.
    pub fn load_or_create(data_dir: &Path) -> Result<Self, SecretError> {
        let path = data_dir.join(KEY_FILE);
        if let Some(secrets) = Self::load(&path)? {
            return Ok(secrets);
        }
        create(data_dir, &path).map_err(|error| SecretError {
            message: format!("cannot be created: {error}; give the bridge's user a writable data_dir"),
            path: path.clone(),
        })?;
        Self::load(&path)?
            .ok_or_else(|| SecretError { path, message: "vanished after it was created".to_owned() })
    }

    /// Secrets from a key that the caller has.
    pub fn from_key(key: [u8; KEY_LEN]) -> Self {
        Self { key: Zeroizing::new(key) }
    }

    /// A device's password for one of its secret versions: 43 characters, base64url.
    pub fn password(&self, user: &str, code: &str, version: u32) -> Zeroizing<String> {
        let mac = self.derive(b"ior-bridge device password 1", &[user, code, &version.to_string()]);
        Zeroizing::new(URL_SAFE_NO_PAD.encode(mac))
    }

    /// The key that both ends of a connection share, for clients that encrypt end to end: 16 characters, base64url.
    pub fn connection_key(&self, user: &str, connection: &str) -> String {
        let mac = self.derive(b"ior-bridge connection key 1", &[user, connection]);
        URL_SAFE_NO_PAD.encode(&mac[..CONNECTION_KEY_BYTES])
    }

    /// Reads a key; `None` if there is none.
    pub(crate) fn load(path: &Path) -> Result<Option<Self>, SecretError> {
        let fail = |message: String| SecretError { path: path.to_owned(), message };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(fail(format!("cannot be read: {error}; run this as the bridge's user")));
            }
        };
        let metadata = file.metadata().map_err(|error| fail(format!("cannot be examined: {error}")))?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(fail(format!(
                "others may read or write it (mode {mode:04o}): run chmod 600 {}",
                path.display()
            )));
        }
        let mut text = Zeroizing::new(Vec::with_capacity(2 * KEY_LEN));
        file.take(2 * KEY_LEN as u64)
            .read_to_end(&mut text)
            .map_err(|error| fail(format!("cannot be read: {error}")))?;
        let mut key = Zeroizing::new([0; KEY_LEN]);
        match URL_SAFE_NO_PAD.decode_slice(text.trim_ascii(), key.as_mut()) {
            Ok(KEY_LEN) => Ok(Some(Self { key })),
            _ => Err(fail(
                "is damaged: it should hold 43 characters of base64url. Restore it from a backup; or move it away \
                 for a new one, which gives every device a new password"
                    .to_owned(),
            )),
        }
    }

    /// HMAC-SHA-256 over a label and fields, each with its length, so that no two inputs run together.
    fn derive(&self, label: &[u8], fields: &[&str]) -> [u8; 32] {
        // HMAC fills a shorter key up with zeros to the block of its hash.
        let mut block = Zeroizing::new([0; HMAC_BLOCK]);
        block[..KEY_LEN].copy_from_slice(self.key.as_ref());
        let mut mac = Hmac::<Sha256>::new((&*block).into());
        mac.update(&[label.len() as u8]);
        mac.update(label);
        for field in fields {
            mac.update(&(field.len() as u32).to_be_bytes());
            mac.update(field.as_bytes());
        }
        mac.finalize().into_bytes().into()
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

impl std::fmt::Display for SecretError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the secret key {} {}", self.path.display(), self.message)
    }
}

impl std::error::Error for SecretError {}

/// Makes a directory that only its owner can look into, unless it is there.
pub(crate) fn create_private_dir(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.map_or(Ok(()), create_private_dir)?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    give_path_to_owner_of(parent.unwrap_or(Path::new(".")), path)
}

/// Like [`give_to_owner_of`], for what has been made and is not open.
pub(crate) fn give_path_to_owner_of(dir: &Path, made: &Path) -> io::Result<()> {
    match owner_of(dir)? {
        Some((user, group)) => lchown(made, Some(user), Some(group)),
        None => Ok(()),
    }
}

/// What root makes in the bridge's directories belongs to their owner: the bridge has to read it when it runs.
pub(crate) fn give_to_owner_of(dir: &Path, made: &File) -> io::Result<()> {
    match owner_of(dir)? {
        Some((user, group)) => fchown(made, Some(user), Some(group)),
        None => Ok(()),
    }
}

/// User and group that own a directory, for root only: nobody else can give anything away.
fn owner_of(dir: &Path) -> io::Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let owner = fs::metadata(dir)?;
    Ok(Some((owner.uid(), owner.gid())))
}

/// Writes a file that only its owner can read: complete under its name, or not at all. `sync` for what cannot be made
/// again after a power cut.
pub(crate) fn write_private(path: &Path, contents: &[u8], sync: bool) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = private_temporary(dir, contents)?;
    if sync {
        file.as_file_mut().sync_all()?;
    }
    file.persist(path)?;
    if sync { File::open(dir)?.sync_all() } else { Ok(()) }
}

fn create(data_dir: &Path, path: &Path) -> io::Result<()> {
    create_private_dir(data_dir)?;
    let mut key = Zeroizing::new([0; KEY_LEN]);
    getrandom::fill(key.as_mut()).map_err(io::Error::other)?;
    let mut text = Zeroizing::new(URL_SAFE_NO_PAD.encode(*key));
    text.push('\n');
    let mut file = private_temporary(data_dir, text.as_bytes())?;
    file.as_file_mut().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => File::open(data_dir)?.sync_all(),
        // Another process was first: its key counts.
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error.error),
    }
}

/// A file that only its owner can read, under a name of its own until it is put in place.
pub(crate) fn private_temporary(dir: &Path, contents: &[u8]) -> io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::Builder::new()
        .prefix(TEMPORARY_PREFIX)
        .permissions(fs::Permissions::from_mode(0o600))
        .tempfile_in(dir)?;
    give_to_owner_of(dir, file.as_file())?;
    file.write_all(contents)?;
    Ok(file)
}

/// How the names of unfinished files begin.
pub(crate) const TEMPORARY_PREFIX: &str = ".ior-bridge-";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_key_is_made_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("a/data");
        let first = Secrets::load_or_create(&data_dir).unwrap();
        let second = Secrets::load_or_create(&data_dir).unwrap();
        assert_eq!(first.key, second.key);
        assert_ne!(*first.key, [0; KEY_LEN]);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&data_dir), mode(&data_dir.join(KEY_FILE))), (0o700, 0o600));
        assert_eq!(fs::read_dir(&data_dir).unwrap().count(), 1, "no temporary file is left");
        let other = tempfile::tempdir().unwrap();
        assert_ne!(Secrets::load_or_create(other.path()).unwrap().key, first.key);
    }

    #[test]
    fn processes_that_start_at_once_agree() {
        let dir = tempfile::tempdir().unwrap();
        let keys: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..8).map(|_| scope.spawn(|| Secrets::load_or_create(dir.path()).unwrap().key)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
    }

    #[test]
    fn a_key_that_cannot_be_trusted_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(KEY_FILE);
        Secrets::load_or_create(dir.path()).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        let error = || Secrets::load_or_create(dir.path()).unwrap_err().to_string();
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(error().contains("run chmod 600"), "{}", error());
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for bad in [
            "",
            "short",
            &good.replace(|c: char| c.is_ascii_alphanumeric(), "!"),
            &good[1..],
            &good.repeat(2),
        ] {
            fs::write(&path, bad).unwrap();
            assert!(error().contains("is damaged"), "{bad:?}: {}", error());
        }
        fs::write(&path, good.trim()).unwrap();
        assert!(Secrets::load_or_create(dir.path()).is_ok());
    }

    #[test]
    fn what_root_makes_belongs_to_whom_the_directory_does() {
        const SOMEBODY: u32 = 65_534;
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        lchown(dir.path(), Some(SOMEBODY), Some(SOMEBODY)).unwrap();
        Secrets::load_or_create(dir.path()).unwrap();
        create_private_dir(&dir.path().join("a/b")).unwrap();
        for name in [KEY_FILE, "a", "a/b"] {
            let made = fs::metadata(dir.path().join(name)).unwrap();
            assert_eq!((made.uid(), made.gid()), (SOMEBODY, SOMEBODY), "{name}");
        }
    }

    #[test]
    fn what_is_derived_never_changes() {
        // A change here gives every device in the field another password.
        let secrets = Secrets::from_key([7; KEY_LEN]);
        assert_eq!(*secrets.password("default", "4569", 1), "0K84HFyFe9MdgLKGisnGjdDSSJWFJhC59PVcTj2Pd1I");
        assert_eq!(secrets.connection_key("default", "connection-1"), "SUNWT3zWdkeqKgrt");
        assert_eq!(format!("{secrets:?}"), "Secrets");
    }

    #[test]
    fn nothing_derived_is_alike() {
        let secrets = Secrets::from_key([7; KEY_LEN]);
        let passwords = [("a", "b", 1), ("a", "b", 2), ("ab", "", 1), ("b", "a", 1), ("a", "b1", 1)]
            .map(|(user, code, version)| secrets.password(user, code, version).to_string());
        let distinct: std::collections::HashSet<_> = passwords.iter().collect();
        assert_eq!(distinct.len(), passwords.len());
        assert!(passwords.iter().all(|password| password.len() == PASSWORD_LEN));
        assert_eq!(secrets.connection_key("a", "b").len(), 16);
    }
}
