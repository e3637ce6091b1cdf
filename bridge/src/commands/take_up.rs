//! Who takes up what a command has changed in the configuration: the running bridge, or else the command itself, as a
//! bridge does at its start.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tokio::time::{Instant, sleep};

use super::CommandError;
use crate::{
    control::{Client, ControlError, Hello, Request, absolute, socket_path},
    credentials::{Issuer, Reach, Staged},
    instance::{Instance, InstanceError},
    listeners::Addresses,
    pairs::Pairs,
    registry::{Connection, Registry},
    reload::UNCHANGED,
    rotation::Rotation,
    secrets::Secrets,
    settings::Settings,
    storage::advice,
    tls,
};

/// How long a bridge that has the data directory may take until it can be asked: it may be starting.
const START: Duration = Duration::from_secs(15);
/// How often it is looked whether it can.
const LOOK: Duration = Duration::from_millis(50);

/// Who is going to take a change up.
#[derive(Debug)]
pub(super) enum Taker {
    /// The running bridge.
    Bridge(RunningBridge),
    /// No bridge is running, and none can start meanwhile.
    Command(Instance),
}

/// A bridge that can be asked.
#[derive(Debug)]
pub(super) struct RunningBridge {
    hello: Hello,
    socket: PathBuf,
    /// It works on another data directory than the command was told of.
    is_elsewhere: bool,
}

/// All that can fail before the configuration is written has not failed.
pub(super) enum Ready {
    Bridge(RunningBridge),
    Command { data_dir: PathBuf, staged: Staged, _instance: Instance },
}

/// Who has taken a change up.
#[derive(Debug)]
pub(super) enum Taken {
    /// The running bridge; and what that changed, in its words.
    ByBridge { bridge: RunningBridge, changes: String },
    /// The next bridge that is started; the credential files are written.
    AtNextStart,
}

impl Taker {
    /// Who it is for a configuration directory.
    ///
    /// # Errors
    /// The bridge runs with another configuration directory (status 2), or somebody works on the data directory who cannot be
    /// asked (status 1).
    pub(super) async fn find(dir: &Path, settings: &Settings) -> Result<Self, CommandError> {
        let socket = socket_path(settings);
        let until = Instant::now() + START;
        loop {
            let unchanged = |error| CommandError::failed(format!("{error}; nothing was changed"));
            if let Some(mut client) = Client::connect(&socket).await.map_err(unchanged)? {
                let hello: Hello = client.ask(&Request::Hello).await.map_err(unchanged)?;
                check_directory(&hello, dir)?;
                let is_elsewhere = hello.data_dir != absolute(&settings.data_dir);
                return Ok(Self::Bridge(RunningBridge { hello, socket, is_elsewhere }));
            }
            match Instance::claim(&settings.data_dir) {
                Ok(instance) => return Ok(Self::Command(instance)),
                Err(InstanceError::Taken { .. }) if Instant::now() < until => sleep(LOOK).await,
                Err(InstanceError::Taken { data_dir, holder }) => {
                    return Err(CommandError::failed(format!(
                        "{holder} works on the data directory {} and cannot be asked through {}: restart it if it is an \
                         older version, or wait until it is done; nothing was changed",
                        data_dir.display(),
                        socket.display()
                    )));
                }
                Err(error) => return Err(CommandError::failed(error)),
            }
        }
    }

    /// Does what can fail before the configuration is written.
    ///
    /// # Errors
    /// The CA, the secret key or a credential file fails.
    pub(super) fn prepare(self, settings: &Settings, registry: &Registry) -> Result<Ready, CommandError> {
        let instance = match self {
            Self::Bridge(bridge) => return Ok(Ready::Bridge(bridge)),
            Self::Command(instance) => instance,
        };
        let ca = tls::ca(settings, SystemTime::now())?;
        let secrets = Secrets::load_or_create(&settings.data_dir).map_err(CommandError::failed)?;
        let reach = Reach::new(settings, &Addresses::wanted(settings), ca);
        let staged = Staged::write(&settings.data_dir, &Issuer::new(registry, &secrets, &reach));
        let staged = staged.map_err(|error| {
            CommandError::failed(format!("{error}; {}; nothing was changed", advice(&error)))
        })?;
        Ok(Ready::Command { data_dir: settings.data_dir.clone(), staged, _instance: instance })
    }
}

