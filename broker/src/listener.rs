//! Accepts connections and gives each a task of its own, so that no client's handshake delays another's.

use std::{io, sync::Arc, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};

use crate::{connection, shared::Shared};

/// How long to wait when the system has no file descriptor or memory for another connection.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Finds clients that are gone without a word, also those that turned MQTT's Keep Alive off: after a minute of silence the
/// system asks, and gives up after three questions ten seconds apart.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(60))
    .with_interval(Duration::from_secs(10))
    .with_retries(3);

/// Accepts MQTT over TCP until the task is aborted.
pub async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                prepare(&stream);
                let waiting = shared.admission.enter();
                tokio::spawn(connection::serve(Arc::clone(&shared), waiting, stream, peer));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(%error, "cannot accept connections; trying again");
                sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

/// A client can be served without either option, only less well.
fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(stream).set_tcp_keepalive(&KEEPALIVE);
}

/// Whether only the connection that was to be accepted is concerned, not the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
