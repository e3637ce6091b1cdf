//! The live lane: QoS 0 messages through rumqttd's router, which absorbs bursts in its commit log.
//!
//! The topology inside rumqttd is fixed: link `i` subscribes once to `m<i>/#`, everything that is published into it
//! has the one topic `m<i>/live`, and the payload is a message's whole record. So nothing that a client says is ever
//! read by rumqttd, and nothing a client does creates or drops anything there (`docs/decisions/0003`). What cannot be
//! taken out in time is overwritten and counted; a router whose thread died is replaced.
//!
//! rumqttd opens several tracing spans per message, which halves its throughput: the embedder's filter should have
//! `rumqttd=off`. What an operator must know of it is logged from here.

mod link;
mod router;
#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use tokio::task::AbortHandle;

use self::link::Link;
use crate::message::Message;

/// Limits of a [`LiveLane`].
#[derive(Debug, Clone)]
pub struct LiveSettings {
    /// Links, each with a task that takes messages out: 1 to 16, more than one per core gains nothing.
    pub links: usize,
    /// Bytes of a segment of a link's commit log, at least 1024. Counted are a message's record and 11 bytes or so. The
    /// memory stays resident when the log was full once, with messages of 64 bytes about five times what is counted.
    pub segment_bytes: usize,
    /// Segments of a link's commit log, at least 1. When all are full the oldest is thrown away whole.
    pub segments: usize,
    /// Messages that a link holds for the router at most; publishers wait for more room.
    pub intake_messages: usize,
    /// Bytes of records that a link holds for the router at most, except that one message always fits.
    pub intake_bytes: usize,
    /// Bytes of records under way in a link, from its intake to its task: what comes while there are more is lost at
    /// once. rumqttd limits what lies between its log and the task in messages only, 299 twice, whatever their size.
    pub under_way_bytes: usize,
}

impl Default for LiveSettings {
    fn default() -> Self {
        Self {
            links: thread::available_parallelism().map_or(1, |cores| cores.get().min(2)),
            segment_bytes: 1024 * 1024,
            segments: 2,
            intake_messages: 1024,
            intake_bytes: 1024 * 1024,
            under_way_bytes: 16 * 1024 * 1024,
        }
    }
}

/// Why a [`LiveLane`] could not be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LiveError {
    /// A value of [`LiveSettings`] is out of its range; says which.
    Settings(&'static str),
    /// rumqttd's router did not take a link.
    Router(String),
}

impl std::fmt::Display for LiveError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Settings(range) => write!(f, "the live lane's settings are out of range: {range}"),
            Self::Router(reason) => write!(f, "the live lane's router could not be started: {reason}"),
        }
    }
}

impl std::error::Error for LiveError {}

/// The live lane. Lives as long as the process: rumqttd has no way to end a router, so the thread of a lane that was
/// shut down sleeps on, with what is left in its log.
pub struct LiveLane {
    shared: Arc<Shared>,
    supervisor: AbortHandle,
}

/// What the publishers, the receiving tasks and the supervisor share.
struct Shared {
    links: Box<[Link]>,
    lost: AtomicU64,
    restarts: AtomicU64,
    deliver: Box<dyn Fn(Message) + Send + Sync>,
}

impl LiveLane {
    /// Starts a router and its links. `deliver` is called for every message that comes out, by one task per link, in
    /// order per topic; it must not block. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`LiveError`] if the settings are out of range or rumqttd did not take the links.
    pub fn start(
        settings: LiveSettings,
        deliver: impl Fn(Message) + Send + Sync + 'static,
    ) -> Result<Self, LiveError> {
        settings.check()?;
        let shared = Arc::new(Shared {
            links: (0..settings.links).map(|number| Link::new(number, &settings)).collect(),
            lost: AtomicU64::new(0),
            restarts: AtomicU64::new(0),
            deliver: Box::new(deliver),
        });
        let receivers = router::open(&shared, router::spawn(&settings)?);
        let supervisor = tokio::spawn(router::supervise(shared.clone(), settings, receivers)).abort_handle();
        Ok(Self { shared, supervisor })
    }

    /// Hands over messages in their order and leaves `batch` empty. Waits, in turn with other publishers, while the
    /// router has not yet taken what a link holds for it; while there is no router, messages are lost and counted.
    ///
    /// Dropped before it is done it leaves in `batch` what was not handed over.
    pub async fn publish(&self, batch: &mut Vec<Message>) {
        while let Some(first) = batch.first() {
            let number = self.link_of(first);
            let run = match self.shared.links.len() {
                1 => batch.len(),
                _ => batch.iter().take_while(|message| self.link_of(message) == number).count(),
            };
            self.shared.links[number].hand_over(batch, run, &self.shared.lost).await;
        }
    }

    /// Messages that were lost since the start: overwritten before they were taken out, too many bytes under way, or
    /// in a router that died.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Relaxed)
    }

    /// Routers that died and were replaced since the start.
    pub fn restarts(&self) -> u64 {
        self.shared.restarts.load(Relaxed)
    }

    /// Stops delivering. What is published from now on is lost.
    pub fn shutdown(&self) {
        self.supervisor.abort();
        for link in &self.shared.links {
            link.shut();
        }
    }

    /// Kills the router's thread.
    #[cfg(test)]
    pub(crate) fn kill_router(&self) {
        self.shared.links[0].kill_router();
    }

    /// Messages of one topic take one link, which keeps their order.
    fn link_of(&self, message: &Message) -> usize {
        match self.shared.links.len() {
            1 => 0,
            links => fnv1a(message.topic().as_bytes()) as usize % links,
        }
    }
}

impl Drop for LiveLane {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl LiveSettings {
    fn check(&self) -> Result<(), LiveError> {
        let wrong = if !(1..=link::TOPICS.len()).contains(&self.links) {
            "links must be 1 to 16"
        } else if self.segment_bytes < 1024 {
            "segment_bytes must be 1024 or more"
        } else if self.segments == 0 {
            "segments must be 1 or more"
        } else if self.intake_messages == 0 {
            "intake_messages must be 1 or more"
        } else if self.under_way_bytes == 0 {
            "under_way_bytes must be 1 or more"
        } else {
            return Ok(());
        };
        Err(LiveError::Settings(wrong))
    }
}

/// FNV-1a, 32 bits: cheap for the few dozen bytes of a topic. Somebody who chooses topics to collide slows only himself
/// and who shares his link.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
