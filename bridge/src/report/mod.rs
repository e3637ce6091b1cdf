//! What a running bridge tells of itself, for the commands and for whoever else wants to show it. In JSON, moments are
//! RFC 3339, durations are seconds and sizes are bytes; counts begin with the bridge's start.

mod event;
mod gather;
mod happenings;
mod latency;
mod time;

use std::{collections::BTreeMap, net::SocketAddr};

pub use event::{Event, Filter, Kind};
pub(crate) use event::{Names, Wanted};
pub(crate) use happenings::Happenings;
pub use latency::Latency;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
pub use time::Time;

use crate::registry::DeviceCode;

/// Everything at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The process.
    pub bridge: Process,
    /// Where devices connect, and where the page is.
    pub listeners: Vec<Listener>,
    /// What is kept.
    pub store: Store,
    /// What was counted over all devices.
    pub totals: Totals,
    /// All that are configured, in the order of `devices.json`.
    pub devices: Vec<Device>,
    /// All that are configured, in the order of `connections.json`.
    pub connections: Vec<Connection>,
}

/// The process of a bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The bridge's version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// When it was started.
    pub started: Time,
    /// How long it has been running, in seconds.
    pub uptime: u64,
    /// The host that credential files name.
    pub host: String,
    /// The configuration directory.
    pub config: String,
    /// The data directory.
    pub data_dir: String,
}

/// Where devices connect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// `mqtt`, `mqtts`, `websocket` or `web`.
    pub name: String,
    /// Address and port.
    pub address: SocketAddr,
}

/// What is kept, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Store {
    /// `fsync`, `buffered` or `memory`: what acknowledged messages survive.
    pub durability: String,
    /// Where it is; nothing if it is in memory only.
    #[serde(flatten)]
    pub disk: Option<Disk>,
}

/// A store on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Its directory.
    pub directory: String,
    /// How large its files are, in bytes.
    pub bytes: u64,
    /// How much of that is free for what is to come, in bytes.
    pub free_bytes: u64,
    /// How often it has written.
    pub commits: u64,
    /// When it has written last.
    pub last_commit: Option<Time>,
    /// Why it cannot keep anything now.
    pub failing: Option<String>,
}

/// What was counted over all devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Devices that are online.
    pub devices_online: usize,
    /// Network connections of devices that are logged in.
    pub connected: u64,
    /// Sessions, online and offline.
    pub sessions: usize,
    /// Network connections that ended before or with their login.
    pub refused_connections: u64,
    /// Messages that came from devices, those that were refused included.
    pub received: u64,
    /// Messages and Topic Filters that devices may not publish or subscribe to.
    pub denied: u64,
    /// QoS 1 and 2 messages that were refused because a queue was full.
    pub queue_full: u64,
    /// QoS 1 and 2 messages that were refused because the store could not keep them.
    pub not_kept: u64,
    /// Messages lost to slow devices (QoS 0), newer ones, size or expiry.
    pub dropped: u64,
    /// Retained messages, presence included.
    pub retained: usize,
    /// How often limits acted, by their keys in `server.json` without `limits.`; those that did.
    pub limits: BTreeMap<String, u64>,
}

/// Messages and the bytes of their payloads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// How many.
    pub messages: u64,
    /// Bytes of payload.
    pub bytes: u64,
}

/// A configured device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its owner.
    pub user: String,
    /// Its code: a number if it can be one.
    #[serde(serialize_with = "write_code", deserialize_with = "read_code")]
    pub code: DeviceCode,
    /// For people.
    pub name: String,
    /// What kind of machine it is, for people.
    #[serde(rename = "type")]
    pub kind: String,
    /// It may not log in.
    pub disabled: bool,
    /// `<user>.<code>`: how it logs in.
    pub username: String,
    /// The ids of its connections.
    pub connections: Vec<String>,
    /// What only a running bridge knows.
    #[serde(flatten)]
    pub live: Option<DeviceLife>,
}

