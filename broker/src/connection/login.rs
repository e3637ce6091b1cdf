//! From the first byte to a grant, or to the refusal that the client is told.

use std::{
    future::poll_fn,
    io::{self, ErrorKind},
    num::NonZeroU16,
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, timeout_at},
};

use super::{Arrival, wire::Wire};
use crate::{
    access::{Grant, Login, Refusal},
    clock,
    codec::{
        ConnAck, ConnAckProperties, Connect, ConnectError, ReasonCode, ServerPacket, Version, Will,
        begins_connect, connect_has_will, decode_connect, packet_length,
    },
    handshake::TLS_HANDSHAKE,
    limits::{Limit, LimitCounters, Limits},
    message::{Message, MessageParts},
    session::{ClientSettings, PendingWill},
    shared::Shared,
    transport::Violation,
};

/// How requests of browsers and their like begin.
const HTTP: [&[u8]; 5] = [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"OPTIONS "];

const CLOSED: &str = "the connection was closed before its CONNECT";

/// A client that may come in.
pub struct LoggedIn {
    pub grant: Arc<dyn Grant>,
    /// Those that hold as long as it is connected.
    pub limits: Arc<Limits>,
    pub client_id: String,
    pub clean_start: bool,
    pub client: ClientSettings,
    pub keep_alive: u16,
    /// How long the session outlives the connection, in seconds.
    pub session_expiry: u32,
    pub will: Option<PendingWill>,
    /// What is announced where it differs from what the client asked for.
    announced: Announced,
    /// Whether the client asked for a session that outlives the connection. Only then may its DISCONNECT ask for one.
    pub asked_to_stay: bool,
}

#[derive(Default)]
struct Announced {
    assigned_client_id: bool,
    session_expiry: Option<u32>,
    server_keep_alive: Option<u16>,
}

/// A connection that ends before or with its CONNECT.
pub struct NotLoggedIn {
    /// How long the answer waits.
    pub delay: Duration,
    /// The version to answer in; `None` closes the connection without an answer.
    pub version: Option<Version>,
    pub reason: ReasonCode,
    pub user_name: Option<String>,
    /// For the operator.
    pub detail: String,
}

/// Reads the CONNECT and asks who it is.
pub async fn log_in<S: AsyncRead + AsyncWrite + Unpin>(
    shared: &Shared,
    wire: &mut Wire<S>,
    arrival: &Arrival,
) -> Result<LoggedIn, NotLoggedIn> {
    let limits = shared.limits.load_full();
    let counters = &shared.counters.limits;
    let packet =
        timeout_at(arrival.due, read_connect(wire, &limits, counters)).await.unwrap_or_else(|_| {
            counters.count(Limit::ConnectTimeout);
            Err(NotLoggedIn::silent("no CONNECT arrived within limits.connect_timeout"))
        })?;
    let connect = decode_connect(&packet).map_err(NotLoggedIn::undecodable)?;
    if let Err(limit) = check_limits(&limits, &connect, packet.len()) {
        counters.count(limit);
        return Err(NotLoggedIn::beyond(&connect, limit));
    }
    match check(shared, &limits, &connect, arrival) {
        Ok(grant) => Ok(admit(shared, limits, &connect, grant)),
        Err(refusal) => Err(refuse(shared, &limits, &connect, arrival, refusal)),
    }
}

/// Whether the parts of a CONNECT of `size` bytes are within the limits.
fn check_limits(limits: &Limits, connect: &Connect<'_>, size: usize) -> Result<(), Limit> {
    let of_will = connect.will.as_ref().map_or(0, |will| will.size);
    if size - of_will > limits.max_connect_size as usize {
        return Err(Limit::MaxConnectSize);
    }
    if of_will > limits.max_will_size as usize {
        return Err(Limit::MaxWillSize);
    }
    limits.check_user_properties(connect.properties.user_properties)?;
    match &connect.will {
        Some(will) => limits.check_user_properties(will.forwarded.user_properties()),
        None => Ok(()),
    }
}

