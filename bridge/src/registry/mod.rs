//! Devices and connections: `devices.json` and `connections.json`, parsed to plain data, then checked and made into the
//! [`Registry`] that everything else uses.

mod find;
mod name;
mod plain;
mod revision;
mod validate;

#[cfg(test)]
mod tests;

use std::{path::Path, sync::Arc};

pub use find::Unclear;
pub(crate) use find::{Known, find, find_connection, find_device, find_device_of};
pub use name::{DeviceCode, MAX_ID, MAX_NAME, MAX_NUMBER, NameError, id_from_name, why_no_id};
pub use plain::{DEFAULT_USER, MAX_LABEL};
pub use revision::Revision;

use crate::{
    document::{Problem, Problems, Source},
    settings::OwnQueue,
};

/// File name of the devices in the configuration directory.
pub const DEVICES_FILE: &str = "devices.json";
/// File name of the connections in the configuration directory.
pub const CONNECTIONS_FILE: &str = "connections.json";

/// All devices and connections, checked: every connection joins two different devices of its user, and no two are alike.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registry {
    devices: Vec<Device>,
    connections: Vec<Connection>,
}

/// One client process on one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its owner.
    pub user: Arc<str>,
    /// Unique within the user.
    pub code: DeviceCode,
    /// For people.
    pub name: String,
    /// What kind of machine it is, for people.
    pub kind: String,
    /// Raised to give it a new password; from 1.
    pub secret_version: u32,
    /// It may not log in.
    pub disabled: bool,
}

/// A bridge between exactly two devices of a user; traffic is bidirectional.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Unique within the user; a topic level.
    pub id: Arc<str>,
    /// For people.
    pub name: String,
    /// The owner of both devices.
    pub user: Arc<str>,
    /// Limits of the messages that wait for either end.
    pub queue: OwnQueue,
    from: usize,
    to: usize,
}

/// Which end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// `from`
    From,
    /// `to`
    To,
}

impl Registry {
    /// Reads and checks `devices.json` and `connections.json` of a directory.
    ///
    /// # Errors
    /// Everything that is wrong with both files.
    pub fn load(dir: &Path) -> Result<Self, Problems> {
        Self::load_revision(dir).map(|(registry, _)| registry)
    }

    /// [`Registry::load`], and which state of both files that was.
    ///
    /// # Errors
    /// Everything that is wrong with both files.
    pub fn load_revision(dir: &Path) -> Result<(Self, Revision), Problems> {
        let mut problems = Problems::default();
        let devices = source(&dir.join(DEVICES_FILE), "{ \"devices\": [] }", &mut problems);
        let connections = source(&dir.join(CONNECTIONS_FILE), "{ \"connections\": [] }", &mut problems);
        let (registry, found) = validate::registry(devices.as_ref(), connections.as_ref());
        problems.extend(found);
        match (devices, connections) {
            (Some(devices), Some(connections)) if problems.is_empty() => {
                Ok((registry, Revision::of(&devices, &connections)))
            }
            _ => Err(problems),
        }
    }

    /// Makes a registry of two files' texts.
    ///
    /// # Errors
    /// Everything that is wrong with both.
    pub fn parse(devices: &Arc<Source>, connections: &Arc<Source>) -> Result<Self, Problems> {
        let (registry, problems) = validate::registry(Some(devices), Some(connections));
        if problems.is_empty() { Ok(registry) } else { Err(problems) }
    }

    /// In the order of the file.
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// In the order of the file.
    pub fn connections(&self) -> &[Connection] {
        &self.connections
    }

    /// Itself but for some connections.
    #[must_use]
    pub fn without(&self, is_left_out: impl Fn(&Connection) -> bool) -> Self {
        let stays = |connection: &&Connection| !is_left_out(connection);
        Self {
            devices: self.devices.clone(),
            connections: self.connections.iter().filter(stays).cloned().collect(),
        }
    }

    /// A user's device.
    pub fn device(&self, user: &str, code: &str) -> Option<&Device> {
        self.devices.iter().find(|device| &*device.user == user && device.code.as_str() == code)
    }

    /// The place of a device among [`Registry::devices`].
    pub fn place(&self, device: &Device) -> Option<usize> {
        self.devices.iter().position(|other| other == device)
    }

    /// The place of a connection among [`Registry::connections`].
    pub fn place_of_connection(&self, connection: &Connection) -> Option<usize> {
        self.connections.iter().position(|other| other == connection)
    }

    /// The device at one end of one of this registry's connections.
    pub fn end(&self, connection: &Connection, end: End) -> &Device {
        &self.devices[match end {
            End::From => connection.from,
            End::To => connection.to,
        }]
    }
}

impl Device {
    /// `<user>.<code>`: the MQTT user name. Neither part can contain a dot, so it is unique.
    pub fn user_name(&self) -> String {
        format!("{}.{}", self.user, self.code)
    }

    /// What people call it: "Master 1 (4569)".
    pub fn label(&self) -> String {
        format!("{} ({})", self.name, self.code)
    }
}

impl Connection {
    /// `<user>/<id>`: unique, and what its topics begin with.
    pub fn full_id(&self) -> String {
        format!("{}/{}", self.user, self.id)
    }
}

impl End {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::From, Self::To];

    /// The other end.
    pub fn peer(self) -> Self {
        match self {
            Self::From => Self::To,
            Self::To => Self::From,
        }
    }

    /// `from` or `to`, as in the configuration and the names of credential files.
    pub fn name(self) -> &'static str {
        match self {
            Self::From => "from",
            Self::To => "to",
        }
    }
}

fn source(path: &Path, empty: &str, problems: &mut Problems) -> Option<Arc<Source>> {
    match Source::read(path) {
        Ok(Some(source)) => return Some(source),
        Ok(None) => problems.push(Problem::missing(
            path,
            format!("write it, at least {empty}, or name another directory with --config"),
        )),
        Err(problem) => problems.push(problem),
    }
    None
}
