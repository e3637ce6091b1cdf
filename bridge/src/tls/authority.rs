//! The bridge's own CA, which every device trusts: made once, never replaced.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions, Permissions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use zeroize::Zeroizing;

use super::{
    TlsError,
    certificate::{Certificate, day, read_certificates, read_key},
    names::Name,
};
use crate::{
    secrets::{TEMPORARY_PREFIX, create_private_dir, give_to_owner_of},
    storage::advice,
};

/// Where the CA and the server certificate are, in the data directory.
pub const CA_DIR: &str = "ca";
/// The CA's certificate, in [`CA_DIR`].
pub const CA_CERT: &str = "ca.crt";
/// The CA's private key, in [`CA_DIR`].
pub const CA_KEY: &str = "ca.key";

/// It is not earlier than this, whatever a clock says: 2026-01-01, in seconds since 1970. A Raspberry Pi without a network
/// begins in 1970.
const FLOOR: u64 = 1_767_225_600;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a CA is valid: ten years.
const CA_LIFE: Duration = Duration::from_secs(3_652 * 24 * 60 * 60);
/// How long before its end the operator is told.
const CA_NOTICE: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// How long a server certificate is valid. Some clients refuse more than 398 days.
pub(super) const SERVER_LIFE: Duration = Duration::from_secs(397 * 24 * 60 * 60);
/// Certificates begin so much earlier, for devices whose clock is behind.
const BACKDATED: Duration = DAY;
/// Longest Common Name of X.509, in characters.
const MAX_COMMON_NAME: usize = 64;

/// A CA that is whole.
pub(super) struct Authority {
    pub(super) certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
    dir: PathBuf,
}

/// A certificate with its key, PEM.
pub(super) struct Issued {
    pub(super) certificate: String,
    pub(super) key: Zeroizing<String>,
}

impl Authority {
    /// Reads the CA of a data directory; `None` if there never was one.
    ///
    /// # Errors
    /// It is damaged, not complete, or others than its owner may read its key.
    pub(super) fn load(data_dir: &Path) -> Result<Option<Self>, TlsError> {
        let dir = data_dir.join(CA_DIR);
        let unread = |error: io::Error| {
            TlsError::own(format!("{} cannot be read: {error}; {}", dir.display(), advice(&error)))
        };
        match fs::read_dir(&dir).and_then(|mut entries| entries.next().transpose()) {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unread(error)),
        }
        let [cert_path, key_path] = [CA_CERT, CA_KEY].map(|name| dir.join(name));
        let broken = |path: &Path, what: &str| {
            TlsError::own(format!(
                "{} {what}. Restore {CA_CERT} and {CA_KEY} from a backup. Without one, move {} away: then the bridge makes \
                 a new CA, and every device that connects with TLS needs its new credential file",
                path.display(),
                dir.display()
            ))
        };
        let certificates = read_certificates(&cert_path).map_err(|what| broken(&cert_path, &what))?;
        let [certificate] = <[Certificate; 1]>::try_from(certificates)
            .map_err(|_| broken(&cert_path, "holds more than one certificate"))?;
        is_private(&key_path, 0o077).map_err(TlsError::own)?;
        let key = read_key(&key_path).map_err(|what| broken(&key_path, &what))?;
        let key = KeyPair::try_from(&key).map_err(|_| broken(&key_path, "holds a key of an unknown kind"))?;
        let issuer = Issuer::from_ca_cert_der(&certificate.der, key)
            .map_err(|_| broken(&cert_path, "cannot be understood"))?;
        let authority = Self { certificate, issuer, dir: dir.clone() };
        if !authority.certificate.is_ca || !authority.fits() {
            return Err(broken(&cert_path, &format!("is not the certificate of the key in {CA_KEY}")));
        }
        Ok(Some(authority))
    }

    /// Reads the CA of a data directory, or makes one for this host. Two processes that start at once agree on one.
    ///
    /// # Errors
    /// As [`Authority::load`], or it cannot be written.
    pub(super) fn load_or_create(data_dir: &Path, host: &str, now: SystemTime) -> Result<Self, TlsError> {
        if let Some(authority) = Self::load(data_dir)? {
            return Ok(authority);
        }
        let dir = data_dir.join(CA_DIR);
        create(data_dir, &dir, host, now).map_err(|error| {
            TlsError::own(format!("{} cannot be written: {error}; {}", dir.display(), advice(&error)))
        })?;
        Self::load(data_dir)?
            .ok_or_else(|| TlsError::own(format!("{} vanished after it was made", dir.display())))
    }

    /// Removes what a start that was cut short has left: a CA that nobody was ever told of. Only for whoever has the data
    /// directory to itself.
    pub(super) fn remove_unfinished(data_dir: &Path) {
        for dir in [data_dir, &data_dir.join(CA_DIR)] {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX) {
                    // One that stays does no harm.
                    let _ = fs::remove_dir_all(entry.path()).or_else(|_| fs::remove_file(entry.path()));
                }
            }
        }
    }

    /// Since when it is at least, whatever the clock says.
    pub(super) fn earliest(&self) -> SystemTime {
        floor().max(self.certificate.not_before)
    }

    /// A certificate for a server with these names, which begins about now, or not before `earliest` if the clock is
    /// behind that.
    ///
    /// # Errors
    /// No random numbers, or no name that a certificate can hold.
    pub(super) fn issue(
        &self,
        names: &BTreeSet<Name>,
        common_name: &str,
        now: SystemTime,
    ) -> Result<Issued, rcgen::Error> {
        let mut params = named(common_name);
        set_validity(&mut params, self.life(now));
        params.subject_alt_names = names.iter().filter_map(Name::to_rcgen).collect();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Issued { certificate, key: Zeroizing::new(key.serialize_pem()) })
    }

    /// From when until when a certificate is valid that is made now.
    pub(super) fn life(&self, now: SystemTime) -> (SystemTime, SystemTime) {
        let begin = (now.max(self.earliest()) - BACKDATED).max(self.earliest());
        (begin, (begin + SERVER_LIFE).min(self.certificate.not_after))
    }

    /// What the operator should know about it, and do.
    pub(super) fn notice(&self, now: SystemTime) -> Option<String> {
        let [begin, end] = [self.certificate.not_before, self.certificate.not_after].map(day);
        let path = self.dir.join(CA_CERT);
        let path = path.display();
        if now < floor() {
            return Some(format!(
                "the clock says {}, which cannot be: until it is right, certificates begin on {}",
                day(now),
                day(self.earliest())
            ));
        }
        if now < self.certificate.not_before {
            return Some(format!(
                "the clock says {}, but the CA {path} is valid from {begin} on: set the clock; if it is right, the CA was \
                 made while it was not: {}",
                day(now),
                self.way_to_a_new_one()
            ));
        }
        let ends_soon = now + CA_NOTICE > self.certificate.not_after && now <= self.certificate.not_after;
        ends_soon.then(|| {
            format!(
                "the CA {path} is valid until {end}, and no device connects with TLS afterwards: at a time that suits you, \
                 {}",
                self.way_to_a_new_one()
            )
        })
    }

    /// What to say when its time is over.
    pub(super) fn expired(&self) -> String {
        format!(
            "the CA {} was valid until {}: {}",
            self.dir.join(CA_CERT).display(),
            day(self.certificate.not_after),
            self.way_to_a_new_one()
        )
    }

    fn way_to_a_new_one(&self) -> String {
        format!(
            "move {} away, restart the bridge, which makes a new CA, and give every device that connects with TLS its new \
             credential file",
            self.dir.display()
        )
    }

    /// Whether certificate and key belong together.
    fn fits(&self) -> bool {
        let signed = self.issue(&BTreeSet::new(), "fits", self.certificate.not_before);
        let signed = signed
            .ok()
            .and_then(|issued| super::certificate::certificates(issued.certificate.as_bytes()).ok());
        signed.is_some_and(|signed| signed.iter().all(|signed| signed.is_signed_by(&self.certificate)))
    }
}