/// What only a whole and decodable CONNECT is asked.
fn check(
    shared: &Shared,
    limits: &Limits,
    connect: &Connect<'_>,
    arrival: &Arrival,
) -> Result<Arc<dyn Grant>, Refusal> {
    let refuse = |reason, detail: &str| Refusal { reason, detail: detail.into() };
    if connect.properties.authentication_method.is_some() {
        return Err(refuse(
            ReasonCode::BadAuthenticationMethod,
            "the client asked for extended authentication, which is not supported: have it use user name and password",
        ));
    }
    if connect.version == Version::V311 && connect.client_id.is_empty() && !connect.clean_start {
        return Err(refuse(
            ReasonCode::ClientIdentifierNotValid,
            "an empty client identifier needs a clean session in MQTT 3.1.1 [MQTT-3.1.3-8]: give the client an identifier, \
             or have it ask for a clean session",
        ));
    }
    let grant = shared.access.login(&Login {
        peer: arrival.peer,
        channel: arrival.channel,
        version: connect.version,
        client_id: connect.client_id,
        user_name: connect.user_name,
        password: connect.password,
    })?;
    if let Some(will) = &connect.will
        && let Err(limit) = limits.check_topic(will.topic)
    {
        shared.counters.limits.count(limit);
        let detail = match limit {
            Limit::MaxTopicLevels => "its will topic has more levels than limits.max_topic_levels",
            _ => "its will topic is longer than limits.max_topic_length",
        };
        return Err(refuse(ReasonCode::TopicNameInvalid, detail));
    }
    if let Some(will) = &connect.will
        && !shared.may_publish(&*grant, will.topic)
    {
        return Err(refuse(ReasonCode::NotAuthorized, "its will topic is one that it may not publish to"));
    }
    Ok(grant)
}

/// Whoever guesses passwords waits for the answer.
fn refuse(
    shared: &Shared,
    limits: &Limits,
    connect: &Connect<'_>,
    arrival: &Arrival,
    refusal: Refusal,
) -> NotLoggedIn {
    let Refusal { reason, mut detail } = refusal;
    let mut delay = Duration::ZERO;
    if reason == ReasonCode::BadUserNameOrPassword {
        let network = arrival.place.network();
        delay = shared.guesses.lock().handle_failure(network, connect.user_name, limits, Instant::now());
    }
    if !delay.is_zero() {
        detail.push_str("; more than limits.failed_logins have failed, so the answer is delayed");
        shared.counters.limits.count(Limit::FailedLogins);
        if delay == limits.failed_login_delay_max {
            shared.counters.limits.count(Limit::FailedLoginDelayMax);
        }
    }
    let user_name = connect.user_name.map(str::to_owned);
    NotLoggedIn { delay, version: Some(connect.version), reason, user_name, detail }
}

fn admit(shared: &Shared, limits: Arc<Limits>, connect: &Connect<'_>, grant: Arc<dyn Grant>) -> LoggedIn {
    let properties = &connect.properties;
    let v5 = connect.version == Version::V5;
    let mut announced = Announced::default();

    let client_id = if connect.client_id.is_empty() {
        announced.assigned_client_id = true;
        assigned_client_id()
    } else {
        connect.client_id.to_owned()
    };
    let asked_expiry = match (v5, connect.clean_start) {
        (true, _) => properties.session_expiry,
        (false, true) => 0,
        (false, false) => u32::MAX,
    };
    let session_expiry = asked_expiry.min(limits.session_expiry_max);
    if session_expiry != asked_expiry {
        announced.session_expiry = Some(session_expiry);
        // A 3.1.1 client did not ask for anything.
        shared.counters.limits.add(Limit::SessionExpiryMax, v5.into());
    }
    let mut keep_alive = connect.keep_alive;
    if v5 && limits.keep_alive_max > 0 && (keep_alive == 0 || keep_alive > limits.keep_alive_max) {
        keep_alive = limits.keep_alive_max;
        announced.server_keep_alive = Some(keep_alive);
        shared.counters.limits.count(Limit::KeepAliveMax);
    }
    LoggedIn {
        will: connect.will.as_ref().map(|will| pending_will(will, Arc::clone(&grant))),
        grant,
        limits,
        client_id,
        clean_start: connect.clean_start,
        client: ClientSettings {
            version: connect.version,
            receive_maximum: properties.receive_maximum,
            maximum_packet_size: properties.maximum_packet_size,
            topic_alias_maximum: properties.topic_alias_maximum,
        },
        keep_alive,
        session_expiry,
        asked_to_stay: asked_expiry > 0,
        announced,
    }
}

