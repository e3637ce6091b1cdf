//! What the running bridge answers.

mod backup;
mod hello;
mod restore;
mod store;
mod watch;

use std::{io, time::Duration};

pub use backup::Backup;
pub use hello::{Hello, absolute};
pub use restore::Pause;
pub use store::StoreContents;

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::SemaphorePermit,
    task::block_in_place,
    time::timeout,
};

use super::{
    Request,
    server::{Asker, Desk},
};
use crate::report::Status;

/// How long an asker has to take its answer.
const TAKING_TIME: Duration = Duration::from_secs(30);

/// The line that answers a request.
#[derive(Debug, serde::Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It was done.
    Done(Box<RawValue>),
    /// It was not done: why, and what to do.
    Error(String),
}

impl Answer {
    fn done(report: &impl Serialize) -> Self {
        match serde_json::value::to_raw_value(report) {
            Ok(report) => Self::Done(report),
            Err(error) => Self::Error(format!("the answer cannot be written: {error}")),
        }
    }

    fn of<T: Serialize>(result: Result<T, String>) -> Self {
        match result {
            Ok(report) => Self::done(&report),
            Err(error) => Self::Error(error),
        }
    }
}

/// Answers one request, until that is done or the asker is gone.
pub(super) async fn answer(
    desk: &Desk,
    request: Request,
    place: SemaphorePermit<'_>,
    asker: Asker,
    out: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let bridge = &desk.bridge;
    match request {
        Request::Hello => send(out, &Answer::done(&hello::hello(bridge))).await,
        Request::Status => send(out, &Answer::done(&block_in_place(|| Status::of(bridge)))).await,
        Request::Watch(filter) => {
            // There are others for those who stay.
            drop(place);
            watch::watch(desk, filter, asker, out).await
        }
        Request::Backup => backup::backup(bridge, out).await,
        Request::Restore => restore::restore(bridge, asker, out).await,
        Request::Store => send(out, &Answer::of(store::contents(bridge).await)).await,
        Request::Reload => send(out, &Answer::of(bridge.reload.reload().await)).await,
    }
}

/// Writes one line, in time.
pub(super) async fn send(out: &mut (impl AsyncWrite + Unpin), answer: &Answer) -> io::Result<()> {
    match timeout(TAKING_TIME, write(out, answer)).await {
        Ok(written) => written,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Writes one line, however long the asker takes.
async fn write(out: &mut (impl AsyncWrite + Unpin), answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    out.write_all(&line).await?;
    out.flush().await
}
