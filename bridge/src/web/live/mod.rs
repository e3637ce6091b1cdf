//! What pages are shown while it happens, and what they are shown of the last hour.

/// What is looked at for all pages together.
pub(super) struct Live {}

impl Live {
    pub(super) fn new() -> Self {
        Self {}
    }
}
