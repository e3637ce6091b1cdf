//! API tokens: what programs show instead of logging in.
//!
//! `tokens.json` holds the hash of each. A token is a random 256-bit number, so a fast hash is enough: nobody tries them all.

use std::{
    collections::HashMap,
    fmt,
    fs::File,
    io::{self, ErrorKind, Read},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    files::{Stamp, lock},
    random::random_text,
};
use crate::{
    report::Time,
    secrets::{looks_like_a_password, write_private},
    storage::advice,
};

/// File name in the data directory.
pub(crate) const TOKENS_FILE: &str = "tokens.json";

/// How the text of a token begins, so that one that lies somewhere is recognised.
const PREFIX: &str = "ior_";
const TOKEN_BYTES: usize = 32;
const ID_BYTES: usize = 6;
/// So many tokens at most.
const TOKENS: usize = 100;
/// Longest name, in characters.
const MAX_NAME: usize = 64;
/// Longest file, in bytes.
const MAX_FILE: u64 = 256 << 10;

/// Whether a text could be a token, so that nobody may read it.
pub(crate) fn looks_like_a_token(text: &str) -> bool {
    text.strip_prefix(PREFIX).is_some_and(looks_like_a_password)
}

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// See everything but credentials.
    Read,
    /// Change devices and connections and fetch credentials, too.
    Write,
    /// Fetch /metrics only.
    Metrics,
}

/// A token, without what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Token {
    /// Names it for whoever revokes it.
    pub(crate) id: String,
    /// For people.
    pub(crate) name: String,
    /// What it is good for.
    pub(crate) scope: Scope,
    /// When it was made.
    pub(crate) created: Time,
    /// SHA-256 of its text, base64url.
    hash: String,
}

/// Those of a running bridge, which notices what commands change.
pub(in crate::web) struct Tokens {
    path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    read: Option<(Stamp, Result<Vec<Token>, TokenError>)>,
    /// By identifier, since the bridge was started.
    last_used: HashMap<String, Time>,
}

/// `tokens.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    tokens: Vec<Token>,
}

/// Why tokens cannot be read or changed. Says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TokenError {
    /// What was asked for makes no sense.
    Invalid(String),
    /// There is none of this identifier.
    Unknown(String),
    /// The file.
    File(String),
}

impl Tokens {
    /// In this data directory.
    pub(super) fn of(data_dir: &Path) -> Self {
        Self { path: data_dir.join(TOKENS_FILE), known: Mutex::default() }
    }

    /// The one with this text, if there is one; notes that it was used.
    pub(super) fn find(&self, text: &str) -> Option<Token> {
        let hash = hash(text.strip_prefix(PREFIX)?);
        let mut known = self.known.lock();
        let tokens = known.read(&self.path).ok()?;
        let found = tokens.iter().find(|token| token.hash.as_bytes().ct_eq(hash.as_bytes()).into())?.clone();
        known.last_used.insert(found.id.clone(), Time::now());
        Some(found)
    }

    /// Whether there is still one of this identifier.
    pub(super) fn has(&self, id: &str) -> bool {
        let mut known = self.known.lock();
        known.read(&self.path).is_ok_and(|tokens| tokens.iter().any(|token| token.id == id))
    }

    /// All, and when they were used last since the bridge was started.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(in crate::web) fn list(&self) -> Result<Vec<(Token, Option<Time>)>, TokenError> {
        let mut known = self.known.lock();
        let tokens = known.read(&self.path)?.to_vec();
        let with_use = |token: Token| {
            let used = known.last_used.get(&token.id).copied();
            (token, used)
        };
        Ok(tokens.into_iter().map(with_use).collect())
    }
}