impl LoggedIn {
    /// The refusal of a client that could come in if there were room.
    pub fn turned_away(&self, reason: ReasonCode, detail: &str) -> NotLoggedIn {
        NotLoggedIn {
            delay: Duration::ZERO,
            version: Some(self.client.version),
            reason,
            user_name: Some(self.grant.name().to_owned()),
            detail: detail.to_owned(),
        }
    }

    /// Appends the CONNACK that lets the client in. False, and nothing is appended, if it exceeds the client's Maximum
    /// Packet Size `[MQTT-3.1.2-24]`.
    #[must_use]
    pub fn write_connack(&self, limits: &Limits, session_present: bool, out: &mut Vec<u8>) -> bool {
        let packet = ServerPacket::ConnAck(ConnAck {
            session_present,
            reason: ReasonCode::Success,
            properties: ConnAckProperties {
                session_expiry: self.announced.session_expiry,
                receive_maximum: Some(limits.receive_maximum).filter(|max| *max != NonZeroU16::MAX),
                maximum_packet_size: Some(limits.max_packet_size),
                assigned_client_id: self.announced.assigned_client_id.then_some(self.client_id.as_str()),
                topic_alias_maximum: Some(limits.topic_alias_maximum),
                reason_string: None,
                shared_subscription_available: Some(false),
                server_keep_alive: self.announced.server_keep_alive,
            },
        });
        let maximum = self.client.maximum_packet_size.map_or(usize::MAX, |size| size as usize);
        let fits = packet.encoded_len(self.client.version) <= maximum;
        if fits {
            packet.encode(self.client.version, out);
        }
        fits
    }
}

impl NotLoggedIn {
    /// Closed without an answer.
    pub fn silent(detail: &str) -> Self {
        Self {
            delay: Duration::ZERO,
            version: None,
            reason: ReasonCode::ProtocolError,
            user_name: None,
            detail: detail.into(),
        }
    }

    fn beyond(connect: &Connect<'_>, limit: Limit) -> Self {
        let (reason, detail) = match limit {
            Limit::MaxConnectSize => (
                ReasonCode::PacketTooLarge,
                "its CONNECT without the will is larger than limits.max_connect_size",
            ),
            Limit::MaxWillSize => {
                (ReasonCode::PacketTooLarge, "its will is larger than limits.max_will_size")
            }
            _ => (
                ReasonCode::QuotaExceeded,
                "its CONNECT or its will has more user properties than limits.user_properties",
            ),
        };
        Self {
            // MQTT 3.1.1 has no return code for it.
            version: Some(connect.version).filter(|version| *version == Version::V5),
            reason,
            ..Self::silent(detail)
        }
    }

    fn unreadable(error: &io::Error) -> Self {
        match Violation::of(error) {
            Some(Violation(what)) => Self::silent(what),
            None => Self::silent(&format!("reading failed: {error}")),
        }
    }

