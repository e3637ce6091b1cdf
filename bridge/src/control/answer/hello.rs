use serde::{Deserialize, Serialize};

/// Which bridge answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Its version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
}

pub(super) fn hello() -> Hello {
    Hello { version: env!("CARGO_PKG_VERSION").to_owned(), pid: std::process::id() }
}
