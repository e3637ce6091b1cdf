//! Accepts connections and gives each a task of its own, so that no client's handshake delays another's.

use std::{io, sync::Arc, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout_at},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    admission::Waiting,
    codec::ReasonCode,
    connection::{self, Arrival},
    shared::Shared,
    transport::{Channel, Tls, Transport},
};

/// How long to wait when the system has no file descriptor or memory for another connection.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Finds clients that are gone without a word, also those that turned MQTT's Keep Alive off: after a minute of silence the
/// system asks, and gives up after three questions ten seconds apart.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(60))
    .with_interval(Duration::from_secs(10))
    .with_retries(3);

/// Accepts connections until the task is aborted.
pub async fn accept(shared: Arc<Shared>, listener: TcpListener, transport: Transport) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                prepare(&stream);
                let limits = shared.limits.load();
                let waiting = shared.admission.enter(limits.logins);
                let due = Instant::now() + limits.connect_timeout;
                let arrival = Arrival { peer, channel: Channel::Tcp, due };
                match transport.clone() {
                    Transport::Tcp => {
                        tokio::spawn(connection::serve(Arc::clone(&shared), waiting, stream, arrival));
                    }
                    Transport::Tls(tls) => {
                        tokio::spawn(serve_tls(Arc::clone(&shared), waiting, stream, arrival, tls));
                    }
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(%error, "cannot accept connections; trying again");
                sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

async fn serve_tls(shared: Arc<Shared>, waiting: Waiting, stream: TcpStream, arrival: Arrival, tls: Tls) {
    let handshake = timeout_at(arrival.due, TlsAcceptor::from(tls.current()).accept(stream));
    let outcome = tokio::select! {
        outcome = handshake => outcome,
        () = waiting.must_give_way() => {
            let detail = "it did not end its TLS handshake while others wanted to log in";
            return shared.tell_refused(arrival.peer, None, ReasonCode::ProtocolError, detail);
        }
    };
    match outcome {
        Ok(Ok(stream)) => {
            let arrival = Arrival { channel: Channel::Tls, ..arrival };
            connection::serve(shared, waiting, stream, arrival).await;
        }
        Ok(Err(error)) => {
            let detail = format!("the TLS handshake failed: {error}");
            shared.tell_refused(arrival.peer, None, ReasonCode::ProtocolError, &detail);
        }
        Err(_) => {
            let detail = "its TLS handshake took too long";
            shared.tell_refused(arrival.peer, None, ReasonCode::ProtocolError, detail);
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
