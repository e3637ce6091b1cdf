//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::commands::{
    add, backup, check, completions, connections, credentials, devices, diag, disable, doctor, explain,
    latency, password, publish, reload, remove, restore, rotate, run, status, store, subscribe, token, watch,
};

/// Lets pairs of devices talk over MQTT, and nothing else.
///
/// Exit status: 0 fine, 1 failed, 2 wrong usage or invalid configuration.
#[derive(Debug, Parser)]
#[command(name = "ior-bridge", version, max_term_width = 100)]
pub struct Cli {
    /// The configuration directory [default: ./config, else /etc/ior-bridge].
    #[arg(long, value_name = "DIR", global = true)]
    pub config: Option<PathBuf>,
    /// What to do; `run` if nothing is given.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the bridge until SIGTERM or Ctrl-C.
    Run(run::Args),
    /// Show what the running bridge does: listeners, store, devices and connections.
    Status(status::Args),
    /// Show what happens in the running bridge, as it happens.
    Watch(watch::Args),
    /// Show all devices, or one in detail.
    Devices(devices::Args),
    /// Show all connections, or one in detail.
    Connections(connections::Args),
    /// Check the configuration and the data directory, and show who may do what.
    Check(check::Args),
    /// Write the credential files, or show credentials for a device or connection.
    Credentials(credentials::Args),
    /// Add a device or a connection, and write its credential files.
    Add(add::Args),
    /// Remove a device or a connection, with all that waits in it.
    Remove(remove::Args),
    /// Give a device a new password: raise its secret version and write its new credential files.
    Rotate(rotate::Args),
    /// Have the running bridge take up its configuration, and tell what has changed or what is wrong.
    Reload(reload::Args),
    /// Lock a device out at once: it is disconnected, and what waits for it is dropped.
    Disable(disable::Args),
    /// Let a device that was disabled log in again, with its latest password only.
    Enable(disable::Args),
    /// Write all that this bridge is into one file: configuration, secret key, certificates, waiting messages.
    Backup(backup::Args),
    /// Put a backup in the place of what is there.
    Restore(restore::Args),
    /// Look for what is wrong with this machine, the configuration and the running bridge, and say what to do about it.
    Doctor(doctor::Args),
    /// Gather what a bug report needs in one file, without secrets.
    Diag(diag::Args),
    /// Make, show or revoke tokens: with one, a program may use the API and fetch metrics.
    Token(token::Args),
    /// Make a new password for the page, and end all its logins.
    Password(password::Args),
    /// Look at what is kept on disk, or save what is whole of it.
    Store(store::Args),
    /// Tell whether a device may publish or subscribe to a topic, and which rule decides.
    Explain(explain::Args),
    /// Publish one message as the device of a credential file.
    Pub(publish::Args),
    /// Print what the peer of a credential file's device publishes.
    Sub(subscribe::Args),
    /// Measure how long messages take from one end of a connection to the other.
    Latency(latency::Args),
    /// Print what a shell needs to complete the command line.
    Completions(completions::Args),
}
