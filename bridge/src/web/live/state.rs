//! All that a page is shown, as it is at a moment.

use std::collections::HashMap;

use serde::Serialize;
use tokio::time::Instant;

use super::{
    machine::{Gauges, Load, Machine},
    rates::Meter,
};
use crate::{
    configuration::Configuration,
    control::Bridge,
    registry::Revision,
    report::{self, ConnectionLife, Direction, Endpoint, Listener, Process, Status, Store, Time},
};

/// Everything at once, in the form that the API gives.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(in crate::web) struct State {
    /// Of the configuration that runs.
    pub(in crate::web) revision: Revision,
    /// When it was looked at.
    pub(in crate::web) time: Time,
    pub(in crate::web) bridge: BridgeState,
    pub(in crate::web) machine: Machine,
    pub(in crate::web) listeners: Vec<Listener>,
    pub(in crate::web) store: Store,
    pub(in crate::web) totals: Totals,
    pub(in crate::web) rates: Rates,
    pub(in crate::web) devices: Vec<DeviceState>,
    pub(in crate::web) connections: Vec<ConnectionState>,
}

/// The process, and what it takes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(in crate::web) struct BridgeState {
    #[serde(flatten)]
    process: Process,
    #[serde(flatten)]
    pub(in crate::web) load: Load,
}

/// What was counted over all devices.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(in crate::web) struct Totals {
    #[serde(flatten)]
    pub(in crate::web) counted: report::Totals,
    /// QoS 1 and 2 messages that wait or are on their way, over all devices.
    pub(in crate::web) queued: usize,
    /// Messages that devices were sent.
    pub(in crate::web) sent: u64,
}

/// Per second, over all devices.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(in crate::web) struct Rates {
    received: f64,
    sent: f64,
    denied: f64,
}

/// A device, and how much it says and hears.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(in crate::web) struct DeviceState {
    #[serde(flatten)]
    pub(in crate::web) device: report::Device,
    rates: DeviceRates,
}

/// Messages per second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct DeviceRates {
    received: f64,
    sent: f64,
}

/// A connection, and how much passes through it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(in crate::web) struct ConnectionState {
    user: String,
    id: String,
    /// `<user>/<id>`.
    pub(in crate::web) key: String,
    name: String,
    from: Endpoint,
    to: Endpoint,
    pub(in crate::web) from_to: DirectionState,
    pub(in crate::web) to_from: DirectionState,
    /// If somebody has its messages shown.
    pub(in crate::web) messages_shown_until: Option<Time>,
}

/// One direction of a connection.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(in crate::web) struct DirectionState {
    #[serde(flatten)]
    pub(in crate::web) counted: Direction,
    /// Messages per second.
    rate: f64,
}

impl State {
    /// As it is now. Blocks.
    pub(super) fn look(
        bridge: &Bridge,
        configuration: &Configuration,
        before: Option<&Self>,
        now: Instant,
        (gauges, meter): (&mut Gauges, &mut Meter),
    ) -> Self {
        let status = Status::by(bridge, configuration);
        meter.arrange(configuration.revision, || before.map(|before| places(&status, before)));
        let lives = || status.devices.iter().filter_map(|device| device.live.as_ref());
        let totals = Totals {
            queued: lives().map(|life| life.queued).sum(),
            sent: lives().map(|life| life.sent.messages).sum(),
            counted: status.totals.clone(),
        };
        let mut rates = meter.rates(now, counts(&totals, &status)).into_iter();
        let mut rate = || rates.next().unwrap_or_default();
        let (load, machine) = gauges.read(now, &configuration.settings.data_dir);
        Self {
            revision: configuration.revision,
            time: Time::now(),
            bridge: BridgeState { process: status.bridge, load },
            machine,
            listeners: status.listeners,
            store: status.store,
            totals,
            // In the order of `counts`.
            rates: Rates { received: rate(), sent: rate(), denied: rate() },
            devices: (status.devices.into_iter())
                .map(|device| DeviceState { device, rates: DeviceRates { received: rate(), sent: rate() } })
                .collect(),
            connections: (status.connections.into_iter())
                .map(|connection| ConnectionState::new(connection, [rate(), rate()]))
                .collect(),
        }
    }

    /// A device by its MQTT user name.
    pub(in crate::web) fn device(&self, username: &str) -> Option<&DeviceState> {
        self.devices.iter().find(|state| state.device.username == username)
    }

    /// A connection by `<user>/<id>`.
    pub(in crate::web) fn connection(&self, key: &str) -> Option<&ConnectionState> {
        self.connections.iter().find(|state| state.key == key)
    }
}

impl DeviceState {
    /// What it has published and what it was sent, in messages.
    pub(super) fn counts(&self) -> [u64; 2] {
        device_counts(&self.device)
    }
}

