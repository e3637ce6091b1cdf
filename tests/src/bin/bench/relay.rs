//! The relays that are compared: how each is configured for a number of pairs, started and stopped.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::Result;
use crate::client::{self, Device, DevicePair};
use crate::process::Process;
use crate::wire::{Login, Session, Version};
use crate::{bridge, mosquitto};

const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_micros(500);

/// A column of the table.
#[derive(Debug, Clone)]
pub(crate) struct Relay {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

/// What a relay is.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// mosquitto with a password file and an access control list.
    Mosquitto { binary: PathBuf },
    /// ior-bridge with generated devices and connections.
    Bridge { binary: PathBuf, environment: Vec<(String, String)> },
    /// A relay that lets everybody do everything; `{address}` in the command stands for where to listen.
    Command { command: String },
    /// A relay that runs already and lets everybody do everything.
    Running { address: SocketAddr, process: Option<Process> },
}

/// How mosquitto and ior-bridge keep the messages of sessions that outlast their connections; the others as they like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// ior-bridge as it is shipped, mosquitto in memory.
    Shipped,
    /// ior-bridge on disk and synced, mosquitto in memory; as many as come.
    Durable,
    /// ior-bridge on disk and synced, mosquitto in a database that it writes at every change; as many as come.
    Written,
}

/// What a relay is prepared for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup<'a> {
    /// Connections, each of two devices of its own.
    pub(crate) pairs: usize,
    pub(crate) version: Version,
    pub(crate) keeping: Keeping,
    /// Where its data directory is to be, if not beside its configuration.
    pub(crate) volume: Option<&'a Path>,
}

/// A relay's files for a number of pairs, in a temporary directory; may be started several times.
pub(crate) struct Site {
    kind: Kind,
    version: Version,
    pairs: usize,
    keeping: Keeping,
    data: PathBuf,
    /// The same at every start: credential files hold the port.
    address: SocketAddr,
    directory: TempDir,
}

/// A relay that accepts logins; stopped when dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) process: Option<Process>,
    pub(crate) devices: Vec<DevicePair>,
    /// From the start of the process to the first CONNACK; `None` for a relay that ran before.
    pub(crate) ready: Option<Duration>,
    child: Option<Child>,
}

impl Relay {
    /// Whether it can be told where and how to write what it keeps.
    pub(crate) fn writes(&self) -> bool {
        matches!(self.kind, Kind::Mosquitto { .. } | Kind::Bridge { .. })
    }

    /// Writes the files.
    pub(crate) fn prepare(&self, setup: Setup<'_>) -> Result<Site> {
        let Setup { pairs, version, keeping, volume } = setup;
        let directory = tempfile::Builder::new().prefix("ior-bench-").tempdir()?;
        let data = volume.unwrap_or(directory.path()).join("data");
        match &self.kind {
            Kind::Mosquitto { .. } => {
                mosquitto::configure(directory.path(), pairs)?;
                fs::create_dir(&data)?;
            }
            Kind::Bridge { .. } => bridge::configure(directory.path(), pairs)?,
            Kind::Command { .. } | Kind::Running { .. } => {}
        }
        Ok(Site {
            kind: self.kind.clone(),
            version,
            pairs,
            keeping,
            data,
            address: free_address()?,
            directory,
        })
    }
}

impl Site {
    /// Where its files are.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Starts the relay and waits until a device can log in.
    pub(crate) fn start(&self) -> Result<Running> {
        let directory = self.directory.path();
        let (directories, address, keeping) = ((directory, self.data.as_path()), self.address, self.keeping);
        let mut command = match &self.kind {
            Kind::Mosquitto { binary } => mosquitto::command(binary, directories, address, keeping)?,
            Kind::Bridge { binary, environment } => {
                bridge::command(binary, directories, address, keeping, environment)
            }
            Kind::Command { command } => shell_words(command, address)?,
            Kind::Running { address, process } => {
                let devices = generated_pairs(self.pairs);
                return Ok(Running {
                    address: *address,
                    process: *process,
                    devices,
                    ready: None,
                    child: None,
                });
            }
        };
        let log = directory.join("stderr");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
        let started = Instant::now();
        let child = command
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", command.get_program().display()))?;
        let process = Some(Process::new(child.id()));
        let mut running = Running { address, process, devices: Vec::new(), ready: None, child: Some(child) };
        running.ready = Some(self.wait(&mut running, started, &log)?);
        running.devices = self.devices()?;
        Ok(running)
    }

