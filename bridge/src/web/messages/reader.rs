//! What one page is told of the messages of a connection.

use std::{pin::Pin, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, broadcast, broadcast::error::RecvError},
    time::timeout,
};

use super::{Told, View};

/// After so much silence a page is sent a comment, so that whatever is between does not take it for dead.
const SILENCE: Duration = Duration::from_secs(15);
const COMMENT: Bytes = Bytes::from_static(b":\n\n");
const END: Bytes = Bytes::from_static(b"event: end\ndata: {}\n\n");

/// A page that is told messages. One that reads slowly misses some and is told how many.
pub(in crate::web) struct Reader {
    receiver: broadcast::Receiver<Told>,
    /// Messages that there were by what it was told last.
    seen: u64,
    /// When it has no right any more to be told.
    ends: Pin<Box<dyn Future<Output = ()> + Send>>,
    progress: Progress,
    _place: OwnedSemaphorePermit,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    New,
    Open,
    Over,
}

impl Reader {
    pub(super) fn new(
        view: &View,
        place: OwnedSemaphorePermit,
        ends: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        Self {
            receiver: view.sender.subscribe(),
            seen: view.messages,
            ends: Box::pin(ends),
            progress: Progress::New,
            _place: place,
        }
    }

    /// What it is to be sent next, one or more whole server-sent events; `None` if that is nothing any more.
    pub(in crate::web) async fn next(&mut self) -> Option<Bytes> {
        match std::mem::replace(&mut self.progress, Progress::Open) {
            // So that whoever asks knows at once that it is told.
            Progress::New => return Some(COMMENT),
            Progress::Open => {}
            Progress::Over => {
                self.progress = Progress::Over;
                return None;
            }
        }
        loop {
            tokio::select! {
                biased;
                () = &mut self.ends => return self.end(),
                received = timeout(SILENCE, self.receiver.recv()) => match received {
                    Ok(Ok(told)) => return Some(self.take(told)),
                    // What comes next says how many there were.
                    Ok(Err(RecvError::Lagged(_))) => {}
                    Ok(Err(RecvError::Closed)) => return self.end(),
                    Err(_) => return Some(COMMENT),
                },
            }
        }
    }

    fn take(&mut self, told: Told) -> Bytes {
        let left_out = told.messages - self.seen - told.shown;
        self.seen = told.messages;
        if left_out == 0 {
            return told.text;
        }
        let note = format!("event: left_out\ndata: {{\"count\":{left_out}}}\n\n");
        [&told.text, note.as_bytes()].concat().into()
    }

    fn end(&mut self) -> Option<Bytes> {
        self.progress = Progress::Over;
        Some(END)
    }
}
