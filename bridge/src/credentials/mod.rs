//! Credential files: what a device needs to connect, made from the configuration and the secret key.

mod file;
mod qr;
mod reach;
mod snippet;
mod store;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

pub use file::{CredentialFile, Login, Peer, Topics};
pub use qr::qr_code;
pub use reach::Reach;
pub use snippet::Format;
pub use store::{CREDENTIALS_DIR, Staged, Written, path, write_all};

use crate::{
    registry::{Connection, Device, End, Registry},
    secrets::Secrets,
};

/// Makes credential files.
pub struct Issuer<'a> {
    registry: &'a Registry,
    secrets: &'a Secrets,
    reach: &'a Reach,
    /// By user name: a device in many connections needs its password in each of its files.
    passwords: HashMap<String, String>,
}

impl<'a> Issuer<'a> {
    /// For the devices of a registry.
    pub fn new(registry: &'a Registry, secrets: &'a Secrets, reach: &'a Reach) -> Self {
        let password = |device: &Device| {
            let password = secrets.password(&device.user, device.code.as_str(), device.secret_version);
            (device.user_name(), password.to_string())
        };
        let passwords = registry.devices().iter().map(password).collect();
        Self { registry, secrets, reach, passwords }
    }

    /// The registry whose devices get credentials.
    pub fn registry(&self) -> &'a Registry {
        self.registry
    }

    /// The credential file for one end of one of the registry's connections.
    pub fn file(&self, connection: &Connection, end: End) -> CredentialFile {
        let device = self.registry.end(connection, end);
        let peer = self.registry.end(connection, end.peer());
        let user_name = device.user_name();
        let base = format!("{}/{}", connection.user, connection.id);
        CredentialFile {
            device_code: device.code.to_json(),
            name: device.name.clone(),
            user: device.user.to_string(),
            connection: connection.id.to_string(),
            key: self.secrets.connection_key(&connection.user, &connection.id),
            peer: Peer { device_code: peer.code.to_json(), name: peer.name.clone() },
            mqtt: Login {
                host: self.reach.host.clone(),
                port: self.reach.port,
                tls_port: self.reach.tls_port,
                ca: self.reach.ca.clone(),
                websocket_port: self.reach.websocket_port,
                client_id: user_name.clone(),
                password: self.passwords.get(&user_name).cloned().unwrap_or_default(),
                username: user_name,
            },
            topics: Topics {
                publish: format!("{base}/{}", device.code),
                subscribe: format!("{base}/{}/#", peer.code),
                presence: format!("{base}/presence/{}", peer.code),
            },
        }
    }
}

/// A credential file's text.
pub fn to_text(file: &CredentialFile) -> String {
    // Only maps with keys that are no texts could fail, and there are none in it.
    let mut text = serde_json::to_string_pretty(file).unwrap_or_default();
    text.push('\n');
    text
}
