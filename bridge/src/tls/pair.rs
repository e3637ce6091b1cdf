//! A certificate and a key of the operator, and the CA of client certificates.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tokio_rustls::rustls::{
    self,
    client::verify_server_name,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
    server::ParsedCertificate,
};

use super::{
    TlsError,
    authority::{floor, is_private},
    certificate::{Certificate, day, read_certificates, read_key},
};
use crate::settings::PairFiles;

/// How long before its end the operator is told, if whoever renews it has not done so.
const NOTICE: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// A certificate of the operator, with its key.
pub(super) struct Pair {
    /// The server's certificate first; at least one.
    pub(super) chain: Vec<Certificate>,
    pub(super) key: PrivateKeyDer<'static>,
    cert_path: PathBuf,
    key_path: PathBuf,
}

impl Pair {
    /// Reads both files. Whether they belong together is seen when they are used.
    ///
    /// # Errors
    /// A file that does not exist, cannot be read or holds something else.
    pub(super) fn read(files: &PairFiles) -> Result<Self, TlsError> {
        let PairFiles { cert, key } = files;
        let chain = read_certificates(cert).map_err(|what| of_key("mqtts.cert", cert, &what))?;
        Ok(Self {
            chain,
            key: read_key(key).map_err(|what| of_key("mqtts.key", key, &what))?,
            cert_path: cert.clone(),
            key_path: key.clone(),
        })
    }

    /// What devices have to trust: the self-signed certificate at the end. Without one, they trust its issuer already.
    pub(super) fn root(&self) -> Option<&Certificate> {
        self.chain.last().filter(|last| last.is_signed_by(last))
    }

    /// That it cannot be used now: devices refuse it.
    pub(super) fn fault(&self, now: SystemTime) -> Option<String> {
        let path = self.cert_path.display();
        let expired = |certificate: &&Certificate| certificate.not_after < now;
        if let Some(expired) = self.chain.iter().find(expired) {
            return Some(format!(
                "mqtts.cert: a certificate in {path} was valid until {}: renew it, or take mqtts.cert and mqtts.key out of \
                 server.json for a certificate of the bridge's own",
                day(expired.not_after)
            ));
        }
        let later = self.chain.iter().find(|certificate| now < certificate.not_before)?;
        let clock = if now < floor() { ", which cannot be: set it" } else { "" };
        Some(format!(
            "mqtts.cert: a certificate in {path} is valid from {} on, but the clock says {}{clock}",
            day(later.not_before),
            day(now)
        ))
    }

    /// What the operator should know, and do.
    pub(super) fn notices(&self, host: &str, now: SystemTime) -> Vec<String> {
        // That a group may read it is how services share keys.
        let mut notices: Vec<_> = is_private(&self.key_path, 0o027).err().into_iter().collect();
        let leaf = self.chain.first().filter(|leaf| leaf.not_after < now + NOTICE && now <= leaf.not_after);
        notices.extend(leaf.map(|leaf| {
            format!(
                "mqtts.cert: {} is valid until {}: renew it; the bridge notices the new one by itself",
                self.cert_path.display(),
                day(leaf.not_after)
            )
        }));
        if !self.chain.first().is_some_and(|leaf| is_for(leaf, host)) {
            notices.push(format!(
                "mqtts.cert: {} is not for {host:?}, the host that credential files name: devices refuse it; set host in \
                 server.json to a name of the certificate",
                self.cert_path.display()
            ));
        }
        if self.chain.first().is_some_and(|leaf| leaf.is_ca) {
            notices.push(format!(
                "mqtts.cert: the first certificate in {} is that of a CA, which `ior-bridge pub` and some devices refuse from a \
                 server: use one that a CA has signed",
                self.cert_path.display()
            ));
        }
        notices
    }

    /// Why certificate and key cannot be used together.
    pub(super) fn unusable(&self, error: &rustls::Error) -> TlsError {
        let [cert, key] = [&self.cert_path, &self.key_path].map(|path| path.display());
        TlsError::configured(match error {
            rustls::Error::InconsistentKeys(_) => format!(
                "mqtts.key: {key} is not the key of the first certificate in {cert}: name the key that it was made with; the \
                 server's own certificate comes first in the file, those that lead to its CA behind it"
            ),
            error => format!("mqtts.cert: {cert} cannot be used with the key {key}: {error}"),
        })
    }
}

/// Whether a device that connects to this host accepts the certificate's names.
fn is_for(certificate: &Certificate, host: &str) -> bool {
    let parsed = ParsedCertificate::try_from(&certificate.der);
    let (Ok(parsed), Ok(host)) = (parsed, ServerName::try_from(host)) else { return false };
    verify_server_name(&parsed, &host).is_ok()
}

/// The CA certificates that client certificates must be signed by.
///
/// # Errors
/// As [`Pair::read`].
pub(super) fn read_client_ca(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let of_key = |what: &str| of_key("mqtts.client_ca", path, what);
    let certificates = read_certificates(path).map_err(|what| of_key(&what))?;
    if !certificates.iter().all(|certificate| certificate.is_ca) {
        return Err(of_key(
            "holds a certificate that is none of a CA: name those that sign the devices' certificates",
        ));
    }
    Ok(certificates.into_iter().map(|certificate| certificate.der).collect())
}

fn of_key(key: &str, path: &Path, what: &str) -> TlsError {
    TlsError::configured(format!("{key}: {} {what}", path.display()))
}
