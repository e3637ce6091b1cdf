//! Looks at what runs, or at the configuration alone.

use std::{collections::HashMap, sync::Arc};

use ior_broker::{Broker, ConnectionInfo, FlowInfo, NameInfo, SessionInfo, store::Health};

use super::{
    Connection, ConnectionLife, Device, DeviceLife, Direction, Disk, Endpoint, Latency, Link, Listener,
    Process, Session, Status, Store, Time, Totals, Traffic,
};
use crate::{
    configuration::Configuration,
    control::{Bridge, absolute},
    registry::{Connection as ConfiguredConnection, Device as ConfiguredDevice, End, Registry},
    settings::{STORE_DIR, Settings, key_of},
};

impl Status {
    /// As it is now. Parts that are looked at one after the other need not be of the same instant.
    pub fn of(bridge: &Bridge) -> Self {
        Self::by(bridge, &bridge.configuration.load())
    }

    /// The same by a configuration that runs, or did until now.
    pub(crate) fn by(bridge: &Bridge, configuration: &Configuration) -> Self {
        let Configuration { registry, settings, .. } = configuration;
        let devices = Device::all(registry, Some(&bridge.broker));
        let online = devices.iter().filter(|device| device.live.as_ref().is_some_and(|live| live.online));
        Self {
            bridge: Process::of(bridge, configuration),
            listeners: listeners(bridge),
            store: Store::of(&bridge.broker, settings),
            totals: Totals::of(&bridge.broker, online.count()),
            connections: Connection::all(registry, Some(&bridge.broker)),
            devices,
        }
    }
}

fn listeners(bridge: &Bridge) -> Vec<Listener> {
    let web = bridge.web_address.load().map(|address| ("web", address));
    bridge.addresses.load().iter().chain(web).map(Listener::from).collect()
}

impl Device {
    /// Those of a registry, and what a broker knows of them.
    pub fn all(registry: &Registry, broker: Option<&Broker>) -> Vec<Self> {
        let mut lives = broker.map(lives);
        let mut connections: HashMap<_, Vec<_>> = HashMap::new();
        for connection in registry.connections() {
            for end in End::BOTH {
                let device = registry.end(connection, end).user_name();
                connections.entry(device).or_default().push(connection.id.to_string());
            }
        }
        let mut of = |device: &ConfiguredDevice| {
            let username = device.user_name();
            Self {
                user: device.user.to_string(),
                code: device.code.clone(),
                name: device.name.clone(),
                kind: device.kind.clone(),
                disabled: device.disabled,
                connections: connections.remove(&username).unwrap_or_default(),
                live: lives.as_mut().map(|lives| lives.remove(&*username).unwrap_or_default()),
                username,
            }
        };
        registry.devices().iter().map(&mut of).collect()
    }
}

impl Connection {
    /// Those of a registry, and what a broker knows of them.
    pub fn all(registry: &Registry, broker: Option<&Broker>) -> Vec<Self> {
        let flows: Option<HashMap<_, _>> = broker
            .map(|broker| broker.flows().into_iter().map(|flow| (Arc::clone(&flow.name), flow)).collect());
        let of = |connection: &ConfiguredConnection| {
            let [from, to] = End::BOTH.map(|end| registry.end(connection, end));
            let direction = |device: &ConfiguredDevice| {
                let name = format!("{}/{}", connection.full_id(), device.code);
                flows.as_ref().map(|flows| flows.get(&*name).map(Direction::from).unwrap_or_default())
            };
            let live = direction(from).zip(direction(to));
            Self {
                user: connection.user.to_string(),
                id: connection.id.to_string(),
                name: connection.name.clone(),
                from: from.into(),
                to: to.into(),
                live: live.map(|(from_to, to_from)| ConnectionLife { from_to, to_from }),
            }
        };
        registry.connections().iter().map(of).collect()
    }
}

