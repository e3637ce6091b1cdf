//! The administrator's password: made by the bridge where there is none, and kept as an Argon2id hash.
//!
//! `admin.json` holds the hash. `admin-password` holds a password that the bridge has made, in clear, until it is changed.
//! Whoever finds no `admin.json` makes it from `admin-password`: so a start that was cut short is made up for later.

use std::{
    fmt,
    fs::{self, File},
    io::{self, ErrorKind, Read},
    path::{Path, PathBuf},
};

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    files::{Stamp, lock},
    random::random,
};
use crate::{
    secrets::{create_private_dir, private_temporary, write_private},
    storage::advice,
};

/// File name of the hash in the data directory.
pub(crate) const ADMIN_FILE: &str = "admin.json";
/// File name of a password that the bridge has made.
pub(crate) const INITIAL_FILE: &str = "admin-password";

/// Fewest and most characters of a password.
pub(in crate::web) const LENGTHS: std::ops::RangeInclusive<usize> = 10..=256;

/// OWASP's parameters: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 << 10;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// More is not what the bridge has written, and not spent on strangers: it would take too much memory.
const MOST_MEMORY_KIB: u32 = 64 << 10;
const MOST_PASSES: u32 = 8;
/// Longest file, in bytes.
const MAX_FILE: u64 = 4 << 10;

/// What a password is made of: nothing that looks like something else.
const ALPHABET: &[u8; 31] = b"abcdefghjkmnpqrstuvwxyz23456789";
const GROUPS: usize = 4;
const GROUP_LEN: usize = 5;

/// The files in a data directory.
#[derive(Debug, Clone)]
pub(crate) struct Administrator {
    data_dir: PathBuf,
}

/// What is known of the password.
pub(super) struct Record {
    hash: PasswordHash,
    stamp: Stamp,
}

/// `admin.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    /// PHC string.
    password: String,
    /// Whether the bridge has made it.
    initial: bool,
}

/// Why nobody can log in. Says what to do.
#[derive(Debug)]
pub(crate) struct PasswordError(String);

impl Administrator {
    /// In this directory.
    pub(crate) fn of(data_dir: &Path) -> Self {
        Self { data_dir: data_dir.to_owned() }
    }

    /// Where a password that the bridge has made stands until it is changed.
    pub(crate) fn initial_file(&self) -> PathBuf {
        self.data_dir.join(INITIAL_FILE)
    }

    /// Makes a password if there is none, and gives it. It is not hashed yet, which takes longer:
    /// [`Administrator::load_or_create`].
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn begin(&self) -> Result<Option<Zeroizing<String>>, PasswordError> {
        if self.file().exists() || self.initial_file().exists() {
            return Ok(None);
        }
        let password = generate();
        match self.write_first(&password) {
            Ok(()) => Ok(Some(password)),
            // Another process was first: its password counts.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(unwritten(&self.initial_file(), &error)),
        }
    }

    /// Looks whether somebody can log in. Hashes nothing: that is left to the first login, since it takes time and memory.
    ///
    /// # Errors
    /// A file is damaged, or cannot be read.
    pub(crate) fn check(&self) -> Result<(), PasswordError> {
        match self.read()? {
            Some((document, stamp)) => self.record(&document, stamp).map(drop),
            None => self.read_initial().map(drop),
        }
    }

