//! The daemon.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use ior_bridge::commands::{latency, publish, subscribe};

/// Pairs of devices talk over MQTT, and nothing else
#[derive(Parser)]
enum Cli {
    /// Publish one message as the device of a credential file
    Pub(publish::Args),
    /// Print what a device's peer publishes
    Sub(subscribe::Args),
    /// Measure how long messages take from one end of a connection to the other
    Latency(latency::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Cli::parse() {
        Cli::Pub(args) => publish::run(args).await,
        Cli::Sub(args) => subscribe::run(args).await,
        Cli::Latency(args) => latency::run(args).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", error.message());
            ExitCode::from(error.status())
        }
    }
}
