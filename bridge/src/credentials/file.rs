//! The credential file: all that one end of a connection needs to connect.

use serde::{Deserialize, Serialize};

/// The contents of `from.json` or `to.json`. Holds a password: the file's mode is 0600.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialFile {
    /// The device's code.
    pub device_code: serde_json::Value,
    /// The device's name.
    pub name: String,
    /// The user who owns both devices.
    pub user: String,
    /// The connection's id.
    pub connection: String,
    /// The same 16 characters for both ends of a connection, for clients that encrypt end to end.
    pub key: String,
    /// The other end.
    pub peer: Peer,
    /// How to log in.
    pub mqtt: Login,
    /// What may be published and subscribed to.
    pub topics: Topics,
}

/// The other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    /// Its code.
    pub device_code: serde_json::Value,
    /// Its name.
    pub name: String,
}

/// Where and as whom to log in with MQTT.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// Host name or address.
    pub host: String,
    /// Port of plain MQTT; absent if devices may not use it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub port: Option<u16>,
    /// Port of MQTT over TLS; absent if it is turned off.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tls_port: Option<u16>,
    /// The CA certificate to trust for TLS, PEM; absent if it is one that everybody trusts.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ca: Option<String>,
    /// Port of MQTT over WebSocket, plain and over TLS, at the path `/mqtt`; absent if it is turned off.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub websocket_port: Option<u16>,
    /// A suggestion: any Client Identifier works.
    pub client_id: String,
    /// `<user>.<device code>`.
    pub username: String,
    /// 43 characters, base64url.
    pub password: String,
}

/// The topics of one end of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topics {
    /// Topic Name to publish to; anything below it is allowed too.
    pub publish: String,
    /// Topic Filter to subscribe to: what the peer publishes.
    pub subscribe: String,
    /// Topic Name of the peer's presence message.
    pub presence: String,
}
