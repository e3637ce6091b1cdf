//! The bridge's end of the control socket.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwap;
use ior_broker::Broker;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::{UnixStream, unix::OwnedReadHalf},
    sync::{Semaphore, broadcast, mpsc, oneshot, watch},
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use super::{
    Answer, Control, MAX_REQUEST, Request,
    answer::{Pause, answer, send},
};
use crate::{
    configuration::Configuration, listeners::Addresses, reload::ReloadHandle, report::Event,
    settings::Environment, tls::Identity, watchdog::Pulse,
};

/// Askers at once, whatever they do; further ones wait to be accepted.
const ASKERS: usize = 256;
/// Requests that are worked on at once; further ones wait.
const AT_ONCE: usize = 64;
/// Askers that have not said yet what they want: beyond so many, the one that has waited for longest is closed.
const UNDECIDED: usize = 64;
/// Askers that are told at once what happens.
const WATCHERS: usize = 32;

/// How long an asker has for its request.
const REQUEST_TIME: Duration = Duration::from_secs(10);
/// How long a stop waits for askers to be answered.
const STOPPING_TIME: Duration = Duration::from_millis(500);

/// What can be asked about, and changed.
pub struct Bridge {
    /// The broker.
    pub broker: Arc<Broker>,
    /// The configuration that runs.
    pub configuration: Arc<ArcSwap<Configuration>>,
    /// The environment that the bridge was started in.
    pub environment: Environment,
    /// What is shown to whoever connects with TLS.
    pub identity: Arc<Identity>,
    /// Where devices connect.
    pub addresses: Arc<ArcSwap<Addresses>>,
    /// Where the page is.
    pub web_address: Arc<ArcSwap<Option<SocketAddr>>>,
    /// What the bridge itself has to tell to whoever watches.
    pub notices: broadcast::Sender<Event>,
    /// Has the configuration taken up anew.
    pub reload: ReloadHandle,
    /// Has the bridge stand still.
    pub pauses: mpsc::Sender<Pause>,
    /// What the watchdog knows.
    pub pulse: Arc<Pulse>,
    /// Becomes true when the bridge begins to stop.
    pub stopping: watch::Sender<bool>,
    /// When the bridge was started, by the system's clock.
    pub started: SystemTime,
    /// The same by one that nobody sets.
    pub running_since: Instant,
}

/// A control socket that is answered. Dropping this changes nothing.
pub struct Serving {
    stop: watch::Sender<bool>,
    done: JoinHandle<()>,
}

/// What all askers share.
pub(super) struct Desk {
    pub bridge: Arc<Bridge>,
    places: Semaphore,
    pub watchers: Semaphore,
    /// Becomes true when the bridge stops.
    pub stopping: watch::Receiver<bool>,
}

/// What an asker sends.
pub(super) type Asker = BufReader<tokio::io::Take<OwnedReadHalf>>;

impl Control {
    /// Answers from now on.
    pub fn serve(self, bridge: Arc<Bridge>) -> Serving {
        let (stop, stopping) = watch::channel(false);
        let places = Semaphore::new(AT_ONCE);
        let desk = Desk { bridge, places, watchers: Semaphore::new(WATCHERS), stopping };
        let done = tokio::spawn(serve(self, Arc::new(desk)));
        Serving { stop, done }
    }
}

impl Serving {
    /// Closes the socket, and has whoever watches told that the bridge stops.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        // An error says that it had panicked: the bridge stops in any case.
        let _ = self.done.await;
    }
}

async fn serve(control: Control, desk: Arc<Desk>) {
    let mut stopping = desk.stopping.clone();
    let mut askers = JoinSet::new();
    let mut undecided: VecDeque<oneshot::Sender<()>> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            accepted = control.listener.accept(), if askers.len() < ASKERS => accepted,
            Some(_) = askers.join_next() => continue,
            () = stop(&mut stopping) => break,
        };
        match accepted {
            Ok((stream, _)) => {
                undecided.retain(|asker| !asker.is_closed());
                if undecided.len() >= UNDECIDED {
                    undecided.pop_front();
                }
                let (gives_way, gave_way) = oneshot::channel();
                undecided.push_back(gives_way);
                let desk = Arc::clone(&desk);
                // An error says that the asker is gone.
                askers.spawn(async move { drop(serve_one(&desk, stream, gave_way).await) });
            }
            // No file descriptor is left: the commands can wait.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    drop(control);
    let all_answered = async { while askers.join_next().await.is_some() {} };
    let _ = timeout(STOPPING_TIME, all_answered).await;
    // Whoever restores a backup waits until the rest has stopped.
    askers.detach_all();
}

async fn serve_one(desk: &Desk, stream: UnixStream, gave_way: oneshot::Receiver<()>) -> io::Result<()> {
    let is_owner = is_owner(&stream);
    let (read, mut write) = stream.into_split();
    let mut asker = BufReader::new(read.take(MAX_REQUEST));
    let mut line = Vec::new();
    let mut stopping = desk.stopping.clone();
    tokio::select! {
        asked = timeout(REQUEST_TIME, asker.read_until(b'\n', &mut line)) => match asked {
            Ok(Ok(length)) if length > 0 => {}
            _ => return Ok(()),
        },
        _ = gave_way => return Ok(()),
        () = stop(&mut stopping) => return Ok(()),
    }
    match serde_json::from_slice::<Request>(&line) {
        Ok(request) if request.is_for_owner() && !is_owner => {
            let error = "only root and the bridge's own user may do this, since it gives and takes the secret key: use sudo";
            send(&mut write, &Answer::Error(error.to_owned())).await
        }
        Ok(request) => {
            let place = desk.places.acquire().await.map_err(io::Error::other)?;
            answer(desk, request, place, asker, &mut write).await
        }
        Err(error) => {
            let version = env!("CARGO_PKG_VERSION");
            let error = format!(
                "the running bridge (version {version}) does not understand this: {error}; if it is of another version, \
                 restart it (sudo systemctl restart ior-bridge)"
            );
            send(&mut write, &Answer::Error(error)).await
        }
    }
}

/// Until the bridge stops.
pub(super) async fn stop(stopping: &mut watch::Receiver<bool>) {
    // An error says that nobody can tell any more, which happens at the end only.
    let _ = stopping.wait_for(|stops| *stops).await;
}

/// Whether root or the bridge's user asks.
fn is_owner(stream: &UnixStream) -> bool {
    let asker = stream.peer_cred().map(|credentials| credentials.uid());
    asker.is_ok_and(|user| user == 0 || user == rustix::process::geteuid().as_raw())
}
