//! What one page is sent.

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, broadcast, broadcast::error::RecvError, watch},
    task::block_in_place,
    time::timeout,
};

use super::Live;

/// After so much silence a page is sent a comment, so that whatever is between does not take it for dead.
const SILENCE: Duration = Duration::from_secs(15);
const COMMENT: Bytes = Bytes::from_static(b":\n\n");
const STOPPING: Bytes = Bytes::from_static(b"event: stopping\ndata: {}\n\n");

/// A page that is open. One that reads slowly misses changes, and is then shown everything anew.
pub(in crate::web) struct Page {
    live: Arc<Live>,
    /// To be sent first.
    state: Option<Bytes>,
    receiver: broadcast::Receiver<Bytes>,
    stopping: watch::Receiver<bool>,
    /// When it has no right any more to be told.
    ends: Pin<Box<dyn Future<Output = ()> + Send>>,
    is_over: bool,
    _place: OwnedSemaphorePermit,
}

impl Page {
    pub(super) fn new(
        live: Arc<Live>,
        place: OwnedSemaphorePermit,
        ends: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let (state, receiver) = live.join();
        Self {
            state: Some(state),
            receiver,
            stopping: live.stopping.subscribe(),
            ends: Box::pin(ends),
            is_over: false,
            live,
            _place: place,
        }
    }

    /// What it is to be sent next, one or more whole server-sent events; `None` if that is nothing any more.
    pub(in crate::web) async fn next(&mut self) -> Option<Bytes> {
        if self.is_over {
            return None;
        }
        if self.state.is_some() {
            return self.state.take();
        }
        tokio::select! {
            biased;
            () = &mut self.ends => None,
            // An error says that nobody can tell any more, which happens at the end only.
            _ = self.stopping.wait_for(|stops| *stops) => {
                self.is_over = true;
                Some(STOPPING)
            }
            received = timeout(SILENCE, self.receiver.recv()) => match received {
                Ok(Ok(told)) => Some(told),
                Ok(Err(RecvError::Lagged(_))) => {
                    let (state, receiver) = self.live.join();
                    self.receiver = receiver;
                    Some(state)
                }
                Ok(Err(RecvError::Closed)) => None,
                Err(_) => Some(COMMENT),
            },
        }
    }
}

impl Live {
    /// Everything, and what is told from then on.
    fn join(&self) -> (Bytes, broadcast::Receiver<Bytes>) {
        block_in_place(|| {
            let mut looker = self.looker.lock();
            let moment = self.current(&mut looker);
            let receiver = self.sender.subscribe();
            // It is large, and others need not wait until it is written.
            drop(looker);
            (moment.frame(), receiver)
        })
    }
}
