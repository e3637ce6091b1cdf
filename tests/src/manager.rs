use std::{
    io::ErrorKind,
    os::unix::net::UnixDatagram,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::World;

/// Stands in for the service manager: hears what a service tells it.
pub struct Manager {
    socket: UnixDatagram,
    directory: TempDir,
}

impl Manager {
    /// Nobody tells it anything yet.
    pub fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        Self { socket, directory }
    }

    /// What starts in this world is its service, and has to say that it is alive once within this time.
    pub fn of(&self, world: World, watchdog: Duration) -> World {
        world
            .env("NOTIFY_SOCKET", self.directory.path().join("notify").to_str().unwrap())
            .env("WATCHDOG_USEC", &watchdog.as_micros().to_string())
    }

    /// The lines of the next notification that holds this line; others before it are passed over.
    #[track_caller]
    pub fn wait_for(&self, line: &str, deadline: Duration) -> Vec<String> {
        let until = Instant::now() + deadline;
        let mut passed = Vec::new();
        while let Some(lines) = self.next(until) {
            if lines.iter().any(|other| other == line) {
                return lines;
            }
            passed.push(lines);
        }
        panic!("no {line} among {passed:?}");
    }

    /// All that is told until then.
    pub fn hears(&self, time: Duration) -> Vec<String> {
        let until = Instant::now() + time;
        std::iter::from_fn(|| self.next(until)).flatten().collect()
    }

    fn next(&self, until: Instant) -> Option<Vec<String>> {
        // No time at all would be for ever.
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.socket.set_read_timeout(Some(left)).unwrap();
        let mut bytes = [0; 4096];
        match self.socket.recv(&mut bytes) {
            Ok(length) => {
                Some(std::str::from_utf8(&bytes[..length]).unwrap().lines().map(str::to_owned).collect())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
            Err(error) => panic!("{error}"),
        }
    }
}

impl Default for Manager {
    fn default() -> Self {
        Self::new()
    }
}
