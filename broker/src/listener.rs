//! Accepts connections and gives each a task of its own, so that no client's handshake delays another's.

use std::{
    io,
    net::{Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, duplex},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout_at},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    admission::Waiting,
    codec::ReasonCode,
    connection::{self, Arrival},
    handshake::{self, TLS_HANDSHAKE},
    limits::Limit,
    shared::Shared,
    transport::{Channel, Tls, Transport},
    websocket::{self, WebSocket},
};

/// How long to wait when the system has no file descriptor or memory for another connection.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// How long that is not said again.
const EXHAUSTED_QUIET: Duration = Duration::from_secs(10);

/// Bytes that may be on their way to and from a client within the process, each.
const INSIDE: usize = 16 << 10;

/// Finds clients that are gone without a word, also those that turned MQTT's Keep Alive off: after a minute of silence the
/// system asks, and gives up after three questions ten seconds apart.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(60))
    .with_interval(Duration::from_secs(10))
    .with_retries(3);

/// Accepts connections until the task is aborted.
pub async fn accept(shared: Arc<Shared>, listener: TcpListener, transport: Transport) {
    let mut told: Option<Instant> = None;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let limits = shared.limits.load();
                let now = Instant::now();
                let most = limits.connections_per_address;
                let Some(place) = shared.addresses.enter(peer.ip(), most, now) else {
                    turn_away(&shared, peer);
                    continue;
                };
                prepare(&stream);
                let waiting = shared.admission.enter(limits.logins);
                let due = now + limits.connect_timeout;
                let arrival = Arrival { peer, channel: Channel::Tcp, due, place: Arc::new(place) };
                let newcomer = Newcomer { shared: Arc::clone(&shared), waiting, arrival };
                match transport.clone() {
                    Transport::Tcp => tokio::spawn(newcomer.serve(stream)),
                    Transport::Tls(tls) => tokio::spawn(newcomer.serve_tls(stream, tls)),
                    Transport::WebSocket { path, tls } => {
                        tokio::spawn(newcomer.serve_websocket(stream, path, tls))
                    }
                };
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                if told.is_none_or(|told| told.elapsed() >= EXHAUSTED_QUIET) {
                    told = Some(Instant::now());
                    tracing::error!(
                        "cannot accept connections: {error}; trying again. If too many files are open, raise the limit of \
                         open files (LimitNOFILE= of the service), or lower limits.connections"
                    );
                }
                sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

/// Connects a client within the process.
pub fn connect_inside(shared: &Arc<Shared>) -> DuplexStream {
    let (ours, theirs) = duplex(INSIDE);
    let (peer, now) = (SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)), Instant::now());
    let limits = shared.limits.load();
    // With 0 there is always a place, so the client is connected.
    if let Some(place) = shared.addresses.enter(peer.ip(), 0, now) {
        let due = now + limits.connect_timeout;
        let arrival = Arrival { peer, channel: Channel::Inside, due, place: Arc::new(place) };
        // Nobody has to make room for it.
        let waiting = shared.admission.enter(usize::MAX);
        let newcomer = Newcomer { shared: Arc::clone(shared), waiting, arrival };
        tokio::spawn(newcomer.serve(Box::new(theirs) as Box<dyn Stream>));
    }
    ours
}

/// Whoever has connected. Each step on its way to the CONNECT is taken in its own task, in time, and gives way when others
/// want to log in.
struct Newcomer {
    shared: Arc<Shared>,
    waiting: Waiting,
    arrival: Arrival,
}

/// What carries MQTT other than TCP: behind a pointer, so that there is one such connection task for all, and a small one.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Newcomer {
    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(self, stream: S) {
        connection::serve(self.shared, self.waiting, stream, self.arrival).await;
    }

    async fn serve_tls(mut self, stream: TcpStream, tls: Tls) {
        match self.shake_hands(stream, &tls).await {
            Ok(stream) => {
                self.arrival.channel = Channel::Tls;
                self.serve(Box::new(stream) as Box<dyn Stream>).await;
            }
            Err(detail) => self.tell_refused(&detail),
        }
    }

    async fn serve_websocket(mut self, stream: TcpStream, path: Arc<str>, tls: Option<Tls>) {
        self.arrival.channel = Channel::WebSocket;
        let mut stream = match self.take_off_tls(stream, tls).await {
            Ok(stream) => stream,
            Err(detail) => return self.tell_refused(&detail),
        };
        match self.step("WebSocket handshake", websocket::upgrade(&mut stream, &path)).await {
            Ok(Ok(ahead)) => {
                self.serve(Box::new(WebSocket::new(stream, ahead)) as Box<dyn Stream>).await;
            }
            Ok(Err(refused)) => {
                self.tell_refused(&refused.detail);
                connection::turn_away(&self.waiting, stream, refused.answer).await;
            }
            Err(detail) => self.tell_refused(&detail),
        }
    }

    /// With a TLS handshake if its first byte is that of one.
    async fn take_off_tls(&mut self, stream: TcpStream, tls: Option<Tls>) -> Result<Box<dyn Stream>, String> {
        let Some(tls) = tls else { return Ok(Box::new(stream)) };
        let mut first = [0];
        let peeked = self.step("TLS or WebSocket handshake", stream.peek(&mut first)).await?;
        peeked.map_err(|error| format!("reading failed: {error}"))?;
        if first != [TLS_HANDSHAKE] {
            return Ok(Box::new(stream));
        }
        self.arrival.channel = Channel::WebSocketTls;
        Ok(Box::new(self.shake_hands(stream, &tls).await?))
    }

    async fn shake_hands(&self, stream: TcpStream, tls: &Tls) -> Result<TlsStream<TcpStream>, String> {
        let handshake = TlsAcceptor::from(tls.current()).accept(stream);
        let outcome = self.step("TLS handshake", handshake).await?;
        outcome.map_err(|error| handshake::why(&error))
    }

    async fn step<T>(&self, name: &str, step: impl Future<Output = T>) -> Result<T, String> {
        tokio::select! {
            outcome = timeout_at(self.arrival.due, step) => {
                outcome.map_err(|_| {
                    self.shared.counters.limits.count(Limit::ConnectTimeout);
                    format!("its {name} took longer than limits.connect_timeout")
                })
            }
            () = self.waiting.must_give_way() => {
                Err(format!("it did not end its {name} while others wanted to log in"))
            }
        }
    }

    fn tell_refused(&self, detail: &str) {
        self.shared.tell_refused(self.arrival.peer, None, ReasonCode::ProtocolError, detail);
    }
}

/// Its socket is closed at once: an answer would cost more than the limit spares.
fn turn_away(shared: &Shared, peer: SocketAddr) {
    let detail = "its address has limits.connections_per_address connections already";
    shared.counters.limits.count(Limit::ConnectionsPerAddress);
    shared.tell_refused(peer, None, ReasonCode::QuotaExceeded, detail);
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
