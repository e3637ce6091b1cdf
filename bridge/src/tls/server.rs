//! The server certificate that the own CA signs: kept on disk, and renewed by itself.

use std::{
    collections::BTreeSet,
    fs,
    io::ErrorKind,
    path::Path,
    time::{Duration, SystemTime},
};

use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use zeroize::Zeroizing;

use super::{
    TlsError,
    authority::{Authority, CA_DIR},
    certificate::{self, Certificate, day},
    names::Name,
};
use crate::{secrets::write_private, storage::advice};

/// Certificate and key in one file, so that nothing can part them; in [`CA_DIR`].
const SERVER_FILE: &str = "server.pem";

/// A new certificate has to last for so much longer than the old one to be worth it.
const WORTH_IT: Duration = Duration::from_secs(24 * 60 * 60);

/// A server certificate with its key.
pub(super) struct Server {
    pub(super) certificate: Certificate,
    pub(super) key: PrivateKeyDer<'static>,
    /// Why it was made just now, if it was.
    pub(super) renewed: Option<String>,
}

impl Server {
    /// The one on disk, or a new one if that one should not be shown any more.
    ///
    /// # Errors
    /// A new one cannot be made or written.
    pub(super) fn load_or_renew(
        data_dir: &Path,
        authority: &Authority,
        names: &BTreeSet<Name>,
        host: &str,
        now: SystemTime,
    ) -> Result<Self, TlsError> {
        let path = data_dir.join(CA_DIR).join(SERVER_FILE);
        let found = fs::read(&path).map(Zeroizing::new);
        let why = match &found {
            Ok(pem) => match Self::parse(pem) {
                Ok(server) => match due(&server.certificate, authority, names, now) {
                    None => return Ok(server),
                    Some(why) => why,
                },
                Err(what) => format!("{} {what}", path.display()),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => "there was none".to_owned(),
            Err(error) => format!("{} cannot be read: {error}", path.display()),
        };
        let issued = authority.issue(names, host, now);
        let issued =
            issued.map_err(|error| TlsError::own(format!("cannot make a server certificate: {error}")))?;
        let pem = Zeroizing::new(format!("{}{}", issued.certificate, *issued.key));
        write_private(&path, pem.as_bytes(), true).map_err(|error| {
            TlsError::own(format!("{} cannot be written: {error}; {}", path.display(), advice(&error)))
        })?;
        let server = Self::parse(pem.as_bytes())
            .map_err(|what| TlsError::own(format!("the new server certificate {what}")))?;
        Ok(Self { renewed: Some(why), ..server })
    }

    /// The one on disk as it is, for whoever only wants to know.
    pub(super) fn peek(data_dir: &Path) -> Option<Certificate> {
        let pem = fs::read(data_dir.join(CA_DIR).join(SERVER_FILE)).map(Zeroizing::new).ok()?;
        Self::parse(&pem).ok().map(|server| server.certificate)
    }

    fn parse(pem: &[u8]) -> Result<Self, String> {
        let certificate = certificate::certificates(pem)?.swap_remove(0);
        Ok(Self { certificate, key: certificate::key(pem)?, renewed: None })
    }
}

/// Why a certificate should be replaced, if it should.
fn due(
    certificate: &Certificate,
    authority: &Authority,
    names: &BTreeSet<Name>,
    now: SystemTime,
) -> Option<String> {
    if !certificate.is_signed_by(&authority.certificate) {
        return Some("the old one was signed by another CA".to_owned());
    }
    // One that is not used any more does no harm, and addresses come and go.
    let new: Vec<_> = names.difference(&certificate.names).map(Name::to_string).collect();
    if !new.is_empty() {
        return Some(format!("this machine is now also {}", new.join(", ")));
    }
    if now < authority.earliest() {
        // Whatever the clock says, it was later than this when the certificate was made.
        return None;
    }
    if now < certificate.not_before {
        return Some(format!(
            "the old one begins on {}, later than the clock says",
            day(certificate.not_before)
        ));
    }
    let life = certificate.not_after.duration_since(certificate.not_before).unwrap_or_default();
    let left = certificate.not_after.duration_since(now).unwrap_or_default();
    let (_, end) = authority.life(now);
    (left < life / 3 && end > certificate.not_after + WORTH_IT)
        .then(|| format!("the old one is valid until {}", day(certificate.not_after)))
}
