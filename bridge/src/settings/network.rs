//! Where the bridge listens, and what TLS is for.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
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

/// All of it. Relative paths start at `base`. `None` if something is wrong, which the layers have noted.
pub(super) fn read(
    layers: &mut Layers,
    base: &Path,
    environment: &Environment,
) -> Option<(Mqtt, Mqtts, WebSocket, TlsUse)> {
    let mqtt = layers.listen("mqtt.listen", "0.0.0.0:1883");
    let mqtts = layers.listen("mqtts.listen", "0.0.0.0:8883");
    let websocket = layers.listen("websocket.listen", "0.0.0.0:8083");
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
    let (mqtt, mqtts, websocket, tls) = (mqtt?, mqtts?, websocket?, tls?);
    let listeners = [("mqtt.listen", mqtt), ("mqtts.listen", mqtts), ("websocket.listen", websocket)];
    let mqtts = Mqtts { listen: mqtts, pair, client_ca: client_ca? };
    is_reachable(layers, listeners, tls).then_some((
        Mqtt { listen: mqtt },
        mqtts,
        WebSocket { listen: websocket },
        tls,
    ))
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
    for (index, (key, listen)) in open.iter().enumerate() {
        if let Some((other, _)) = open[..index].iter().find(|(_, other)| collide(*listen, *other)) {
            let hint = "write another port; by default they are 1883, 8883 and 8083";
            layers.note(key, &format!("{other} is the same place"), hint);
            return false;
        }
    }
    true
}

fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && (one.ip() == other.ip() || everywhere)
}