impl ConnectionState {
    fn new(connection: report::Connection, [from_to_rate, to_from_rate]: [f64; 2]) -> Self {
        let report::Connection { user, id, name, from, to, live } = connection;
        let ConnectionLife { from_to, to_from } = live.unwrap_or_default();
        Self {
            key: format!("{user}/{id}"),
            user,
            id,
            name,
            from,
            to,
            from_to: DirectionState { counted: from_to, rate: from_to_rate },
            to_from: DirectionState { counted: to_from, rate: to_from_rate },
            messages_shown_until: None,
        }
    }

    /// What was published in both directions, in messages.
    pub(super) fn counts(&self) -> [u64; 2] {
        [&self.from_to, &self.to_from].map(|direction| direction.counted.published.messages)
    }
}

/// What rates are told of, in one line.
fn counts(totals: &Totals, status: &Status) -> Vec<u64> {
    let all = [totals.counted.received, totals.sent, totals.counted.denied];
    let devices = status.devices.iter().flat_map(device_counts);
    let connections = status.connections.iter().flat_map(|connection| match &connection.live {
        Some(life) => [life.from_to.published.messages, life.to_from.published.messages],
        None => [0; 2],
    });
    all.into_iter().chain(devices).chain(connections).collect()
}

fn device_counts(device: &report::Device) -> [u64; 2] {
    device.live.as_ref().map_or([0; 2], |life| [life.received.messages, life.sent.messages])
}

/// For each count, where it was before.
fn places(now: &Status, before: &State) -> Vec<Option<usize>> {
    const TOTALS: usize = 3;
    let both = |at: Option<usize>| [at, at.map(|at| at + 1)];
    let devices: HashMap<_, _> = (before.devices.iter().enumerate())
        .map(|(at, state)| (state.device.username.as_str(), TOTALS + 2 * at))
        .collect();
    let first = TOTALS + 2 * before.devices.len();
    let connections: HashMap<_, _> = (before.connections.iter().enumerate())
        .map(|(at, state)| ((state.user.as_str(), state.id.as_str()), first + 2 * at))
        .collect();
    let of_devices = now.devices.iter().map(|device| devices.get(device.username.as_str()));
    let of_connections = now
        .connections
        .iter()
        .map(|connection| connections.get(&(connection.user.as_str(), connection.id.as_str())));
    let all = (0..TOTALS).map(Some);
    all.chain(of_devices.chain(of_connections).flat_map(|at| both(at.copied()))).collect()
}

#[cfg(test)]
impl State {
    /// Devices 1, 2, … of which the first two are connected.
    pub(super) fn example(devices: usize) -> Self {
        use crate::{
            document::Source,
            registry::Registry,
            report::{Connection, Device, DeviceLife},
        };

        let list: Vec<_> = (1..=devices)
            .map(|code| format!(r#"{{ "code": {code}, "name": "Device {code}", "type": "t" }}"#))
            .collect();
        let texts = [
            format!(r#"{{ "devices": [ {} ] }}"#, list.join(", ")),
            r#"{ "connections": [ { "name": "c", "from": 1, "to": 2 } ] }"#.to_owned(),
        ];
        let [devices, connections] = texts.map(|text| Source::new("x", text));
        #[allow(clippy::unwrap_used)]
        let registry = Registry::parse(&devices, &connections).unwrap();
        let time = Time::from_unix_ms(0);
        let none = DeviceRates { received: 0.0, sent: 0.0 };
        let device = |device| DeviceState {
            device: Device { live: Some(DeviceLife::default()), ..device },
            rates: none,
        };
        let connection = |connection| ConnectionState::new(connection, [0.0; 2]);
        Self {
            revision: Revision::of(&devices, &connections),
            time,
            bridge: BridgeState {
                process: Process {
                    version: "0".to_owned(),
                    pid: 1,
                    started: time,
                    uptime: 0,
                    host: "pi".to_owned(),
                    config: "/config".to_owned(),
                    data_dir: "/data".to_owned(),
                },
                load: Load::default(),
            },
            machine: Machine::default(),
            listeners: vec![],
            store: Store { durability: "memory".to_owned(), disk: None },
            totals: Totals {
                counted: report::Totals {
                    devices_online: 0,
                    connected: 0,
                    sessions: 0,
                    refused_connections: 0,
                    received: 0,
                    denied: 0,
                    queue_full: 0,
                    not_kept: 0,
                    dropped: 0,
                    retained: 0,
                    limits: Default::default(),
                },
                queued: 0,
                sent: 0,
            },
            rates: Rates { received: 0.0, sent: 0.0, denied: 0.0 },
            devices: Device::all(&registry, None).into_iter().map(device).collect(),
            connections: Connection::all(&registry, None).into_iter().map(connection).collect(),
        }
    }
}
