//! How the bridge itself is set up: `server.json`, layered by the `config` crate between the built-in defaults and the
//! environment (`IOR_BRIDGE__SECTION__KEY`).
//!
//! Durations are texts with a unit (`"10s"`, `"15m"`, `"24h"`, `"30d"`), sizes are bytes, as a number or as a text with
//! a unit (`"8KiB"`, `"1MiB"`, `"1GiB"`).

mod for_broker;
mod layers;
mod network;
mod queue;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    time::Duration,
};

pub use for_broker::key_of;
use ior_broker::store::{Durability as StoreDurability, StoreSettings};
use layers::Layers;
use network::Network;
pub use network::{Mqtt, Mqtts, PairFiles, TlsUse, Web, WebSocket};
pub use queue::OwnQueue;
pub(crate) use queue::{MAX_AGE, MAX_BYTES, MAX_MESSAGES, WHEN_FULL};

use crate::document::{Problems, Source};

/// File name of the settings in the configuration directory.
pub const SERVER_FILE: &str = "server.json";

/// Where the store is, in the data directory.
pub const STORE_DIR: &str = "store";

/// The configuration directory of an installed bridge.
pub const SYSTEM_CONFIG_DIR: &str = "/etc/ior-bridge";
/// The data directory that belongs to [`SYSTEM_CONFIG_DIR`].
const SYSTEM_DATA_DIR: &str = "/var/lib/ior-bridge";
/// The runtime directory that belongs to [`SYSTEM_CONFIG_DIR`].
const SYSTEM_RUNTIME_DIR: &str = "/run/ior-bridge";

/// The process's environment variables, or a test's.
pub type Environment = HashMap<String, String>;

/// How the bridge itself is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The host that credential files name; by default this machine's host name.
    pub host: String,
    /// Plain MQTT.
    pub mqtt: Mqtt,
    /// MQTT over TLS.
    pub mqtts: Mqtts,
    /// MQTT over WebSocket.
    pub websocket: WebSocket,
    /// The web page.
    pub web: Web,
    /// What TLS is for.
    pub tls: TlsUse,
    /// Secret key, store, CA and credential files.
    pub data_dir: PathBuf,
    /// Where the running bridge can be spoken to: `$RUNTIME_DIRECTORY` under systemd, `/run/ior-bridge` for an installed
    /// bridge, else the data directory.
    pub runtime_dir: PathBuf,
    /// What acknowledged messages survive.
    pub durability: Durability,
    /// What nobody can exceed.
    pub limits: Limits,
    /// The log.
    pub log: Log,
    /// Every key with its value as text, for people.
    pub values: BTreeMap<String, String>,
    /// Whether there is a `server.json`.
    pub has_file: bool,
}

/// What acknowledged messages survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// A power cut: on disk and synced before they are acknowledged.
    Fsync,
    /// The death of the process, not a power cut.
    Buffered,
    /// Nothing: they are in memory only.
    Memory,
}

