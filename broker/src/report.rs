//! What the broker tells about sessions, names, flows and the store.

use std::{net::SocketAddr, sync::Arc};

use crate::{
    broker::Broker,
    codec::Version,
    session::{Latency, Session, Traffic},
    store::{Health, StoreStatistics, Totals},
    transport::Channel,
};

/// A session as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// The authenticated name.
    pub name: Arc<str>,
    /// The Client Identifier.
    pub client_id: String,
    /// Whether a client is connected.
    pub online: bool,
    /// Its connection, if a client is connected and was told so.
    pub connection: Option<ConnectionInfo>,
    /// When its client was heard last, in milliseconds since the Unix epoch. `None` if that was before this broker started and
    /// the one before ended without having the time to note it.
    pub last_heard: Option<u64>,
    /// Whether it is in the store, and outlives the process.
    pub kept: bool,
    /// Topic Filters that it subscribes to.
    pub subscriptions: usize,
    /// QoS 1 and 2 messages that wait, or were sent and have not arrived yet.
    pub pending: usize,
}

/// The connection of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// Where from.
    pub peer: SocketAddr,
    /// What carries its bytes.
    pub channel: Channel,
    /// The protocol it speaks.
    pub version: Version,
    /// When its client logged in, in milliseconds since the Unix epoch.
    pub since: u64,
    /// Its Keep Alive in seconds; 0 is none.
    pub keep_alive: u16,
}

/// What the clients of an authenticated name have done since the start, in all their sessions, those that are over included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameInfo {
    /// The authenticated name.
    pub name: Arc<str>,
    /// What they have published: PUBLISH packets that were taken, so none that was refused at once, nor one of QoS 2 that was
    /// taken before. Will Messages are not counted.
    pub received: Traffic,
    /// What they were sent: PUBLISH packets. One that is sent again counts again.
    pub sent: Traffic,
    /// PUBLISH packets, Will Messages and Topic Filters that their grant refused.
    pub denied: u64,
    /// Messages that their sessions lost because they were slow (QoS 0), or to newer ones, size or expiry.
    pub dropped: u64,
    /// When one of them was heard last, in milliseconds since the Unix epoch: in an earlier run, if that was told
    /// ([`Broker::restore_last_seen`]) and none was in this one.
    pub last_seen: Option<u64>,
}

/// What has passed through a flow ([`crate::access::Flow`]) since the start, and what waits in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowInfo {
    /// Its name; empty for all messages whose topics have no flow.
    pub name: Arc<str>,
    /// What clients have published in it: as [`NameInfo::received`].
    pub published: Traffic,
    /// When the last one of these arrived, in milliseconds since the Unix epoch.
    pub last: Option<u64>,
    /// QoS 1 and 2 messages that were refused because a queue was full, because no more are retained, or because they could
    /// not be kept. The latter are among those that were published, too.
    pub refused: u64,
    /// QoS 1 and 2 messages that its receivers' sessions lost: to newer ones, size or expiry.
    pub dropped: u64,
    /// QoS 1 and 2 messages that wait, or were sent and have not arrived yet, over all receivers.
    pub waiting: Totals,
    /// How long the last messages of QoS 1 and 2 took to be acknowledged by a receiver; `None` if none was yet, or if all had to
    /// wait for their receiver to connect.
    pub latency: Option<Latency>,
}

/// How the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreInfo {
    /// What it has done, and how large it is.
    pub statistics: StoreStatistics,
    /// Whether it keeps what it is given.
    pub health: Health,
}

impl Broker {
    /// All sessions as they are now.
    pub fn sessions(&self) -> Vec<SessionInfo> {
        self.sessions_of_clients().iter().map(|session| SessionInfo::of(session)).collect()
    }

    /// All names that have logged in since the start, or were seen before, as far as they may log in now.
    pub fn names(&self) -> Vec<NameInfo> {
        for session in self.sessions_of_clients() {
            self.shared.take_counts(&session);
        }
        self.shared.forget_unknown_names();
        self.shared.ledger.names()
    }

    /// All flows that there are now, as far as something was published in them since the start, or waits.
    pub fn flows(&self) -> Vec<FlowInfo> {
        let sessions = self.sessions_of_clients();
        for session in &sessions {
            self.shared.take_counts(session);
        }
        self.shared.forget_unknown_flows();
        let mut flows = self.shared.ledger.flows();
        for session in &sessions {
            let pending = session.outbound.lock().pending_of_flows();
            for (name, waiting) in pending {
                if !name.is_empty() && !self.shared.access.has_flow(&name) {
                    continue;
                }
                let known = flows.entry(Arc::clone(&name));
                let sum = &mut known.or_insert_with(|| FlowInfo::new(name)).waiting;
                sum.messages += waiting.messages;
                sum.bytes += waiting.bytes;
            }
        }
        flows.into_values().collect()
    }

    /// Nothing of what was counted until now has happened: for an embedder that has tried something before anybody could
    /// connect.
    pub fn forget_counts(&self) {
        for session in self.shared.sessions.all() {
            self.shared.take_counts(&session);
        }
        self.shared.ledger.forget_counts();
        self.shared.counters.forget();
    }

    /// How the store is; `None` if everything is in memory only. Asks the file system for sizes.
    pub fn store(&self) -> Option<StoreInfo> {
        let store = &self.shared.keeper.as_ref()?.store;
        Some(StoreInfo { statistics: store.statistics(), health: store.health() })
    }

    /// When names were seen last in an earlier run, in milliseconds since the Unix epoch. Those that may not log in are not
    /// remembered.
    pub fn restore_last_seen(&self, seen: impl IntoIterator<Item = (Arc<str>, u64)>) {
        let known = seen.into_iter().filter(|(name, _)| self.shared.is_known(name));
        self.shared.ledger.restore_last_seen(known);
    }
}

impl SessionInfo {
    fn of(session: &Session) -> Self {
        let (connection, subscriptions) = {
            let lifetime = session.lifetime.lock();
            (lifetime.connection, lifetime.subscriptions.len())
        };
        let pending = session.outbound.lock().pending_of_flows();
        Self {
            name: Arc::clone(&session.name),
            client_id: session.client_id.to_string(),
            online: session.is_online(),
            connection,
            last_heard: session.last_heard(),
            kept: session.slot.is_some(),
            subscriptions,
            pending: pending.iter().map(|(_, pending)| pending.messages as usize).sum(),
        }
    }
}

impl NameInfo {
    /// One that has done nothing yet.
    pub(crate) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            received: Traffic::default(),
            sent: Traffic::default(),
            denied: 0,
            dropped: 0,
            last_seen: None,
        }
    }
}

impl FlowInfo {
    /// One in which nothing has happened yet.
    pub(crate) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            published: Traffic::default(),
            last: None,
            refused: 0,
            dropped: 0,
            waiting: Totals::default(),
            latency: None,
        }
    }
}
