//! TLS for a client that has none: it connects to a Unix socket that only this process can reach, and what it says there
//! goes on to the broker with TLS.

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::client::CONNECT_TIMEOUT;

/// The certificates that the system trusts, on Debian and what descends from it.
const SYSTEM_TRUST: &str = "/etc/ssl/certs/ca-certificates.crt";

/// A way in, as long as it is not dropped.
pub(super) struct Tunnel {
    _dir: TempDir,
    entrance: PathBuf,
    failure: Arc<Mutex<Option<io::Error>>>,
    open: watch::Receiver<usize>,
    accept: AbortHandle,
}

/// Where it leads.
struct Exit {
    host: String,
    port: u16,
    name: ServerName<'static>,
    connector: TlsConnector,
}

impl Tunnel {
    /// To a broker whose certificate `ca` signed, PEM, or somebody whom the system trusts; it must be for `host`.
    ///
    /// # Errors
    /// What is wrong with the CA or the host name, or no socket can be made.
    pub(super) fn open(host: &str, port: u16, ca: Option<&str>) -> io::Result<Self> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| io::Error::other(format!("`{host}` is neither a host name nor an address")))?;
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(trusted(ca)?)
            .with_no_client_auth();
        let exit = Exit { host: host.to_owned(), port, name, connector: Arc::new(config).into() };

        // A directory that only its owner can look into.
        let dir = tempfile::Builder::new().prefix("ior-bridge-").tempdir()?;
        let entrance = dir.path().join("mqtt");
        let listener = UnixListener::bind(&entrance)?;
        let failure = Arc::new(Mutex::new(None));
        let (count, open) = watch::channel(0);
        let accept =
            tokio::spawn(accept(listener, Arc::new(exit), Arc::clone(&failure), count)).abort_handle();
        Ok(Self { _dir: dir, entrance, failure, open, accept })
    }

    /// The path of the socket.
    pub(super) fn entrance(&self) -> String {
        self.entrance.to_string_lossy().into_owned()
    }

    /// Why the last connection through it broke, if it did and this was not asked yet.
    pub(super) fn failure(&self) -> Option<io::Error> {
        self.failure.lock().take()
    }

    /// Waits until all has left that went in, and whoever went in is out.
    pub(super) async fn drained(&self) {
        // An error says that nobody accepts any more, and nothing is under way.
        let _ = self.open.clone().wait_for(|open| *open == 0).await;
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

/// Who goes in is carried until this is aborted.
async fn accept(
    listener: UnixListener,
    exit: Arc<Exit>,
    failure: Arc<Mutex<Option<io::Error>>>,
    open: watch::Sender<usize>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((mut client, _)) = accepted else { return };
                open.send_modify(|open| *open += 1);
                let (exit, failure) = (Arc::clone(&exit), Arc::clone(&failure));
                connections.spawn(async move {
                    // Told before the client sees its connection end.
                    if let Err(error) = exit.carry(&mut client).await {
                        *failure.lock() = Some(error);
                    }
                    drop(client);
                });
            }
            Some(_) = connections.join_next() => open.send_modify(|open| *open -= 1),
        }
    }
}

impl Exit {
    async fn carry(&self, client: &mut UnixStream) -> io::Result<()> {
        let mut broker =
            timeout(CONNECT_TIMEOUT, self.connect()).await.map_err(|_| ErrorKind::TimedOut)??;
        match copy_bidirectional(client, &mut broker).await {
            // That a connection ended is what the client notices too.
            Err(error) if is_end(&error) => Ok(()),
            other => other.map(drop),
        }
    }

    async fn connect(&self) -> io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        self.connector.connect(self.name.clone(), stream).await.map_err(|error| match is_end(&error) {
            true => io::Error::other("it ended the TLS handshake; is this the port of `mqtts.listen`?"),
            false => error,
        })
    }
}

fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

fn trusted(ca: Option<&str>) -> io::Result<RootCertStore> {
    let system;
    let pem = match ca {
        Some(ca) => ca.as_bytes(),
        None => {
            let unread = |error| io::Error::other(format!("{SYSTEM_TRUST} cannot be read: {error}"));
            system = std::fs::read(SYSTEM_TRUST).map_err(unread)?;
            &system
        }
    };
    let certificates = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates);
    if roots.is_empty() {
        return Err(io::Error::other("`ca` holds no certificate in PEM form"));
    }
    Ok(roots)
}