/// What a running bridge knows of a device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceLife {
    /// Whether it is connected.
    pub online: bool,
    /// Since when, by the connection that has lasted for longest.
    pub online_since: Option<Time>,
    /// When something was heard of it last, an earlier run of the bridge included.
    pub last_seen: Option<Time>,
    /// What it has published.
    pub received: Traffic,
    /// What it was sent.
    pub sent: Traffic,
    /// QoS 1 and 2 messages that wait for it or are on their way.
    pub queued: usize,
    /// What it was refused because it may not publish or subscribe to it.
    pub denied: u64,
    /// What it did not get: it was too slow (QoS 0), or the message too large or too old.
    pub dropped: u64,
    /// Its sessions, those that are connected first.
    pub sessions: Vec<Session>,
}

/// A session of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The Client Identifier.
    pub client_id: String,
    /// Whether it is connected.
    pub online: bool,
    /// Whether it stays when its connection ends.
    pub kept: bool,
    /// Its subscriptions.
    pub subscriptions: usize,
    /// QoS 1 and 2 messages that wait or are on their way.
    pub queued: usize,
    /// When something was heard of its client last.
    pub last_heard: Option<Time>,
    /// How it is connected.
    #[serde(flatten)]
    pub link: Option<Link>,
}

/// How a client is connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its address and port.
    pub address: SocketAddr,
    /// `TCP`, `TLS`, `WebSocket` or `WebSocket over TLS`.
    pub transport: String,
    /// MQTT's version: `3.1.1` or `5`.
    pub protocol: String,
    /// Since when.
    pub since: Time,
    /// Seconds of its Keep Alive; 0 is none.
    pub keep_alive: u16,
}

/// A configured connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The owner of both devices.
    pub user: String,
    /// Unique within the user.
    pub id: String,
    /// For people.
    pub name: String,
    /// One end.
    pub from: Endpoint,
    /// The other.
    pub to: Endpoint,
    /// What only a running bridge knows.
    #[serde(flatten)]
    pub live: Option<ConnectionLife>,
}

/// The device at an end of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its code: a number if it can be one.
    #[serde(serialize_with = "write_code", deserialize_with = "read_code")]
    pub code: DeviceCode,
    /// For people.
    pub name: String,
}

/// What a running bridge knows of a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionLife {
    /// What `from` tells `to`.
    pub from_to: Direction,
    /// What `to` tells `from`.
    pub to_from: Direction,
}

/// One direction of a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Direction {
    /// What was published.
    pub published: Traffic,
    /// When the last message was.
    pub last: Option<Time>,
    /// QoS 1 and 2 messages that wait for the other end or are on their way.
    pub waiting: Traffic,
    /// QoS 1 and 2 messages that were refused because the queue was full, or because they could not be kept.
    pub refused: u64,
    /// Messages that made room for newer ones, or were too old.
    pub dropped: u64,
    /// How long the last messages of QoS 1 and 2 took; nothing if none of them was acknowledged yet.
    pub latency: Option<Latency>,
}

/// What somebody who watches is told first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watching {
    /// The bridge's version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// The MQTT user name of the device that is watched, if it is one.
    pub device: Option<String>,
    /// `<user>/<id>` of the connection that is watched, if it is one.
    pub connection: Option<String>,
}

impl Device {
    /// What people call it: "Master 1 (4569)".
    pub fn label(&self) -> String {
        label(&self.name, &self.code)
    }
}

impl Endpoint {
    /// What people call it: "Master 1 (4569)".
    pub fn label(&self) -> String {
        label(&self.name, &self.code)
    }
}

impl Watching {
    pub(crate) fn new(wanted: &Wanted) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            device: wanted.device.clone(),
            connection: wanted.connection.clone(),
        }
    }
}

fn label(name: &str, code: &DeviceCode) -> String {
    format!("{name} ({code})")
}

fn write_code<S: Serializer>(code: &DeviceCode, serializer: S) -> Result<S::Ok, S::Error> {
    code.to_json().serialize(serializer)
}

fn read_code<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DeviceCode, D::Error> {
    let text = match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    };
    DeviceCode::new(&text).map_err(|error| serde::de::Error::custom(error.message))
}
