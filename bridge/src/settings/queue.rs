use std::{ops::RangeInclusive, time::Duration};

use super::WhenFull;

const GIB: usize = 1 << 30;

/// Possible numbers of messages that wait.
pub(crate) const MAX_MESSAGES: RangeInclusive<usize> = 1..=100_000_000;
/// Possible bytes of the messages that wait.
pub(crate) const MAX_BYTES: RangeInclusive<usize> = 1024..=GIB.saturating_mul(64);
/// Possible ages of a message that waits, in seconds; 0 is no limit.
pub(crate) const MAX_AGE: RangeInclusive<u64> = 0..=3650 * 24 * 60 * 60;
/// The words for what happens to a message that has no more room.
pub(crate) const WHEN_FULL: [(&str, WhenFull); 2] =
    [("reject", WhenFull::Reject), ("drop_oldest", WhenFull::DropOldest)];

/// What a connection says about the QoS 1 and 2 messages that wait for one of its ends, each direction for itself. What
/// it leaves out is as [`super::Limits`] says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OwnQueue {
    /// Most messages.
    pub max_messages: Option<usize>,
    /// Most bytes.
    pub max_bytes: Option<usize>,
    /// How long a message waits; zero for as long as the session lasts.
    pub max_age: Option<Duration>,
    /// What happens to a message that has no more room.
    pub when_full: Option<WhenFull>,
}
