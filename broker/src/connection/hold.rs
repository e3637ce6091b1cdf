//! Back pressure for a client whose name publishes more than it may.

use std::{
    future::Future,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep_until},
};

use super::Connection;

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<'_, S> {
    /// Whether the client's name has published as much as it may for now: then nothing is read for a while, and the
    /// PUBLISH that came waits with all behind it.
    pub(super) fn is_held(&mut self, now: Instant) -> bool {
        let Some(allowance) = &self.allowance else { return false };
        let mut allowance = allowance.lock();
        let Some((until, limit)) = allowance.held_until(&self.limits, now) else { return false };
        if allowance.tell_once() {
            self.shared.tell_limited(&self.session.name, limit);
        } else {
            self.shared.counters.limits.count(limit);
        }
        self.hold = Some(Box::pin(sleep_until(until)));
        true
    }

    /// Ready when the client may be read from again.
    pub(super) fn poll_hold(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(hold) = &mut self.hold {
            ready!(hold.as_mut().poll(cx));
            self.hold = None;
            // Nothing could be heard meanwhile.
            if let Some(keep_alive) = &mut self.keep_alive {
                keep_alive.heard(Instant::now());
            }
        }
        Poll::Ready(())
    }
}
