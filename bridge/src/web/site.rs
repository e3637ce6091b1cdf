//! Where the page is: its listener, which moves while the bridge runs, and the connections of browsers.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use axum::Router;
use hyper::{
    Request,
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

use super::{Web, patience::Patient, places::Places, routes};
use crate::{
    listeners::{ListenError, listen},
    settings::{self, Settings},
};

/// Connections of browsers and programs at once; further ones wait to be accepted. An address has half of them at most.
pub(crate) const CONNECTIONS: usize = 256;
/// How long a client has for its TLS handshake, and for the head of each request; also how long it may be idle.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes that wait in the system to be sent to a client: a page that reads slowly shall fall behind, where it is shown
/// everything anew, rather than hold megabytes of what is over.
const SEND_BUFFER: u32 = 128 << 10;
/// How long a client may take nothing of its answer.
const READING_TIME: Duration = Duration::from_secs(30);
/// Longest head of a request, in bytes.
const MAX_HEAD: usize = 16 << 10;
/// The content type of a TLS record that holds a handshake: how TLS begins.
const TLS_HANDSHAKE: u8 = 22;

/// The TLS configuration for handshakes that begin now.
pub type WebTls = Arc<ArcSwap<ServerConfig>>;

/// The page at its place.
pub struct Site {
    web: Arc<Web>,
    tls: WebTls,
    places: Arc<Places>,
    served: Option<Served>,
    /// Where it is, for others to look at.
    told: Arc<ArcSwap<Option<SocketAddr>>>,
    /// Why it is not where it should be, as it was told last.
    failed: Option<String>,
}

struct Served {
    wanted: SocketAddr,
    address: SocketAddr,
    accept: JoinHandle<()>,
    /// Its connections end when this is dropped.
    _open: watch::Sender<()>,
}

/// How a request came.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    /// Where from.
    pub peer: SocketAddr,
    /// Whether over TLS.
    pub is_secure: bool,
}

impl Site {
    /// Nowhere yet. `told` is kept true.
    pub fn new(web: Arc<Web>, tls: WebTls, told: Arc<ArcSwap<Option<SocketAddr>>>) -> Self {
        let places = Places::new(CONNECTIONS);
        Self { web, tls, places, served: None, told, failed: None }
    }

    /// Goes where the settings say. If it cannot, it stays where it is, and says so once: devices do not need it, so nothing
    /// else fails with it. Whoever was connected where it was has to come again. Call it again to have it tried again.
    pub async fn follow(&mut self, settings: &Settings) {
        let wanted = settings.web.listen;
        if self.served.as_ref().map(|served| served.wanted) == wanted {
            self.failed = None;
            return;
        }
        let moved = self.go_to(wanted).await;
        self.told.store(Arc::new(self.served.as_ref().map(|served| served.address)));
        self.web.live.serve(self.served.is_some());
        let why = moved.err().map(|error| error.to_string());
        if let Some(why) = &why
            && self.failed.as_ref() != Some(why)
        {
            let stays = if self.served.is_some() { "stays where it was" } else { "is off" };
            tracing::error!("{why}; until then the page {stays}, all else goes on");
        }
        self.failed = why;
    }

    /// Ends all connections.
    pub async fn stop(mut self) {
        tokio::join!(self.web.live.stop(), self.web.messages.stop());
        self.close().await;
    }

    async fn go_to(&mut self, wanted: Option<SocketAddr>) -> Result<(), ListenError> {
        let Some(wanted) = wanted else {
            self.close().await;
            return Ok(());
        };
        let opened = match open(wanted) {
            // Its own listener may be in the way.
            Err(_) if self.served.as_ref().is_some_and(|served| served.address.port() == wanted.port()) => {
                let before = self.served.as_ref().map(|served| (served.wanted, served.address));
                self.close().await;
                open(wanted).inspect_err(|_| {
                    if let Some((wanted, address)) = before
                        && let Ok((listener, address)) = open(address)
                    {
                        self.serve(listener, wanted, address);
                    }
                })?
            }
            opened => opened?,
        };
        self.close().await;
        self.serve(opened.0, wanted, opened.1);
        Ok(())
    }

    async fn close(&mut self) {
        if let Some(served) = self.served.take() {
            served.accept.abort();
            // An error says that it was aborted, which is what was asked for.
            let _ = served.accept.await;
        }
    }

    fn serve(&mut self, listener: TcpListener, wanted: SocketAddr, address: SocketAddr) {
        let tls = settings::Web::has_tls(address).then(|| Arc::clone(&self.tls));
        let (open, closed) = watch::channel(());
        let desk = Arc::new(Desk {
            routes: routes::all(Arc::clone(&self.web)),
            moved: routes::moved_to_tls(),
            tls,
            closed,
        });
        let accept = tokio::spawn(accept(listener, desk, Arc::clone(&self.places)));
        self.served = Some(Served { wanted, address, accept, _open: open });
    }
}

fn open(wanted: SocketAddr) -> Result<(TcpListener, SocketAddr), ListenError> {
    listen("web", wanted, Some(SEND_BUFFER))
}

/// What the connections of one listener share.
struct Desk {
    routes: Router,
    /// For clients that should speak TLS and do not.
    moved: Router,
    tls: Option<WebTls>,
    /// Ends when the listener does.
    closed: watch::Receiver<()>,
}

async fn accept(listener: TcpListener, desk: Arc<Desk>, places: Arc<Places>) {
    loop {
        let Some(free) = places.free().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let Some(place) = places.take(free, peer.ip()) else { continue };
                let desk = Arc::clone(&desk);
                tokio::spawn(async move {
                    connection(&desk, stream, peer).await;
                    drop(place);
                });
            }
            // No file descriptor is left, or the client has gone already.
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Serves one connection until it ends, or the listener does.
async fn connection(desk: &Desk, stream: TcpStream, peer: SocketAddr) {
    // Answers are written whole.
    let _ = stream.set_nodelay(true);
    let mut closed = desk.closed.clone();
    let served = async {
        let Some(tls) = &desk.tls else {
            return http(stream, &desk.routes, Origin { peer, is_secure: false }).await;
        };
        let mut first = [0];
        match timeout(PATIENCE, stream.peek(&mut first)).await {
            Ok(Ok(1)) if first == [TLS_HANDSHAKE] => {
                let acceptor = TlsAcceptor::from(tls.load_full());
                if let Ok(Ok(stream)) = timeout(PATIENCE, acceptor.accept(stream)).await {
                    http(stream, &desk.routes, Origin { peer, is_secure: true }).await;
                }
            }
            Ok(Ok(1)) => http(stream, &desk.moved, Origin { peer, is_secure: false }).await,
            _ => {}
        }
    };
    tokio::select! {
        () = served => {}
        // Nothing is ever sent: this is the error that says so.
        _ = closed.changed() => {}
    }
}

async fn http(stream: impl AsyncRead + AsyncWrite + Unpin, routes: &Router, origin: Origin) {
    let routes = TowerToHyperService::new(routes.clone());
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(origin);
        routes.call(request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(Patient::new(stream, READING_TIME)), service);
    // An error says that the client broke HTTP or went: it has been answered, or is gone.
    let _ = served.await;
}
