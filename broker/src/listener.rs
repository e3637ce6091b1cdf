//! Accepts connections and gives each a task of its own, so that no client's handshake delays another's.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::sleep,
};

use crate::{connection, shared::Shared};

/// Room beyond the limit of connections in which a CONNECT is still read, so that it can be answered Server busy.
const ANSWERED_WHEN_FULL: usize = 64;

/// How long to wait when the system has no file descriptor or memory for another connection.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Counts connections.
pub struct Admission {
    places: Arc<Semaphore>,
    refusing: Arc<Semaphore>,
    limit: u32,
}

impl Admission {
    /// For at most `limit` connections.
    pub fn new(limit: usize) -> Self {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX).min(1 << 24);
        Self {
            places: Arc::new(Semaphore::new(limit as usize)),
            refusing: Arc::new(Semaphore::new(ANSWERED_WHEN_FULL)),
            limit,
        }
    }

    /// Waits until no connection is left; nobody is admitted any more.
    pub async fn all_gone(&self) {
        // An error says that the semaphore is closed, which nobody does.
        let _ = self.places.acquire_many(self.limit).await;
    }
}

/// Accepts MQTT over TCP until the task is aborted.
pub async fn accept(shared: Arc<Shared>, admission: Arc<Admission>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let _ = stream.set_nodelay(true);
                admit(&shared, &admission, stream, peer);
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(%error, "cannot accept connections; trying again");
                sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

fn admit(shared: &Arc<Shared>, admission: &Admission, stream: TcpStream, peer: std::net::SocketAddr) {
    let (place, overloaded) = match Arc::clone(&admission.places).try_acquire_owned() {
        Ok(place) => (place, false),
        Err(_) => match Arc::clone(&admission.refusing).try_acquire_owned() {
            Ok(place) => (place, true),
            Err(_) => return,
        },
    };
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        connection::serve(shared, stream, peer, overloaded).await;
        drop(place);
    });
}

/// Whether only the connection that was to be accepted is concerned, not the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
