//! What certificates and keys in PEM files say.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, ErrorKind, Read},
    net::IpAddr,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use x509_parser::{extensions::GeneralName, parse_x509_certificate, time::ASN1Time};

use zeroize::Zeroizing;

use super::names::Name;

/// The largest PEM file that is read, in bytes.
const MAX_SIZE: u64 = 1 << 20;

/// A certificate, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Certificate {
    pub(super) der: CertificateDer<'static>,
    pub(super) names: BTreeSet<Name>,
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
    pub(super) is_ca: bool,
}

impl Certificate {
    /// `None` if it is none.
    pub(super) fn parse(der: CertificateDer<'static>) -> Option<Self> {
        let (rest, parsed) = parse_x509_certificate(&der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let names = parsed.subject_alternative_name().ok()?;
        let names = names.iter().flat_map(|extension| &extension.value.general_names);
        Some(Self {
            names: names.filter_map(name).collect(),
            not_before: system_time(parsed.validity().not_before),
            not_after: system_time(parsed.validity().not_after),
            is_ca: parsed.is_ca(),
            der,
        })
    }

    /// Whether the other one's key signed this one.
    pub(super) fn is_signed_by(&self, issuer: &Self) -> bool {
        let parsed = [self, issuer].map(|certificate| parse_x509_certificate(&certificate.der));
        let [Ok((_, own)), Ok((_, issuer))] = parsed else { return false };
        own.issuer() == issuer.subject() && own.verify_signature(Some(issuer.public_key())).is_ok()
    }

    /// PEM.
    pub(super) fn to_pem(&self) -> String {
        let base64 = STANDARD.encode(&self.der);
        let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
        let mut rest = base64.as_str();
        while let Some((line, further)) = rest.split_at_checked(64) {
            pem.extend([line, "\n"]);
            rest = further;
        }
        pem.extend([rest, if rest.is_empty() { "" } else { "\n" }, "-----END CERTIFICATE-----\n"]);
        pem
    }
}

/// All certificates of a PEM file, at least one.
///
/// # Errors
/// What is wrong with the file, as the end of a sentence that begins with its name.
pub(super) fn read_certificates(path: &Path) -> Result<Vec<Certificate>, String> {
    certificates(&read(path)?)
}

/// All certificates of a PEM text, at least one.
///
/// # Errors
/// As [`read_certificates`].
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<Certificate>, String> {
    let mut certificates = Vec::new();
    for der in CertificateDer::pem_slice_iter(pem) {
        let der = der.map_err(|_| "is damaged: a certificate in it is cut off or not base64".to_owned())?;
        let certificate = Certificate::parse(der);
        certificates.push(certificate.ok_or("holds a certificate that cannot be understood")?);
    }
    if certificates.is_empty() {
        return Err("holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)".to_owned());
    }
    Ok(certificates)
}

/// The private key of a PEM file.
///
/// # Errors
/// As [`read_certificates`].
pub(super) fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    key(&read(path)?)
}

/// The private key of a PEM text.
///
/// # Errors
/// As [`read_certificates`].
pub(super) fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    const ENCRYPTED: &[u8] = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| {
        if pem.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED) {
            "is protected by a password: take it off with `openssl pkey -in OLD -out NEW`".to_owned()
        } else {
            "holds no private key in PEM form (-----BEGIN PRIVATE KEY-----), or is damaged".to_owned()
        }
    })
}

/// A day, for people.
pub(super) fn day(time: SystemTime) -> String {
    let mut text = humantime::format_rfc3339_seconds(time).to_string();
    text.truncate("2026-01-01".len());
    text
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let unread = |error: io::Error| match error.kind() {
        ErrorKind::NotFound => "does not exist".to_owned(),
        ErrorKind::PermissionDenied => {
            "may not be read by this user: give its group to the bridge's user, and run chmod 640".to_owned()
        }
        _ => format!("cannot be read: {error}"),
    };
    // Opening a pipe would wait for somebody who writes to it.
    if !fs::metadata(path).map_err(unread)?.is_file() {
        return Err("is not a file".to_owned());
    }
    let mut contents = Zeroizing::new(Vec::new());
    File::open(path).and_then(|file| file.take(MAX_SIZE + 1).read_to_end(&mut contents)).map_err(unread)?;
    match contents.len() as u64 > MAX_SIZE {
        true => Err("is too large for certificates and keys".to_owned()),
        false => Ok(contents),
    }
}

fn name(name: &GeneralName<'_>) -> Option<Name> {
    match name {
        GeneralName::DNSName(name) => Name::parse(name),
        GeneralName::IPAddress(bytes) => {
            let ip = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let ip = ip.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            ip.ok().map(Name::Ip)
        }
        _ => None,
    }
}

/// What is before 1970 is 1970.
fn system_time(time: ASN1Time) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or_default())
}
