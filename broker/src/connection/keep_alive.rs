//! Keep Alive `[MQTT-3.1.2-22]`: a client that is silent for one and a half times its interval is gone.

use std::time::Duration;

use tokio::time::Instant;

/// The Keep Alive of one connection. Without timers: it is told the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    silence: Duration,
    last_heard: Instant,
}

impl KeepAlive {
    /// For an interval in seconds; `None` for 0, which turns it off.
    pub fn new(seconds: u16, now: Instant) -> Option<Self> {
        (seconds > 0)
            .then(|| Self { silence: Duration::from_millis(u64::from(seconds) * 1500), last_heard: now })
    }

    /// Something arrived.
    pub fn heard(&mut self, now: Instant) {
        self.last_heard = now;
    }

    /// When the client is gone if nothing arrives until then.
    pub fn poll_timeout(&self) -> Instant {
        self.last_heard + self.silence
    }
}
