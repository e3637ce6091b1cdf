//! How commands speak to the running bridge: over a Unix socket that only its owner and group can open. A connection
//! carries one request, as a line of JSON; the answer is a line of JSON, `{"done": …}` or `{"error": "…"}`, and for some
//! requests more behind it.

mod answer;
mod client;
mod request;
mod server;
mod socket;

pub use answer::{Answer, Backup, Hello, Pause, StoreContents, absolute};
pub use client::{Client, ControlError};
pub use request::Request;
pub use server::{Bridge, Serving};
pub use socket::{Control, OpenError};

use std::{
    fs::File,
    io,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

use crate::settings::Settings;

/// File name of the socket in the runtime directory.
pub const SOCKET_FILE: &str = "control.sock";

/// Longest request, in bytes.
const MAX_REQUEST: u64 = 64 << 10;
/// Longest line of an answer, in bytes.
const MAX_ANSWER: u64 = 256 << 20;
/// Longest piece of what follows an answer, in bytes.
pub(crate) const MAX_PIECE: usize = 64 << 10;
/// Longest path of a socket that the system takes, in bytes.
const MAX_PATH: usize = 107;

/// Where a bridge with these settings can be spoken to.
pub fn socket_path(settings: &Settings) -> PathBuf {
    settings.runtime_dir.join(SOCKET_FILE)
}

/// A path to the same socket that the system takes, and for as long as what is given with it is held.
fn reachable(path: &Path) -> io::Result<(PathBuf, Option<File>)> {
    if path.as_os_str().len() <= MAX_PATH {
        return Ok((path.to_owned(), None));
    }
    let dir = path.parent().unwrap_or(Path::new("/"));
    let open = File::open(dir)?;
    let name = path.file_name().unwrap_or_default();
    Ok((Path::new("/proc/self/fd").join(open.as_raw_fd().to_string()).join(name), Some(open)))
}