    /// Polls until the first device is accepted and everything that the start has to write is written.
    fn wait(&self, running: &mut Running, started: Instant, log: &Path) -> Result<Duration> {
        let mut refused = None;
        loop {
            match self.login() {
                Ok(Some(login)) => {
                    match client::connect(running.address, self.version, &login, Session::Clean) {
                        Ok(mut stream) => {
                            let ready = started.elapsed();
                            client::disconnect(&mut stream);
                            if self.is_complete() {
                                return Ok(ready);
                            }
                        }
                        Err(error) => refused = Some(error),
                    }
                }
                Ok(None) => {}
                Err(error) => refused = Some(error),
            }
            if let Some(child) = &mut running.child
                && let Some(status) = child.try_wait()?
            {
                return Err(format!("it ended with {status}:\n{}", tail(log)).into());
            }
            if started.elapsed() > START_TIMEOUT {
                let refused = refused.map_or_else(String::new, |error| format!(" ({error})"));
                return Err(
                    format!("it accepted nobody within {START_TIMEOUT:?}{refused}:\n{}", tail(log)).into()
                );
            }
            thread::sleep(POLL);
        }
    }

    /// The first device's login, once it is known.
    fn login(&self) -> Result<Option<Login>> {
        match &self.kind {
            Kind::Bridge { .. } => bridge::first_login(&self.data),
            _ => Ok(Some(generated_device(1, 1, 2).login)),
        }
    }

    fn is_complete(&self) -> bool {
        !matches!(self.kind, Kind::Bridge { .. }) || bridge::is_complete(&self.data, self.pairs)
    }

    fn devices(&self) -> Result<Vec<DevicePair>> {
        match &self.kind {
            Kind::Bridge { .. } => bridge::devices(&self.data, self.pairs),
            _ => Ok(generated_pairs(self.pairs)),
        }
    }
}

impl Running {
    /// Asks the process to end and waits for it.
    pub(crate) fn stop(mut self) -> Result<()> {
        let Some(child) = &mut self.child else { return Ok(()) };
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM)?;
        }
        let asked = Instant::now();
        while child.try_wait()?.is_none() {
            if asked.elapsed() > STOP_TIMEOUT {
                return Err(format!("it did not end within {STOP_TIMEOUT:?} after SIGTERM").into());
            }
            thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The devices of connection `number`, counted from 1; the same topics as ior-bridge's.
pub(crate) fn generated_pairs(pairs: usize) -> Vec<DevicePair> {
    (1..=pairs)
        .map(|number| {
            let (from, to) = codes(number);
            DevicePair { from: generated_device(number, from, to), to: generated_device(number, to, from) }
        })
        .collect()
}

/// The device codes of connection `number`'s ends.
pub(crate) fn codes(number: usize) -> (usize, usize) {
    (2 * number - 1, 2 * number)
}

fn generated_device(connection: usize, code: usize, peer: usize) -> Device {
    let name = format!("default.{code}");
    Device {
        // As long as the passwords that ior-bridge derives.
        login: Login { client_id: name.clone(), password: format!("{name:-<43}"), username: name },
        publish: format!("default/bench-{connection}/{code}"),
        subscribe: format!("default/bench-{connection}/{peer}/#"),
    }
}

/// A loopback address whose port was free just now.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

fn shell_words(command: &str, address: SocketAddr) -> Result<Command> {
    let command = command.replace("{address}", &address.to_string());
    let mut words = command.split_whitespace();
    let mut result = Command::new(words.next().ok_or("the command is empty")?);
    result.args(words);
    Ok(result)
}

/// The end of what a relay wrote.
fn tail(log: &Path) -> String {
    const LINES: usize = 15;
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
