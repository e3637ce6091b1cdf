//! What survives: sessions, their queues, QoS 2 identifiers and retained messages, in SQLite.
//!
//! [`Store::open`] gives what was kept and a handle. Changes are handed over without waiting ([`Store::submit`]); one
//! thread gathers what is there, commits and syncs it once, and then tells everybody whose changes were in it (group
//! commit). Nothing that a promise depends on may happen before it was told so.
//!
//! The store knows sessions by their [`Slot`] and messages by slot and sequence number; what sessions are for, it does
//! not know.

mod answers;
mod batch;
mod contents;
mod error;
mod handle;
mod intake;
mod inventory;
mod keys;
mod owed;
mod pages;
mod place;
mod records;
mod revoking;
mod salvage;
mod schema;
mod snapshot;
#[cfg(test)]
mod tests;
mod verify;
mod writer;

use std::{fmt, path::PathBuf, sync::Arc};

pub use error::{OpenError, OpenProblem, StoreError};
pub use handle::Store;
pub use intake::Done;
pub use inventory::{Inventory, KeptSession, inventory};
pub use salvage::{Salvage, salvage};
pub use snapshot::Snapshot;
pub use verify::{Verification, adopt, verify};

use crate::{codec::PacketId, queue::Delivery, subscriptions::SubscriptionOptions};

/// The number of a session that is kept: 1 to [`MAX_SLOT`], reused after the session's end.
pub type Slot = u32;

/// The position of a message in its session's queue: from 1, ascending, never reused while the session lasts.
pub type Sequence = u64;

/// The most sessions that can be kept at once.
pub const MAX_SLOT: Slot = (1 << 20) - 1;

/// How a store is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSettings {
    /// Its directory; made if it does not exist.
    pub directory: PathBuf,
    /// What a commit means.
    pub durability: Durability,
}

/// What a commit survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// A power cut: synced before anybody is told.
    Fsync,
    /// The death of the process, not a power cut.
    Buffered,
}

/// Something to be kept, changed or forgotten. The changes of one submission come into effect together or not at all,
/// and submissions in their order.
#[derive(Debug, Clone)]
pub enum Change {
    /// A session begins, or is as follows from now on. Its subscriptions, messages and identifiers stay.
    PutSession(SessionRecord),
    /// A session is over: all that is kept of it goes.
    EndSession(Slot),
    /// A session has no Will Message any more.
    ForgetWill(Slot),
    /// A subscription is made or replaced.
    Subscribe {
        /// Whose.
        slot: Slot,
        /// Topic Filter.
        filter: Box<str>,
        /// Its options; `since` is not kept.
        options: SubscriptionOptions,
    },
    /// A subscription is removed.
    Unsubscribe {
        /// Whose.
        slot: Slot,
        /// Topic Filter.
        filter: Box<str>,
    },
    /// A message for a session.
    Enqueue {
        /// For whom.
        slot: Slot,
        /// What.
        message: QueuedMessage,
    },
    /// A message of a session arrived for good (PUBACK, PUBCOMP), or nobody wants it any more. Nothing happens if it is
    /// not kept.
    Forget {
        /// Whose.
        slot: Slot,
        /// Which.
        sequence: Sequence,
    },
    /// PUBREC came for a QoS 2 message: from now on only its identifier is kept, until it is forgotten.
    Release {
        /// Whose.
        slot: Slot,
        /// Which.
        sequence: Sequence,
    },
    /// A QoS 2 message with this identifier was taken from the session's client.
    Accept {
        /// Whose.
        slot: Slot,
        /// Packet Identifier.
        packet_id: PacketId,
    },
    /// PUBREL came for it: the identifier is free again.
    Complete {
        /// Whose.
        slot: Slot,
        /// Packet Identifier.
        packet_id: PacketId,
    },
    /// A retained message, in place of the one that its topic had.
    Retain {
        /// The message's record.
        message: crate::message::Message,
        /// The authenticated name that it counts for.
        owner: Arc<str>,
    },
    /// A topic has no retained message any more.
    Unretain {
        /// Topic Name.
        topic: Box<str>,
    },
}

impl Change {
    /// The session that it is about.
    fn slot(&self) -> Option<Slot> {
        match self {
            Self::PutSession(session) => Some(session.slot),
            Self::EndSession(slot)
            | Self::ForgetWill(slot)
            | Self::Subscribe { slot, .. }
            | Self::Unsubscribe { slot, .. }
            | Self::Enqueue { slot, .. }
            | Self::Forget { slot, .. }
            | Self::Release { slot, .. }
            | Self::Accept { slot, .. }
            | Self::Complete { slot, .. } => Some(*slot),
            Self::Retain { .. } | Self::Unretain { .. } => None,
        }
    }
}

/// A session without what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRecord {
    /// Its number.
    pub slot: Slot,
    /// The authenticated name.
    pub name: Arc<str>,
    /// The Client Identifier.
    pub client_id: Box<str>,
    /// How long it outlives its connection, in seconds.
    pub expiry: u32,
    /// When its connection ended, in milliseconds since the Unix epoch; `None` while it has one.
    pub left_at: Option<u64>,
    /// Messages below were sent at least once; those that are left of them are sent again with DUP.
    pub sent_below: Sequence,
    /// Published when it is due, unless the client returns before.
    pub will: Option<WillRecord>,
}

/// A Will Message that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WillRecord {
    /// What is published.
    pub message: crate::message::Message,
    /// Will Delay Interval in seconds, from the end of the connection.
    pub delay: u32,
}

