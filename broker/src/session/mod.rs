//! One client's protocol state, and how long it lasts.
//!
//! [`Inbound`] and [`Outbound`] are state machines without sockets or clocks. [`Session`] puts locks around them:
//! the connection that is attached works on both, publishers of other connections only on `outbound`. No two locks of
//! sessions are ever held at once.

mod assured;
mod entry;
mod flows;
mod inbound;
mod latency;
mod outbound;
mod receipt;
mod registry;
#[cfg(any(test, fuzzing))]
mod testing;
mod traffic;
mod unsettled;
mod window;
mod work;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::MutexGuard, task::AbortHandle, time::Instant};

pub use assured::{LOAD_BYTES, LOAD_MESSAGES};
pub use flows::Place;
pub use inbound::{Inbound, Incoming};
pub use latency::{Latencies, Latency};
pub use outbound::{ClientSettings, Outbound};
#[cfg(any(test, fuzzing))]
pub use outbound::{kept_model, model};
pub use receipt::{Bell, Outcome, Receipt};
pub use registry::Registry;
pub use traffic::{Published, Traffic};
pub use work::{Wanted, Work};

use crate::{
    access::Grant,
    clock,
    codec::ReasonCode,
    limits::Limits,
    message::Message,
    report::ConnectionInfo,
    store::{SessionRecord, Slot, StoredSession, WillRecord},
    subscriptions::SubscriptionOptions,
};

/// A session: identified by the authenticated name **and** the Client Identifier.
pub struct Session {
    /// Unique, never 0. One of a session that is kept is its slot, any other one higher and never used again.
    pub id: u64,
    /// Its place in the store, if it is kept.
    pub slot: Option<Slot>,
    /// The authenticated name.
    pub name: Arc<str>,
    /// The Client Identifier.
    pub client_id: Box<str>,
    /// What the client publishes.
    pub inbound: Mutex<Inbound>,
    /// What the client receives.
    pub outbound: Mutex<Outbound>,
    /// How long the session lasts and what it leaves behind.
    pub lifetime: Mutex<Lifetime>,
    /// Rings when an answer to the client may be due, whichever connection asked for it.
    pub bell: Arc<Bell>,
    /// Held by the one connection that works with this session.
    attachment: tokio::sync::Mutex<()>,
    /// Connections that want to take the session over.
    newcomers: AtomicUsize,
    /// When the client was heard last, in milliseconds since the Unix epoch; 0 if that is not known.
    last_heard: AtomicU64,
}

/// How long a session lasts, what it subscribes to and what it leaves behind.
#[derive(Default)]
pub struct Lifetime {
    /// Topic Filters with their options.
    pub subscriptions: BTreeMap<Box<str>, SubscriptionOptions>,
    /// Published when the connection ends without a DISCONNECT that cancels it.
    pub will: Option<PendingWill>,
    /// Online, offline or ended.
    pub presence: SessionPresence,
    /// Whether a connection was attached before.
    pub begun: bool,
    /// How long the session outlives its connection, in seconds.
    pub expiry: u32,
    /// What its client may do, since the last login or start.
    pub grant: Option<Arc<dyn Grant>>,
    /// As long as its client is connected.
    pub connection: Option<ConnectionInfo>,
}

/// What a session has counted since that was taken over last.
pub struct Counts {
    /// By its client.
    pub published: Published,
    /// To its client: PUBLISH packets.
    pub sent: Traffic,
    /// Messages that its client did not get.
    pub dropped: u64,
    /// Those of QoS 1 and 2, by the name of their flow.
    pub dropped_of_flows: Vec<(Arc<str>, u64)>,
    /// How long the last messages took to be acknowledged, by the name of their flow.
    pub latencies: Vec<(Arc<str>, Latencies)>,
}

/// Whether a session has a connection.
#[derive(Debug, Default)]
pub enum SessionPresence {
    /// A connection is attached, or about to be.
    #[default]
    Online,
    /// The session outlives its connection.
    Offline {
        /// When the connection ended.
        since: Instant,
        /// The task that publishes the delayed Will Message and ends the session in its time.
        afterlife: AbortHandle,
    },
    /// The session is over; nothing can attach to it any more.
    Ended,
}

/// A Will Message that waits.
#[derive(Clone)]
pub struct PendingWill {
    /// What is published.
    pub message: Message,
    /// Will Delay Interval.
    pub delay: Duration,
    /// Asked again when the Will Message is due.
    pub grant: Arc<dyn Grant>,
}

impl Session {
    /// A new session that nothing is attached to yet.
    pub fn new(id: SessionId, name: Arc<str>, client_id: &str, limits: &Limits) -> Self {
        Self {
            id: id.number(),
            slot: id.slot(),
            name,
            client_id: client_id.into(),
            inbound: Mutex::new(Inbound::new(limits.receive_maximum, limits.topic_alias_maximum)),
            outbound: Mutex::new(Outbound::new(limits, id.slot().is_some())),
            lifetime: Mutex::new(Lifetime::default()),
            bell: Arc::default(),
            attachment: tokio::sync::Mutex::new(()),
            newcomers: AtomicUsize::new(0),
            last_heard: AtomicU64::new(clock::unix_ms()),
        }
    }

