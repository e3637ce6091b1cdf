//! The bridge that runs with a configuration, for the commands that ask it something.

use std::path::{Path, PathBuf};

use super::CommandError;
use crate::{
    configuration::Configuration,
    control::{Client, ControlError, Request, socket_path},
    instance::Instance,
    report::{Connection, Device, Status},
    settings::{Environment, Settings},
};

/// Where the running bridge would answer.
pub(super) struct Running {
    dir: PathBuf,
    settings: Settings,
}

/// Devices and connections, from the running bridge, or from the files if there is none that answers.
pub(super) struct Inventory {
    /// Whether what follows is what a running bridge says.
    pub running: bool,
    pub devices: Vec<Device>,
    pub connections: Vec<Connection>,
}

impl Running {
    /// By `server.json` and the environment alone: devices and connections may be wrong in the files while a bridge runs.
    pub fn find(dir: &Path, environment: &Environment) -> Result<Self, CommandError> {
        Ok(Self { dir: dir.to_owned(), settings: Settings::load(dir, environment)? })
    }

    /// Connects to it; `None` if it does not run.
    pub async fn connect(&self) -> Result<Option<Client>, CommandError> {
        Ok(Client::connect(&socket_path(&self.settings)).await?)
    }

    /// Connects to it.
    ///
    /// # Errors
    /// Also that it does not run: how to start it.
    pub async fn require(&self) -> Result<Client, CommandError> {
        self.connect().await?.ok_or_else(|| self.is_not_running())
    }

    fn is_not_running(&self) -> CommandError {
        let socket = socket_path(&self.settings);
        let (dir, socket) = (self.dir.display(), socket.display());
        // Whoever may not look at the lock knows less.
        match Instance::holder(&self.settings.data_dir).ok().flatten() {
            Some(holder) => CommandError::failed(format!(
                "{holder} works on the data directory {}, but does not answer at {socket}: it is just starting or \
                 stopping, so try again; or it has another runtime directory, so give the same RUNTIME_DIRECTORY here",
                self.settings.data_dir.display()
            )),
            None => CommandError::failed(format!(
                "no bridge is running with the configuration in {dir} (nobody answers at {socket}): start it with `sudo \
                 systemctl start ior-bridge` if it is installed as a service, else with `ior-bridge run`; one that runs \
                 with another configuration is found with --config"
            )),
        }
    }
}

impl Inventory {
    /// Says on standard error if it is from the files.
    pub async fn take(dir: &Path, environment: &Environment) -> Result<Self, CommandError> {
        let settings = Settings::load(dir, environment)?;
        let why = match Client::connect(&socket_path(&settings)).await {
            Ok(Some(mut client)) => {
                let Status { devices, connections, .. } = client.ask(&Request::Status).await?;
                return Ok(Self { running: true, devices, connections });
            }
            Ok(None) => "no bridge is running".to_owned(),
            Err(silent @ ControlError::Silent(_)) => silent.to_string(),
            Err(error) => return Err(error.into()),
        };
        let registry = Configuration::load(dir, environment)?.registry;
        eprintln!("note: {why}: this is what the files in {} say", dir.display());
        Ok(Self {
            running: false,
            devices: Device::all(&registry, None),
            connections: Connection::all(&registry, None),
        })
    }
}