impl Known {
    fn read(&mut self, path: &Path) -> Result<&[Token], TokenError> {
        let stamp = Stamp::of(path);
        let read = match self.read.take() {
            Some((known, tokens)) if known == stamp => tokens,
            _ => {
                let tokens = read(path).inspect_err(|error| tracing::error!("{error}"));
                self.last_used.retain(|id, _| tokens.iter().flatten().any(|token| token.id == *id));
                tokens
            }
        };
        let (_, read) = self.read.insert((stamp, read));
        read.as_deref().map_err(|error| error.clone())
    }
}

/// Makes a token: the record of it, and its text, which is written nowhere.
///
/// # Errors
/// The name is none, there are too many, or the file cannot be read or written.
pub(crate) fn create(
    data_dir: &Path,
    name: &str,
    scope: Scope,
) -> Result<(Token, Zeroizing<String>), TokenError> {
    let name = checked(name)?;
    change(data_dir, |tokens| {
        if tokens.len() >= TOKENS {
            return Err(TokenError::Invalid(format!("there are {TOKENS} tokens already: revoke one first")));
        }
        if tokens.iter().any(|token| token.name == name) {
            return Err(TokenError::Invalid(format!(
                "there is a token named {name:?} already: choose another name, or revoke that one first"
            )));
        }
        let secret = random_text::<TOKEN_BYTES>();
        let id = random_text::<ID_BYTES>().replace(['-', '_'], "0");
        let token = Token { id, name: name.to_owned(), scope, created: Time::now(), hash: hash(&secret) };
        tokens.push(token.clone());
        Ok((token, Zeroizing::new(format!("{PREFIX}{}", *secret))))
    })
}

/// Takes a token away: it is good for nothing any more.
///
/// # Errors
/// There is none of this identifier, or the file cannot be read or written.
pub(crate) fn revoke(data_dir: &Path, id: &str) -> Result<Token, TokenError> {
    change(data_dir, |tokens| {
        let index = tokens.iter().position(|token| token.id == id);
        index.map(|index| tokens.remove(index)).ok_or_else(|| TokenError::Unknown(id.to_owned()))
    })
}

/// All that there are.
///
/// # Errors
/// The file is damaged or cannot be read.
pub(crate) fn list(data_dir: &Path) -> Result<Vec<Token>, TokenError> {
    read(&data_dir.join(TOKENS_FILE))
}

fn change<T>(
    data_dir: &Path,
    change: impl FnOnce(&mut Vec<Token>) -> Result<T, TokenError>,
) -> Result<T, TokenError> {
    let path = data_dir.join(TOKENS_FILE);
    let _lock = lock(data_dir).map_err(|error| unwritten(data_dir, &error))?;
    let mut tokens = read(&path)?;
    let changed = change(&mut tokens)?;
    let written =
        serde_json::to_vec_pretty(&Document { tokens }).map_err(io::Error::other).and_then(|mut text| {
            text.push(b'\n');
            write_private(&path, &text, true)
        });
    written.map_err(|error| unwritten(&path, &error))?;
    Ok(changed)
}

fn read(path: &Path) -> Result<Vec<Token>, TokenError> {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut text));
    match read {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(TokenError::File(format!(
                "{} cannot be read: {error}; it should belong to the bridge's user (`ior-bridge doctor` says more)",
                path.display()
            )));
        }
        Ok(_) => {}
    }
    serde_json::from_slice::<Document>(&text).map(|document| document.tokens).map_err(|_| {
        TokenError::File(format!(
            "{} is damaged, so no token is good for anything: restore it from a backup, or remove it and make new tokens",
            path.display()
        ))
    })
}

fn checked(name: &str) -> Result<&str, TokenError> {
    let name = name.trim();
    let is_right =
        (1..=MAX_NAME).contains(&name.chars().count()) && !name.chars().any(crate::terminal::is_unseen);
    is_right.then_some(name).ok_or_else(|| {
        TokenError::Invalid(format!(
            "the name of a token has 1 to {MAX_NAME} characters that can be seen: say who uses it, such as \"grafana\""
        ))
    })
}

fn hash(secret: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(secret))
}

fn unwritten(path: &Path, error: &io::Error) -> TokenError {
    TokenError::File(format!("{} cannot be written: {error}; {}", path.display(), advice(error)))
}

