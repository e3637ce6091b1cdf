//! What the bridge shows to devices that connect with TLS: a certificate of its own CA, or the operator's. Both are looked
//! at again while the bridge runs, and replaced without dropping anybody.

mod authority;
mod certificate;
mod material;
mod names;
mod pair;
mod server;

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fmt, mem, path::Path, sync::Arc, time::SystemTime};

use arc_swap::ArcSwap;
use authority::Authority;
pub use authority::{CA_CERT, CA_DIR, CA_KEY};
use certificate::{Certificate, day};
use ior_broker::transport::Tls;
use material::Material;
use names::Name;
use pair::{Pair, read_client_ca};
use parking_lot::Mutex;
use server::Server;
use tokio_rustls::rustls::{ServerConfig, pki_types::CertificateDer};

use crate::{
    settings::{PairFiles, Settings, host_name},
    web::WebTls,
};

/// What the bridge shows, and what its devices have to trust.
pub struct Identity {
    tls: Tls,
    web: WebTls,
    shown: Mutex<Shown>,
}

/// Why there is nothing to show. Says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsError {
    message: String,
    configured: bool,
}

/// What [`Identity::refresh`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refreshed {
    /// Nothing: it is what was shown before.
    Unchanged,
    /// Handshakes that begin now are shown something else.
    Replaced {
        /// What, for people.
        what: String,
        /// Whether credential files name another CA now, and have to be written again.
        ca_changed: bool,
    },
    /// What should be shown cannot be: what was shown before still is.
    Kept(TlsError),
}

/// What `check` finds out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What is shown, for people.
    pub what: String,
    /// What the operator should know, and do.
    pub notices: Vec<String>,
    /// Why devices refuse it.
    pub fault: Option<String>,
}

struct Shown {
    material: Material,
    /// Whether it is the bridge's own: then there has been a CA.
    is_own: bool,
    /// What was said of it already.
    said: BTreeSet<String>,
}

/// What was found on disk, or made.
struct Found {
    material: Material,
    config: Arc<ServerConfig>,
    web: Arc<ServerConfig>,
    report: Report,
}

/// Whether there may be a new CA.
#[derive(Clone, Copy, PartialEq, Eq)]
enum IfNone {
    Create,
    Refuse,
}

impl Identity {
    /// Reads what the settings name, and makes what is missing. Only for whoever has the data directory to itself.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(settings: &Settings, now: SystemTime) -> Result<Self, TlsError> {
        Authority::remove_unfinished(&settings.data_dir);
        let Found { material, config, web, report } = Found::look(settings, now, IfNone::Create)?;
        tracing::info!("TLS: {}", report.what);
        let is_own = settings.mqtts.pair.is_none();
        let mut shown = Shown { material, is_own, said: BTreeSet::new() };
        shown.say(&report);
        Ok(Self { tls: Tls::new(config), web: Arc::new(ArcSwap::new(web)), shown: Mutex::new(shown) })
    }

    /// Looks again, with settings that may have changed: at the files, the clock, and this machine's names. Shows what is
    /// new, without dropping anybody, and logs what the operator should know.
    pub fn refresh(&self, settings: &Settings, now: SystemTime) -> Refreshed {
        let mut shown = self.shown.lock();
        let if_none = if shown.is_own { IfNone::Refuse } else { IfNone::Create };
        match Found::look(settings, now, if_none) {
            Ok(Found { material, config, web, report }) => {
                if material == shown.material {
                    shown.say(&report);
                    return Refreshed::Unchanged;
                }
                if let Some(fault) = &report.fault
                    && material.chain != shown.material.chain
                {
                    return shown.keep(TlsError::configured(fault.clone()));
                }
                let before = mem::replace(&mut shown.material, material);
                shown.is_own = settings.mqtts.pair.is_none();
                self.tls.replace(config);
                self.web.store(web);
                tracing::info!("TLS: {}", report.what);
                shown.say(&report);
                Refreshed::Replaced { what: report.what, ca_changed: before.ca != shown.material.ca }
            }
            Err(error) => shown.keep(error),
        }
    }

    /// For the listeners.
    pub fn tls(&self) -> &Tls {
        &self.tls
    }

    /// For the page.
    pub fn web_tls(&self) -> WebTls {
        Arc::clone(&self.web)
    }

    /// When the certificate expires that is shown.
    pub fn expires(&self) -> Option<SystemTime> {
        let leaf = self.shown.lock().material.chain.first()?.clone();
        Certificate::parse(leaf).map(|leaf| leaf.not_after)
    }

    /// What devices have to trust, PEM; `None` if it is what everybody trusts already.
    pub fn ca(&self) -> Option<String> {
        self.shown.lock().material.ca.clone()
    }
}

/// What devices have to trust, PEM, for whoever only writes credential files. Makes the CA if there is none yet.
///
/// # Errors
/// [`TlsError`].
pub fn ca(settings: &Settings, now: SystemTime) -> Result<Option<String>, TlsError> {
    if let Some(files) = &settings.mqtts.pair {
        return Ok(Pair::read(files)?.root().map(Certificate::to_pem));
    }
    let authority = Authority::load_or_create(&settings.data_dir, &settings.host, now)?;
    Ok(Some(authority.certificate.to_pem()))
}