/// What nobody can exceed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections that have logged in.
    pub connections: usize,
    /// Connections of one IPv4 address or one IPv6 /64, logged in or not; beyond it a new one is closed at once. 0 is no
    /// limit.
    pub connections_per_address: usize,
    /// Connections that have not logged in yet; beyond it the one that waits for longest is closed.
    pub logins: usize,
    /// From the first byte's arrival being possible to the end of CONNECT.
    pub connect_timeout: Duration,
    /// Logins of one address or one user name that may fail before the answer to further ones is delayed.
    pub failed_logins: u32,
    /// Longest such delay; zero delays nothing.
    pub failed_login_delay_max: Duration,
    /// Longest CONNECT, its Will not counted, in bytes.
    pub max_connect_size: usize,
    /// Longest Will with its topic and properties, in bytes; 0 allows none.
    pub max_will_size: usize,
    /// Longest packet that a client may send, in bytes (Maximum Packet Size).
    pub max_packet_size: usize,
    /// Longest topic or topic filter, in bytes.
    pub max_topic_length: usize,
    /// Most levels of a topic or topic filter.
    pub max_topic_levels: usize,
    /// Most User Properties of one packet, those of a Will counted for themselves.
    pub user_properties: usize,
    /// QoS 1 and 2 messages in flight from a client (Receive Maximum).
    pub receive_maximum: u16,
    /// QoS 1 and 2 messages in flight to a client, at most its own Receive Maximum.
    pub max_inflight: u16,
    /// Topic aliases from a client; to a client at most as many, and at most its own Topic Alias Maximum.
    pub topic_alias_maximum: u16,
    /// Longest Keep Alive, in seconds; a longer one is capped (Server Keep Alive). 0 is no cap.
    pub keep_alive_max: u16,
    /// Sessions of one device; the oldest offline one gives way.
    pub sessions_per_device: usize,
    /// Longest Session Expiry Interval, in seconds; a longer one is capped.
    pub session_expiry_max: u32,
    /// Subscriptions of one session.
    pub subscriptions_per_session: usize,
    /// Messages per second that a device may publish, over all its connections; 0 is no limit.
    pub publish_rate: u32,
    /// Bytes per second that a device may publish, over all its connections; 0 is no limit.
    pub publish_bandwidth: u64,
    /// QoS 0 messages that wait for one session.
    pub live_queue_messages: usize,
    /// Bytes of the QoS 0 messages that wait for one session.
    pub live_queue_bytes: usize,
    /// QoS 1 and 2 messages of one direction of a connection that wait for one session, unless the connection has a
    /// limit of its own ([`OwnQueue`]); so do the next three.
    pub queue_messages: usize,
    /// Their bytes.
    pub queue_bytes: usize,
    /// How long a message waits; zero for as long as the session lasts.
    pub queue_max_age: Duration,
    /// What happens to a message that has no more room.
    pub when_full: WhenFull,
    /// Retained messages.
    pub retained_messages: usize,
    /// Bytes of all retained messages.
    pub retained_bytes: usize,
    /// Retained messages of one device.
    pub retained_per_device: usize,
    /// How long the previous password is accepted, from the first start that saw a new secret version.
    pub rotation_window: Duration,
}

/// What happens to a QoS 1 or 2 message for a session whose queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// The publisher is refused (Quota exceeded).
    Reject,
    /// The oldest waiting message is dropped, and counted.
    DropOldest,
}

/// The log, on standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`. The variable `RUST_LOG` goes further.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
}

/// How lines of the log look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people; under systemd, for the journal.
    Text,
    /// One JSON object a line.
    Json,
}

impl Settings {
    /// Reads the `server.json` of a configuration directory, if there is one, and the environment.
    ///
    /// # Errors
    /// Everything that is wrong with both.
    pub fn load(dir: &Path, environment: &Environment) -> Result<Self, Problems> {
        Self::load_as(dir, dir, environment)
    }

