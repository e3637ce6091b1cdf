//! The fuzz targets that need what is private: for `fuzz/fuzz_targets`, and a bounded run of each in the tests below.
#![allow(clippy::unwrap_used, clippy::expect_used)]

/// The bytes of a connection.
#[path = "../fuzz/harness/connection.rs"]
pub mod connection;
#[path = "../fuzz/harness/heard.rs"]
mod heard;
/// Operations on a session.
#[path = "../fuzz/harness/session.rs"]
pub mod session;

#[cfg(test)]
#[path = "../tests/mutate/mod.rs"]
mod mutate;

#[cfg(test)]
mod tests {
    use std::{env, process::Command};

    use super::{connection, mutate, mutate::OF_PACKETS, session};

    #[test]
    fn whatever_bytes_a_connection_brings_harm_nobody() {
        alone("whatever_bytes_a_connection_brings_harm_nobody", || {
            mutate::run("connection", OF_PACKETS, 20_000, connection::check);
        });
    }

    #[test]
    fn no_sequence_of_operations_breaks_what_a_session_promises() {
        alone("no_sequence_of_operations_breaks_what_a_session_promises", || {
            mutate::run("session", OF_PACKETS, 50_000, session::check);
        });
    }

    /// Runs a test of this module in a process of its own, whose memory nobody else uses.
    fn alone(test: &str, run: impl FnOnce()) {
        const MARK: &str = "IOR_FUZZ_ALONE";
        if env::var_os(MARK).is_some() {
            return run();
        }
        let test = format!("fuzzing::tests::{test}");
        let mut command = Command::new(env::current_exe().unwrap());
        let output = command.args([&test, "--exact"]).env(MARK, "").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
    }
}