/// What would be shown. Makes nothing.
///
/// # Errors
/// [`TlsError`].
pub fn examine(settings: &Settings, now: SystemTime) -> Result<Report, TlsError> {
    if settings.mqtts.pair.is_some() || settings.mqtts.client_ca.is_some() {
        let clients = clients(settings)?;
        if let Some(files) = &settings.mqtts.pair {
            return Found::of_operator(settings, files, clients, now).map(|found| found.report);
        }
    }
    let Some(authority) = Authority::load(&settings.data_dir)? else {
        let what = "the bridge makes a CA and a certificate of its own at the first start".to_owned();
        return Ok(Report { what, notices: Vec::new(), fault: None });
    };
    let server = Server::peek(&settings.data_dir);
    Ok(own_report(settings, &authority, server.as_ref(), now))
}

impl Shown {
    fn keep(&mut self, error: TlsError) -> Refreshed {
        if self.said.insert(error.message.clone()) {
            tracing::error!("TLS: what is shown stays as it was: {error}");
        }
        Refreshed::Kept(error)
    }

    /// Says what it has not said yet. What is over may be said again.
    fn say(&mut self, report: &Report) {
        let mut said = BTreeSet::new();
        if let Some(fault) = &report.fault {
            if !self.said.contains(fault) {
                tracing::error!("TLS: devices refuse the certificate: {fault}");
            }
            said.insert(fault.clone());
        }
        for notice in &report.notices {
            if !self.said.contains(notice) {
                tracing::warn!("TLS: {notice}");
            }
            said.insert(notice.clone());
        }
        self.said = said;
    }
}

impl Found {
    fn look(settings: &Settings, now: SystemTime, if_none: IfNone) -> Result<Self, TlsError> {
        let clients = clients(settings)?;
        match &settings.mqtts.pair {
            Some(files) => Self::of_operator(settings, files, clients, now),
            None => Self::own(settings, clients, now, if_none),
        }
    }

    fn of_operator(
        settings: &Settings,
        files: &PairFiles,
        clients: Option<Vec<CertificateDer<'static>>>,
        now: SystemTime,
    ) -> Result<Self, TlsError> {
        let pair = Pair::read(files)?;
        let ends = pair.chain.first().map(|leaf| day(leaf.not_after)).unwrap_or_default();
        let what = format!("the certificate of mqtts.cert, valid until {ends}");
        let report = Report { what, notices: pair.notices(&settings.host, now), fault: pair.fault(now) };
        let material = Material {
            chain: pair.chain.iter().map(|certificate| certificate.der.clone()).collect(),
            key: pair.key.clone_key(),
            clients,
            ca: pair.root().map(Certificate::to_pem),
        };
        let config = material.config(|error| pair.unusable(error))?;
        let web = material.web_config(|error| pair.unusable(error))?;
        Ok(Self { material, config, web, report })
    }

    fn own(
        settings: &Settings,
        clients: Option<Vec<CertificateDer<'static>>>,
        now: SystemTime,
        if_none: IfNone,
    ) -> Result<Self, TlsError> {
        let Settings { data_dir, host, .. } = settings;
        let authority = match if_none {
            IfNone::Create => Authority::load_or_create(data_dir, host, now)?,
            IfNone::Refuse => Authority::load(data_dir)?.ok_or_else(|| gone(data_dir))?,
        };
        let names = names::of_this_machine(host, &host_name());
        let server = Server::load_or_renew(data_dir, &authority, &names, host, now)?;
        let mut report = own_report(settings, &authority, Some(&server.certificate), now);
        if let Some(why) = server.renewed {
            report.what.push_str(&format!("; made just now, since {why}"));
        }
        let material = Material {
            chain: vec![server.certificate.der],
            key: server.key,
            clients,
            ca: Some(authority.certificate.to_pem()),
        };
        let unusable = |error: &_| TlsError::own(format!("the server certificate cannot be used: {error}"));
        let config = material.config(unusable)?;
        let web = material.web_config(unusable)?;
        Ok(Self { material, config, web, report })
    }
}

impl TlsError {
    /// Of files that the settings name.
    fn configured(message: String) -> Self {
        Self { message, configured: true }
    }

    /// Of what the bridge made.
    fn own(message: String) -> Self {
        Self { message, configured: false }
    }

    /// Whether the configuration is at fault.
    pub fn is_of_configuration(&self) -> bool {
        self.configured
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for TlsError {}

fn clients(settings: &Settings) -> Result<Option<Vec<CertificateDer<'static>>>, TlsError> {
    settings.mqtts.client_ca.as_deref().map(read_client_ca).transpose()
}

fn gone(data_dir: &Path) -> TlsError {
    let dir = data_dir.join(CA_DIR);
    TlsError::own(format!(
        "the CA in {} is gone: put it back, or restart the bridge for a new one, which every device that connects with TLS \
         then needs in a new credential file",
        dir.display()
    ))
}

fn own_report(
    settings: &Settings,
    authority: &Authority,
    server: Option<&Certificate>,
    now: SystemTime,
) -> Report {
    let ca = day(authority.certificate.not_after);
    let mut what = format!("the bridge's own CA, valid until {ca}");
    if let Some(server) = server {
        let names: Vec<_> = server.names.iter().map(ToString::to_string).collect();
        let until = day(server.not_after);
        what.push_str(&format!(", and its certificate for {}, valid until {until}", names.join(", ")));
    }
    let mut notices: Vec<_> = authority.notice(now).into_iter().collect();
    let host = &settings.host;
    if Name::parse(host).is_none() {
        notices.push(format!(
            "host is {host:?} in server.json, which is neither a name nor an address that a certificate can hold: devices \
             that connect with TLS under it refuse the certificate"
        ));
    }
    let fault = (authority.certificate.not_after < now).then(|| authority.expired());
    Report { what, notices, fault }
}
