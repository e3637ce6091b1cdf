//! What happens in a running bridge, as it is told to whoever watches.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use ior_broker::{events::Event as BrokerEvent, limits::Limit};
use serde::{Deserialize, Serialize};

use super::Time;
use crate::{
    configuration::Configuration,
    diary::{echo, what_happened},
    registry::{Connection, Device, End, Unclear, find_connection, find_device},
    reload::Outcome,
    secrets::looks_like_a_password,
    settings::key_of,
};

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A device logged in.
    Connected,
    /// A device's connection ended.
    Disconnected,
    /// Somebody could not log in.
    Refused,
    /// A device may not publish or subscribe to what it wanted to.
    Denied,
    /// A message was refused because a queue was full, or too much retained.
    Full,
    /// A limit acted on a device.
    Limit,
    /// The store fails, recovers, or lost something.
    Store,
    /// The configuration was taken up, or was not.
    Configuration,
    /// Somebody logged in to the page or could not, or did something there.
    Page,
    /// Some events are missing here, because they were not taken as fast as they came.
    #[value(skip)]
    Missed,
    /// The bridge stops: this is the last event.
    #[value(skip)]
    Stopping,
}

/// Something that happened. What does not apply is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When it was told.
    pub time: Time,
    /// What kind of thing.
    pub kind: Kind,
    /// The MQTT user name of the device; where it could not log in, the one that it sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// What people call the device: "Master 1 (4569)".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The connection that it happened in, `<user>/<id>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    /// Address and port of the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// The Client Identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The Topic Name or Topic Filter, its beginning if it is very long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Which limit acted, as in `server.json`, without `limits.`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// How many events are missing, or messages lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// What happened, for people, to be read behind the device.
    pub text: String,
}

/// Which events somebody wants to know of; without anything, all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Those of one device: its code, `<user>.<code>`, or its name.
    #[serde(default)]
    pub device: Option<String>,
    /// Those of one connection and its two devices: its id, `<user>/<id>`, or its name.
    #[serde(default)]
    pub connection: Option<String>,
    /// Those of these kinds.
    #[serde(default)]
    pub kinds: Vec<Kind>,
}

/// What the names in events stand for, by one configuration.
pub(crate) struct Names {
    configuration: Arc<Configuration>,
    /// Labels by MQTT user name.
    devices: HashMap<String, String>,
    /// `<user>/<id>` of all connections.
    connections: HashSet<String>,
}

/// A filter whose device and connection are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// MQTT user name.
    pub device: Option<String>,
    /// `<user>/<id>`.
    pub connection: Option<String>,
    kinds: Vec<Kind>,
}

impl Event {
    fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self {
            time: Time::now(),
            kind,
            username: None,
            device: None,
            connection: None,
            peer: None,
            client_id: None,
            topic: None,
            limit: None,
            count: None,
            text: text.into(),
        }
    }

    /// So many were not taken in time.
    pub(crate) fn missed(count: u64) -> Self {
        let text =
            format!("{count} events of any kind are missing here: they were not read as fast as they came");
        Self { count: Some(count), ..Self::new(Kind::Missed, text) }
    }

    /// So many happened, and are not told here because there were so many.
    pub(crate) fn left_out(count: u64) -> Self {
        let text = format!("{count} more events happened just before, too many to show");
        Self { count: Some(count), ..Self::new(Kind::Missed, text) }
    }

    /// The last one.
    pub(crate) fn stopping() -> Self {
        Self::new(Kind::Stopping, "the bridge is stopping")
    }

    /// What was done on the page or with its API, or to it.
    pub(crate) fn of_page(text: impl Into<String>) -> Self {
        Self::new(Kind::Page, text)
    }

    /// It concerns this device.
    pub(crate) fn about(self, device: &Device) -> Self {
        Self { username: Some(device.user_name()), device: Some(device.label()), ..self }
    }

    /// It concerns the connection with this `<user>/<id>`.
    pub(crate) fn in_connection(self, full_id: String) -> Self {
        Self { connection: Some(full_id), ..self }
    }

    /// What came of a reload.
    pub(crate) fn of_reload(outcome: &Outcome) -> Self {
        Self::new(
            Kind::Configuration,
            match outcome {
                Ok(changes) => format!("reloaded: {changes}"),
                Err(why) => format!("not reloaded, what runs stays as it is: {why}"),
            },
        )
    }
}

impl Names {
    /// By this configuration.
    pub fn new(configuration: Arc<Configuration>) -> Self {
        let registry = &configuration.registry;
        let devices = registry.devices().iter().map(|device| (device.user_name(), device.label())).collect();
        let connections = registry.connections().iter().map(Connection::full_id).collect();
        Self { devices, connections, configuration }
    }

    /// Whether it is by this very configuration.
    pub fn is_of(&self, configuration: &Arc<Configuration>) -> bool {
        Arc::ptr_eq(&self.configuration, configuration)
    }