impl Ready {
    /// Has the configuration taken up that is in the files now.
    ///
    /// # Errors
    /// Why it was not, behind "the files hold the change, but".
    pub(super) async fn take_up(self, before: &Registry, after: &Registry) -> Result<Taken, String> {
        match self {
            Self::Bridge(bridge) => {
                let asked = match Client::connect(&bridge.socket).await {
                    Ok(Some(mut client)) => client.ask(&Request::Reload).await,
                    Ok(None) => return Err("the bridge has ended meanwhile: start it".to_owned()),
                    Err(error) => Err(error),
                };
                match asked {
                    Ok(changes) => Ok(Taken::ByBridge { bridge, changes }),
                    Err(ControlError::Refused(why)) => Err(format!(
                        "the running bridge (process {}) refuses: {why}\n\
                         What runs stays as it was. Once that is put right, the bridge takes the change up by itself",
                        bridge.hello.pid
                    )),
                    Err(error) => Err(error.to_string()),
                }
            }
            Self::Command { data_dir, staged, _instance } => {
                let written = note(&data_dir, before, after).and_then(|()| staged.commit());
                written.map_err(|error| format!("{error}; {}", advice(&error)))?;
                Ok(Taken::AtNextStart)
            }
        }
    }
}

impl Taken {
    /// The running bridge's process.
    pub(super) fn pid(&self) -> Option<u32> {
        match self {
            Self::ByBridge { bridge, .. } => Some(bridge.hello.pid),
            Self::AtNextStart => None,
        }
    }

    /// What the running bridge says that it changed.
    pub(super) fn changes(&self) -> Option<&str> {
        match self {
            Self::ByBridge { changes, .. } => Some(changes),
            Self::AtNextStart => None,
        }
    }

    /// The data directory that it was taken up in.
    pub(super) fn data_dir(&self, settings: &Settings) -> PathBuf {
        match self {
            Self::ByBridge { bridge, .. } if bridge.is_elsewhere => PathBuf::from(&bridge.hello.data_dir),
            _ => settings.data_dir.clone(),
        }
    }
}

/// For people.
impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByBridge { bridge: RunningBridge { hello, is_elsewhere, .. }, changes } => {
                write!(
                    f,
                    "This holds from now on: the running bridge (process {}) has taken it up",
                    hello.pid
                )?;
                // It may have seen the change before it was asked.
                if changes == UNCHANGED {
                    writeln!(f, ".")?
                } else {
                    writeln!(f, ":\n{changes}.")?
                }
                if *is_elsewhere {
                    writeln!(
                        f,
                        "It works on the data directory {}, not on the one named here.",
                        hello.data_dir
                    )?;
                }
                Ok(())
            }
            Self::AtNextStart => writeln!(f, "No bridge is running: this holds when one is started."),
        }
    }
}

fn check_directory(hello: &Hello, dir: &Path) -> Result<(), CommandError> {
    if hello.config == absolute(dir) {
        return Ok(());
    }
    Err(CommandError::usage(format!(
        "the running bridge (process {}) was started with --config {}, not with {}: name that one; nothing was changed",
        hello.pid,
        hello.config,
        dir.display()
    )))
}

/// What a bridge learns at its start of the versions that were replaced, and what it cannot know: that a connection was gone
/// meanwhile.
fn note(data_dir: &Path, before: &Registry, after: &Registry) -> io::Result<()> {
    let stays = |gone: &&Connection| {
        after.connections().iter().any(|connection| connection.full_id() == gone.full_id())
    };
    let mut gone = before.connections().iter().filter(|connection| !stays(connection)).peekable();
    if gone.peek().is_some() {
        let mut pairs = Pairs::load(data_dir)?;
        pairs.end(gone);
        pairs.save(data_dir)?;
    }
    Rotation::load_and_update(data_dir, after, SystemTime::now()).map(drop)
}
