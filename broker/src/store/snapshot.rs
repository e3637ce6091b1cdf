//! A copy of the store while it is in use. The database's file changes only when its log is moved into it: so that is done
//! once, and not again until the copy is made. Meanwhile commits go to the log as always, and wait for nobody. On a full disk
//! the log cannot be moved: then it is copied as well.

use std::{
    fmt,
    io::{self, Read},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use rusqlite::{Connection, DEFAULT_NAME, ErrorCode, wal::CheckpointMode};
use tokio::sync::OwnedMutexGuard;

use super::{
    StoreError,
    answers::contain,
    intake::HoldDone,
    place::{LOG, Place, STORE},
    writer::{State, Writer},
};

/// The bytes of a database with all that was committed when it was asked for, or that its [`Snapshot::log`] holds the rest of.
/// While this is there the store's log only grows: read it soon, and drop it.
pub struct Snapshot {
    place: Arc<dyn Place>,
    name: &'static str,
    length: u64,
    at: u64,
    hold: Arc<Hold>,
    turn: Arc<OwnedMutexGuard<()>>,
}

/// Keeps the log where it is.
pub struct Hold {
    /// Not all of the log could be moved before.
    needs_log: bool,
    /// It was moved all the same: the store is closed, or was opened again after an error.
    is_broken: AtomicBool,
}

/// The store's end of a [`Hold`].
#[derive(Default)]
pub struct Held(Weak<Hold>);

impl Snapshot {
    pub(super) fn new(place: Arc<dyn Place>, hold: Arc<Hold>, turn: OwnedMutexGuard<()>) -> io::Result<Self> {
        Self::of(STORE, place, hold, Arc::new(turn))
    }

    /// What belongs beside the database as its log; nothing if it does not need one.
    ///
    /// # Errors
    /// The log cannot be found.
    pub fn log(&self) -> io::Result<Option<Self>> {
        if !self.hold.needs_log {
            return Ok(None);
        }
        // What is added to it meanwhile may be cut off anywhere: only commits that are whole count.
        let Self { place, hold, turn, .. } = self;
        Self::of(LOG, Arc::clone(place), Arc::clone(hold), Arc::clone(turn)).map(Some)
    }

    fn of(
        name: &'static str,
        place: Arc<dyn Place>,
        hold: Arc<Hold>,
        turn: Arc<OwnedMutexGuard<()>>,
    ) -> io::Result<Self> {
        let length = place.size(name)?.ok_or(io::ErrorKind::NotFound)?;
        Ok(Self { place, name, length, at: 0, hold, turn })
    }

    /// Its bytes in all.
    pub fn length(&self) -> u64 {
        self.length
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("length", &self.length).field("at", &self.at).finish_non_exhaustive()
    }
}

impl Read for Snapshot {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.length - self.at).unwrap_or(usize::MAX));
        let read = self.place.read_at(self.name, self.at, &mut buffer[..most])?;
        // Asked afterwards: what was read before the file changed is what it was.
        if self.hold.is_broken.load(Ordering::SeqCst) {
            return Err(io::Error::other("the store was closed or failed while it was copied: try again"));
        }
        if read == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += read as u64;
        Ok(read)
    }
}

impl Writer {
    /// Gives what holds the log.
    pub fn hold(&mut self, done: HoldDone) {
        let State::Open(database) = &self.state else { return done(Err(StoreError::Closed)) };
        let hold = self.held.begin(&database.connection);
        if hold.as_ref().is_ok_and(|hold| !hold.needs_log) {
            database.log_pages.store(0, Ordering::Relaxed);
        }
        contain(|| done(hold));
    }
}

impl Held {
    /// Moves the log into the database, as far as there is room, and holds it from then on.
    fn begin(&mut self, connection: &Connection) -> Result<Arc<Hold>, StoreError> {
        let needs_log = match connection.wal_checkpoint_v2(DEFAULT_NAME, CheckpointMode::PASSIVE) {
            Ok((log, moved)) => moved < log,
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => true,
            Err(error) => return Err(StoreError::Failed(error.to_string().into())),
        };
        let hold = Arc::new(Hold { needs_log, is_broken: AtomicBool::new(false) });
        self.0 = Arc::downgrade(&hold);
        Ok(hold)
    }

    /// Whether the log has to stay where it is.
    pub fn is_held(&self) -> bool {
        self.0.strong_count() > 0
    }

    /// The log is about to be moved nevertheless.
    pub fn break_off(&mut self) {
        if let Some(hold) = std::mem::take(&mut self.0).upgrade() {
            hold.is_broken.store(true, Ordering::SeqCst);
        }
    }
}
