//! What `pub`, `sub` and `latency` share: the credential file, the way to the broker, and what it refuses.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{PubAckReason, PubRecReason, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use rumqttc::{NetworkOptions, Transport};

use super::CommandError;
use super::failure::spaced;
use super::tunnel::Tunnel;
use crate::credentials::CredentialFile;

/// How long a connection may take, from the look-up of the host name to CONNACK.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the broker is asked whether it is still there; a dead one is noticed after twice this time.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// The largest packet of MQTT, in bytes: the broker's own limit decides, not ours.
const MAX_PACKET_SIZE: u32 = 268_435_460;
/// The longest Topic Name or Topic Filter, in bytes [MQTT-4.7.3-3].
const MAX_TOPIC: usize = 65_535;
/// Longest wait for the DISCONNECT to leave.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Where to connect to, if not where the credential file says.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Target {
    /// Connect to this host name or address instead of the credential file's
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// Connect to this port instead of the credential file's
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Connect with TLS also if the credential file names a port for plain MQTT
    #[arg(long)]
    pub tls: bool,
}

/// The way to the broker.
pub(super) struct Route {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tunnel: Option<Tunnel>,
    /// Who logs in.
    pub(super) username: String,
}

/// One end of a connection: a credential file that has been read.
pub(super) struct Endpoint {
    pub(super) credentials: CredentialFile,
    path: PathBuf,
}

impl Endpoint {
    /// Reads a credential file.
    ///
    /// # Errors
    /// A file that is missing, unreadable, not JSON, or JSON but not a credential file.
    pub(super) fn read(path: &Path) -> Result<Self, CommandError> {
        let shown = path.display();
        let text = std::fs::read(path).map_err(|error| CommandError::usage(unreadable(path, &error)))?;
        let value: serde_json::Value = serde_json::from_slice(&text)
            .map_err(|error| CommandError::usage(format!("{shown} is not JSON: {error}")))?;
        let credentials = serde_path_to_error::deserialize(value).map_err(|error| {
            let place = error.path().to_string();
            let place = if place == "." { String::new() } else { format!("{place}: ") };
            CommandError::usage(format!(
                "{shown} is JSON but not a credential file: {place}{}. {WHERE_THE_FILES_ARE}",
                error.inner()
            ))
        })?;
        Ok(Self { credentials, path: path.to_owned() })
    }

    /// The way to the broker: with TLS if `target` says so, or the file names no port for plain MQTT.
    ///
    /// # Errors
    /// The file names no port and `target` neither, or its CA cannot be used.
    pub(super) fn route(&self, target: &Target) -> Result<Route, CommandError> {
        let login = &self.credentials.mqtt;
        let tls = target.tls || login.port.is_none();
        let port = target.port.or(if tls { login.tls_port } else { login.port }).ok_or_else(|| {
            CommandError::usage(format!(
                "{} names no port for MQTT over TLS: `mqtts.listen` is turned off in the bridge's server.json, or the \
                 file was written before it was turned on; `ior-bridge credentials` on the bridge's machine writes fresh \
                 files",
                self.path.display()
            ))
        })?;
        let host = target.host.clone().unwrap_or_else(|| login.host.clone());
        let tunnel = tls.then(|| Tunnel::open(&host, port, login.ca.as_deref())).transpose();
        let tunnel = tunnel.map_err(|error| {
            CommandError::failed(format!("cannot use TLS as {} says: {error}", self.path.display()))
        })?;
        Ok(Route { host, port, tunnel, username: login.username.clone() })
    }

