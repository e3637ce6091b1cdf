//! The broker as its embedder sees it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use tokio::{net::TcpListener, sync::broadcast, task::AbortHandle, time::timeout};

use crate::{
    access::Access,
    admission::Admission,
    clock,
    codec::{ForwardedProperties, QoS, ReasonCode, is_valid_topic_name},
    events::{Counters, Event, Events},
    limits::Limits,
    listener,
    live::{LiveError, LiveLane, LiveSettings},
    message::{Message, MessageParts},
    retained::{Retained, RetainedLimits},
    routing::deliver_live,
    session::Registry,
    shared::{Index, Matches, Shared},
    store::StoreSettings,
};

/// How long a stop waits for clients to read that the broker stops.
const STOPPING_TIME: Duration = Duration::from_secs(1);

/// A running broker. Runs until [`Broker::stop`], within the Tokio runtime that it was started in.
pub struct Broker {
    shared: Arc<Shared>,
    listeners: Mutex<Vec<AbortHandle>>,
}

/// What the broker counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statistics {
    /// Client connections that are logged in now.
    pub connected: u64,
    /// Sessions, online and offline.
    pub sessions: usize,
    /// Network connections that ended before or with their CONNECT.
    pub refused: u64,
    /// PUBLISH packets taken.
    pub published: u64,
    /// PUBLISH packets and Topic Filters that a grant refused.
    pub denied: u64,
    /// QoS 1 and 2 messages refused because a queue was full.
    pub queue_full: u64,
    /// Messages that sessions lost to slow clients (QoS 0), newer ones, size or expiry.
    pub dropped: u64,
    /// QoS 0 messages lost in the live lane itself.
    pub live_lost: u64,
    /// How often the live lane's router died and was replaced.
    pub live_restarts: u64,
    /// Retained messages.
    pub retained: usize,
}

/// Why [`Broker::publish`] could not do all that it was asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishError {
    /// The topic is not a Topic Name: empty, too long, or with wildcards. Nobody got the message.
    InvalidTopicName,
    /// At least one session that wants the message has a full queue and did not get it.
    QueueFull,
}

impl std::fmt::Display for PublishError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::InvalidTopicName => {
                "not a topic name: write one without + and #, at most 65,535 bytes long"
            }
            Self::QueueFull => "a receiver's queue is full",
        })
    }
}

impl std::error::Error for PublishError {}

/// Why a broker could not be started.
#[derive(Debug)]
pub enum StartError {
    /// The live lane's router could not be started.
    Live(LiveError),
}

impl From<LiveError> for StartError {
    fn from(error: LiveError) -> Self {
        Self::Live(error)
    }
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Live(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StartError {}

/// A session as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// The authenticated name.
    pub name: Arc<str>,
    /// The Client Identifier.
    pub client_id: String,
    /// Whether a client is connected.
    pub online: bool,
    /// QoS 1 and 2 messages that wait or are in flight.
    pub pending: usize,
}

impl Broker {
    /// Starts a broker that nobody can reach yet. Without a store everything is kept in memory, and gone with the process.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(
        access: Arc<dyn Access>,
        limits: Limits,
        store: Option<&StoreSettings>,
    ) -> Result<Self, StartError> {
        let _ = store;
        let subscriptions = Arc::new(Index::new());
        let live = LiveLane::start(LiveSettings::default(), {
            let subscriptions = Arc::clone(&subscriptions);
            move |message| deliver_live(&subscriptions, &message, &mut Matches::new())
        })?;
        let shared = Shared {
            access,
            admission: Arc::new(Admission::new(&limits)),
            sessions: Registry::default(),
            subscriptions,
            retained: Retained::new(RetainedLimits {
                max_messages: limits.retained.messages,
                max_bytes: limits.retained.bytes,
                max_messages_per_owner: limits.retained_per_name,
            }),
            changing_retained: RwLock::new(0),
            live,
            events: Events::new(),
            counters: Counters::default(),
            stopping: AtomicBool::new(false),
            limits,
        };
        Ok(Self { shared: Arc::new(shared), listeners: Mutex::new(Vec::new()) })
    }

    /// Serves MQTT clients that connect to this listener.
    pub fn serve(&self, listener: TcpListener) {
        let accept = listener::accept(Arc::clone(&self.shared), listener);
        self.listeners.lock().push(tokio::spawn(accept).abort_handle());
    }

    /// Publishes a message of the embedder to everybody who wants it and has room. No grant is asked, and no limit of
    /// retained messages holds.
    ///
    /// # Errors
    /// [`PublishError`].
    pub async fn publish(
        &self,
        topic: &str,
        payload: &[u8],
        qos: QoS,
        retain: bool,
    ) -> Result<(), PublishError> {
        if !is_valid_topic_name(topic) || topic.len() > usize::from(u16::MAX) {
            return Err(PublishError::InvalidTopicName);
        }
        let message = Message::new(&MessageParts {
            publisher: 0,
            topic,
            qos,
            retain,
            received_at: clock::unix_ms(),
            expiry: None,
            forwarded: ForwardedProperties::default(),
            payload,
        });
        self.shared.publish(message, None).await.map_err(|_| PublishError::QueueFull)
    }

    /// What happens from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }

    /// All sessions as they are now.
    pub fn sessions(&self) -> Vec<SessionInfo> {
        let info = |session: &crate::session::Session| SessionInfo {
            name: Arc::clone(&session.name),
            client_id: session.client_id.to_string(),
            online: session.is_online(),
            pending: session.outbound.lock().pending(),
        };
        self.shared.sessions.all().iter().map(|session| info(session)).collect()
    }

    /// Whether any client of this authenticated name is connected.
    pub fn is_online(&self, name: &str) -> bool {
        self.shared.sessions.of(name).iter().any(|session| session.is_online())
    }

    /// What was counted since the start.
    pub fn statistics(&self) -> Statistics {
        let counters = &self.shared.counters;
        let sessions = self.shared.sessions.all();
        for session in &sessions {
            self.shared.count_dropped(session);
        }
        Statistics {
            connected: counters.connected.load(Ordering::Relaxed),
            sessions: sessions.len(),
            refused: counters.refused.load(Ordering::Relaxed),
            published: counters.published.load(Ordering::Relaxed),
            denied: counters.denied.load(Ordering::Relaxed),
            queue_full: counters.queue_full.load(Ordering::Relaxed),
            dropped: counters.dropped.load(Ordering::Relaxed),
            live_lost: self.shared.live.lost(),
            live_restarts: self.shared.live.restarts(),
            retained: self.shared.retained.len(),
        }
    }

    /// Stops: nobody new comes in, every client is told (MQTT 5: Server shutting down) and disconnected. Takes at most
    /// about a second.
    pub async fn stop(&self) {
        for listener in self.listeners.lock().drain(..) {
            listener.abort();
        }
        // Set first: a client that is still logging in is either among these sessions or sees it.
        self.shared.stopping.store(true, Ordering::SeqCst);
        for session in self.shared.sessions.all() {
            session.outbound.lock().request_close(ReasonCode::ServerShuttingDown);
        }
        let _ = timeout(STOPPING_TIME, self.shared.admission.all_gone()).await;
    }
}

#[cfg(test)]
mod tests;
