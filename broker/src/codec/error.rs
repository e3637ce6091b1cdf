//! Why bytes were refused, and what the client may be told.

use std::fmt;

use super::{ReasonCode, Version};

/// Why a packet was refused. The connection has to be closed `[MQTT-4.13.1-1]`; a MQTT 5 client is told `reason` in a
/// DISCONNECT first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeError {
    /// What a MQTT 5 client gets in DISCONNECT, or in CONNACK while it is not connected.
    pub reason: ReasonCode,
    /// What is wrong with the packet, for the log.
    pub what: &'static str,
}

impl DecodeError {
    pub(super) const fn new(reason: ReasonCode, what: &'static str) -> Self {
        Self { reason, what }
    }

    /// The bytes cannot be parsed: 0x81.
    pub(super) const fn malformed(what: &'static str) -> Self {
        Self::new(ReasonCode::MalformedPacket, what)
    }

    /// The bytes can be parsed but say what is not allowed: 0x82.
    pub(super) const fn protocol(what: &'static str) -> Self {
        Self::new(ReasonCode::ProtocolError, what)
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (reason code 0x{:02X})", self.what, self.reason.byte())
    }
}

impl std::error::Error for DecodeError {}

/// Why the first packet of a connection was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectError {
    /// It is not a CONNECT: close the connection without an answer `[MQTT-3.1.0-1]`.
    NotConnect,
    /// A protocol name or level that is neither MQTT 3.1.1 nor 5: answer with a CONNACK of
    /// [`ReasonCode::UnsupportedProtocolVersion`] in the form of `answer`, then close `[MQTT-3.1.2-1, -2]`.
    UnsupportedProtocol {
        /// The protocol level that the client asked for.
        level: u8,
        /// The form of CONNACK that the client is most likely to understand.
        answer: Version,
    },
    /// A CONNECT that is malformed or breaks the protocol. If `version` is MQTT 5 a CONNACK may tell why; in any case
    /// the connection has to be closed `[MQTT-3.1.4-1]`.
    Invalid {
        /// The version of the CONNECT, if it got that far.
        version: Option<Version>,
        /// What is wrong.
        error: DecodeError,
    },
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnect => f.write_str("the first packet is not a CONNECT: this port speaks MQTT"),
            Self::UnsupportedProtocol { level, .. } => {
                write!(f, "unsupported protocol level {level}: use MQTT 3.1.1 (level 4) or MQTT 5 (level 5)")
            }
            Self::Invalid { error, .. } => error.fmt(f),
        }
    }
}

impl std::error::Error for ConnectError {}