    /// The options of an MQTT 5 connection for `command`, whose name becomes part of the Client Identifier, so that
    /// the device's own session is never taken over.
    pub(super) fn options(&self, command: &str, route: &Route) -> MqttOptions {
        let login = &self.credentials.mqtt;
        let client_id = format!("{}-{command}-{:08x}", login.client_id, random_u32());

        let mut options = match &route.tunnel {
            None => MqttOptions::new(client_id, &route.host, route.port),
            Some(tunnel) => {
                let mut options = MqttOptions::new(client_id, tunnel.entrance(), route.port);
                options.set_transport(Transport::Unix);
                options
            }
        };
        options.set_credentials(&login.username, &login.password);
        options.set_clean_start(true);
        options.set_keep_alive(KEEP_ALIVE);
        options.set_connection_timeout(CONNECT_TIMEOUT.as_secs());
        // rumqttc's default of 10 KiB ends the connection at the first larger message.
        options.set_max_packet_size(Some(MAX_PACKET_SIZE));
        // rumqttc reserves a slot per packet it may have in flight, 65,536 by default: 10 MB that nobody needs here.
        options.set_outgoing_inflight_upper_limit(1024);
        // Off by default in rumqttc: Nagle's algorithm would hold small packets back for up to 40 ms.
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        options.set_network_options(network);
        options
    }

    /// The Topic Name that this end may publish to, or `subtopic` below it; `.` and nothing mean the topic itself.
    ///
    /// # Errors
    /// Wildcards, U+0000, or a topic longer than MQTT allows.
    pub(super) fn publish_topic(&self, subtopic: &str) -> Result<String, CommandError> {
        if subtopic.contains(['+', '#']) {
            return Err(CommandError::usage(format!(
                "a message goes to one topic: `{subtopic}` has a wildcard (+ or #), which only `sub` takes"
            )));
        }
        below(&self.credentials.topics.publish, subtopic)
    }

    /// The Topic Filter for what the peer publishes: everything, or the topic itself (`.`), or `subtopic` and what is
    /// below it, or `subtopic` as it is if it has wildcards.
    ///
    /// # Errors
    /// A misplaced wildcard, U+0000, or a filter longer than MQTT allows.
    pub(super) fn subscribe_filter(&self, subtopic: Option<&str>) -> Result<String, CommandError> {
        let Some(subtopic) = subtopic else { return Ok(self.credentials.topics.subscribe.clone()) };
        let filter = if subtopic.is_empty() || subtopic == "." || subtopic.contains(['+', '#']) {
            below(self.peer_topic(), subtopic)?
        } else {
            below(self.peer_topic(), &format!("{subtopic}/#"))?
        };
        if !rumqttc::v5::mqttbytes::valid_filter(&filter) {
            return Err(CommandError::usage(format!(
                "`{subtopic}` is not a topic filter: + and # stand alone between slashes, and # only at the end"
            )));
        }
        Ok(filter)
    }

    /// The topic that the peer publishes to.
    pub(super) fn peer_topic(&self) -> &str {
        let filter = &self.credentials.topics.subscribe;
        filter.strip_suffix("/#").unwrap_or(filter)
    }
}

/// Why a PUBLISH to `topic` was refused.
pub(super) fn publish_refused(reason: PubAckReason, topic: &str, endpoint: &Endpoint) -> CommandError {
    let credentials = &endpoint.credentials;
    CommandError::failed(match reason {
        PubAckReason::NotAuthorized => format!(
            "the broker refused the message: `{}` is not authorized to publish to `{topic}`. Its credential file \
             allows `{}` and what is below it; was the connection removed or changed since the file was written?",
            credentials.mqtt.username, credentials.topics.publish
        ),
        PubAckReason::QuotaExceeded => format!(
            "the broker refused the message: the queue of {} is full, or the bridge has no room left on its disk (its log \
             tells). Nothing was lost; send it again once {} has connected and fetched what waits for it, or there is \
             room",
            credentials.peer.name, credentials.peer.name
        ),
        other => format!("the broker refused the message to `{topic}`: {}", spaced(other)),
    })
}

