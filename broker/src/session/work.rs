//! What a session wants done with the store, and why.

use std::sync::Arc;

use tokio::time::Instant;

use super::receipt::Receipt;
use crate::store::{QueuedMessage, Sequence, Trim};

/// Who waits for a message to be kept, and how urgently.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Settled when the session has it for good.
    pub receipt: Option<Arc<Receipt>>,
    /// Whether it has to be written even if the client may acknowledge it in a moment.
    pub at_once: bool,
    /// Whether its publisher sends it again under the same identifier if that cannot be kept: then one of QoS 2 is not
    /// sent before, even if the session is not kept.
    pub is_remembered: bool,
    /// When it began to wait, in milliseconds since the Unix epoch, if that was not when it was received: a retained message
    /// may be old.
    pub since: Option<u64>,
    /// When it arrived, if how long it takes to be acknowledged is to be measured.
    pub arrived: Option<Instant>,
}

/// What is to be done with the store.
#[derive(Debug)]
pub enum Work {
    /// Keep a message; [`Outbound::handle_written`](super::Outbound::handle_written) is told.
    Write(QueuedMessage),
    /// Tell [`Outbound::handle_written`](super::Outbound::handle_written) when all is kept that belongs to a message which
    /// itself is not.
    Await(Sequence),
    /// Forget a message, whenever it suits.
    Forget(Sequence),
    /// Keep that PUBREC came.
    Release(Sequence),
    /// Load messages; [`Outbound::handle_loaded`](super::Outbound::handle_loaded) is told.
    Load {
        /// From this one on.
        from: Sequence,
        /// Below this one.
        below: Sequence,
    },
    /// Remove messages that are in the store only; [`Outbound::handle_trimmed`](super::Outbound::handle_trimmed) is told.
    Trim {
        /// Of this flow.
        flow: Arc<str>,
        /// From this one on.
        from: Sequence,
        /// Which.
        what: Trim,
    },
    /// Remove all messages of a flow, those that were sent before included; nobody has to be told but who waits.
    Revoke {
        /// Of this flow.
        flow: Arc<str>,
        /// From this one on.
        from: Sequence,
        /// Below this one.
        below: Sequence,
        /// Of QoS 2 messages below this the release stays.
        sent_below: Sequence,
        /// Settled when that is done.
        receipt: Arc<Receipt>,
    },
}
