//! The commands of `ior-bridge`, one file each.

mod client;
pub mod latency;
pub mod publish;
pub mod subscribe;

use std::fmt;

/// Why a command failed, and the exit status that says so.
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

    /// What to show on standard error.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// 1 or 2.
    pub fn status(&self) -> u8 {
        self.status
    }
}