/// A PUBREC's reason as a PUBACK's: MQTT gives both the same reason codes.
pub(super) fn as_puback(reason: PubRecReason) -> PubAckReason {
    match reason {
        PubRecReason::Success => PubAckReason::Success,
        PubRecReason::NoMatchingSubscribers => PubAckReason::NoMatchingSubscribers,
        PubRecReason::UnspecifiedError => PubAckReason::UnspecifiedError,
        PubRecReason::ImplementationSpecificError => PubAckReason::ImplementationSpecificError,
        PubRecReason::NotAuthorized => PubAckReason::NotAuthorized,
        PubRecReason::TopicNameInvalid => PubAckReason::TopicNameInvalid,
        PubRecReason::PacketIdentifierInUse => PubAckReason::PacketIdentifierInUse,
        PubRecReason::QuotaExceeded => PubAckReason::QuotaExceeded,
        PubRecReason::PayloadFormatInvalid => PubAckReason::PayloadFormatInvalid,
    }
}

/// Whether the subscription to `filter` was granted.
///
/// # Errors
/// The broker's refusal.
pub(super) fn granted(
    code: SubscribeReasonCode,
    filter: &str,
    endpoint: &Endpoint,
) -> Result<(), CommandError> {
    match code {
        SubscribeReasonCode::Success(_) => Ok(()),
        SubscribeReasonCode::NotAuthorized => Err(CommandError::failed(format!(
            "the broker refused the subscription: `{}` is not authorized to subscribe to `{filter}`. Its credential \
             file allows `{}`; was the connection removed or changed since the file was written?",
            endpoint.credentials.mqtt.username, endpoint.credentials.topics.subscribe
        ))),
        other => Err(CommandError::failed(format!(
            "the broker refused the subscription to `{filter}`: {}",
            spaced(other)
        ))),
    }
}

/// Says goodbye to the broker: returns when the DISCONNECT has left, or could not.
pub(super) async fn disconnect(client: &AsyncClient, eventloop: &mut EventLoop, route: &Route) {
    if client.try_disconnect().is_err() {
        return;
    }
    let left = async {
        while let Ok(event) = eventloop.poll().await {
            if matches!(event, Event::Outgoing(rumqttc::Outgoing::Disconnect)) {
                break;
            }
        }
        if let Some(tunnel) = &route.tunnel {
            eventloop.clean();
            tunnel.drained().await;
        }
    };
    // A broker that no longer reads must not hold the command back.
    let _ = tokio::time::timeout(DISCONNECT_TIMEOUT, left).await;
}

/// QoS from its number, which clap has checked to be 0, 1 or 2.
pub(super) fn qos(number: u8) -> QoS {
    match number {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}

/// A number that differs between two runs of a command: not a secret.
pub(super) fn random_u32() -> u32 {
    // The standard library seeds every `RandomState` from the operating system's randomness.
    let [a, b, c, d, ..] = RandomState::new().build_hasher().finish().to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

const WHERE_THE_FILES_ARE: &str = "The bridge writes them to <data_dir>/credentials/<user>/<connection>/from.json \
                                   and to.json at its start; `ior-bridge credentials` writes them too";

fn unreadable(path: &Path, error: &io::Error) -> String {
    let shown = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => {
            format!("there is no credential file {shown}. {WHERE_THE_FILES_ARE}")
        }
        io::ErrorKind::PermissionDenied => format!(
            "the credential file {shown} may not be read by this user: it holds a password, so only its owner may; \
             try again as its owner, or with sudo"
        ),
        io::ErrorKind::IsADirectory => {
            format!("{shown} is a folder: name the from.json or to.json in it")
        }
        _ => format!("cannot read the credential file {shown}: {error}"),
    }
}

fn below(topic: &str, subtopic: &str) -> Result<String, CommandError> {
    let joined = match subtopic {
        "" | "." => topic.to_owned(),
        _ => format!("{topic}/{subtopic}"),
    };
    if joined.contains('\0') {
        return Err(CommandError::usage("a topic may not contain the character U+0000"));
    }
    if joined.len() > MAX_TOPIC {
        return Err(CommandError::usage(format!(
            "the topic would be {} bytes long: MQTT allows {MAX_TOPIC}, the first {} are the connection's",
            joined.len(),
            topic.len() + 1
        )));
    }
    Ok(joined)
}
