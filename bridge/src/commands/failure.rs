//! Why a connection failed: rumqttc's errors as sentences that say what to do.

use std::io;

use rumqttc::v5::mqttbytes::Error as PacketError;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, DisconnectReasonCode};
use rumqttc::v5::{ConnectionError, StateError};
use tokio_rustls::rustls;

use super::CommandError;
use super::client::{CONNECT_TIMEOUT, KEEP_ALIVE, Route};
use super::tunnel::Tunnel;

/// A connection that failed, told in a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) message: String,
    /// Whether trying again later may help.
    pub(super) temporary: bool,
}

impl From<Failure> for CommandError {
    fn from(failure: Failure) -> Self {
        CommandError::failed(failure.message)
    }
}

/// Says what a connection error means and what to do. Looks the host name up again where only that tells.
pub(super) async fn explain(error: ConnectionError, route: &Route) -> Failure {
    let at = format!("{}:{}", route.host, route.port);
    // All that the client sees of a tunnel is that it ends.
    let ended = match &error {
        ConnectionError::Io(_) | ConnectionError::Timeout(_) => true,
        ConnectionError::MqttState(error) => {
            matches!(
                error,
                StateError::ConnectionAborted
                    | StateError::Io(_)
                    | StateError::Deserialization(PacketError::Io(_))
            )
        }
        _ => false,
    };
    if let Some(error) = route.tunnel.as_ref().and_then(Tunnel::failure).filter(|_| ended) {
        return explain_io(&error, route).await;
    }
    match error {
        ConnectionError::Io(error) => explain_io(&error, route).await,
        ConnectionError::Timeout(_) => no_answer(&at),
        ConnectionError::ConnectionRefused(code) => explain_refusal(code, &at, &route.username),
        ConnectionError::MqttState(error) => explain_state(error, &at),
        ConnectionError::NotConnAck(_) => {
            Failure::permanent(format!("what answers at {at} is not an MQTT broker: it sent no CONNACK"))
        }
        other => Failure::temporary(format!("the connection to {at} failed: {other}")),
    }
}

async fn explain_io(error: &io::Error, Route { host, port, tunnel, .. }: &Route) -> Failure {
    let listen = if tunnel.is_some() { "mqtts.listen" } else { "mqtt.listen" };
    if let Some(error) = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) {
        return explain_tls(error, &format!("{host}:{port}"), host);
    }
    if error.kind() == io::ErrorKind::TimedOut {
        return no_answer(&format!("{host}:{port}"));
    }
    if error.kind() == io::ErrorKind::ConnectionRefused {
        return Failure::temporary(format!(
            "nothing listens at {host}:{port} (connection refused): is the bridge running there, and does \
             `{listen}` in its server.json name an address that can be reached from here?"
        ));
    }
    if tokio::net::lookup_host((host.as_str(), *port)).await.is_err() {
        return Failure::temporary(format!(
            "the host name `{host}` is unknown here: name the bridge's address with --host, or set `host` in its \
             server.json to a name that this machine knows and write the credential files again"
        ));
    }
    Failure::temporary(format!("cannot connect to {host}:{port}: {error}"))
}

fn explain_tls(error: &rustls::Error, at: &str, host: &str) -> Failure {
    use rustls::{AlertDescription::CertificateRequired, CertificateError as Certificate, Error};
    Failure::permanent(match error {
        Error::InvalidCertificate(Certificate::UnknownIssuer | Certificate::BadSignature) => format!(
            "{at} shows a certificate that the CA of the credential file did not sign: is it another bridge, or does it \
             have another CA or certificate now? `ior-bridge credentials` on the bridge's machine writes fresh files"
        ),
        Error::InvalidCertificate(
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. },
        ) => format!(
            "the certificate of {at} is not for `{host}`: name the bridge as its certificate does, with --host, or set `host` \
             in its server.json to `{host}`"
        ),
        Error::InvalidCertificate(
            Certificate::Expired
            | Certificate::ExpiredContext { .. }
            | Certificate::NotValidYet
            | Certificate::NotValidYetContext { .. },
        ) => format!(
            "the certificate of {at} is not valid now: {error}; are the clocks of both machines right?"
        ),
        Error::AlertReceived(CertificateRequired) => format!(
            "{at} wants a certificate of the device too (`mqtts.client_ca` in its server.json), which this command has not"
        ),
        Error::InvalidCertificate(Certificate::Other(_)) => format!(
            "the certificate of {at} is not one for a server: {error}; if `mqtts.cert` in its server.json names one that \
             signed itself, use one that a CA has signed"
        ),
        Error::InvalidMessage(_) => {
            format!("what answers at {at} does not speak TLS: is this the port of `mqtts.listen`?")
        }
        error => format!("TLS with {at} failed: {error}"),
    })
}

