//! What the command line does: one file per command.

mod accepted;
pub mod add;
pub mod backup;
pub mod check;
mod client;
pub mod completions;
mod confirm;
pub mod connections;
pub mod credentials;
mod data_dir;
pub mod devices;
pub mod diag;
pub mod disable;
pub mod doctor;
pub mod explain;
mod failure;
pub mod latency;
mod output;
pub mod password;
pub mod publish;
pub mod reload;
pub mod remove;
pub mod restore;
pub mod rotate;
pub mod run;
mod running;
pub mod status;
pub mod store;
mod store_stats;
pub mod subscribe;
mod table;
pub mod token;
mod tunnel;
pub mod watch;
mod words;

use std::{
    fmt,
    io::{self, Write},
};

use serde_json::{Value, json};

use crate::{
    changes::{Done, EditError, NOTHING_CHANGED},
    document::Problems,
    registry::Unclear,
    tls::TlsError,
};

/// A command that did not do what it was asked to: why, and the exit status.
#[derive(Debug)]
pub struct CommandError {
    message: String,
    status: u8,
}

impl CommandError {
    /// It was tried and failed: exit status 1.
    pub fn failed(message: impl fmt::Display) -> Self {
        Self { message: format!("error: {message}"), status: 1 }
    }

    /// Wrong usage or an invalid configuration: exit status 2.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self { message: format!("error: {message}"), status: 2 }
    }

    /// The message has been shown already, by a command that reports in its own form.
    pub(crate) fn reported(status: u8) -> Self {
        Self { message: String::new(), status }
    }

    /// With a line more.
    fn and(self, line: &str) -> Self {
        Self { message: format!("{}\n{line}", self.message), ..self }
    }

    /// What to show on standard error; may be empty.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// 1 or 2.
    pub fn status(&self) -> u8 {
        self.status
    }
}

impl From<Problems> for CommandError {
    fn from(problems: Problems) -> Self {
        Self { message: problems.render_for_stderr(), status: 2 }
    }
}

impl From<Unclear> for CommandError {
    fn from(unclear: Unclear) -> Self {
        Self::usage(unclear)
    }
}

impl From<TlsError> for CommandError {
    fn from(error: TlsError) -> Self {
        if error.is_of_configuration() { Self::usage(error) } else { Self::failed(error) }
    }
}

impl From<EditError> for CommandError {
    fn from(error: EditError) -> Self {
        match error {
            EditError::Invalid(problems) => problems.into(),
            EditError::WouldBeInvalid { problems, .. } => Self::from(problems).and(NOTHING_CHANGED),
            error if error.is_usage() => Self::usage(error),
            error => Self::failed(error),
        }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CommandError {}

/// Writes a report to standard output. A reader that went away (`| head`) is no error.
pub(crate) fn print(report: &str) -> Result<(), CommandError> {
    let mut out = io::stdout().lock();
    match out.write_all(report.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CommandError::failed(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// A report for programs.
pub(crate) fn print_json(report: &serde_json::Value) -> Result<(), CommandError> {
    print(&format!("{report:#}\n"))
}

/// A report for programs on a change of the configuration, with what all of them tell.
fn with_change(mut report: Value, done: &Done) -> Value {
    report["configuration"] = done.files.iter().map(|file| file.display().to_string()).collect();
    report["data_dir"] = json!(done.settings.data_dir.display().to_string());
    report["running"] = json!(done.taken.pid().is_some());
    report["pid"] = json!(done.taken.pid());
    report["changes"] = json!(done.taken.changes());
    report
}
