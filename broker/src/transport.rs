//! What carries the bytes of MQTT: TCP, TLS over it, WebSocket over either.

use std::{fmt, io, sync::Arc};

use arc_swap::ArcSwap;
use tokio_rustls::rustls::ServerConfig;

/// What a listener speaks below MQTT.
#[derive(Clone, Debug)]
pub enum Transport {
    /// Nothing: MQTT over TCP.
    Tcp,
    /// TLS.
    Tls(Tls),
    /// WebSocket at this path of HTTP, with the subprotocol `mqtt`; on the same port over TLS, if there is a configuration
    /// for it: the first byte tells.
    WebSocket {
        /// Such as `/mqtt`.
        path: Arc<str>,
        /// For clients that begin with a TLS handshake.
        tls: Option<Tls>,
    },
}

/// The TLS configuration of listeners. It can be replaced while they run: handshakes that begin afterwards use the new
/// one, and whoever is connected stays connected.
#[derive(Clone, Debug)]
pub struct Tls(Arc<ArcSwap<ServerConfig>>);

/// How a client is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// MQTT over TCP.
    Tcp,
    /// MQTT over TLS.
    Tls,
    /// MQTT over WebSocket.
    WebSocket,
    /// MQTT over WebSocket over TLS.
    WebSocketTls,
    /// MQTT within the process: a client of the embedder's own. Nobody else can have this channel.
    Inside,
}

/// What a client did that is not allowed below MQTT. Carried by an [`std::io::Error`] of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Violation(pub &'static str);

impl Tls {
    /// For listeners that are served with it.
    pub fn new(config: Arc<ServerConfig>) -> Self {
        Self(Arc::new(ArcSwap::new(config)))
    }

    /// From now on this one.
    pub fn replace(&self, config: Arc<ServerConfig>) {
        self.0.store(config);
    }

    /// The one for a handshake that begins now.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        self.0.load_full()
    }
}

impl Channel {
    /// Whether nobody on the way can read or change what is said.
    pub fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::WebSocketTls | Self::Inside)
    }
}

impl Violation {
    /// What an error of a stream carries.
    pub(crate) fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Violation {}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::WebSocket => "WebSocket",
            Self::WebSocketTls => "WebSocket over TLS",
            Self::Inside => "memory",
        })
    }
}
