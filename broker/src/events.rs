//! What happened, for whoever wants to know: presence, logs, metrics. Never slows anything down: a receiver that is
//! too slow misses events and is told how many.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::broadcast;

use crate::{
    codec::{ReasonCode, Version},
    limits::{Limit, LimitCounters},
    transport::Channel,
};

/// The beginning of a text that a client made up, long enough to recognise it. Events keep no more.
pub fn excerpt(text: &str) -> Arc<str> {
    const KEPT: usize = 256;
    text[..text.floor_char_boundary(KEPT)].into()
}

/// Something that happened in the broker. Texts of clients are cut after 256 bytes.
#[derive(Debug, Clone)]
pub enum Event {
    /// A client logged in.
    Connected {
        /// The authenticated name.
        name: Arc<str>,
        /// The Client Identifier, assigned or sent.
        client_id: Arc<str>,
        /// Where from.
        peer: SocketAddr,
        /// What carries its bytes.
        channel: Channel,
        /// Its protocol version.
        version: Version,
        /// Whether a session was resumed.
        session_present: bool,
    },
    /// A connection ended before or with its CONNECT.
    Refused {
        /// Where from.
        peer: SocketAddr,
        /// The User Name as sent, if there was one: not authenticated.
        user_name: Option<Arc<str>>,
        /// What the client was told, where it could be told.
        reason: ReasonCode,
        /// What the operator is told.
        detail: Arc<str>,
    },
    /// A client's connection ended.
    Disconnected {
        /// The authenticated name.
        name: Arc<str>,
        /// The Client Identifier.
        client_id: Arc<str>,
        /// Why.
        cause: DisconnectCause,
    },
    /// A PUBLISH was refused by the client's grant.
    PublishDenied {
        /// The authenticated name.
        name: Arc<str>,
        /// The Topic Name.
        topic: Arc<str>,
    },
    /// A SUBSCRIBE was refused by the client's grant.
    SubscribeDenied {
        /// The authenticated name.
        name: Arc<str>,
        /// The Topic Filter.
        filter: Arc<str>,
    },
    /// A QoS 1 or 2 message was refused because a session that wants it has a full queue, or a retained one because
    /// no more are kept.
    QueueFull {
        /// The authenticated name of the publisher.
        publisher: Arc<str>,
        /// The Topic Name.
        topic: Arc<str>,
        /// Which limit it is.
        limit: Limit,
    },
    /// A limit acted on a client that is logged in: something was refused, or it was held back. Told also by the answer
    /// that it got, where there is one.
    LimitReached {
        /// The authenticated name.
        name: Arc<str>,
        /// Which limit it is.
        limit: Limit,
    },
    /// The store cannot keep anything now: QoS 1 and 2 messages for sessions that are kept are refused, all else goes on.
    StoreFailing {
        /// Why, and what to do about it.
        detail: Arc<str>,
    },
    /// The store keeps what it is given again.
    StoreRecovered,
    /// Messages that were kept for a session turned out to be damaged, and are lost.
    StoreDamaged {
        /// The session's authenticated name.
        name: Arc<str>,
        /// How many.
        messages: u64,
    },
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DisconnectCause {
    /// The client sent DISCONNECT.
    Client(ReasonCode),
    /// The socket was closed or failed.
    Closed,
    /// Nothing arrived for one and a half times the Keep Alive.
    KeepAlive,
    /// The client broke the protocol or a limit.
    Violation {
        /// What a MQTT 5 client is told.
        reason: ReasonCode,
        /// What was wrong.
        what: &'static str,
    },
    /// The broker ended it: taken over, shutting down, by an administrator.
    Server(ReasonCode),
}

impl std::fmt::Display for DisconnectCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Client(ReasonCode::Success) => f.write_str("the client said goodbye"),
            Self::Client(ReasonCode::DisconnectWithWill) => {
                f.write_str("the client said goodbye, and asked for its will to be published")
            }
            Self::Client(reason) => write!(f, "the client said: {reason} (0x{:02X})", reason.byte()),
            Self::Closed => f.write_str("the connection broke"),
            Self::KeepAlive => f.write_str("nothing was heard for one and a half times its keep alive"),
            Self::Violation { reason, what } => write!(f, "{what} (0x{:02X})", reason.byte()),
            Self::Server(ReasonCode::SessionTakenOver) => {
                f.write_str("another connection with the same client identifier took the session over")
            }
            Self::Server(ReasonCode::ServerShuttingDown) => f.write_str("the broker is shutting down"),
            Self::Server(ReasonCode::AdministrativeAction) => {
                f.write_str("the device was removed or disabled")
            }
            Self::Server(reason) => write!(f, "closed by the broker: {reason} (0x{:02X})", reason.byte()),
        }
    }
}

/// Counters since the start. Each is read on its own: two of them need not be of the same instant.
#[derive(Debug, Default)]
pub struct Counters {
    /// Client connections that are logged in now.
    pub connected: AtomicU64,
    /// Network connections that ended before or with their CONNECT.
    pub refused: AtomicU64,
    /// PUBLISH packets taken, all QoS.
    pub published: AtomicU64,
    /// PUBLISH and SUBSCRIBE filters refused by a grant.
    pub denied: AtomicU64,
    /// QoS 1 and 2 messages refused because a queue was full.
    pub queue_full: AtomicU64,
    /// QoS 1 and 2 messages refused because the store could not keep them.
    pub not_kept: AtomicU64,
    /// Messages that sessions lost to slow clients (QoS 0), newer ones, size or expiry.
    pub dropped: AtomicU64,
    /// How often each limit acted.
    pub limits: LimitCounters,
}

impl Counters {
    /// Adds to a counter.
    pub fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    /// Nothing was counted, other than who is connected.
    pub fn forget(&self) {
        let Self { connected: _, refused, published, denied, queue_full, not_kept, dropped, limits } = self;
        for counter in [refused, published, denied, queue_full, not_kept, dropped] {
            counter.store(0, Ordering::Relaxed);
        }
        limits.forget();
    }

    /// Takes from a counter.
    pub fn subtract(counter: &AtomicU64, n: u64) {
        counter.fetch_sub(n, Ordering::Relaxed);
    }
}

/// The sending end.
#[derive(Debug)]
pub struct Events {
    sender: broadcast::Sender<Event>,
}

impl Events {
    /// A stream that keeps the last 1,024 events for receivers that lag.
    pub fn new() -> Self {
        Self { sender: broadcast::Sender::new(1024) }
    }

    /// Makes an event if anybody listens.
    pub fn emit(&self, event: impl FnOnce() -> Event) {
        if self.sender.receiver_count() > 0 {
            // An error says that the last receiver has gone meanwhile.
            let _ = self.sender.send(event());
        }
    }

    /// All events from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.sender.subscribe()
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_client_left_is_told_in_words() {
        let said = |reason| DisconnectCause::Client(reason).to_string();
        assert_eq!(said(ReasonCode::QuotaExceeded), "the client said: quota exceeded (0x97)");
        assert!(said(ReasonCode::DisconnectWithWill).ends_with("its will to be published"));
        let closed = DisconnectCause::Server(ReasonCode::KeepAliveTimeout);
        assert_eq!(closed.to_string(), "closed by the broker: keep alive timeout (0x8D)");
    }
}
