//! Who may ask: the administrator with a session, or a program with an API token.

mod guard;

pub(super) use guard::{Admin, Metrics, Read, Visitor, Write};

/// What is known of those who may ask.
pub(super) struct Auth {}

impl Auth {
    pub(super) fn new() -> Self {
        Self {}
    }
}
