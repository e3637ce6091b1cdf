//! The broker as its embedder sees it.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use tokio::{
    io::DuplexStream,
    net::TcpListener,
    sync::{broadcast, watch},
    task::{AbortHandle, JoinHandle},
    time::timeout,
};

use crate::{
    access::{Access, Flow},
    admission::Admission,
    allowance::Allowances,
    clock,
    codec::{ForwardedProperties, QoS, ReasonCode, is_valid_topic_name},
    events::{Counters, Event, Events},
    grace::Grace,
    keeping::Keeper,
    ledger::Ledger,
    limits::{Limit, LimitCounts, Limits},
    listener,
    live::{LiveError, LiveLane, LiveSettings},
    message::{Message, MessageParts},
    retained::{Retained, RetainedLimits},
    revocation::Reconsidered,
    routing::deliver_live,
    session::{Registry, Session},
    shared::{Index, Shared},
    store::{Contents, Health, Inventory, OpenError, Snapshot, Store, StoreError, StoreSettings},
    transport::Transport,
    unkept::Unkept,
};

/// How long a stop waits for clients to read that the broker stops.
const STOPPING_TIME: Duration = Duration::from_secs(1);

/// A running broker. Runs until [`Broker::stop`], within the Tokio runtime that it was started in.
pub struct Broker {
    pub(crate) shared: Arc<Shared>,
    /// Listeners, and whoever follows the store's health.
    tasks: Mutex<Vec<AbortHandle>>,
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
    /// QoS 1 and 2 messages refused because the store could not keep them.
    pub not_kept: u64,
    /// Messages that sessions lost to slow clients (QoS 0), newer ones, size or expiry.
    pub dropped: u64,
    /// QoS 0 messages lost in the live lane itself.
    pub live_lost: u64,
    /// How often the live lane's router died and was replaced.
    pub live_restarts: u64,
    /// Retained messages.
    pub retained: usize,
    /// How often each limit acted.
    pub limits: LimitCounts,
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
    /// The store could not be opened.
    Store(OpenError),
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
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StartError {}

/// A listener that is served. Dropping this changes nothing.
pub struct Serving {
    accept: JoinHandle<()>,
}

impl Serving {
    /// Closes the listener: when this returns, its address is free. Whoever is connected stays connected.
    pub async fn close(self) {
        self.accept.abort();
        // An error says that it was aborted, which is what was asked for.
        let _ = self.accept.await;
    }
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
        let (told, health) = watch::channel(Health::Fine);
        let opened =
            store.map(|settings| Store::open(settings, move |health| drop(told.send(health.clone()))));
        let (store, contents) = match opened.transpose().map_err(StartError::Store)? {
            Some((store, contents)) => (Some(store), contents),
            None => (None, Contents::default()),
        };
        let slots = contents.sessions.iter().map(|session| session.record.slot).collect();
        let subscriptions = Arc::new(Index::new());
        let grace = Arc::new(Grace::new());
        let live = LiveLane::start(LiveSettings::default(), {
            let (subscriptions, grace) = (Arc::clone(&subscriptions), Arc::clone(&grace));
            move |message| {
                let _inside = grace.enter();
                deliver_live(&subscriptions, message);
            }
        })?;
        let shared = Arc::new(Shared {
            access,
            admission: Arc::new(Admission::new()),
            addresses: Arc::default(),
            guesses: Mutex::default(),
            allowances: Allowances::default(),
            sessions: Registry::new(contents.starts),
            subscriptions,
            retained: Retained::new(RetainedLimits::from(&limits)),
            changing_retained: RwLock::new(0),
            live,
            keeper: store.map(|store| Keeper::new(store, slots)),
            unkept: Unkept::default(),
            common_flow: Flow { name: "".into(), limits: limits.flow },
            grace,
            reconsidering: tokio::sync::Mutex::default(),
            events: Events::new(),
            counters: Counters::default(),
            ledger: Ledger::default(),
            taps: Arc::default(),
            stopping: AtomicBool::new(false),
            limits: ArcSwap::from_pointee(limits),
        });
        shared.restore(contents.sessions, contents.retained);
        let health = tokio::spawn(follow_health(Arc::downgrade(&shared), health)).abort_handle();
        Ok(Self { shared, tasks: Mutex::new(vec![health]) })
    }

    /// Serves MQTT clients that connect to this listener, until it is closed or the broker stops.
    pub fn serve(&self, listener: TcpListener, transport: Transport) -> Serving {
        let accept = tokio::spawn(listener::accept(Arc::clone(&self.shared), listener, transport));
        let mut tasks = self.tasks.lock();
        tasks.retain(|task| !task.is_finished());
        tasks.push(accept.abort_handle());
        Serving { accept }
    }

    /// Connects a client of the embedder's own, without any network: what is written to the stream are its packets, and what
    /// is read are the broker's. It logs in like any other, and [`Access::login`] knows it by [`Channel::Inside`]; see
    /// [`crate::access::Grant::is_inside`] for what such a client is spared.
    ///
    /// [`Channel::Inside`]: crate::transport::Channel::Inside
    pub fn connect_inside(&self) -> DuplexStream {
        listener::connect_inside(&self.shared)
    }