    /// A session as it was kept. Its lifetime is still to be set.
    pub fn restored(stored: &StoredSession, limits: &Limits) -> Self {
        let record = &stored.record;
        let new =
            Self::new(SessionId::Kept(record.slot), Arc::clone(&record.name), &record.client_id, limits);
        new.inbound.lock().restore(&stored.unreleased);
        new.heard(record.left_at.unwrap_or(0));
        Self { outbound: Mutex::new(Outbound::restored(limits, stored)), ..new }
    }

    /// What is kept of it; `left_at` is when its connection ended, in milliseconds since the Unix epoch.
    pub fn record(&self, slot: Slot, left_at: Option<u64>) -> SessionRecord {
        let sent_below = self.outbound.lock().sent_below();
        let lifetime = self.lifetime.lock();
        SessionRecord {
            slot,
            name: Arc::clone(&self.name),
            client_id: self.client_id.clone(),
            expiry: lifetime.expiry,
            left_at,
            sent_below,
            will: lifetime.will.as_ref().map(PendingWill::record),
        }
    }

    /// Waits until no other connection is attached, having told the one that is to close and why: taken over
    /// `[MQTT-3.1.4-3]`, or that another session needs its place. Whoever holds the result is the session's only
    /// connection.
    pub async fn attach(&self, reason: ReasonCode) -> MutexGuard<'_, ()> {
        let newcomer = Newcomer::new(&self.newcomers);
        self.outbound.lock().request_close(reason);
        let attachment = self.attachment.lock().await;
        drop(newcomer);
        attachment
    }

    /// Becomes the session's only connection, unless there is another one.
    pub fn try_attach(&self) -> Option<MutexGuard<'_, ()>> {
        self.attachment.try_lock().ok()
    }

    /// Stops the task that waits for the session's end.
    pub fn stop_afterlife(&self) {
        if let SessionPresence::Offline { afterlife, .. } = &self.lifetime.lock().presence {
            afterlife.abort();
        }
    }

    /// Begins to send to the client that is attached. If another one waits already, this one is closed at once.
    pub fn handle_connect(&self, client: ClientSettings) {
        self.inbound.lock().handle_connect(client.version);
        let mut outbound = self.outbound.lock();
        outbound.handle_connect(client);
        if self.newcomers.load(Ordering::SeqCst) > 0 {
            outbound.request_close(ReasonCode::SessionTakenOver);
        }
    }

    /// The client was heard.
    pub fn heard(&self, now: u64) {
        self.last_heard.store(now, Ordering::Relaxed);
    }

    /// When the client was heard last, in milliseconds since the Unix epoch. `None` if that was before a crash.
    pub fn last_heard(&self) -> Option<u64> {
        Some(self.last_heard.load(Ordering::Relaxed)).filter(|at| *at > 0)
    }

    /// Whether the session is over.
    pub fn has_ended(&self) -> bool {
        matches!(self.lifetime.lock().presence, SessionPresence::Ended)
    }

    /// Whether a connection was attached before.
    pub fn has_begun(&self) -> bool {
        self.lifetime.lock().begun
    }

    /// Whether a connection is attached, or about to be.
    pub fn is_online(&self) -> bool {
        matches!(self.lifetime.lock().presence, SessionPresence::Online)
    }

    /// Whether it is that of a client of the embedder's own.
    pub fn is_inside(&self) -> bool {
        self.lifetime.lock().grant.as_ref().is_some_and(|grant| grant.is_inside())
    }

    /// Since when the session is without a connection; `None` while it has one or after its end.
    pub fn offline_since(&self) -> Option<Instant> {
        match self.lifetime.lock().presence {
            SessionPresence::Offline { since, .. } => Some(since),
            SessionPresence::Online | SessionPresence::Ended => None,
        }
    }
}

/// What a new session is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionId {
    /// It is kept, in this place.
    Kept(Slot),
    /// It ends with its connection, or with the process.
    Passing(u64),
}

impl SessionId {
    fn number(self) -> u64 {
        match self {
            Self::Kept(slot) => slot.into(),
            Self::Passing(number) => number,
        }
    }

    fn slot(self) -> Option<Slot> {
        match self {
            Self::Kept(slot) => Some(slot),
            Self::Passing(_) => None,
        }
    }
}

impl PendingWill {
    fn record(&self) -> WillRecord {
        WillRecord {
            message: self.message.clone(),
            delay: u32::try_from(self.delay.as_secs()).unwrap_or(u32::MAX),
        }
    }
}

/// Counts a connection that waits for its turn, also if it gives up.
struct Newcomer<'a>(&'a AtomicUsize);

impl<'a> Newcomer<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Newcomer<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