/// It is not earlier than this.
pub(super) fn floor() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(FLOOR)
}

/// That a private key can be used by those only who should: with `forbidden`, the bits of its mode that nobody else has.
///
/// # Errors
/// Who else can, and what to do.
pub(super) fn is_private(path: &Path, forbidden: u32) -> Result<(), String> {
    // One that cannot be examined cannot be read either, which says more.
    let mode = fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode() & 0o777);
    if mode & forbidden == 0 {
        return Ok(());
    }
    Err(format!(
        "the private key {} can be read or written by others (mode {mode:04o}): run chmod 600 {0}",
        path.display()
    ))
}

/// All of the directory, or nothing.
fn create(data_dir: &Path, dir: &Path, host: &str, now: SystemTime) -> io::Result<()> {
    create_private_dir(data_dir)?;
    let (certificate, key) = new_ca(host, now).map_err(io::Error::other)?;
    let unfinished = tempfile::Builder::new()
        .prefix(TEMPORARY_PREFIX)
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(data_dir)?;
    give_to_owner_of(data_dir, &File::open(unfinished.path())?)?;
    for (name, text) in [(CA_CERT, &*certificate), (CA_KEY, &**key)] {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(unfinished.path().join(name))?;
        give_to_owner_of(data_dir, &file)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
    }
    File::open(unfinished.path())?.sync_all()?;
    match fs::rename(unfinished.path(), dir) {
        Ok(()) => File::open(data_dir)?.sync_all(),
        // Another process was first: its CA counts.
        Err(error) if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) => {
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn new_ca(host: &str, now: SystemTime) -> Result<(String, Zeroizing<String>), rcgen::Error> {
    let begin = (now.max(floor()) - BACKDATED).max(floor());
    let mut params = named(&format!("IOR Bridge CA {host}"));
    set_validity(&mut params, (begin, begin + CA_LIFE));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?.pem();
    Ok((certificate, Zeroizing::new(key.serialize_pem())))
}

fn named(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let common_name: String = common_name.chars().take(MAX_COMMON_NAME).collect();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

fn set_validity(params: &mut CertificateParams, (begin, end): (SystemTime, SystemTime)) {
    let since_1970 = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default();
    params.not_before = date_time_ymd(1970, 1, 1) + since_1970(begin);
    params.not_after = date_time_ymd(1970, 1, 1) + since_1970(end);
}