    /// Reads the `server.json` of one directory as if it were in another.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn load_as(files: &Path, dir: &Path, environment: &Environment) -> Result<Self, Problems> {
        let path = files.join(SERVER_FILE);
        let file = Source::read(&path)?;
        let has_file = file.is_some();
        let mut layers = Layers::new(file.unwrap_or_else(|| Source::new(path, "{}")), environment)?;
        let settings = Self::read(&mut layers, dir, environment).map(|read| Self { has_file, ..read });
        match (layers.finish(), settings) {
            (Ok(()), Some(settings)) => Ok(settings),
            (Ok(()), None) => Err(Problems::default()),
            (Err(problems), _) => Err(problems),
        }
    }

    /// How messages are kept; `None` if they are in memory only.
    pub fn store(&self) -> Option<StoreSettings> {
        let durability = match self.durability {
            Durability::Fsync => StoreDurability::Fsync,
            Durability::Buffered => StoreDurability::Buffered,
            Durability::Memory => return None,
        };
        Some(StoreSettings { directory: self.store_dir(), durability })
    }

    /// Where the store is, if there is one.
    pub fn store_dir(&self) -> PathBuf {
        self.data_dir.join(STORE_DIR)
    }

    /// `None` if something is wrong, which the layers have noted.
    fn read(layers: &mut Layers, dir: &Path, environment: &Environment) -> Option<Self> {
        let host = layers.optional_text("host", "the name that devices use, such as \"pi.local\"");
        let network = network::read(layers, &beside(dir), environment);
        let data_dir = layers.optional_text("data_dir", "a directory, such as \"/var/lib/ior-bridge\"");
        let durability = [
            ("fsync", Durability::Fsync),
            ("buffered", Durability::Buffered),
            ("memory", Durability::Memory),
        ];
        let durability = layers.choice("durability", &durability);
        let limits = Self::limits(layers);
        let log = Log {
            level: layers.choice("log.level", &LEVELS.map(|level| (level, level)))?.to_owned(),
            format: layers.choice("log.format", &[("text", LogFormat::Text), ("json", LogFormat::Json)])?,
        };
        let Network { mqtt, mqtts, websocket, web, tls } = network?;
        let host = host?.unwrap_or_else(host_name);
        let data_dir = match data_dir? {
            Some(data_dir) => beside(dir).join(data_dir),
            None => default_data_dir(dir, environment),
        };
        let runtime_dir = runtime_dir(dir, &data_dir, environment);
        let mut values = layers.values();
        values.insert("host".to_owned(), host.clone());
        values.insert("data_dir".to_owned(), data_dir.display().to_string());
        Some(Self {
            host,
            mqtt,
            mqtts,
            websocket,
            web,
            tls,
            data_dir,
            runtime_dir,
            durability: durability?,
            limits: limits?,
            log,
            values,
            has_file: false,
        })
    }

    fn limits(layers: &mut Layers) -> Option<Limits> {
        const GIB: usize = 1 << 30;
        const DAY: u64 = 24 * 60 * 60;
        let connections = layers.count("limits.connections", 2..=1_000_000);
        let connections_per_address = layers.count("limits.connections_per_address", 0..=1_000_000);
        let logins = layers.count("limits.logins", 1..=1_000_000);
        let connect_timeout = layers.duration("limits.connect_timeout", 1..=600);
        let failed_logins = layers.count("limits.failed_logins", 1..=1_000_000);
        let failed_login_delay_max = layers.duration("limits.failed_login_delay_max", 0..=600);
        let max_connect_size = layers.bytes("limits.max_connect_size", 256..=1 << 20);
        let max_will_size = layers.bytes("limits.max_will_size", 0..=1 << 20);
        let max_packet_size = layers.bytes("limits.max_packet_size", 1024..=MAX_PACKET_SIZE);
        let max_topic_length = layers.bytes("limits.max_topic_length", 256..=u16::MAX.into());
        let max_topic_levels = layers.count("limits.max_topic_levels", 8..=u16::MAX.into());
        let user_properties = layers.count("limits.user_properties", 0..=1_000_000);
        let receive_maximum = layers.count("limits.receive_maximum", 1..=u16::MAX.into());
        let max_inflight = layers.count("limits.max_inflight", 1..=1024);
        let topic_alias_maximum = layers.count("limits.topic_alias_maximum", 0..=u16::MAX.into());
        let keep_alive_max = layers.duration("limits.keep_alive_max", 0..=u16::MAX.into());
        let sessions_per_device = layers.count("limits.sessions_per_device", 1..=1000);
        let session_expiry_max = layers.duration("limits.session_expiry_max", 0..=3650 * DAY);
        let subscriptions_per_session = layers.count("limits.subscriptions_per_session", 1..=100_000);
        let publish_rate = layers.count("limits.publish_rate", 0..=1_000_000_000);
        let publish_bandwidth = layers.bytes("limits.publish_bandwidth", 0..=GIB.saturating_mul(64));
        let live_queue_messages = layers.count("limits.live_queue_messages", 1..=1_000_000);
        let live_queue_bytes = layers.bytes("limits.live_queue_bytes", 1024..=GIB);
        let queue_messages = layers.count("limits.queue_messages", MAX_MESSAGES);
        let queue_bytes = layers.bytes("limits.queue_bytes", MAX_BYTES);
        let queue_max_age = layers.duration("limits.queue_max_age", MAX_AGE);
        let when_full = layers.choice("limits.when_full", &WHEN_FULL);
        let retained_messages = layers.count("limits.retained_messages", 0..=10_000_000);
        let retained_bytes = layers.bytes("limits.retained_bytes", 0..=GIB.saturating_mul(64));
        let retained_per_device = layers.count("limits.retained_per_device", 0..=10_000_000);
        let rotation_window = layers.duration("limits.rotation_window", 0..=365 * DAY);
        Some(Limits {
            connections: connections?,
            connections_per_address: connections_per_address?,
            logins: logins?,
            connect_timeout: connect_timeout?,
            failed_logins: u32::try_from(failed_logins?).ok()?,
            failed_login_delay_max: failed_login_delay_max?,
            max_connect_size: max_connect_size?,
            max_will_size: max_will_size?,
            max_packet_size: max_packet_size?,
            max_topic_length: max_topic_length?,
            max_topic_levels: max_topic_levels?,
            user_properties: user_properties?,
            receive_maximum: u16::try_from(receive_maximum?).ok()?,
            max_inflight: u16::try_from(max_inflight?).ok()?,
            topic_alias_maximum: u16::try_from(topic_alias_maximum?).ok()?,
            keep_alive_max: u16::try_from(keep_alive_max?.as_secs()).ok()?,
            sessions_per_device: sessions_per_device?,
            session_expiry_max: u32::try_from(session_expiry_max?.as_secs()).ok()?,
            subscriptions_per_session: subscriptions_per_session?,
            publish_rate: u32::try_from(publish_rate?).ok()?,
            publish_bandwidth: u64::try_from(publish_bandwidth?).ok()?,
            live_queue_messages: live_queue_messages?,
            live_queue_bytes: live_queue_bytes?,
            queue_messages: queue_messages?,
            queue_bytes: queue_bytes?,
            queue_max_age: queue_max_age?,
            when_full: when_full?,
            retained_messages: retained_messages?,
            retained_bytes: retained_bytes?,
            retained_per_device: retained_per_device?,
            rotation_window: rotation_window?,
        })
    }
}

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// The longest that MQTT's length field can say, with the fixed header, in bytes.
const MAX_PACKET_SIZE: usize = 268_435_455 + 5;

