//! What a session wants done with the store, and why.

use std::sync::Arc;

use super::receipt::Receipt;
use crate::store::{QueuedMessage, Sequence, Trim};

/// Who waits for a message to be kept, and how urgently.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Settled when the session has it for good.
    pub receipt: Option<Arc<Receipt>>,
    /// Whether it has to be written even if the client may acknowledge it in a moment.
    pub at_once: bool,
}

/// What is to be done with the store.
#[derive(Debug)]
pub enum Work {
    /// Keep a message; [`Outbound::handle_written`](super::Outbound::handle_written) is told.
    Write(QueuedMessage),
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
}
