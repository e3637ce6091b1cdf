//! TLS for clients that have none, a look at what a server shows, and certificates as operators have them.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    },
};

/// How a client uses TLS.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The CA that it trusts, a PEM file.
    pub ca: PathBuf,
    /// Its own certificate and key, PEM files.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// A port on loopback that leads to a server with TLS: for clients that have none.
pub struct Tunnel {
    /// Where clients connect.
    pub addr: SocketAddr,
    /// Ends the tunnel when it is dropped.
    _runtime: Runtime,
}

/// A CA that a test makes.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// PEM.
    pub pem: String,
}

/// A certificate and its key, PEM.
pub struct Pair {
    /// The certificate alone.
    pub cert: String,
    /// The key.
    pub key: String,
}

impl Tunnel {
    /// To a server that must show a certificate for `host` that the CA has signed.
    pub fn open(server: SocketAddr, host: &str, ca_pem: &str) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let addr = listener.local_addr().unwrap();
        let (connector, name) = (connector(ca_pem), name(host));
        runtime.spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (connector, name) = (connector.clone(), name.clone());
                tokio::spawn(async move {
                    // An error ends both connections, which is what its test sees of it.
                    let _ = client.set_nodelay(true);
                    if let Ok(mut server) = shake_hands(&connector, server, name).await {
                        drop(copy_bidirectional(&mut client, &mut server).await);
                    }
                });
            }
        });
        Self { addr, _runtime: runtime }
    }
}

/// The certificate (DER) that a server shows to a client that trusts this CA and wants this host.
///
/// # Errors
/// The handshake's.
pub fn shown(server: SocketAddr, host: &str, ca_pem: &str) -> io::Result<Vec<u8>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stream = runtime.block_on(shake_hands(&connector(ca_pem), server, name(host)))?;
    let (_, connection) = stream.get_ref();
    Ok(connection.peer_certificates().unwrap()[0].to_vec())
}

impl Authority {
    /// A new one.
    pub fn new(common_name: &str) -> Self {
        let mut params = params(common_name, 365);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for a server or client of this name, which is valid for so many days.
    pub fn sign(&self, name: &str, days: i64) -> Pair {
        let mut params = params(name, days);
        params.subject_alt_names = CertificateParams::new([name.to_owned()]).unwrap().subject_alt_names;
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().unwrap();
        Pair { cert: params.signed_by(&key, &self.issuer).unwrap().pem(), key: key.serialize_pem() }
    }
}

impl Pair {
    /// The certificate as it is sent.
    pub fn der(&self) -> Vec<u8> {
        CertificateDer::from_pem_slice(self.cert.as_bytes()).unwrap().to_vec()
    }

    /// Writes `<name>.crt`, with `behind` behind the certificate, and `<name>.key` into a directory.
    pub fn write(&self, dir: &Path, name: &str, behind: &str) -> (PathBuf, PathBuf) {
        assert!(PrivateKeyDer::from_pem_slice(self.key.as_bytes()).is_ok());
        let [cert, key] = ["crt", "key"].map(|extension| dir.join(format!("{name}.{extension}")));
        std::fs::write(&cert, format!("{}{behind}", self.cert)).unwrap();
        std::fs::write(&key, &self.key).unwrap();
        (cert, key)
    }
}

fn params(common_name: &str, days: i64) -> CertificateParams {
    const DAY: i64 = 24 * 60 * 60;
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let at = |seconds: i64| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds as u64);
    params.not_before = at(now - 400 * DAY);
    params.not_after = at(now + days * DAY);
    params
}

async fn shake_hands(
    connector: &TlsConnector,
    server: SocketAddr,
    name: ServerName<'static>,
) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    connector.connect(name, stream).await
}

fn connector(ca_pem: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(ca_pem.as_bytes()).map(Result::unwrap));
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config).into()
}

fn name(host: &str) -> ServerName<'static> {
    ServerName::try_from(host.to_owned()).unwrap()
}
