use crate::{
    listeners::Addresses,
    settings::{Settings, TlsUse},
};

/// Where devices find the bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// Host name or address.
    pub host: String,
    /// Port of plain MQTT, if devices may use it.
    pub port: Option<u16>,
    /// Port of MQTT over TLS.
    pub tls_port: Option<u16>,
    /// What devices have to trust to use TLS, PEM; `None` if they do already.
    pub ca: Option<String>,
    /// Port of MQTT over WebSocket.
    pub websocket_port: Option<u16>,
}

impl Reach {
    /// As the settings say, at these addresses. `ca` is what [`crate::tls`] says that devices have to trust.
    pub fn new(settings: &Settings, addresses: &Addresses, ca: Option<String>) -> Self {
        let port = addresses.mqtt.map(|address| address.port());
        let tls_port = addresses.mqtts.map(|address| address.port());
        let websocket_port = addresses.websocket.map(|address| address.port());
        Self {
            host: settings.host.clone(),
            port: port.filter(|_| settings.tls == TlsUse::Optional),
            tls_port,
            ca: ca.filter(|_| tls_port.or(websocket_port).is_some()),
            websocket_port,
        }
    }
}
