use std::fmt::Display;

use ior_broker::{codec::ReasonCode, events::DisconnectCause};

/// What stands beside a line, for programs: the fields of the journal in capitals, those of JSON as here.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields {
    /// MQTT user name.
    device: Option<String>,
    /// `<user>/<id>`.
    connection: Option<String>,
    peer: Option<String>,
    reason: Option<String>,
    client_id: Option<String>,
    topic: Option<String>,
}

impl Fields {
    /// Of a device.
    pub(super) fn of(device: &str) -> Self {
        Self { device: Some(device.to_owned()), ..Self::default() }
    }

    pub(super) fn connection(self, connection: Option<String>) -> Self {
        Self { connection, ..self }
    }

    pub(super) fn peer(self, peer: &impl Display) -> Self {
        Self { peer: Some(peer.to_string()), ..self }
    }

    pub(super) fn client_id(self, client_id: &str) -> Self {
        Self { client_id: Some(plain(client_id)), ..self }
    }

    pub(super) fn topic(self, topic: &str) -> Self {
        Self { topic: Some(plain(topic)), ..self }
    }

    pub(super) fn reason(self, reason: ReasonCode) -> Self {
        Self { reason: Some(word(reason)), ..self }
    }

    /// A key of `limits`.
    pub(super) fn limit(self, key: &str) -> Self {
        Self { reason: Some(key.to_owned()), ..self }
    }

    pub(super) fn cause(self, cause: &DisconnectCause) -> Self {
        let reason = match cause {
            DisconnectCause::Client(ReasonCode::Success) => "goodbye".to_owned(),
            DisconnectCause::Closed => "closed".to_owned(),
            DisconnectCause::KeepAlive => "keep_alive".to_owned(),
            DisconnectCause::Client(reason)
            | DisconnectCause::Server(reason)
            | DisconnectCause::Violation { reason, .. } => word(*reason),
        };
        Self { reason: Some(reason), ..self }
    }

    pub(super) fn warn(&self, line: &str) {
        let Self { device, connection, peer, reason, client_id, topic } = self;
        let [device, connection, peer] = [device, connection, peer].map(Option::as_deref);
        let [reason, client_id, topic] = [reason, client_id, topic].map(Option::as_deref);
        tracing::warn!(device, connection, peer, reason, client_id, topic, "{line}");
    }

    pub(super) fn info(&self, line: &str) {
        let Self { device, connection, peer, reason, client_id, topic } = self;
        let [device, connection, peer] = [device, connection, peer].map(Option::as_deref);
        let [reason, client_id, topic] = [reason, client_id, topic].map(Option::as_deref);
        tracing::info!(device, connection, peer, reason, client_id, topic, "{line}");
    }
}

/// What a client made up, without what could begin a line or colour one.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\'' | '\\' => plain.push(character),
            _ => plain.extend(character.escape_debug()),
        }
    }
    plain
}

/// A reason as `server_busy`.
fn word(reason: ReasonCode) -> String {
    reason.to_string().replace(' ', "_")
}