    /// Other limits hold from now on: for connections and sessions that begin, and for what is asked anew each time.
    /// Whoever is connected keeps what was announced at the login.
    pub fn set_limits(&self, limits: Limits) {
        self.shared.retained.set_limits(RetainedLimits::from(&limits));
        self.shared.limits.store(Arc::new(limits));
    }

    /// Makes what [`Access`] and its grants say now true for what was allowed before: call it whenever their answers have
    /// changed. When it returns, all of this is so, in memory and in the store:
    ///
    /// - Names that [`Access::grant`] does not know any more have no session. Their clients were told Administrative action
    ///   and disconnected; their Will Messages are not published, and their retained messages are gone.
    /// - No session has a subscription that its grant does not allow, nor a message of a topic that it may not hear, whether
    ///   that waited or was in flight. Whoever waits for the acknowledgement of such a message is answered. What was written
    ///   to the network connection before counts as sent; a QoS 2 handshake that has begun ends properly.
    /// - No retained or Will Message is left that its owner may not publish.
    ///
    /// All else stays as it is, connections included. Whoever asked a grant just before the answers changed and acts on it
    /// just after leaves nothing behind either. What the embedder itself has published and retained stays.
    ///
    /// If the store fails, that is told, and what it has to forget is tried again until it has.
    pub async fn reconsider(&self) -> Reconsidered {
        self.shared.reconsider().await
    }

    /// Publishes a message of the embedder to everybody who wants it and has room. No grant is asked, and no limit of
    /// retained messages holds. If it is retained, it is not kept in the store: publish it after every start.
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

    /// Whether any client of this authenticated name is connected.
    pub fn is_online(&self, name: &str) -> bool {
        self.shared.sessions.of(name).iter().any(|session| session.is_online())
    }

    /// Without those of the embedder's own.
    pub(crate) fn sessions_of_clients(&self) -> Vec<Arc<Session>> {
        let mut sessions = self.shared.sessions.all();
        sessions.retain(|session| !session.is_inside());
        sessions
    }

    /// What was counted since the start.
    pub fn statistics(&self) -> Statistics {
        let counters = &self.shared.counters;
        let sessions = self.sessions_of_clients();
        for session in &sessions {
            self.shared.take_counts(session);
        }
        Statistics {
            connected: counters.connected.load(Ordering::Relaxed),
            sessions: sessions.len(),
            refused: counters.refused.load(Ordering::Relaxed),
            published: counters.published.load(Ordering::Relaxed),
            denied: counters.denied.load(Ordering::Relaxed),
            queue_full: counters.queue_full.load(Ordering::Relaxed),
            not_kept: counters.not_kept.load(Ordering::Relaxed),
            dropped: counters.dropped.load(Ordering::Relaxed),
            live_lost: self.shared.live.lost(),
            live_restarts: self.shared.live.restarts(),
            retained: self.shared.retained.len(),
            limits: counters.limits.read().with(Limit::Logins, self.shared.admission.gave_way()),
        }
    }

    /// What the store holds, by session and flow; `None` without a store.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn inventory(&self) -> Result<Option<Inventory>, StoreError> {
        match self.open_store() {
            Some(store) => store.inventory().await.map(Some),
            None => Ok(None),
        }
    }

    /// A copy of the store with all that was acknowledged before; `None` without a store. Nobody waits for it but the next
    /// one who wants a copy; while it is there the store's log grows, so read it and drop it.
    ///
    /// # Errors
    /// The store cannot be written or read.
    pub async fn snapshot(&self) -> Result<Option<Snapshot>, StoreError> {
        let Some(store) = self.open_store() else { return Ok(None) };
        self.shared.keep_retained_now();
        store.snapshot().await.map(Some)
    }

    /// Stops: nobody new comes in, every client is told (MQTT 5: Server shutting down) and disconnected, and the store is
    /// closed. Takes at most about a second, and what the store needs to write what it was given.
    pub async fn stop(&self) {
        for task in self.tasks.lock().drain(..) {
            task.abort();
        }
        // Set first: a client that is still logging in is either among these sessions or sees it.
        self.shared.stopping.store(true, Ordering::SeqCst);
        for session in self.shared.sessions.all() {
            session.outbound.lock().request_close(ReasonCode::ServerShuttingDown);
        }
        let _ = timeout(STOPPING_TIME, self.shared.admission.all_gone()).await;
        self.shared.close_store(clock::unix_ms()).await;
    }

    fn open_store(&self) -> Option<&Store> {
        self.shared.keeper.as_ref().map(|keeper| &keeper.store)
    }
}

async fn follow_health(shared: Weak<Shared>, mut health: watch::Receiver<Health>) {
    while health.changed().await.is_ok() {
        let now = health.borrow_and_update().clone();
        let Some(shared) = shared.upgrade() else { return };
        shared.handle_health(&now);
    }
}

#[cfg(test)]
mod tests;