    fn undecodable(error: ConnectError) -> Self {
        let (version, reason) = match error {
            ConnectError::NotConnect => (None, ReasonCode::ProtocolError),
            ConnectError::UnsupportedProtocol { answer, .. } => {
                (Some(answer), ReasonCode::UnsupportedProtocolVersion)
            }
            // MQTT 3.1.1 has no return code for it [MQTT-3.1.4-1].
            ConnectError::Invalid { version, error } => {
                (version.filter(|version| *version == Version::V5), error.reason)
            }
        };
        Self { version, reason, ..Self::silent(&error.to_string()) }
    }

    /// Appends the CONNACK that refuses, where there is a version to write it in.
    pub fn write_connack(&self, out: &mut Vec<u8>) {
        let Some(version) = self.version else { return };
        let properties = ConnAckProperties::default();
        ServerPacket::ConnAck(ConnAck { session_present: false, reason: self.reason, properties })
            .encode(version, out);
    }
}

/// Takes the CONNECT off the input; what follows it stays there.
async fn read_connect<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
    limits: &Limits,
    counters: &LimitCounters,
) -> Result<Vec<u8>, NotLoggedIn> {
    let (without_will, with_will) = (limits.max_connect_size, limits.max_connect_size_with_will());
    loop {
        if wire.input.first() == Some(&TLS_HANDSHAKE) {
            let detail = "it speaks TLS, which this port does not: give it the port of MQTT over TLS";
            return Err(NotLoggedIn::silent(detail));
        }
        if HTTP.iter().any(|method| wire.input.starts_with(method)) {
            let detail = "it speaks HTTP, which this port does not: web pages use MQTT over WebSocket, which has a port of its \
                          own";
            return Err(NotLoggedIn::silent(detail));
        }
        if wire.input.first().is_some_and(|first| !begins_connect(*first)) {
            return Err(NotLoggedIn::undecodable(ConnectError::NotConnect));
        }
        // As long as it is not known whether there is a Will, there may be one, but there is no room for it yet.
        let (longest, room) = match connect_has_will(&wire.input) {
            Some(true) => (with_will, with_will),
            Some(false) => (without_will, without_will),
            None => (with_will, without_will),
        };
        match packet_length(&wire.input, longest) {
            Err(error) if error.reason == ReasonCode::PacketTooLarge => {
                if longest == without_will {
                    counters.count(Limit::MaxConnectSize);
                    return Err(NotLoggedIn::silent("its CONNECT is larger than limits.max_connect_size"));
                }
                counters.count(Limit::MaxWillSize);
                let detail =
                    "its CONNECT is larger than limits.max_connect_size and limits.max_will_size together";
                return Err(NotLoggedIn::silent(detail));
            }
            Err(error) => return Err(NotLoggedIn::silent(error.what)),
            Ok(Some(length)) if length <= wire.input.len() => {
                let rest = wire.input.split_off(length);
                return Ok(std::mem::replace(&mut wire.input, rest));
            }
            Ok(_) => {}
        }
        let room = (room as usize).saturating_sub(wire.input.len());
        match poll_fn(|cx| wire.poll_read(cx, room)).await {
            Ok(0) => return Err(NotLoggedIn::silent(CLOSED)),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
                return Err(NotLoggedIn::silent(CLOSED));
            }
            Err(error) => return Err(NotLoggedIn::unreadable(&error)),
        }
    }
}

fn pending_will(will: &Will<'_>, grant: Arc<dyn Grant>) -> PendingWill {
    let message = Message::new(&MessageParts {
        publisher: 0,
        topic: will.topic,
        qos: will.qos,
        retain: will.retain,
        received_at: clock::unix_ms(),
        expiry: will.message_expiry,
        forwarded: will.forwarded,
        payload: will.payload,
    });
    PendingWill { message, delay: Duration::from_secs(will.delay.into()), grant }
}

/// Unique and not to be guessed `[MQTT-3.1.3-6, -7]`.
fn assigned_client_id() -> String {
    use std::hash::{BuildHasher, RandomState};
    let half = || RandomState::new().hash_one(clock::unix_ms());
    format!("auto-{:016x}{:016x}", half(), half())
}
