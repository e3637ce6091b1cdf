//! The listeners that the settings name: opened before anything is served, and moved while the bridge runs.

use std::{
    fmt,
    io::{self, ErrorKind},
    net::SocketAddr,
    sync::Arc,
};

use arc_swap::ArcSwap;
use ior_broker::{
    Broker, Serving,
    transport::{Tls, Transport},
};
use tokio::net::{TcpListener, TcpSocket};

use crate::settings::Settings;

/// Where in HTTP MQTT over WebSocket is.
const WEBSOCKET_PATH: &str = "/mqtt";

/// How many connections may wait to be accepted: whoever finds no place tries again after a second. The system may allow fewer.
const BACKLOG: u32 = 1024;

/// What a listener is for, in the order in which they are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    Mqtt,
    Mqtts,
    WebSocket,
}

/// Listeners that are open: who connects waits until they are served.
#[derive(Debug)]
pub struct Opened(Vec<Socket>);

/// Listeners that are served.
pub struct Listeners {
    broker: Arc<Broker>,
    tls: Tls,
    served: Vec<Served>,
    /// Where they are, for others to look at.
    told: Arc<ArcSwap<Addresses>>,
}

/// Where devices connect: what the system gave, which is more than the settings say if those leave the port to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Addresses {
    /// Plain MQTT.
    pub mqtt: Option<SocketAddr>,
    /// MQTT over TLS.
    pub mqtts: Option<SocketAddr>,
    /// MQTT over WebSocket.
    pub websocket: Option<SocketAddr>,
}

/// Why a listener could not be opened. Says what to do.
#[derive(Debug)]
pub struct ListenError {
    /// As in `NAME.listen`.
    name: &'static str,
    wanted: SocketAddr,
    error: io::Error,
}

/// Why the listeners stay where they were.
#[derive(Debug)]
pub struct MoveError {
    /// The one that could not be opened at its new place.
    error: ListenError,
    /// Those that had to be closed for it, and could not be opened again where they were: they are off.
    lost: Vec<ListenError>,
}

#[derive(Debug)]
struct Socket {
    service: Service,
    /// As the settings say.
    wanted: SocketAddr,
    listener: TcpListener,
    address: SocketAddr,
}

struct Served {
    service: Service,
    wanted: SocketAddr,
    address: SocketAddr,
    serving: Serving,
}

impl Opened {
    /// Opens all that the settings name.
    ///
    /// # Errors
    /// The first that cannot be opened; then none is.
    pub fn open(settings: &Settings) -> Result<Self, ListenError> {
        let mut opened = Vec::new();
        for service in Service::ALL {
            if let Some(wanted) = service.wanted(settings) {
                opened.push(Socket::open(service, wanted)?);
            }
        }
        Ok(Self(opened))
    }

    /// Where they are.
    pub fn addresses(&self) -> Addresses {
        self.0.iter().map(|socket| (socket.service, socket.address)).collect()
    }

    /// Serves clients from now on, with TLS as `tls` says where it is spoken.
    pub fn serve(self, broker: &Arc<Broker>, tls: &Tls) -> Listeners {
        let told = Arc::new(ArcSwap::from_pointee(self.addresses()));
        let served = self.0.into_iter().map(|socket| socket.serve(broker, tls)).collect();
        Listeners { broker: Arc::clone(broker), tls: tls.clone(), served, told }
    }
}

impl Listeners {
    /// Where they are.
    pub fn addresses(&self) -> Addresses {
        self.served.iter().map(|served| (served.service, served.address)).collect()
    }

    /// Where they are at any time.
    pub fn follow(&self) -> Arc<ArcSwap<Addresses>> {
        Arc::clone(&self.told)
    }

    /// Goes where other settings say: all of them, or none. What is unchanged stays as it is, and whoever is connected
    /// stays connected in any case. A listener is opened at its new place before it is closed at its old one, unless its
    /// port is wanted.
    ///
    /// # Errors
    /// [`MoveError`]: one could not be opened, and all are where they were.
    pub async fn move_to(&mut self, settings: &Settings) -> Result<(), MoveError> {
        let moved = self.try_move_to(settings).await;
        self.told.store(Arc::new(self.addresses()));
        moved
    }

