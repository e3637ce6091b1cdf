//! What belongs to a backup beside the store.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{CONFIG, DATA};
use crate::{
    last_seen::LAST_SEEN_FILE,
    pairs::PAIRS_FILE,
    rotation::ROTATION_FILE,
    secrets::{KEY_FILE, TEMPORARY_PREFIX},
    settings::Settings,
    tls::CA_DIR,
    web::auth::{
        password::{ADMIN_FILE, INITIAL_FILE},
        tokens::TOKENS_FILE,
    },
};

/// Where the JSON schemas are, in the configuration directory.
const SCHEMA_DIR: &str = "schema";

/// What the bridge writes into its data directory and needs again, beside the store and the CA.
pub(super) const DATA_FILES: [&str; 7] =
    [KEY_FILE, ROTATION_FILE, PAIRS_FILE, LAST_SEEN_FILE, ADMIN_FILE, INITIAL_FILE, TOKENS_FILE];

/// Files with their contents, by their path in the archive.
#[derive(PartialEq, Eq)]
pub struct Parts {
    files: BTreeMap<String, Zeroizing<Vec<u8>>>,
    /// Files of the operator that the settings name, in neither directory.
    elsewhere: Vec<PathBuf>,
}

impl Parts {
    /// Reads them.
    ///
    /// # Errors
    /// A file cannot be read, or there is no secret key: nothing has run there yet.
    pub fn gather(dir: &Path, settings: &Settings) -> io::Result<Self> {
        let mut parts = Self { files: BTreeMap::new(), elsewhere: Vec::new() };
        let is_json = |name: &str| name.ends_with(".json");
        parts.add_files(dir, CONFIG, is_json)?;
        parts.add_files(&dir.join(SCHEMA_DIR), &format!("{CONFIG}/{SCHEMA_DIR}"), is_json)?;
        parts.add_files(&settings.data_dir, DATA, |name| DATA_FILES.contains(&name))?;
        parts.add_files(&settings.data_dir.join(CA_DIR), &format!("{DATA}/{CA_DIR}"), |_| true)?;
        if !parts.files.contains_key(&format!("{DATA}/{KEY_FILE}")) {
            return Err(io::Error::new(
                ErrorKind::NotFound,
                format!(
                    "there is no {KEY_FILE} in {}: nothing has run there yet (is this the right --config and data_dir?)",
                    settings.data_dir.display()
                ),
            ));
        }
        let mqtts = &settings.mqtts;
        let pair = mqtts.pair.iter().flat_map(|pair| [&pair.cert, &pair.key]);
        for path in pair.chain(&mqtts.client_ca) {
            let within =
                |parent: &Path, name| Some(format!("{name}/{}", path.strip_prefix(parent).ok()?.to_str()?));
            match within(dir, CONFIG).or_else(|| within(&settings.data_dir, DATA)) {
                Some(name) => parts.add_file(path, name)?,
                None => parts.elsewhere.push(path.clone()),
            }
        }
        Ok(parts)
    }

    /// Path in the archive and contents.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().map(|(path, contents)| (path.as_str(), contents.as_slice()))
    }

    /// Files of the operator that are not among them, since they are in neither directory.
    pub fn elsewhere(&self) -> &[PathBuf] {
        &self.elsewhere
    }

    /// Bytes of all.
    pub fn length(&self) -> u64 {
        self.files.values().map(|contents| contents.len() as u64).sum()
    }

    fn add_files(&mut self, dir: &Path, below: &str, is_wanted: impl Fn(&str) -> bool) -> io::Result<()> {
        let entries = match fs::read_dir(dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(|error| of_file(dir, &error))?,
        };
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(name) = name.filter(|name| is_wanted(name) && !name.starts_with(TEMPORARY_PREFIX))
            else {
                continue;
            };
            if path.is_file() {
                self.add_file(&path, format!("{below}/{name}"))?;
            }
        }
        Ok(())
    }

    fn add_file(&mut self, path: &Path, name: String) -> io::Result<()> {
        let contents = fs::read(path).map(Zeroizing::new).map_err(|error| of_file(path, &error))?;
        self.files.insert(name, contents);
        Ok(())
    }
}

fn of_file(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
