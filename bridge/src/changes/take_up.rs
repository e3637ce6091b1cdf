//! Who takes up what was changed in the configuration: the running bridge, or else the command itself, as a bridge does at
//! its start.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::{Instant, sleep};

use super::EditError;
use crate::{
    control::{Bridge, Client, ControlError, Hello, Request, absolute, socket_path},
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
pub(super) enum Taker {
    /// The running bridge.
    Bridge(RunningBridge),
    /// The running bridge, which is this very process.
    Itself(Arc<Bridge>),
    /// No bridge is running, and none can start meanwhile.
    Command(Instance),
}

/// A bridge that can be asked.
#[derive(Debug)]
pub(super) struct RunningBridge {
    pid: u32,
    socket: PathBuf,
    /// Its data directory, if it is another one than the command was told of.
    elsewhere: Option<PathBuf>,
}

/// All that can fail before the configuration is written has not failed.
pub(super) enum Ready {
    Bridge(RunningBridge),
    Itself { bridge: Arc<Bridge>, elsewhere: Option<PathBuf> },
    Command { data_dir: PathBuf, staged: Staged, _instance: Instance },
}

/// Who has taken a change up.
#[derive(Debug)]
pub(crate) enum Taken {
    /// The running bridge; its data directory, if it is another one than was meant; and what that changed, in its words.
    ByBridge { pid: u32, elsewhere: Option<PathBuf>, changes: String },
    /// The next bridge that is started; the credential files are written.
    AtNextStart,
}

impl Taker {
    /// Who it is for a configuration directory.
    ///
    /// # Errors
    /// The bridge runs with another configuration directory, or somebody works on the data directory who cannot be asked.
    pub(super) async fn find(dir: &Path, settings: &Settings) -> Result<Self, EditError> {
        let socket = socket_path(settings);
        let until = Instant::now() + START;
        loop {
            if let Some(mut client) = Client::connect(&socket).await.map_err(EditError::NoAnswer)? {
                let hello: Hello = client.ask(&Request::Hello).await.map_err(EditError::NoAnswer)?;
                check_directory(&hello, dir)?;
                let is_elsewhere = hello.data_dir != absolute(&settings.data_dir);
                let elsewhere = is_elsewhere.then(|| hello.data_dir.into());
                return Ok(Self::Bridge(RunningBridge { pid: hello.pid, socket, elsewhere }));
            }
            match Instance::claim(&settings.data_dir) {
                Ok(instance) => return Ok(Self::Command(instance)),
                Err(InstanceError::Taken { .. }) if Instant::now() < until => sleep(LOOK).await,
                Err(InstanceError::Taken { data_dir, holder }) => {
                    return Err(EditError::Taken { data_dir, holder, socket });
                }
                Err(error) => return Err(EditError::NoInstance(error)),
            }
        }
    }

    /// Does what can fail before the configuration is written.
    ///
    /// # Errors
    /// The CA, the secret key or a credential file fails.
    pub(super) fn prepare(self, settings: &Settings, registry: &Registry) -> Result<Ready, EditError> {
        let instance = match self {
            Self::Bridge(bridge) => return Ok(Ready::Bridge(bridge)),
            Self::Itself(bridge) => {
                let data_dir = bridge.configuration.load().settings.data_dir.clone();
                let elsewhere = (data_dir != settings.data_dir).then_some(data_dir);
                return Ok(Ready::Itself { bridge, elsewhere });
            }
            Self::Command(instance) => instance,
        };
        let ca = tls::ca(settings, SystemTime::now()).map_err(EditError::NoCa)?;
        let secrets = Secrets::load_or_create(&settings.data_dir).map_err(EditError::NoSecrets)?;
        let reach = Reach::new(settings, &Addresses::wanted(settings), ca);
        let staged = Staged::write(&settings.data_dir, &Issuer::new(registry, &secrets, &reach));
        let staged = staged.map_err(EditError::NoCredentials)?;
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
                let RunningBridge { pid, elsewhere, .. } = bridge;
                match asked {
                    Ok(changes) => Ok(Taken::ByBridge { pid, elsewhere, changes }),
                    Err(ControlError::Refused(why)) => Err(refused(pid, &why)),
                    Err(error) => Err(error.to_string()),
                }
            }
            Self::Itself { bridge, elsewhere } => {
                let pid = std::process::id();
                let changes = bridge.reload.reload().await.map_err(|why| refused(pid, &why))?;
                Ok(Taken::ByBridge { pid, elsewhere, changes })
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
    pub(crate) fn pid(&self) -> Option<u32> {
        match self {
            Self::ByBridge { pid, .. } => Some(*pid),
            Self::AtNextStart => None,
        }
    }

    /// What the running bridge says that it changed.
    pub(crate) fn changes(&self) -> Option<&str> {
        match self {
            Self::ByBridge { changes, .. } => Some(changes),
            Self::AtNextStart => None,
        }
    }

    /// The data directory that it was taken up in.
    pub(super) fn data_dir(&self, settings: &Settings) -> PathBuf {
        match self {
            Self::ByBridge { elsewhere: Some(elsewhere), .. } => elsewhere.clone(),
            _ => settings.data_dir.clone(),
        }
    }
}

/// For people.
impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::ByBridge { pid, elsewhere, changes } = self else {
            return writeln!(f, "No bridge is running: this holds when one is started.");
        };
        write!(f, "This holds from now on: the running bridge (process {pid}) has taken it up")?;
        // It may have seen the change before it was asked.
        if changes == UNCHANGED {
            writeln!(f, ".")?;
        } else {
            writeln!(f, ":\n{changes}.")?;
        }
        match elsewhere {
            Some(dir) => {
                writeln!(f, "It works on the data directory {}, not on the one named here.", dir.display())
            }
            None => Ok(()),
        }
    }
}

fn check_directory(hello: &Hello, dir: &Path) -> Result<(), EditError> {
    if hello.config == absolute(dir) {
        return Ok(());
    }
    Err(EditError::OtherDirectory { pid: hello.pid, runs_with: hello.config.clone(), dir: dir.to_owned() })
}

fn refused(pid: u32, why: &str) -> String {
    format!(
        "the running bridge (process {pid}) refuses: {why}\n\
         What runs stays as it was. Once that is put right, the bridge takes the change up by itself"
    )
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
