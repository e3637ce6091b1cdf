//! `/metrics`: what the bridge knows of itself when it is asked, for Prometheus and whatever else reads OpenMetrics. Nothing
//! is counted for it: it is `report::Status` in another form.
//!
//! Devices and connections have series of their own, the first `web.metrics_series` of each in the order of the files. Their
//! names for people stand in one series each, so that the others go on when something is renamed.

mod encode;
mod families;
mod process;

use std::{fmt, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use ior_broker::Statistics;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, text},
    registry::Registry,
};
use tokio::task::block_in_place;

use self::{
    encode::{Family, encode_info},
    process::Process,
};
use super::{Problem, Web, auth::Metrics};
use crate::{
    control::Bridge,
    report::{ConnectionLife, Direction, Status, Time},
    storage,
};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `/metrics`.
pub(in crate::web) fn routes() -> Router<Arc<Web>> {
    Router::new().route("/metrics", get(metrics))
}

async fn metrics(_: Metrics, State(web): State<Arc<Web>>) -> Response {
    match block_in_place(|| Scrape::of(&web.bridge).encode_all()) {
        Ok(text) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(fmt::Error) => {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written").into_response()
        }
    }
}

/// All that is told at once.
#[derive(Debug)]
struct Scrape {
    status: Status,
    statistics: Statistics,
    process: Process,
    /// Bytes that are free where the data directory is, if anybody can tell.
    data_dir_free: Option<u64>,
    certificate_expires: Option<Time>,
    /// How many devices, and how many connections, have series of their own.
    series: usize,
}

/// One direction of a connection, and what it is called.
struct Lane<'s> {
    connection: &'s str,
    direction: &'static str,
    live: &'s Direction,
}

impl Scrape {
    fn of(bridge: &Bridge) -> Self {
        let settings = &bridge.configuration.load().settings;
        Self {
            status: Status::of(bridge),
            statistics: bridge.broker.statistics(),
            process: Process::read(),
            data_dir_free: storage::free(&settings.data_dir).ok(),
            certificate_expires: bridge.identity.expires().map(Time),
            series: settings.web.metrics_series,
        }
    }

    fn encode_all(self) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        text::encode(&mut text, &registry)?;
        Ok(text)
    }

    fn encode_bridge(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let version = [("version", &*self.status.bridge.version)];
        encode_info(encoder, families::BUILD, [&version[..]].into_iter())?;
        let durability = [("durability", &*self.status.store.durability)];
        encode_info(encoder, families::STORE, [&durability[..]].into_iter())?;
        for family in families::BRIDGE {
            family.encode(encoder, [(&[][..], self)].into_iter())?;
        }
        let limits: Vec<_> = self
            .statistics
            .limits
            .iter()
            .map(|(limit, times)| ([("limit", crate::settings::key_of(limit))], times))
            .collect();
        families::LIMITS.encode(encoder, limits.iter().map(|(labels, times)| (&labels[..], times)))
    }

    fn encode_devices(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let devices = &self.status.devices[..self.series.min(self.status.devices.len())];
        let infos: Vec<_> = devices
            .iter()
            .map(|device| [("device", &*device.username), ("name", &device.name), ("type", &device.kind)])
            .collect();
        encode_info(encoder, families::DEVICE, infos.iter().map(|labels| &labels[..]))?;
        let labels: Vec<_> = devices.iter().map(|device| [("device", &*device.username)]).collect();
        for family in families::DEVICES {
            family.encode(encoder, labels.iter().map(|labels| &labels[..]).zip(devices))?;
        }
        Ok(())
    }

    fn encode_connections(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let connections = &self.status.connections[..self.series.min(self.status.connections.len())];
        let keys: Vec<_> = connections
            .iter()
            .map(|connection| {
                let device = |end: &crate::report::Endpoint| format!("{}.{}", connection.user, end.code);
                let key = format!("{}/{}", connection.user, connection.id);
                (key, device(&connection.from), device(&connection.to))
            })
            .collect();
        let infos: Vec<_> = keys
            .iter()
            .zip(connections)
            .map(|((key, from, to), connection)| {
                [("connection", &**key), ("name", &connection.name), ("from", from), ("to", to)]
            })
            .collect();
        encode_info(encoder, families::CONNECTION, infos.iter().map(|labels| &labels[..]))?;
        let lanes: Vec<_> = keys
            .iter()
            .zip(connections)
            .filter_map(|((key, ..), connection)| Some(Lane::both(key, connection.live.as_ref()?)))
            .flatten()
            .collect();
        let labels: Vec<_> = lanes.iter().map(Lane::labels).collect();
        let directions = lanes.iter().map(|lane| lane.live);
        for family in families::DIRECTIONS {
            family.encode(encoder, labels.iter().map(|labels| &labels[..]).zip(directions.clone()))?;
        }
        Ok(())
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_bridge(&mut encoder)?;
        self.encode_devices(&mut encoder)?;
        self.encode_connections(&mut encoder)?;
        families::PROCESS.iter().try_for_each(|family: &Family<Process>| {
            family.encode(&mut encoder, [(&[][..], &self.process)].into_iter())
        })
    }
}

impl<'s> Lane<'s> {
    fn both(connection: &'s str, live: &'s ConnectionLife) -> [Self; 2] {
        [
            Self { connection, direction: "from_to", live: &live.from_to },
            Self { connection, direction: "to_from", live: &live.to_from },
        ]
    }

    fn labels(&self) -> [(&'static str, &'s str); 2] {
        [("connection", self.connection), ("direction", self.direction)]
    }
}