/// Asked of the system, since a service may be without most of `/proc`.
pub(crate) fn host_name() -> String {
    let system = rustix::system::uname();
    let name = system.nodename().to_string_lossy();
    match name.trim() {
        "" | "(none)" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}

fn default_data_dir(dir: &Path, environment: &Environment) -> PathBuf {
    // systemd separates several directories by colons; the first is the bridge's.
    let state = environment.get("STATE_DIRECTORY").and_then(|list| list.split(':').next());
    match state.filter(|state| !state.is_empty()) {
        Some(state) => PathBuf::from(state),
        None if dir == Path::new(SYSTEM_CONFIG_DIR) => PathBuf::from(SYSTEM_DATA_DIR),
        None => beside(dir).join("data"),
    }
}

fn runtime_dir(dir: &Path, data_dir: &Path, environment: &Environment) -> PathBuf {
    let runtime = environment.get("RUNTIME_DIRECTORY").and_then(|list| list.split(':').next());
    match runtime.filter(|runtime| !runtime.is_empty()) {
        Some(runtime) => PathBuf::from(runtime),
        None if dir == Path::new(SYSTEM_CONFIG_DIR) => PathBuf::from(SYSTEM_RUNTIME_DIR),
        None => data_dir.to_owned(),
    }
}

/// The directory in which the configuration directory lies: relative paths start there.
fn beside(dir: &Path) -> PathBuf {
    match dir.parent().filter(|_| dir.file_name().is_some()) {
        Some(parent) => parent.to_owned(),
        None => dir.join(".."),
    }
}