    /// Gives the administrator another password, which the bridge makes, and gives it.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(crate) fn renew(&self) -> Result<Zeroizing<String>, PasswordError> {
        let _lock = self.lock()?;
        let password = generate();
        let document = Document { password: hash(&password)?, initial: true };
        self.write_initial(&password).map_err(|error| unwritten(&self.initial_file(), &error))?;
        self.write(&document)?;
        Ok(password)
    }

    /// What there is; makes what is missing. Takes a while.
    ///
    /// # Errors
    /// A file is damaged, or cannot be read or written.
    pub(super) fn load_or_create(&self) -> Result<Record, PasswordError> {
        if let Some((document, stamp)) = self.read()? {
            return self.record(&document, stamp);
        }
        let _lock = self.lock()?;
        if let Some((document, stamp)) = self.read()? {
            return self.record(&document, stamp);
        }
        self.begin()?;
        let document = Document { password: hash(&self.read_initial()?)?, initial: true };
        self.write(&document)?;
        self.record(&document, self.stamp())
    }

    /// Makes this the password, unless it is another one than `seen` by now. What the bridge made before is removed.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(super) fn change(&self, seen: Stamp, password: &str) -> Result<bool, PasswordError> {
        let _lock = self.lock()?;
        if self.stamp() != seen {
            return Ok(false);
        }
        self.write(&Document { password: hash(password)?, initial: false })?;
        match fs::remove_file(self.initial_file()) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                // It opens nothing any more.
                tracing::warn!("{} cannot be removed: {error}", self.initial_file().display());
            }
            _ => {}
        }
        Ok(true)
    }

    /// Tells whether the password is still the one that it was.
    pub(super) fn stamp(&self) -> Stamp {
        Stamp::of(&self.file())
    }

    /// Whether the bridge has made it.
    pub(super) fn is_initial(&self) -> bool {
        matches!(self.read(), Ok(Some((Document { initial: true, .. }, _))))
    }

    fn file(&self) -> PathBuf {
        self.data_dir.join(ADMIN_FILE)
    }

    fn read(&self) -> Result<Option<(Document, Stamp)>, PasswordError> {
        let path = self.file();
        let stamp = self.stamp();
        let text = match read_start(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|error| unread(&path, &error))?,
        };
        match serde_json::from_slice(&text) {
            Ok(document) => Ok(Some((document, stamp))),
            Err(_) => Err(self.damaged()),
        }
    }

    fn record(&self, document: &Document, stamp: Stamp) -> Result<Record, PasswordError> {
        let hash = PasswordHash::new(&document.password).ok().filter(is_affordable);
        Ok(Record { hash: hash.ok_or_else(|| self.damaged())?, stamp })
    }

    fn read_initial(&self) -> Result<Zeroizing<String>, PasswordError> {
        let path = self.initial_file();
        let text = read_start(&path).map_err(|error| unread(&path, &error))?;
        let password = std::str::from_utf8(&text).map(str::trim_end).unwrap_or_default();
        if !LENGTHS.contains(&password.chars().count()) {
            return Err(PasswordError(format!(
                "{} should hold one line with {} to {} characters: `ior-bridge password` makes a new one",
                path.display(),
                LENGTHS.start(),
                LENGTHS.end()
            )));
        }
        Ok(Zeroizing::new(password.to_owned()))
    }

    fn write(&self, document: &Document) -> Result<(), PasswordError> {
        let path = self.file();
        let written = serde_json::to_vec_pretty(document).map_err(io::Error::other).and_then(|mut text| {
            text.push(b'\n');
            write_private(&path, &text, true)
        });
        written.map_err(|error| unwritten(&path, &error))
    }

    fn write_first(&self, password: &str) -> io::Result<()> {
        create_private_dir(&self.data_dir)?;
        let mut file = private_temporary(&self.data_dir, line(password).as_bytes())?;
        file.as_file_mut().sync_all()?;
        file.persist_noclobber(self.initial_file()).map_err(|error| error.error)?;
        File::open(&self.data_dir)?.sync_all()
    }

    fn write_initial(&self, password: &str) -> io::Result<()> {
        write_private(&self.initial_file(), line(password).as_bytes(), true)
    }

    /// Whoever changes the files has it, so that they belong together.
    fn lock(&self) -> Result<File, PasswordError> {
        lock(&self.data_dir).map_err(|error| unwritten(&self.data_dir, &error))
    }

    fn damaged(&self) -> PasswordError {
        PasswordError(format!(
            "{} is damaged, so nobody can log in: run `ior-bridge password`, which makes a new password",
            self.file().display()
        ))
    }
}

impl Record {
    /// Whether it is this password. Takes a while.
    pub(super) fn is_right(&self, password: &str) -> bool {
        Argon2::default().verify_password(password.as_bytes(), &self.hash).is_ok()
    }

    /// Of the file that it was read from.
    pub(super) fn stamp(&self) -> Stamp {
        self.stamp
    }
}

impl fmt::Display for PasswordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PasswordError {}