impl Scope {
    /// As it is written.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Metrics => "metrics",
        }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(why) | Self::File(why) => f.write_str(why),
            Self::Unknown(id) => {
                write!(f, "there is no token with the id {id:?}: `ior-bridge token list` shows all")
            }
        }
    }
}

impl std::error::Error for TokenError {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn a_token_is_good_until_it_is_revoked() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::of(dir.path());
        assert!(tokens.find("ior_").is_none() && tokens.list().unwrap().is_empty());
        let (grafana, text) = create(dir.path(), " grafana ", Scope::Metrics).unwrap();
        assert!(text.starts_with("ior_") && text.len() == 47 && grafana.name == "grafana");
        assert!(tokens.has(&grafana.id) && tokens.list().unwrap()[0].1.is_none());
        assert_eq!(tokens.find(&text).unwrap().id, grafana.id);
        assert!(tokens.list().unwrap()[0].1.is_some(), "used");
        for wrong in ["", "ior_", &text[..46], &text[4..], &text.to_lowercase(), &grafana.hash] {
            assert!(tokens.find(wrong).is_none(), "{wrong}");
        }
        let (other, other_text) = create(dir.path(), "other", Scope::Write).unwrap();
        let listed: Vec<_> = list(dir.path()).unwrap().into_iter().map(|token| token.id).collect();
        assert_eq!(listed, [grafana.id.as_str(), &other.id]);
        assert_eq!(revoke(dir.path(), &grafana.id).unwrap().name, "grafana");
        assert!(tokens.find(&text).is_none() && !tokens.has(&grafana.id));
        assert_eq!(tokens.find(&other_text).unwrap().id, other.id);
        assert_eq!(revoke(dir.path(), &grafana.id), Err(TokenError::Unknown(grafana.id)));
        let file = dir.path().join(TOKENS_FILE);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!fs::read_to_string(file).unwrap().contains(&other_text[4..]));
    }

    #[test]
    fn names_can_be_read_and_are_not_used_twice() {
        let dir = tempfile::tempdir().unwrap();
        let name = |name: &str| create(dir.path(), name, Scope::Read);
        for bad in ["", "  ", "a\nb", "a\u{202E}b", &"x".repeat(MAX_NAME + 1)] {
            assert!(matches!(name(bad), Err(TokenError::Invalid(_))), "{bad:?}");
        }
        name(&"ü".repeat(MAX_NAME)).unwrap();
        name("one").unwrap();
        let error = name("one ").unwrap_err().to_string();
        assert!(error.contains("already"), "{error}");
    }

    #[test]
    fn there_are_not_too_many() {
        let dir = tempfile::tempdir().unwrap();
        let long = "\u{1F916}".repeat(MAX_NAME - 3);
        for number in 0..TOKENS {
            create(dir.path(), &format!("{long}{number}"), Scope::Metrics).unwrap();
        }
        assert!(matches!(create(dir.path(), "more", Scope::Read), Err(TokenError::Invalid(_))));
        assert_eq!(list(dir.path()).unwrap().len(), TOKENS, "all of them can be read again");
    }

    #[test]
    fn a_damaged_file_opens_nothing_and_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::of(dir.path());
        let (_, text) = create(dir.path(), "one", Scope::Read).unwrap();
        let file = dir.path().join(TOKENS_FILE);
        let good = fs::read_to_string(&file).unwrap();
        fs::write(&file, &good[..good.len() / 2]).unwrap();
        assert!(tokens.find(&text).is_none());
        for error in [
            tokens.list().unwrap_err(),
            create(dir.path(), "two", Scope::Read).unwrap_err(),
            revoke(dir.path(), "x").unwrap_err(),
        ] {
            assert!(error.to_string().contains("is damaged"), "{error}");
        }
        fs::write(&file, &good).unwrap();
        assert!(tokens.find(&text).is_some());
    }
}
