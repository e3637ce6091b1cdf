//! The bridge's end of the control socket.

use std::{
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use ior_broker::Broker;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc},
    time::timeout,
};

use super::{
    Answer, MAX_LINE, Request,
    answer::{Pause, answer, restore, send},
    reachable,
};
use crate::{configuration::Configuration, reload::ReloadHandle, secrets::create_private_dir};

/// Requests that are answered at once; further ones wait.
const AT_ONCE: usize = 64;

/// How long an asker has for its request.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// What can be asked about, and changed.
pub struct Bridge {
    /// The broker.
    pub broker: Arc<Broker>,
    /// The configuration that runs.
    pub configuration: Arc<ArcSwap<Configuration>>,
    /// Has the configuration taken up anew.
    pub reload: ReloadHandle,
    /// Has the bridge stand still.
    pub pauses: mpsc::Sender<Pause>,
    /// When the bridge was started.
    pub started: SystemTime,
}

/// The open control socket. Its file is removed when this is dropped.
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Opens the socket. The caller has the data directory's lock, so whatever is there is left from an earlier run.
    ///
    /// # Errors
    /// The directory cannot be made, or the socket cannot.
    pub fn open(path: &Path) -> io::Result<Self> {
        path.parent().map_or(Ok(()), create_private_dir)?;
        let (short, _dir) = reachable(path)?;
        match std::fs::remove_file(&short) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&short)?;
        std::fs::set_permissions(&short, std::fs::Permissions::from_mode(0o660))?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Answers until it is dropped.
    pub async fn serve(self, bridge: Arc<Bridge>) {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let bridge = Arc::clone(&bridge);
                    tokio::spawn(async move {
                        // An error says that the asker is gone.
                        let _ = serve_one(&bridge, stream).await;
                        drop(place);
                    });
                }
                // No file descriptor is left: the commands can wait.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // Gone already, or the next start removes it.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn serve_one(bridge: &Bridge, stream: UnixStream) -> io::Result<()> {
    let is_owner = is_owner(&stream);
    let (read, mut write) = stream.into_split();
    let mut line = Vec::new();
    let mut read = BufReader::new(read.take(MAX_LINE as u64));
    match timeout(REQUEST_TIME, read.read_until(b'\n', &mut line)).await {
        Ok(Ok(length)) if length > 0 => {}
        _ => return Ok(()),
    }
    match serde_json::from_slice::<Request>(&line) {
        Ok(request) if request.is_for_owner() && !is_owner => {
            let error = "only root and the bridge's own user may do this, since it gives and takes the secret key: use sudo";
            send(&mut write, &Answer::Error(error.to_owned())).await
        }
        Ok(Request::Restore) => restore(bridge, &mut read, &mut write).await,
        Ok(request) => answer(bridge, request, &mut write).await,
        Err(error) => {
            let version = env!("CARGO_PKG_VERSION");
            let error = format!(
                "the running bridge (version {version}) does not understand this: {error}; is it another version? \
                 Restart it after an update"
            );
            send(&mut write, &Answer::Error(error)).await
        }
    }
}

/// Whether root or the bridge's user asks.
fn is_owner(stream: &UnixStream) -> bool {
    let asker = stream.peer_cred().map(|credentials| credentials.uid());
    asker.is_ok_and(|user| user == 0 || user == rustix::process::geteuid().as_raw())
}