/// A message in a session's queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedMessage {
    /// Its place.
    pub sequence: Sequence,
    /// Name of the flow that it counts for, see [`crate::access::Flow`].
    pub flow: Arc<str>,
    /// When it is dropped unless it has been sent once, in milliseconds since the Unix epoch; `u64::MAX` for never.
    pub expires_at: u64,
    /// The message, and how it is sent.
    pub delivery: Delivery,
}

/// What a session's queue gives back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredMessage {
    /// A message, sent or not.
    Message(QueuedMessage),
    /// A QoS 2 message whose PUBREC came: PUBREL is due, or was sent.
    Released(Sequence),
}

impl StoredMessage {
    /// Its place.
    fn sequence(&self) -> Sequence {
        match self {
            Self::Message(message) => message.sequence,
            Self::Released(sequence) => *sequence,
        }
    }
}

/// What is kept of one flow of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Messages.
    pub messages: u64,
    /// Bytes, as [`Delivery::size`] counts them.
    pub bytes: u64,
}

/// All that was kept, but for the messages in queues, which are loaded when they are needed.
#[derive(Debug, Default)]
pub struct Contents {
    /// How often this store was opened before, this time included: from 1. It only grows; after a salvage it goes on from
    /// the Unix time in seconds.
    pub starts: u64,
    /// Every session.
    pub sessions: Vec<StoredSession>,
    /// Every retained message with the authenticated name that it counts for.
    pub retained: Vec<(crate::message::Message, Arc<str>)>,
    /// What was not whole, and is lost: it was removed. Messages in queues are looked at when they are loaded.
    pub damaged: Records,
}

/// How many records of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Records {
    /// Sessions.
    pub sessions: u64,
    /// Subscriptions.
    pub subscriptions: u64,
    /// Messages in queues, released ones included.
    pub messages: u64,
    /// Identifiers of QoS 2 messages that were accepted.
    pub identifiers: u64,
    /// Retained messages.
    pub retained: u64,
}

impl fmt::Display for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "sessions: {}, subscriptions: {}, messages: {}, QoS 2 identifiers: {}, retained messages: {}",
            self.sessions, self.subscriptions, self.messages, self.identifiers, self.retained
        )
    }
}

/// What a store has done since it was opened, and how large it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreStatistics {
    /// Commits, each with one sync under [`Durability::Fsync`].
    pub commits: u64,
    /// Changes that were committed.
    pub changes: u64,
    /// Commits that failed.
    pub failures: u64,
    /// Changes that are owed: they were submitted without anybody to be told, failed, and are tried again.
    pub owed: u64,
    /// Bytes of the database and its log.
    pub bytes: u64,
    /// Bytes of the database that are free for what comes; as they were at most about ten seconds ago.
    pub free_bytes: u64,
    /// When the last commit was, in milliseconds since the Unix epoch; `None` if there was none yet.
    pub last_commit: Option<u64>,
}

/// A session that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSession {
    /// Itself. `left_at` is `None` if the process died while the session had a connection.
    pub record: SessionRecord,
    /// Topic Filters and their options.
    pub subscriptions: Vec<(Box<str>, SubscriptionOptions)>,
    /// QoS 2 identifiers that were accepted and not completed.
    pub unreleased: Vec<PacketId>,
    /// What its queue holds, by flow.
    pub totals: Vec<(Arc<str>, Totals)>,
    /// The first and last message in its queue, released ones included.
    pub range: Option<(Sequence, Sequence)>,
}

/// Which messages to load: the first of a session's from `from` on and below `below`, in order; not more than `messages`,
/// nor more once they hold `bytes`, but at least one if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadRequest {
    /// Whose.
    pub slot: Slot,
    /// First sequence number.
    pub from: Sequence,
    /// Sequence number after the last.
    pub below: Sequence,
    /// Most messages.
    pub messages: usize,
    /// Bytes, as [`Delivery::size`] counts them.
    pub bytes: usize,
}

/// Loaded messages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Loaded {
    /// In order.
    pub messages: Vec<StoredMessage>,
    /// Whether there is nothing more in the range that was asked for.
    pub complete: bool,
    /// Records in the range that cannot be read, with what they counted for. They are removed.
    pub damaged: u64,
}

/// Which messages of a flow to remove from a session's queue, from `from` on: never one that may be in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrimRequest {
    /// Whose.
    pub slot: Slot,
    /// Name of the flow.
    pub flow: Arc<str>,
    /// First sequence number.
    pub from: Sequence,
    /// Which.
    pub what: Trim,
}

/// Which messages to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trim {
    /// The oldest ones: at least so many messages and at least so many bytes, as far as there are.
    Oldest {
        /// Messages.
        messages: u64,
        /// Bytes.
        bytes: u64,
    },
    /// Those whose `expires_at` is not after this, in milliseconds since the Unix epoch.
    Expired(u64),
}

/// Which messages of a flow a session may not hear any more: all from `from` on and below `below`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokeRequest {
    /// Whose.
    pub slot: Slot,
    /// Name of the flow.
    pub flow: Arc<str>,
    /// First sequence number.
    pub from: Sequence,
    /// Sequence number after the last.
    pub below: Sequence,
    /// Messages below were sent before: those of QoS 2 count as released, as their clients may know the identifiers.
    pub sent_below: Sequence,
}

/// How the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It keeps what it is given.
    Fine,
    /// It does not: why, and what to do about it.
    Failing(Arc<str>),
}