/// By authenticated name.
fn lives(broker: &Broker) -> HashMap<Arc<str>, DeviceLife> {
    let mut lives: HashMap<Arc<str>, DeviceLife> = HashMap::new();
    for name in broker.names() {
        lives.insert(Arc::clone(&name.name), name.into());
    }
    for session in broker.sessions() {
        let life = lives.entry(Arc::clone(&session.name)).or_default();
        life.online |= session.online;
        life.queued += session.pending;
        life.sessions.push(session.into());
    }
    for life in lives.values_mut() {
        life.sessions.sort_by(|a, b| (b.online, &a.client_id).cmp(&(a.online, &b.client_id)));
        let links = life.sessions.iter().filter_map(|session| session.link.as_ref());
        life.online_since = links.map(|link| link.since).min();
    }
    lives
}

impl Process {
    fn of(bridge: &Bridge, configuration: &Configuration) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started: Time(bridge.started),
            uptime: bridge.running_since.elapsed().as_secs(),
            host: configuration.settings.host.clone(),
            config: absolute(&configuration.dir),
            data_dir: absolute(&configuration.settings.data_dir),
        }
    }
}

impl Store {
    fn of(broker: &Broker, settings: &Settings) -> Self {
        let durability = settings.values.get("durability").cloned().unwrap_or_default();
        let disk = broker.store().map(|store| Disk {
            directory: absolute(&settings.data_dir.join(STORE_DIR)),
            bytes: store.statistics.bytes,
            free_bytes: store.statistics.free_bytes,
            commits: store.statistics.commits,
            last_commit: store.statistics.last_commit.map(Time::from_unix_ms),
            failing: match store.health {
                Health::Fine => None,
                Health::Failing(why) => Some(why.to_string()),
            },
        });
        Self { durability, disk }
    }
}

impl Totals {
    fn of(broker: &Broker, devices_online: usize) -> Self {
        let counted = broker.statistics();
        let limits = counted.limits.iter().filter(|(_, times)| *times > 0);
        Self {
            devices_online,
            connected: counted.connected,
            sessions: counted.sessions,
            refused_connections: counted.refused,
            received: counted.published,
            denied: counted.denied,
            queue_full: counted.queue_full,
            not_kept: counted.not_kept,
            dropped: counted.dropped + counted.live_lost,
            retained: counted.retained,
            limits: limits.map(|(limit, times)| (key_of(limit).to_owned(), times)).collect(),
        }
    }
}

impl From<(&'static str, std::net::SocketAddr)> for Listener {
    fn from((name, address): (&'static str, std::net::SocketAddr)) -> Self {
        Self { name: name.to_owned(), address }
    }
}

impl From<NameInfo> for DeviceLife {
    fn from(name: NameInfo) -> Self {
        Self {
            last_seen: name.last_seen.map(Time::from_unix_ms),
            received: name.received.into(),
            sent: name.sent.into(),
            denied: name.denied,
            dropped: name.dropped,
            ..Self::default()
        }
    }
}

impl From<SessionInfo> for Session {
    fn from(session: SessionInfo) -> Self {
        Self {
            client_id: session.client_id,
            online: session.online,
            kept: session.kept,
            subscriptions: session.subscriptions,
            queued: session.pending,
            last_heard: session.last_heard.map(Time::from_unix_ms),
            link: session.connection.map(Link::from),
        }
    }
}

impl From<ConnectionInfo> for Link {
    fn from(connection: ConnectionInfo) -> Self {
        Self {
            address: connection.peer,
            transport: connection.channel.to_string(),
            protocol: connection.version.to_string(),
            since: Time::from_unix_ms(connection.since),
            keep_alive: connection.keep_alive,
        }
    }
}

impl From<&ConfiguredDevice> for Endpoint {
    fn from(device: &ConfiguredDevice) -> Self {
        Self { code: device.code.clone(), name: device.name.clone() }
    }
}

impl From<&FlowInfo> for Direction {
    fn from(flow: &FlowInfo) -> Self {
        Self {
            published: flow.published.into(),
            last: flow.last.map(Time::from_unix_ms),
            waiting: Traffic { messages: flow.waiting.messages, bytes: flow.waiting.bytes },
            refused: flow.refused,
            dropped: flow.dropped,
            latency: flow.latency.map(Latency::from),
        }
    }
}

impl From<ior_broker::Traffic> for Traffic {
    fn from(traffic: ior_broker::Traffic) -> Self {
        Self { messages: traffic.messages, bytes: traffic.bytes }
    }
}