fn no_answer(at: &str) -> Failure {
    Failure::temporary(format!(
        "no answer from {at} within {} s: is this the right host, and does no firewall stand between?",
        CONNECT_TIMEOUT.as_secs()
    ))
}

fn explain_refusal(code: ConnectReturnCode, at: &str, username: &str) -> Failure {
    let again = "was its password rotated, or was it disabled or removed? `ior-bridge credentials` on the bridge's \
                 machine writes fresh files";
    match code {
        ConnectReturnCode::BadUserNamePassword => {
            Failure::permanent(format!("{at} refused the user name or password of `{username}`: {again}"))
        }
        ConnectReturnCode::NotAuthorized | ConnectReturnCode::Banned => {
            Failure::permanent(format!("{at} answers that `{username}` is not authorized: {again}"))
        }
        ConnectReturnCode::ServerUnavailable
        | ConnectReturnCode::ServiceUnavailable
        | ConnectReturnCode::ServerBusy
        | ConnectReturnCode::ConnectionRateExceeded
        | ConnectReturnCode::QuotaExceeded => Failure::temporary(format!(
            "{at} takes no more connections now ({}): try again later",
            spaced(code)
        )),
        other => Failure::permanent(format!("{at} refused the connection: {}", spaced(other))),
    }
}

fn explain_state(error: StateError, at: &str) -> Failure {
    match error {
        StateError::ServerDisconnect { reason_code, reason_string } => {
            explain_disconnect(reason_code, reason_string, at)
        }
        StateError::OutgoingPacketTooLarge { pkt_size, max }
        | StateError::Deserialization(PacketError::OutgoingPacketTooLarge { pkt_size, max }) => {
            Failure::permanent(format!(
                "the message is too large: its packet has {pkt_size} bytes, {at} takes {max} at most"
            ))
        }
        StateError::ConnectionAborted => {
            Failure::temporary(format!("{at} closed the connection without saying why"))
        }
        StateError::AwaitPingResp => Failure::temporary(format!(
            "{at} has not answered for {} s: the network or the bridge is gone",
            KEEP_ALIVE.as_secs()
        )),
        StateError::Io(error) | StateError::Deserialization(PacketError::Io(error)) => {
            Failure::temporary(format!("the connection to {at} broke: {error}"))
        }
        other => Failure::temporary(format!("the connection to {at} failed: {other}")),
    }
}

fn explain_disconnect(code: DisconnectReasonCode, reason: Option<String>, at: &str) -> Failure {
    let reason = reason.map(|reason| format!(" ({})", reason.escape_debug())).unwrap_or_default();
    match code {
        DisconnectReasonCode::ServerShuttingDown => {
            Failure::temporary(format!("the bridge at {at} is shutting down{reason}"))
        }
        DisconnectReasonCode::SessionTakenOver => Failure::permanent(format!(
            "another client connected to {at} with the same Client Identifier and took this session over{reason}"
        )),
        DisconnectReasonCode::NotAuthorized => Failure::permanent(format!(
            "{at} ended the connection: not authorized{reason}; was the device or the connection changed or removed?"
        )),
        DisconnectReasonCode::PacketTooLarge => {
            Failure::permanent(format!("{at} ended the connection: the message is too large for it{reason}"))
        }
        other => Failure::temporary(format!("{at} ended the connection: {}{reason}", spaced(other))),
    }
}

/// A reason code's name as words: `QuotaExceeded` becomes `quota exceeded`.
pub(super) fn spaced(reason: impl std::fmt::Debug) -> String {
    let mut words = String::new();
    for character in format!("{reason:?}").chars() {
        if character.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(character.to_lowercase());
    }
    words
}

impl Failure {
    fn temporary(message: String) -> Self {
        Self { message, temporary: true }
    }

    fn permanent(message: String) -> Self {
        Self { message, temporary: false }
    }
}
