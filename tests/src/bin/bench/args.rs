//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::process::Process;
use crate::relay::{Kind, Relay};
use crate::wire::{STAMP, Version};
use crate::{Result, mosquitto};

/// Measures ior-bridge beside mosquitto with password and ACL file and prints the table with the targets.
///
/// Both run on this machine and are measured in turn, round by round. Figures count relative to each other; other work
/// on the machine disturbs them and is reported.
#[derive(Debug, Parser)]
#[command(name = "bench")]
pub(crate) struct Args {
    /// One short round, to see that everything works.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Print JSON in place of the table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Pairs of devices.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) pairs: u32,
    /// Payload in bytes.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(STAMP as i64..=60_000))]
    pub(crate) size: u32,
    /// Messages in flight per pair.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(1..=60))]
    pub(crate) in_flight: u8,
    /// MQTT version: 3.1.1 or 5.
    #[arg(long, default_value = "3.1.1", value_parser = version)]
    pub(crate) mqtt: Version,
    /// Messages per second over all pairs for the latency.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) rate: u32,
    /// Idle devices for the memory of each.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(20..=100_000))]
    pub(crate) idle: u32,
    /// Devices for the start.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    pub(crate) start: u32,
    /// Rounds; the table shows medians [default: 5, with --quick 1].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Seconds of every measurement after its warm-up [default: 4, with --quick 1].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: Option<u32>,
    /// Threads of the load generator.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) threads: u8,
    /// Let generator and relays share all cores while latency is measured, in place of keeping them apart.
    #[arg(long)]
    pub(crate) share_cores: bool,
    /// ior-bridge's binary [default: $IOR_BRIDGE_BIN, else target/release/ior-bridge].
    #[arg(long)]
    bridge: Option<PathBuf>,
    /// Environment variable for ior-bridge, may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) bridge_env: Vec<(String, String)>,
    /// mosquitto's binary [default: from $PATH or /usr/sbin].
    #[arg(long)]
    mosquitto: Option<PathBuf>,
    /// Another relay to start, that lets everybody do everything: `open='broker --listen {address}'`; may be repeated.
    #[arg(long, value_name = "NAME=COMMAND", value_parser = key_value)]
    spawn: Vec<(String, String)>,
    /// Another relay, already running, that lets everybody do everything, its process if it is on this machine; may be
    /// repeated.
    #[arg(long, value_name = "NAME=ADDRESS:PORT[,PID]", value_parser = key_value)]
    relay: Vec<(String, String)>,
    /// Only these of mosquitto, ior-bridge and the others; the first is what the rest is compared with.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only these measurements [default: all but wear].
    #[arg(long, value_delimiter = ',', value_enum)]
    pub(crate) measure: Vec<Measure>,
    /// Measure the wear too, once: it takes about five minutes for each relay.
    #[arg(long)]
    wear: bool,
    /// Seconds of the wear at one message a second and idle; at 10 half as long, at 1,000 a sixth [default: 60, with
    /// --quick 10].
    #[arg(long, value_parser = clap::value_parser!(u32).range(6..=86_400))]
    wear_seconds: Option<u32>,
}

/// A group of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Measure {
    Throughput,
    Latency,
    Memory,
    Start,
    /// QoS 1 to persistent sessions, on disk before it is acknowledged.
    Durable,
    /// Bytes that reach the device; takes minutes and needs root to count them all.
    Wear,
}

impl Args {
    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 1 } else { 5 })
    }

    pub(crate) fn measured(&self) -> Duration {
        Duration::from_secs(self.seconds.unwrap_or(if self.quick { 1 } else { 4 }).into())
    }

    pub(crate) fn warm_up(&self) -> Duration {
        self.measured() / 4
    }

    pub(crate) fn wants(&self, measure: Measure) -> bool {
        match measure {
            Measure::Wear if self.wear => true,
            Measure::Wear => self.measure.contains(&measure),
            _ => self.measure.is_empty() || self.measure.contains(&measure),
        }
    }

    /// How long the slowest rate of the wear is measured.
    pub(crate) fn wear_seconds(&self) -> Duration {
        Duration::from_secs(self.wear_seconds.unwrap_or(if self.quick { 10 } else { 60 }).into())
    }

    /// What is compared, the reference first.
    pub(crate) fn relays(&self) -> Result<Vec<Relay>> {
        let mut relays = Vec::new();
        if self.selects("mosquitto") {
            let binary = self.mosquitto.clone().or_else(|| mosquitto::find("mosquitto"));
            let binary = binary.ok_or("cannot find mosquitto: install it, or name it with --mosquitto")?;
            relays.push(Relay { name: "mosquitto".into(), kind: Kind::Mosquitto { binary } });
        }
        if self.selects("ior-bridge") {
            let binary = self.bridge.clone().or_else(|| std::env::var_os("IOR_BRIDGE_BIN").map(Into::into));
            let binary = binary.unwrap_or_else(|| "target/release/ior-bridge".into());
            if !binary.is_file() {
                return Err(format!(
                    "cannot find {}: build it with cargo build --release, or name it with --bridge",
                    binary.display()
                )
                .into());
            }
            let environment = self.bridge_env.clone();
            relays.push(Relay { name: "ior-bridge".into(), kind: Kind::Bridge { binary, environment } });
        }
        for (name, command) in self.spawn.iter().filter(|(name, _)| self.selects(name)) {
            relays.push(Relay { name: name.clone(), kind: Kind::Command { command: command.clone() } });
        }
        for (name, at) in self.relay.iter().filter(|(name, _)| self.selects(name)) {
            let (address, pid) = at.split_once(',').map_or((at.as_str(), None), |(at, pid)| (at, Some(pid)));
            let address: SocketAddr = address.parse().map_err(|error| format!("{address}: {error}"))?;
            let pid = pid.map(str::parse).transpose()?;
            let kind = Kind::Running { address, process: pid.map(Process::new) };
            relays.push(Relay { name: name.clone(), kind });
        }
        if !self.only.is_empty() {
            relays.sort_by_key(|relay| self.only.iter().position(|name| *name == relay.name));
        }
        if relays.is_empty() { Err("--only names no relay".into()) } else { Ok(relays) }
    }

    fn selects(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }
}

fn version(text: &str) -> std::result::Result<Version, String> {
    match text {
        "3.1.1" => Ok(Version::V311),
        "5" | "5.0" => Ok(Version::V5),
        _ => Err("is 3.1.1 or 5".into()),
    }
}

fn key_value(text: &str) -> std::result::Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("lacks a =")?;
    Ok((key.into(), value.into()))
}
