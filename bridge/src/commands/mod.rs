//! The commands of `ior-bridge`, one file each.

mod client;
pub mod latency;
pub mod publish;
pub mod subscribe;

/// Why a command failed, and the exit status that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandError {
    /// A sentence for the operator: what went wrong and what to do.
    pub message: String,
    /// 1: the command failed; 2: it was used wrongly or the configuration is invalid.
    pub status: u8,
}
