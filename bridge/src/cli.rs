//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::commands::{
    check, completions, credentials, explain, latency, publish, reload, rotate, run, store, subscribe,
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
    /// Check the configuration and the data directory, and show who may do what.
    Check(check::Args),
    /// Write the credential files, or show credentials for a device or connection.
    Credentials(credentials::Args),
    /// Give a device a new password: raise its secret version and write its new credential files.
    Rotate(rotate::Args),
    /// Have the running bridge take up its configuration, and tell what has changed or what is wrong.
    Reload(reload::Args),
    /// Look at what is kept on disk, or save what is whole of it, while the bridge does not run.
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
