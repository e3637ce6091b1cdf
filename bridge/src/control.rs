//! How commands speak to the running bridge: over a Unix socket that only its owner and group can open. A connection
//! carries one request, as a line of JSON; the answer is a line of JSON, `{"done": …}` or `{"error": "…"}`, and for some
//! requests more behind it.

mod answer;
mod client;
mod request;
mod server;

pub use answer::{Answer, Backup, Hello, Pause, StoreContents, absolute};
pub use client::{Client, ControlError};
pub use request::Request;
pub use server::{Bridge, Control};

use std::path::{Path, PathBuf};

use crate::settings::Settings;

/// File name of the socket in the runtime directory.
pub const SOCKET_FILE: &str = "control.sock";

/// Longest request and longest line of an answer, in bytes.
const MAX_LINE: usize = 64 << 20;

/// Where a bridge with these settings can be spoken to.
pub fn socket_path(settings: &Settings) -> PathBuf {
    settings.runtime_dir.join(SOCKET_FILE)
}

/// A path to the same socket that is short enough for the system, which takes 107 bytes; valid as long as the directory that
/// is given back is open.
fn reachable(path: &Path) -> std::io::Result<(PathBuf, std::fs::File)> {
    use std::os::fd::AsRawFd;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let open = std::fs::File::open(dir)?;
    let name = path.file_name().unwrap_or_default();
    Ok((Path::new("/proc/self/fd").join(open.as_raw_fd().to_string()).join(name), open))
}
