//! What the running bridge answers.

mod backup;
mod hello;
mod restore;
mod store;

pub use backup::Backup;
pub use hello::{Hello, absolute};
pub use restore::Pause;
pub(super) use restore::restore;
pub use store::StoreContents;

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::{Bridge, Request};

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
    bridge: &Bridge,
    request: Request,
    out: &mut (impl AsyncWrite + Unpin),
) -> std::io::Result<()> {
    match request {
        Request::Hello => send(out, &Answer::done(&hello::hello(bridge))).await,
        Request::Backup => backup::backup(bridge, out).await,
        Request::Store => send(out, &Answer::of(store::contents(bridge).await)).await,
        // Its asker has to be listened to as well.
        Request::Restore => Ok(()),
        Request::Reload => send(out, &Answer::of(bridge.reload.reload().await)).await,
    }
}

/// Writes one line.
pub(super) async fn send(out: &mut (impl AsyncWrite + Unpin), answer: &Answer) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    out.write_all(&line).await?;
    out.flush().await
}
