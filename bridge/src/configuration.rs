//! The whole configuration of a directory: what start, `check` and every other command load, by the same code.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

use crate::{
    document::Problems,
    registry::{CONNECTIONS_FILE, DEVICES_FILE, Registry, Revision},
    settings::{Environment, SERVER_FILE, SYSTEM_CONFIG_DIR, Settings},
};

/// Everything that the operator configures, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// The directory it comes from.
    pub dir: PathBuf,
    /// `server.json` and the environment.
    pub settings: Settings,
    /// `devices.json` and `connections.json`.
    pub registry: Registry,
    /// The state of these two that it was read from.
    pub revision: Revision,
}

/// What a new instance gets, with the paths in the configuration directory.
const SHIPPED: [(&str, &str); 6] = [
    (DEVICES_FILE, include_str!("../../config/devices.json")),
    (CONNECTIONS_FILE, include_str!("../../config/connections.json")),
    (SERVER_FILE, include_str!("../../config/server.json")),
    ("schema/devices.schema.json", include_str!("../../config/schema/devices.schema.json")),
    ("schema/connections.schema.json", include_str!("../../config/schema/connections.schema.json")),
    ("schema/server.schema.json", include_str!("../../config/schema/server.schema.json")),
];

impl Configuration {
    /// Reads a configuration directory.
    ///
    /// # Errors
    /// Everything that is wrong with all of its files and the environment, at once.
    pub fn load(dir: &Path, environment: &Environment) -> Result<Self, Problems> {
        Self::load_as(dir, dir, environment)
    }

    /// Reads the files of one directory as if they were in another.
    ///
    /// # Errors
    /// As [`Configuration::load`].
    pub fn load_as(files: &Path, dir: &Path, environment: &Environment) -> Result<Self, Problems> {
        match (Settings::load_as(files, dir, environment), Registry::load_revision(files)) {
            (Ok(settings), Ok((registry, revision))) => {
                Ok(Self { dir: dir.to_owned(), settings, registry, revision })
            }
            (Err(problems), Ok(_)) | (Ok(_), Err(problems)) => Err(problems),
            (Err(mut problems), Err(more)) => {
                problems.extend(more);
                Err(problems)
            }
        }
    }

    /// Whether it means the same, however it is written.
    pub fn means(&self, other: &Self) -> bool {
        (&self.dir, &self.settings, &self.registry) == (&other.dir, &other.settings, &other.registry)
    }
}

/// The configuration directory: the one given, else `./config` if it exists, else `/etc/ior-bridge` if it exists, else
/// `./config`.
pub fn directory(given: Option<PathBuf>) -> PathBuf {
    let local = PathBuf::from("config");
    let system = PathBuf::from(SYSTEM_CONFIG_DIR);
    match given {
        Some(given) => given,
        None if !local.is_dir() && system.is_dir() => system,
        None => local,
    }
}

/// Writes the shipped configuration into a directory that has neither devices nor connections; whatever file is there
/// stays as it is. Whether it wrote anything.
///
/// # Errors
/// A file that cannot be written, with its path.
pub fn write_default(dir: &Path) -> io::Result<bool> {
    if [DEVICES_FILE, CONNECTIONS_FILE].iter().any(|name| fs::symlink_metadata(dir.join(name)).is_ok()) {
        return Ok(false);
    }
    for (name, text) in SHIPPED {
        let path = dir.join(name);
        let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| create(&path, text));
        written.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    }
    Ok(true)
}

fn create(path: &Path, text: &str) -> io::Result<()> {
    match File::create_new(path) {
        Ok(mut file) => file.write_all(text.as_bytes()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_new_instance_gets_the_shipped_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("a/config");
        assert!(write_default(&config).unwrap());
        let configuration = Configuration::load(&config, &Environment::new()).unwrap();
        assert_eq!(
            (configuration.registry.devices().len(), configuration.registry.connections().len()),
            (4, 2)
        );
        assert_eq!(configuration.settings.data_dir, dir.path().join("a/data"));
        assert!(config.join("schema/devices.schema.json").exists());
        assert!(!write_default(&config).unwrap(), "only once");
    }

    #[test]
    fn no_file_of_the_operator_is_ever_overwritten() {
        for name in [DEVICES_FILE, CONNECTIONS_FILE] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(name), "mine").unwrap();
            assert!(!write_default(dir.path()).unwrap());
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(SERVER_FILE), "mine").unwrap();
        assert!(write_default(dir.path()).unwrap());
        assert_eq!(fs::read_to_string(dir.path().join(SERVER_FILE)).unwrap(), "mine");
    }

    #[test]
    fn errors_of_all_files_come_at_once() {
        let dir = tempfile::tempdir().unwrap();
        for name in [SERVER_FILE, DEVICES_FILE, CONNECTIONS_FILE] {
            fs::write(dir.path().join(name), "{ \"x\": 1 }").unwrap();
        }
        let problems = Configuration::load(dir.path(), &Environment::new()).unwrap_err();
        let mut files: Vec<_> = problems.iter().filter_map(|problem| problem.path()?.file_name()).collect();
        files.dedup();
        assert_eq!(files, [SERVER_FILE, DEVICES_FILE, CONNECTIONS_FILE]);
    }

    #[test]
    fn the_given_directory_wins() {
        assert_eq!(directory(Some("x".into())), Path::new("x"));
    }
}
