//! The commands' end of the control socket.

use std::{
    fmt,
    io::{self, Read},
    os::{fd::AsFd, unix::net::UnixStream as StdStream},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::de::{DeserializeOwned, IgnoredAny};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    time::timeout,
};

use super::{Answer, MAX_ANSWER, MAX_PIECE, Request, reachable};
use crate::commands::CommandError;

/// How long the running bridge may take to say that it is there.
const GREETING_TIME: Duration = Duration::from_secs(5);
/// How long it may take to answer, if it is there.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// How long it may take to make what follows an answer.
const MAKING_TIME: Duration = Duration::from_secs(600);

/// A connection to the running bridge.
pub struct Client {
    stream: BufReader<UnixStream>,
    path: PathBuf,
}

/// Why a running bridge could not be asked, or did not do what it was asked to.
#[derive(Debug)]
pub enum ControlError {
    /// The socket is there, but not for this user.
    NotAllowed(PathBuf),
    /// The connection failed.
    Failed(PathBuf, io::Error),
    /// It is there, and does not answer.
    Silent(PathBuf),
    /// It was there, and ended before it had answered.
    Ended(PathBuf),
    /// It answers otherwise than it is known to here.
    OtherVersion(serde_json::Error),
    /// The bridge says why.
    Refused(String),
}

impl Client {
    /// Connects to a bridge that answers; `None` if none is running there. One that hangs is not waited for as long as an
    /// answer may take.
    ///
    /// # Errors
    /// There is a socket that cannot be connected to, or nobody answers there.
    pub async fn connect(path: &Path) -> Result<Option<Self>, ControlError> {
        let Some(mut greeted) = Self::open(path).await? else { return Ok(None) };
        match timeout(GREETING_TIME, greeted.exchange::<IgnoredAny>(&Request::Hello)).await {
            Err(_) => Err(ControlError::Silent(path.to_owned())),
            Ok(Err(ended @ ControlError::Ended(_))) => Err(ended),
            // Whatever else it says: it is there.
            Ok(_) => Self::open(path).await,
        }
    }

    async fn open(path: &Path) -> Result<Option<Self>, ControlError> {
        let connected = async {
            let (short, _dir) = reachable(path)?;
            UnixStream::connect(short).await
        };
        match connected.await {
            Ok(stream) => Ok(Some(Self { stream: BufReader::new(stream), path: path.to_owned() })),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Ok(None),
                io::ErrorKind::PermissionDenied => Err(ControlError::NotAllowed(path.to_owned())),
                // More wait to be accepted than may.
                io::ErrorKind::WouldBlock => Err(ControlError::Silent(path.to_owned())),
                // It ended before it had accepted.
                io::ErrorKind::ConnectionReset => Err(ControlError::Ended(path.to_owned())),
                _ => Err(ControlError::Failed(path.to_owned(), error)),
            },
        }
    }

    /// Asks one thing, and gives the report that answers it. What follows it can be read from [`Client::line`] or
    /// [`Client::piece`].
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn ask<T: DeserializeOwned>(&mut self, request: &Request) -> Result<T, ControlError> {
        match timeout(ANSWER_TIME, self.exchange(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(ControlError::Silent(self.path.clone())),
        }
    }

    async fn exchange<T: DeserializeOwned>(&mut self, request: &Request) -> Result<T, ControlError> {
        let mut line = serde_json::to_vec(request).map_err(|error| self.failed(error.into()))?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line).await.map_err(|error| self.failed(error))?;
        self.line().await?.ok_or_else(|| self.failed(io::ErrorKind::UnexpectedEof.into()))
    }

    /// The next report; `None` if the bridge has closed the connection.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn line<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ControlError> {
        let mut line = Vec::new();
        let read = (&mut self.stream).take(MAX_ANSWER).read_until(b'\n', &mut line).await;
        if read.map_err(|error| self.failed(error))? == 0 {
            return Ok(None);
        }
        if !line.ends_with(b"\n") {
            return Err(self.failed(io::ErrorKind::UnexpectedEof.into()));
        }
        match serde_json::from_slice(&line).map_err(ControlError::OtherVersion)? {
            Answer::Done(report) => {
                serde_json::from_str(report.get()).map(Some).map_err(ControlError::OtherVersion)
            }
            Answer::Error(error) => Err(ControlError::Refused(error)),
        }
    }

    /// Whether the bridge has not closed the connection yet, nor said more. Asked of the system itself: the runtime may not
    /// have looked for a while.
    pub fn is_open(&self) -> bool {
        let stream = self.stream.get_ref().as_fd().try_clone_to_owned().map(StdStream::from);
        let read = stream.and_then(|mut stream| stream.read(&mut [0]));
        read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The next piece of what follows; an empty one behind the last.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn piece<'a>(&mut self, buffer: &'a mut [u8; MAX_PIECE]) -> Result<&'a [u8], ControlError> {
        let length = timeout(MAKING_TIME, self.stream.read_u32()).await;
        let length = length.map_err(|_| ControlError::Silent(self.path.clone()))?;
        let length = length.map_err(|error| self.failed(error))? as usize;
        let piece = buffer.get_mut(..length).ok_or_else(|| {
            ControlError::OtherVersion(serde::de::Error::custom(format!("a piece of {length} bytes")))
        })?;
        self.stream.read_exact(piece).await.map_err(|error| self.failed(error))?;
        Ok(piece)
    }

    fn failed(&self, error: io::Error) -> ControlError {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                ControlError::Ended(self.path.clone())
            }
            _ => ControlError::Failed(self.path.clone(), error),
        }
    }
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAllowed(path) => write!(
                f,
                "the running bridge is spoken to through {}, which you may not open: run this with sudo or as the \
                 bridge's user, or become a member of its group (sudo usermod -aG ior-bridge $USER, then log in again)",
                path.display()
            ),
            Self::Failed(path, error) => {
                write!(f, "the running bridge cannot be asked through {}: {error}", path.display())
            }
            Self::Silent(path) => write!(
                f,
                "the running bridge does not answer through {}: look at its log (journalctl -u ior-bridge), and restart \
                 it if it hangs (sudo systemctl restart ior-bridge)",
                path.display()
            ),
            Self::Ended(path) => write!(
                f,
                "the running bridge has ended before it answered through {}: its log tells why (journalctl -u ior-bridge)",
                path.display()
            ),
            Self::OtherVersion(error) => write!(
                f,
                "the running bridge is of another version than this program ({}): restart it after an update (sudo \
                 systemctl restart ior-bridge); {error}",
                env!("CARGO_PKG_VERSION")
            ),
            Self::Refused(error) => f.write_str(error),
        }
    }
}

impl std::error::Error for ControlError {}

impl From<ControlError> for CommandError {
    fn from(error: ControlError) -> Self {
        Self::failed(error)
    }
}