    /// What happened in the broker.
    pub fn event(&self, event: &BrokerEvent) -> Event {
        match event {
            BrokerEvent::Connected { name, client_id, peer, channel, version, session_present } => {
                let session = if *session_present { ", session resumed" } else { "" };
                let text = format!(
                    "connected from {peer} over {channel} with MQTT {version}, client id {}{session}",
                    echo(client_id)
                );
                Event {
                    peer: Some(peer.to_string()),
                    client_id: Some(client_id.to_string()),
                    ..self.of_device(Kind::Connected, name, text)
                }
            }
            BrokerEvent::Disconnected { name, client_id, cause } => {
                let text = format!("disconnected: {cause} (client id {})", echo(client_id));
                Event {
                    client_id: Some(client_id.to_string()),
                    ..self.of_device(Kind::Disconnected, name, text)
                }
            }
            BrokerEvent::Refused { peer, user_name, detail, .. } => {
                let text = format!("refused a connection from {peer}: {detail}");
                Event {
                    username: user_name
                        .as_deref()
                        .filter(|name| !looks_like_a_password(name))
                        .map(str::to_owned),
                    peer: Some(peer.to_string()),
                    ..Event::new(Kind::Refused, text)
                }
            }
            BrokerEvent::PublishDenied { name, topic } => self.denied(name, "publish", topic),
            BrokerEvent::SubscribeDenied { name, filter } => self.denied(name, "subscribe", filter),
            BrokerEvent::QueueFull { publisher, topic, limit } => {
                let why = match limit {
                    Limit::QueueMessages | Limit::QueueBytes => "a receiver's queue is full",
                    _ => "too much is retained",
                };
                let key = key_of(*limit);
                let text = format!("was refused a message to {}: {why} (limits.{key})", echo(topic));
                Event { limit: Some(key.to_owned()), ..self.of_topic(Kind::Full, publisher, topic, text) }
            }
            BrokerEvent::LimitReached { name, limit } => {
                let key = key_of(*limit);
                let text = format!("{} (limits.{key})", what_happened(*limit));
                Event { limit: Some(key.to_owned()), ..self.of_device(Kind::Limit, name, text) }
            }
            BrokerEvent::StoreFailing { detail } => {
                Event::new(Kind::Store, format!("messages cannot be kept: {detail}"))
            }
            BrokerEvent::StoreRecovered => Event::new(Kind::Store, "messages are kept again"),
            BrokerEvent::StoreDamaged { name, messages } => {
                let text = format!("{messages} messages that were kept for it are damaged and lost");
                Event { count: Some(*messages), ..self.of_device(Kind::Store, name, text) }
            }
        }
    }

    /// Whether somebody wants to know of it.
    pub fn wants(&self, wanted: &Wanted, event: &Event) -> bool {
        let is_of = |connection: &String| match &event.connection {
            Some(of) => of == connection,
            None => event.username.as_ref().is_some_and(|name| self.ends(connection).contains(name)),
        };
        // Nobody knows what they were, so they concern everybody.
        if event.kind == Kind::Missed {
            return true;
        }
        (wanted.kinds.is_empty() || wanted.kinds.contains(&event.kind))
            && wanted.device.as_ref().is_none_or(|device| event.username.as_ref() == Some(device))
            && wanted.connection.as_ref().is_none_or(is_of)
    }

    /// The devices of a connection.
    fn ends(&self, connection: &str) -> Vec<String> {
        let registry = &self.configuration.registry;
        let found = registry.connections().iter().find(|found| found.full_id() == connection);
        let ends = |connection| End::BOTH.map(|end| registry.end(connection, end).user_name()).into();
        found.map(ends).unwrap_or_default()
    }

    fn denied(&self, name: &str, action: &str, topic: &str) -> Event {
        let text = format!("may not {action} to {}", echo(topic));
        self.of_topic(Kind::Denied, name, topic, text)
    }

    fn of_topic(&self, kind: Kind, name: &str, topic: &str, text: String) -> Event {
        let second = topic.match_indices('/').nth(1).map_or(topic.len(), |(slash, _)| slash);
        let connection = self.connections.get(&topic[..second]).cloned();
        Event { connection, topic: Some(topic.to_owned()), ..self.of_device(kind, name, text) }
    }

    fn of_device(&self, kind: Kind, name: &str, text: String) -> Event {
        let device = self.devices.get(name).cloned();
        Event { username: Some(name.to_owned()), device, ..Event::new(kind, text) }
    }
}

impl Wanted {
    /// Looks up the device and the connection.
    ///
    /// # Errors
    /// There is none of that name, or more than one.
    pub fn new(filter: Filter, configuration: &Configuration) -> Result<Self, Unclear> {
        let registry = &configuration.registry;
        let device = filter.device.map(|device| find_device(registry, &device).map(Device::user_name));
        let connection = filter
            .connection
            .map(|connection| find_connection(registry, &connection, None).map(Connection::full_id));
        Ok(Self { device: device.transpose()?, connection: connection.transpose()?, kinds: filter.kinds })
    }
}