fn hash(password: &str) -> Result<String, PasswordError> {
    let hashed = Params::new(MEMORY_KIB, PASSES, LANES, None)
        .map_err(|error| error.to_string())
        .map(|params| Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
        .and_then(|argon2| argon2.hash_password(password.as_bytes()).map_err(|error| error.to_string()));
    hashed
        .map(|hash| hash.to_string())
        .map_err(|error| PasswordError(format!("the password cannot be hashed: {error}; is memory short?")))
}

/// Whether it is an Argon2id hash that does not take more than it should.
fn is_affordable(hash: &PasswordHash) -> bool {
    Params::try_from(hash).is_ok_and(|params| {
        hash.algorithm == Algorithm::Argon2id.ident()
            && hash.hash.is_some()
            && params.m_cost() <= MOST_MEMORY_KIB
            && params.t_cost() <= MOST_PASSES
    })
}

/// 99 random bits, easy to read and to type.
fn generate() -> Zeroizing<String> {
    let mut password = Zeroizing::new(String::with_capacity(GROUPS * (GROUP_LEN + 1)));
    for group in 0..GROUPS {
        if group > 0 {
            password.push('-');
        }
        for _ in 0..GROUP_LEN {
            password.push(letter());
        }
    }
    password
}

fn letter() -> char {
    loop {
        let byte = random::<1>();
        // Of 32 numbers that are equally likely, one has no letter.
        if let Some(&letter) = ALPHABET.get(usize::from(byte[0] & 31)) {
            return letter.into();
        }
    }
}

fn line(password: &str) -> Zeroizing<String> {
    Zeroizing::new(format!("{password}\n"))
}

fn read_start(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut text = Zeroizing::new(Vec::new());
    File::open(path)?.take(MAX_FILE).read_to_end(&mut text)?;
    Ok(text)
}

fn unread(path: &Path, error: &io::Error) -> PasswordError {
    PasswordError(format!(
        "{} cannot be read: {error}; it should belong to the bridge's user (`ior-bridge doctor` says more)",
        path.display()
    ))
}

fn unwritten(path: &Path, error: &io::Error) -> PasswordError {
    PasswordError(format!("{} cannot be written: {error}; {}", path.display(), advice(error)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{collections::HashSet, os::unix::fs::PermissionsExt};

    use super::*;

    fn world() -> (tempfile::TempDir, Administrator) {
        let dir = tempfile::tempdir().unwrap();
        let administrator = Administrator::of(&dir.path().join("data"));
        (dir, administrator)
    }

    #[test]
    fn a_password_is_made_once_and_lies_there_in_clear_until_it_is_changed() {
        let (_dir, administrator) = world();
        let password = administrator.begin().unwrap().unwrap();
        assert_eq!(*fs::read_to_string(administrator.initial_file()).unwrap(), *line(&password));
        assert!(administrator.begin().unwrap().is_none(), "there is one");
        let record = administrator.load_or_create().unwrap();
        assert!(record.is_right(&password) && administrator.is_initial());
        assert!(!record.is_right(&password.to_uppercase()) && !record.is_right(""));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&administrator.file()), 0o600);
        assert_eq!(mode(&administrator.initial_file()), 0o600);
        let text = fs::read_to_string(administrator.file()).unwrap();
        assert!(text.contains("$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");

        let seen = administrator.stamp();
        assert!(administrator.change(seen, "correct horse").unwrap());
        // Whoever has seen the one before changes nothing.
        assert!(!administrator.change(seen, "battery staple").unwrap());
        assert_ne!(administrator.stamp(), record.stamp());
        assert!(!administrator.initial_file().exists() && !administrator.is_initial());
        let record = administrator.load_or_create().unwrap();
        assert!(record.is_right("correct horse") && !record.is_right(&password));

        let renewed = administrator.renew().unwrap();
        assert!(administrator.load_or_create().unwrap().is_right(&renewed) && administrator.is_initial());
        assert_ne!(renewed, password);
    }

    #[test]
    fn a_start_that_was_cut_short_is_made_up_for() {
        let (_dir, administrator) = world();
        let password = administrator.begin().unwrap().unwrap();
        assert!(administrator.begin().unwrap().is_none());
        assert!(administrator.load_or_create().unwrap().is_right(&password));
        // Whoever has removed both starts anew.
        fs::remove_file(administrator.file()).unwrap();
        fs::remove_file(administrator.initial_file()).unwrap();
        assert!(!administrator.load_or_create().unwrap().is_right(&password));
    }

    #[test]
    fn passwords_can_be_typed_and_are_never_the_same() {
        let passwords: HashSet<String> = (0..100).map(|_| generate().to_string()).collect();
        assert_eq!(passwords.len(), 100);
        for password in &passwords {
            assert_eq!(password.len(), GROUPS * (GROUP_LEN + 1) - 1);
            assert!(password.split('-').all(|group| group.len() == GROUP_LEN));
            assert!(password.bytes().all(|byte| byte == b'-' || ALPHABET.contains(&byte)), "{password}");
        }
        let letters: HashSet<char> = passwords.iter().flat_map(|password| password.chars()).collect();
        assert_eq!(letters.len(), ALPHABET.len() + 1, "all of them occur");
    }

    #[test]
    fn what_is_damaged_is_said_with_what_to_do() {
        let (_dir, administrator) = world();
        administrator.load_or_create().unwrap();
        let good = fs::read_to_string(administrator.file()).unwrap();
        for bad in [
            String::new(),
            good.replace("$argon2id$", "$argon2d$"),
            good.replace("m=19456", "m=4000000"),
            good.replace("t=2", "t=100000"),
            good.replace("$argon2id$", "$scrypt$"),
            good.replace("initial", "other"),
            good[..good.len() / 2].to_owned(),
            r#"{"password":"$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ","initial":true}"#.to_owned(),
            "x".repeat(1 << 20),
        ] {
            fs::write(administrator.file(), &bad).unwrap();
            let error = administrator.load_or_create().err().unwrap().to_string();
            assert!(error.contains("is damaged") && error.contains("`ior-bridge password`"), "{error}");
        }
        administrator.renew().unwrap();
        assert!(administrator.load_or_create().is_ok());
        fs::remove_file(administrator.file()).unwrap();
        fs::write(administrator.initial_file(), "short\n").unwrap();
        let error = administrator.load_or_create().err().unwrap().to_string();
        assert!(error.contains("10 to 256 characters"), "{error}");
    }
}