    async fn try_move_to(&mut self, settings: &Settings) -> Result<(), MoveError> {
        let stays = |served: &Served| served.service.wanted(settings) == Some(served.wanted);
        let wanted: Vec<_> = Service::ALL
            .into_iter()
            .filter_map(|service| Some((service, service.wanted(settings)?)))
            .filter(|(service, _)| {
                !self.served.iter().any(|served| served.service == *service && stays(served))
            })
            .collect();
        let (staying, leaving): (Vec<_>, Vec<_>) = self.served.drain(..).partition(stays);
        let in_the_way = |served: &Served| wanted.iter().any(|(_, new)| new.port() == served.address.port());
        let (first, last): (Vec<_>, Vec<_>) = leaving.into_iter().partition(in_the_way);

        let mut closed = Vec::new();
        for served in first {
            closed.push((served.service, served.address, served.wanted));
            served.serving.close().await;
        }
        let mut opened = Vec::new();
        let mut failed = None;
        for (service, wanted) in wanted {
            match Socket::open(service, wanted) {
                Ok(socket) => opened.push(socket),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        self.served = staying;
        let Some(error) = failed else {
            for served in last {
                served.serving.close().await;
            }
            self.served.extend(opened.into_iter().map(|socket| socket.serve(&self.broker, &self.tls)));
            return Ok(());
        };
        drop(opened);
        self.served.extend(last);
        let mut lost = Vec::new();
        for (service, address, wanted) in closed {
            // Its port too, where the system had chosen it: devices know it.
            match Socket::open(service, address) {
                Ok(socket) => {
                    let socket = Socket { wanted, ..socket };
                    self.served.push(socket.serve(&self.broker, &self.tls));
                }
                Err(error) => lost.push(error),
            }
        }
        Err(MoveError { error, lost })
    }
}

impl Socket {
    fn open(service: Service, wanted: SocketAddr) -> Result<Self, ListenError> {
        let (listener, address) = listen(service.name(), wanted, None)?;
        Ok(Self { service, wanted, listener, address })
    }

    fn serve(self, broker: &Broker, tls: &Tls) -> Served {
        let Self { service, wanted, listener, address } = self;
        let transport = match service {
            Service::Mqtt => Transport::Tcp,
            Service::Mqtts => Transport::Tls(tls.clone()),
            Service::WebSocket => {
                Transport::WebSocket { path: WEBSOCKET_PATH.into(), tls: Some(tls.clone()) }
            }
        };
        Served { service, wanted, address, serving: broker.serve(listener, transport) }
    }
}

/// A listener for what `name` says, and where it is. What waits to be sent on each of its connections takes about
/// `send_buffer` bytes at most, or as much as the system thinks best.
///
/// # Errors
/// It cannot be opened.
pub(crate) fn listen(
    name: &'static str,
    wanted: SocketAddr,
    send_buffer: Option<u32>,
) -> Result<(TcpListener, SocketAddr), ListenError> {
    let open = || {
        let socket = if wanted.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A port that was left a moment ago can be taken again.
        socket.set_reuseaddr(true)?;
        if let Some(bytes) = send_buffer {
            // Connections have it from their listener.
            socket.set_send_buffer_size(bytes)?;
        }
        socket.bind(wanted)?;
        let listener = socket.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    open().map_err(|error| ListenError { name, wanted, error })
}

impl Service {
    const ALL: [Self; 3] = [Self::Mqtt, Self::Mqtts, Self::WebSocket];

    /// Where the settings want it.
    fn wanted(self, settings: &Settings) -> Option<SocketAddr> {
        match self {
            Self::Mqtt => settings.mqtt.listen,
            Self::Mqtts => settings.mqtts.listen,
            Self::WebSocket => settings.websocket.listen,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Mqtts => "mqtts",
            Self::WebSocket => "websocket",
        }
    }
}

impl Addresses {
    /// Each with what it is for: `mqtt`, `mqtts` or `websocket`.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        let mut addresses = *self;
        Service::ALL.into_iter().filter_map(move |service| Some((service.name(), (*addresses.of(service))?)))
    }

    /// As the settings say; a port that they leave to the system is 0.
    pub fn wanted(settings: &Settings) -> Self {
        let wanted = |service: Service| Some((service, service.wanted(settings)?));
        Service::ALL.into_iter().filter_map(wanted).collect()
    }

    fn of(&mut self, service: Service) -> &mut Option<SocketAddr> {
        match service {
            Service::Mqtt => &mut self.mqtt,
            Service::Mqtts => &mut self.mqtts,
            Service::WebSocket => &mut self.websocket,
        }
    }
}

impl FromIterator<(Service, SocketAddr)> for Addresses {
    fn from_iter<I: IntoIterator<Item = (Service, SocketAddr)>>(listeners: I) -> Self {
        let mut addresses = Self::default();
        for (service, address) in listeners {
            *addresses.of(service) = Some(address);
        }
        addresses
    }
}

/// As in `mqtt 127.0.0.1:1883, mqtts 127.0.0.1:8883, websocket 127.0.0.1:8083`.
impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (name, address) in self.iter() {
            write!(f, "{separator}{name} {address}")?;
            separator = ", ";
        }
        Ok(())
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, wanted, error } = self;
        write!(f, "{name}.listen: cannot listen on {wanted}: ")?;
        match error.kind() {
            ErrorKind::AddrInUse => write!(
                f,
                "address already in use; stop what listens there (`ss -ltnp 'sport = {}'` names it), or write another port",
                wanted.port()
            ),
            ErrorKind::AddrNotAvailable => write!(
                f,
                "this machine has no such address; write one that `ip address` shows, or 0.0.0.0 or [::] for all of them"
            ),
            ErrorKind::PermissionDenied => write!(
                f,
                "ports below 1024 are for privileged processes; write a higher one, or give the service \
                 AmbientCapabilities=CAP_NET_BIND_SERVICE"
            ),
            _ => write!(f, "{error}; write another address and port"),
        }
    }
}

impl std::error::Error for ListenError {}

impl fmt::Display for MoveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; until then all listeners stay where they were", self.error)?;
        for lost in &self.lost {
            write!(f, ", except that one is off now: {lost}")?;
        }
        Ok(())
    }
}

impl std::error::Error for MoveError {}

#[cfg(test)]
mod tests;
