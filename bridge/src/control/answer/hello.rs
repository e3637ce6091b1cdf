use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::control::Bridge;

/// Which bridge answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Its version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// The configuration directory that it was started with, as [`absolute`] tells it.
    pub config: String,
    /// Its data directory, likewise.
    pub data_dir: String,
}

pub(super) fn hello(bridge: &Bridge) -> Hello {
    let configuration = bridge.configuration.load();
    Hello {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        config: absolute(&configuration.dir),
        data_dir: absolute(&configuration.settings.data_dir),
    }
}

/// A directory as every process knows it: from the root, and without links.
pub fn absolute(dir: &Path) -> String {
    let found = dir.canonicalize().or_else(|_| std::path::absolute(dir));
    found.unwrap_or_else(|_| dir.to_owned()).display().to_string()
}
