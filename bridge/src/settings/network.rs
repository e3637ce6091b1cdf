//! Where the bridge listens, and what TLS is for.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Environment, layers::Layers};

/// How a file is named that systemd hands to the service (`LoadCredential=`), before its name.
const CREDENTIAL: &str = "credential:";
/// Where systemd puts those of the installed service. Others than the service have no variable that says so.
const SERVICE_CREDENTIALS: &str = "/run/credentials/ior-bridge.service";

/// Plain MQTT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mqtt {
    /// Where to listen; `None` turns it off.
    pub listen: Option<SocketAddr>,
}

/// MQTT over TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mqtts {
    /// Where to listen; `None` turns it off.
    pub listen: Option<SocketAddr>,
    /// The operator's own certificate; without one the bridge makes its own.
    pub pair: Option<PairFiles>,
    /// PEM. If given, whoever connects with TLS must show a certificate that one of these signed, and log in with its
    /// password as well.
    pub client_ca: Option<PathBuf>,
}

/// MQTT over WebSocket, at the path `/mqtt`: plain and over TLS on one port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSocket {
    /// Where to listen; `None` turns it off.
    pub listen: Option<SocketAddr>,
}

/// The web page, its API, metrics and health. TLS wherever others than this machine can connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Web {
    /// Where to listen; `None` turns it off.
    pub listen: Option<SocketAddr>,
    /// How long a login of the administrator lasts.
    pub session_max_age: Duration,
    /// How many devices, and how many connections, `/metrics` tells of one by one: the first in the files.
    pub metrics_series: usize,
}

/// A certificate and its key, PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairFiles {
    /// The certificate, and behind it those that lead to the CA.
    pub cert: PathBuf,
    /// Its private key, without a password.
    pub key: PathBuf,
}

/// What TLS is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsUse {
    /// Devices may log in without it.
    Optional,
    /// Logins without it are refused.
    Required,
}

/// All of it.
pub(super) struct Network {
    pub(super) mqtt: Mqtt,
    pub(super) mqtts: Mqtts,
    pub(super) websocket: WebSocket,
    pub(super) web: Web,
    pub(super) tls: TlsUse,
}

/// Reads all of it. Relative paths start at `base`. `None` if something is wrong, which the layers have noted.
pub(super) fn read(layers: &mut Layers, base: &Path, environment: &Environment) -> Option<Network> {
    let mqtt = layers.listen("mqtt.listen", "0.0.0.0:1883");
    let mqtts = layers.listen("mqtts.listen", "0.0.0.0:8883");
    let websocket = layers.listen("websocket.listen", "0.0.0.0:8083");
    let web = Web::read(layers);
    let mut file = |key: &str, example: &str| match layers
        .optional_text(key, &format!("a path, such as {example:?}"))?
    {
        None => Some(None),
        Some(path) => match path.strip_prefix(CREDENTIAL) {
            None => Some(Some(base.join(path))),
            Some(name) => credential(layers, key, name, environment).map(Some),
        },
    };
    let cert = file("mqtts.cert", "/etc/ior-bridge/tls/cert.pem");
    let key = file("mqtts.key", "/etc/ior-bridge/tls/key.pem");
    let client_ca = file("mqtts.client_ca", "/etc/ior-bridge/tls/clients.pem");
    let tls = layers.choice("tls", &[("optional", TlsUse::Optional), ("required", TlsUse::Required)]);

    let pair = match (cert?, key?) {
        (Some(cert), Some(key)) => Some(PairFiles { cert, key }),
        (None, None) => None,
        (Some(_), None) => {
            layers.note(
                "mqtts.cert",
                "this certificate has no key",
                "write the path of its key as mqtts.key",
            );
            return None;
        }
        (None, Some(_)) => {
            layers.note("mqtts.key", "this key has no certificate", "write its path as mqtts.cert");
            return None;
        }
    };
    let (mqtt, mqtts, websocket, web, tls) = (mqtt?, mqtts?, websocket?, web?, tls?);
    let listeners = [("mqtt.listen", mqtt), ("mqtts.listen", mqtts), ("websocket.listen", websocket)];
    let is_right =
        is_reachable(layers, listeners, tls) && is_apart(layers, &listeners, ("web.listen", web.listen));
    is_right.then_some(Network {
        mqtt: Mqtt { listen: mqtt },
        mqtts: Mqtts { listen: mqtts, pair, client_ca: client_ca? },
        websocket: WebSocket { listen: websocket },
        web,
        tls,
    })
}

impl Web {
    fn read(layers: &mut Layers) -> Option<Self> {
        const DAY: u64 = 24 * 60 * 60;
        let listen = layers.listen("web.listen", "127.0.0.1:8080");
        let session_max_age = layers.duration("web.session_max_age", 1..=365 * DAY);
        let metrics_series = layers.count("web.metrics_series", 0..=1_000_000);
        Some(Self { listen: listen?, session_max_age: session_max_age?, metrics_series: metrics_series? })
    }

    /// Whether it speaks TLS at this address: it does if others than this machine can connect.
    pub fn has_tls(listen: SocketAddr) -> bool {
        !listen.ip().to_canonical().is_loopback()
    }
}

/// Where a file is that systemd hands to the service.
fn credential(layers: &mut Layers, key: &str, name: &str, environment: &Environment) -> Option<PathBuf> {
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        let hint = format!(
            "write \"credential:\" and the name that LoadCredential= gives it, such as \"{CREDENTIAL}{key}\""
        );
        layers.note(key, "this is not the name of a credential", &hint);
        return None;
    }
    let directory = environment.get("CREDENTIALS_DIRECTORY").filter(|directory| !directory.is_empty());
    Some(Path::new(directory.map_or(SERVICE_CREDENTIALS, String::as_str)).join(name))
}

/// Whether something listens that devices may log in to, each listener at a place of its own.
fn is_reachable(layers: &mut Layers, listeners: [(&str, Option<SocketAddr>); 3], tls: TlsUse) -> bool {
    let open: Vec<_> = listeners.iter().filter_map(|(key, listen)| Some((*key, (*listen)?))).collect();
    match open[..] {
        [] => {
            let hint = "write an address and a port, such as \"0.0.0.0:1883\", here or for mqtts.listen";
            layers.note("mqtt.listen", "nothing listens, with all other listeners turned off too", hint);
            return false;
        }
        [("mqtt.listen", _)] if tls == TlsUse::Required => {
            let hint = "write an address and a port for mqtts.listen, such as \"0.0.0.0:8883\"";
            layers.note("tls", "nobody could log in: all listeners with TLS are turned off", hint);
            return false;
        }
        _ => {}
    }
    (1..listeners.len()).all(|index| is_apart(layers, &listeners[..index], listeners[index]))
}

/// Whether a listener has a place of its own.
fn is_apart(
    layers: &mut Layers,
    others: &[(&str, Option<SocketAddr>)],
    (key, listen): (&str, Option<SocketAddr>),
) -> bool {
    let Some(listen) = listen else { return true };
    let is_there =
        |(_, other): &&(&str, Option<SocketAddr>)| other.is_some_and(|other| collide(listen, other));
    let Some((other, _)) = others.iter().find(is_there) else { return true };
    let hint = "write another port; by default they are 1883, 8883, 8083 and 8080";
    layers.note(key, &format!("{other} is the same place"), hint);
    false
}

fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && (one.ip() == other.ip() || everywhere)
}
