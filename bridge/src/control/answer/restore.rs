use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    sync::oneshot,
    time::timeout,
};

use super::{Answer, hello::hello, send};
use crate::control::Bridge;

/// How long whoever asked may take to replace the files.
const REPLACING: Duration = Duration::from_secs(120);

/// Has the bridge stand still, and start again.
pub struct Pause {
    /// Told once nothing of the bridge works on its files any more.
    pub stopped: oneshot::Sender<()>,
    /// Told, or dropped, when they may be read again.
    pub go_on: oneshot::Receiver<()>,
}

/// Answers when the bridge stands still. It starts again when the asker closes the connection, or is gone.
pub(super) async fn restore(
    bridge: &Bridge,
    mut asker: impl AsyncRead + Unpin,
    out: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let (stopped, has_stopped) = oneshot::channel();
    let (go_on, goes_on) = oneshot::channel();
    let asked = bridge.pauses.send(Pause { stopped, go_on: goes_on }).await;
    if asked.is_err() || has_stopped.await.is_err() {
        return send(out, &Answer::Error("the bridge is stopping".to_owned())).await;
    }
    send(out, &Answer::done(&hello(bridge))).await?;
    let mut end = [0];
    // Whatever comes of it: the bridge starts again.
    let _ = timeout(REPLACING, asker.read(&mut end)).await;
    drop(go_on);
    Ok(())
}
