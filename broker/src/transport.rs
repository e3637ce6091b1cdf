//! What carries the bytes of MQTT: TCP, TLS over it, WebSocket over either.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use tokio_rustls::rustls::ServerConfig;

/// What a listener speaks below MQTT.
#[derive(Clone, Debug)]
pub enum Transport {
    /// Nothing: MQTT over TCP.
    Tcp,
    /// TLS.
    Tls(Tls),
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
}

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
        matches!(self, Self::Tls | Self::WebSocketTls)
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::WebSocket => "WebSocket",
            Self::WebSocketTls => "WebSocket over TLS",
        })
    }
}
