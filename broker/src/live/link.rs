//! One link into the router: what publishers hand over, and the task that takes out what comes back.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{
        AtomicU64, AtomicUsize,
        Ordering::{Relaxed, SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use rumqttd::{
    Notification,
    local::{LinkRx, LinkTx},
    protocol::{Packet, Publish},
};
use tokio::{sync::Notify, time::timeout};

use super::{LiveSettings, Shared};
use crate::message::Message;

/// The one topic of each link. Static, since a counted one would have publishers, router and receivers of all cores count
/// together at every message.
pub(super) const TOPICS: [&str; 16] = [
    "m0/live", "m1/live", "m2/live", "m3/live", "m4/live", "m5/live", "m6/live", "m7/live", "m8/live",
    "m9/live", "m10/live", "m11/live", "m12/live", "m13/live", "m14/live", "m15/live",
];

/// A waiting publisher is told when the task of its link runs; if a delivery holds that up, it looks for itself.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The publishers' side of a link; outlives the routers behind it.
pub(super) struct Link {
    topic: Bytes,
    max_messages: usize,
    max_bytes: usize,
    max_under_way: u64,
    intake: Mutex<Intake>,
    /// Bytes of the records that came out of this router; what was overwritten joins them when all is taken.
    bytes_out: AtomicU64,
    /// Publishers that found the intake full.
    waiting: AtomicUsize,
    /// Held by the one of them whose turn it is.
    turn: tokio::sync::Mutex<()>,
    /// Tells it that the router may have taken what was there.
    moved: Notify,
}

struct Intake {
    /// `None` while there is no router.
    tx: Option<LinkTx>,
    /// There will not be another router.
    shut: bool,
    /// Bytes of the records in `tx`'s buffer.
    bytes: usize,
    /// Messages given to this router: the offset that the next one gets in the router's log.
    entered: u64,
    /// Bytes of their records.
    bytes_entered: u64,
}

impl Link {
    pub(super) fn new(number: usize, settings: &LiveSettings) -> Self {
        Self {
            topic: Bytes::from_static(TOPICS[number].as_bytes()),
            max_messages: settings.intake_messages,
            max_bytes: settings.intake_bytes,
            max_under_way: settings.under_way_bytes as u64,
            intake: Mutex::new(Intake::new(None)),
            bytes_out: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            turn: tokio::sync::Mutex::new(()),
            moved: Notify::new(),
        }
    }

    /// Connects a new router, unless the link was shut.
    pub(super) fn open(&self, tx: LinkTx) {
        let mut intake = self.intake.lock();
        if !intake.shut {
            *intake = Intake::new(Some(tx));
            self.bytes_out.store(0, SeqCst);
        }
    }

    /// Disconnects from a dead router, out of which everything before offset `next` came or was counted as lost.
    fn close(&self, next: u64, lost: &AtomicU64) {
        let mut intake = self.intake.lock();
        intake.tx = None;
        lost.fetch_add(intake.entered.saturating_sub(next), Relaxed);
        drop(intake);
        self.moved.notify_waiters();
    }

    /// Disconnects for good.
    pub(super) fn shut(&self) {
        let mut intake = self.intake.lock();
        intake.tx = None;
        intake.shut = true;
        drop(intake);
        self.moved.notify_waiters();
    }

    /// Takes the first `run` messages out of `batch`, waiting for room in turn.
    pub(super) async fn hand_over(&self, batch: &mut Vec<Message>, mut run: usize, lost: &AtomicU64) {
        if self.waiting.load(SeqCst) == 0 {
            run -= self.offer(batch, run, lost);
            if run == 0 {
                return;
            }
        }
        let _waiting = Waiting::new(&self.waiting);
        let _turn = self.turn.lock().await;
        loop {
            // Asked for before looking, so that no wake-up is missed in between.
            let mut moved = std::pin::pin!(self.moved.notified());
            moved.as_mut().enable();
            run -= self.offer(batch, run, lost);
            if run == 0 {
                return;
            }
            let _ = timeout(LOOK_AGAIN, moved).await;
        }
    }

    /// Takes out of the first `run` messages of `batch` what has room, and says how many that were.
    ///
    /// The router swaps its empty buffer for the link's whole buffer at each DeviceData event. So only the push that
    /// finds the buffer empty needs to send one, and at most one per link is ever under way: the router's channel of
    /// 1,000 events is never full, and the send, which would block, never does.
    fn offer(&self, batch: &mut Vec<Message>, run: usize, lost: &AtomicU64) -> usize {
        let mut intake = self.intake.lock();
        let Intake { tx, bytes, entered, bytes_entered, .. } = &mut *intake;
        let under_way = bytes_entered.saturating_sub(self.bytes_out.load(SeqCst));
        let Some(tx) = tx.as_mut().filter(|_| under_way < self.max_under_way) else {
            lost.fetch_add(run as u64, Relaxed);
            batch.drain(..run);
            return run;
        };
        let mut buffer = tx.buffer();
        let was_empty = buffer.is_empty();
        if was_empty {
            *bytes = 0;
        }
        let room = self.max_messages.saturating_sub(buffer.len());
        let accepted = batch[..run]
            .iter()
            .take(room)
            .enumerate()
            .take_while(|(number, message)| {
                let fits = (was_empty && *number == 0) || *bytes + message.size() <= self.max_bytes;
                if fits {
                    *bytes += message.size();
                    *bytes_entered += message.size() as u64;
                }
                fits
            })
            .count();
        *entered += accepted as u64;

        let mut records = batch.drain(..accepted).map(Message::into_record);
        let last = if was_empty { records.next_back() } else { None };
        buffer.extend(
            records.map(|record| Packet::Publish(Publish::new(self.topic.clone(), record, false), None)),
        );
        drop(buffer);
        if let Some(record) = last {
            // An error means that the router is dead. The receiving task sees that too, and the supervisor counts
            // what is lost.
            let _ = tx.publish(self.topic.clone(), record);
        }
        accepted
    }

    /// Takes messages out until the router is dead, then closes the link.
    pub(super) async fn receive(&self, rx: LinkRx, shared: &Shared) {
        let next = self.take_out(rx, shared).await;
        self.close(next, &shared.lost);
    }

    /// Gives the offset after the last one.
    async fn take_out(&self, mut rx: LinkRx, shared: &Shared) -> u64 {
        let mut next = 0;
        let mut overwritten = false;
        loop {
            match rx.next().await {
                Ok(Some(Notification::Forward(forward))) => {
                    if let Some((_, offset)) = forward.cursor {
                        // Offsets are consecutive: what is left out was overwritten.
                        let gap = offset.saturating_sub(next);
                        if gap > 0 {
                            shared.lost.fetch_add(gap, Relaxed);
                            overwritten = true;
                        }
                        next = offset + 1;
                    }
                    self.bytes_out.fetch_add(forward.publish.payload.len() as u64, SeqCst);
                    if overwritten {
                        overwritten = !self.caught_up(next);
                    }
                    deliver(forward.publish.payload, shared);
                }
                Ok(Some(Notification::Unschedule)) => {
                    if rx.wake().await.is_err() {
                        return next;
                    }
                }
                Ok(_) => {}
                Err(_) => return next,
            }
            // Whatever the router takes from the intake makes this task run after it took it.
            if self.waiting.load(SeqCst) > 0 {
                self.moved.notify_waiters();
            }
            // rumqttd's channel does not know of tokio's budget; without this a flood would starve other tasks.
            tokio::task::consume_budget().await;
        }
    }

    /// Nothing is under way if `next` is what enters next: then what was overwritten needs no more counting.
    fn caught_up(&self, next: u64) -> bool {
        let intake = self.intake.lock();
        let all = intake.entered == next;
        if all {
            self.bytes_out.store(intake.bytes_entered, SeqCst);
        }
        all
    }

    /// Kills the router behind this link: it panics on a topic that begins with a non-ASCII character.
    #[cfg(test)]
    pub(super) fn kill_router(&self) {
        if let Some(tx) = self.intake.lock().tx.as_mut() {
            let _ = tx.publish("é", "x");
        }
    }

    /// Bytes of the records under way.
    #[cfg(test)]
    pub(super) fn under_way(&self) -> u64 {
        self.intake.lock().bytes_entered - self.bytes_out.load(SeqCst)
    }

    /// Messages in the intake.
    #[cfg(test)]
    pub(super) fn intake(&self) -> usize {
        self.intake.lock().tx.as_ref().map_or(0, |tx| tx.buffer().len())
    }
}

impl Intake {
    fn new(tx: Option<LinkTx>) -> Self {
        Self { tx, shut: false, bytes: 0, entered: 0, bytes_entered: 0 }
    }
}

fn deliver(record: Bytes, shared: &Shared) {
    // A panic must not end the task: nobody else would take messages from this link.
    let delivered = catch_unwind(AssertUnwindSafe(|| Message::from_record(record).map(&shared.deliver)));
    if !matches!(delivered, Ok(Some(()))) {
        shared.lost.fetch_add(1, Relaxed);
        tracing::error!("a live message could not be delivered; please report this");
    }
}

/// Counts a publisher as waiting until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}
