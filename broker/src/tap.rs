//! Copies of what clients publish in some flows, for whoever looks at them for a while. Nobody waits for it: what has no room
//! is counted, and nothing is copied while nobody looks.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use parking_lot::RwLock;
use tokio::sync::mpsc::{self, Receiver, Sender};

use crate::{
    broker::Broker,
    codec::{QoS, content_type},
    events::excerpt,
    message::Message,
};

/// So much of a payload is copied, in bytes.
const MAX_PAYLOAD: usize = 4 << 10;

/// A message that a client published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TappedMessage {
    /// The name of its flow.
    pub flow: Arc<str>,
    /// The authenticated name of who published it.
    pub publisher: Arc<str>,
    /// Topic Name.
    pub topic: Box<str>,
    /// QoS of the PUBLISH, or of the Will.
    pub qos: QoS,
    /// RETAIN of the PUBLISH, or of the Will.
    pub retain: bool,
    /// The beginning of the payload: 4 KiB at most.
    pub payload: Box<[u8]>,
    /// Bytes of the whole payload.
    pub size: usize,
    /// The Content Type, cut after 256 bytes.
    pub content_type: Option<Arc<str>>,
    /// When it arrived, or the Will was published, in milliseconds since the Unix epoch.
    pub received_at: u64,
}

/// Where copies arrive. There are no more once it is dropped.
#[derive(Debug)]
pub struct Tap {
    copies: Receiver<TappedMessage>,
    missed: Arc<AtomicU64>,
    taps: Weak<Taps>,
}

/// All that are open.
#[derive(Debug, Default)]
pub struct Taps {
    /// Whether there are any: read for every message, all else only then.
    are_open: AtomicBool,
    open: RwLock<Vec<Outlet>>,
}

#[derive(Debug)]
struct Outlet {
    flows: Vec<Arc<str>>,
    copies: Sender<TappedMessage>,
    missed: Arc<AtomicU64>,
}

impl Broker {
    /// Copies from now on what clients publish in the flows with these names ([`crate::access::Flow::name`]): PUBLISH packets
    /// that were taken, as they are counted by [`crate::FlowInfo::published`], and Will Messages. Not what the embedder
    /// itself publishes.
    ///
    /// At most `room` copies, and at least one, wait to be taken; what comes while there is no room is counted only
    /// ([`Tap::take_missed`]). Each copy costs its publisher about a microsecond, all other messages next to nothing.
    pub fn tap(&self, flows: impl IntoIterator<Item = Arc<str>>, room: usize) -> Tap {
        self.shared.taps.open(flows.into_iter().collect(), room)
    }
}

impl Tap {
    /// The next copy; `None` when the broker is gone. Nothing is lost if this is dropped while it waits.
    pub async fn recv(&mut self) -> Option<TappedMessage> {
        self.copies.recv().await
    }

    /// The next copy, if there is one.
    pub fn try_recv(&mut self) -> Option<TappedMessage> {
        self.copies.try_recv().ok()
    }

    /// How many messages had no room since the last call.
    pub fn take_missed(&self) -> u64 {
        self.missed.swap(0, Ordering::Relaxed)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        if let Some(taps) = self.taps.upgrade() {
            taps.close(&self.missed);
        }
    }
}

impl Taps {
    /// Whether anybody looks at anything.
    pub fn are_open(&self) -> bool {
        self.are_open.load(Ordering::Relaxed)
    }

    /// Copies a message for everybody who looks at its flow.
    #[cold]
    pub fn copy(&self, flow: &Arc<str>, publisher: &Arc<str>, message: &Message) {
        for outlet in self.open.read().iter().filter(|outlet| outlet.flows.contains(flow)) {
            match outlet.copies.try_reserve() {
                Ok(place) => place.send(TappedMessage::new(flow, publisher, message)),
                Err(_) => drop(outlet.missed.fetch_add(1, Ordering::Relaxed)),
            }
        }
    }

    fn open(self: &Arc<Self>, flows: Vec<Arc<str>>, room: usize) -> Tap {
        let (sender, copies) = mpsc::channel(room.max(1));
        let missed = Arc::new(AtomicU64::new(0));
        let mut open = self.open.write();
        open.push(Outlet { flows, copies: sender, missed: Arc::clone(&missed) });
        self.are_open.store(true, Ordering::Relaxed);
        Tap { copies, missed, taps: Arc::downgrade(self) }
    }

    fn close(&self, missed: &Arc<AtomicU64>) {
        let mut open = self.open.write();
        open.retain(|outlet| !Arc::ptr_eq(&outlet.missed, missed));
        self.are_open.store(!open.is_empty(), Ordering::Relaxed);
    }
}

impl TappedMessage {
    fn new(flow: &Arc<str>, publisher: &Arc<str>, message: &Message) -> Self {
        let payload = message.payload();
        Self {
            flow: Arc::clone(flow),
            publisher: Arc::clone(publisher),
            topic: message.topic().into(),
            qos: message.qos(),
            retain: message.retain(),
            payload: payload[..payload.len().min(MAX_PAYLOAD)].into(),
            size: payload.len(),
            content_type: content_type(message.forwarded()).map(excerpt),
            received_at: message.received_at(),
        }
    }
}
