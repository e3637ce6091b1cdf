//! The database: its tables, how it is made and how it is opened.

use std::{
    io::ErrorKind,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use rusqlite::{
    Connection, DEFAULT_NAME, OpenFlags, OptionalExtension, config::DbConfig, wal::CheckpointMode,
};
use tracing::warn;

use super::{
    Durability,
    error::{OpenError, OpenProblem},
    place::{LOG, Place, SALVAGED, STORE, UNFINISHED},
};

/// The format that this version writes, SQLite's `user_version`.
pub const FORMAT: u32 = 1;

/// "IORB": tells our files from other programs'.
const APPLICATION_ID: u32 = 0x494F_5242;

/// Bytes of a page: small, since a commit writes whole pages and a message is small.
pub const PAGE_SIZE: u32 = 1024;

/// The first pages of [`TABLES`] and of their indexes: SQLite gives them these numbers.
pub const ROOTS: std::ops::RangeInclusive<u32> = 3..=12;

const HEADER: usize = 100;
const LOG_HEADER: u64 = 32;
const LOG_FRAME: u64 = 24;

/// The row of `meta` that counts starts.
const STARTS: i64 = 1;

const TABLES: &str = "
CREATE TABLE meta (key INTEGER PRIMARY KEY, value);
CREATE TABLE session (slot INTEGER PRIMARY KEY, name TEXT, client_id TEXT, expiry INTEGER, left_at INTEGER,
    sent_below INTEGER, will BLOB, will_delay INTEGER, checksum INTEGER);
CREATE TABLE subscription (id INTEGER PRIMARY KEY, slot INTEGER, filter TEXT, options INTEGER, subscription_id INTEGER,
    checksum INTEGER, UNIQUE (slot, filter));
CREATE TABLE inbound (key INTEGER PRIMARY KEY, checksum INTEGER);
CREATE TABLE flow (id INTEGER PRIMARY KEY, name TEXT, checksum INTEGER);
CREATE TABLE total (key INTEGER PRIMARY KEY, messages INTEGER, bytes INTEGER, checksum INTEGER);
CREATE TABLE message (key INTEGER PRIMARY KEY, flow INTEGER, size INTEGER, expires_at INTEGER, options INTEGER,
    ids BLOB, record BLOB, checksum INTEGER);
CREATE TABLE retained (id INTEGER PRIMARY KEY, topic TEXT UNIQUE, owner TEXT, record BLOB, checksum INTEGER);
";

/// An open database, and how many pages its write-ahead log holds.
pub struct Database {
    /// To it.
    pub connection: Connection,
    /// After the last commit.
    pub log_pages: Arc<AtomicU32>,
}

/// Opens the store; makes it if there is none.
pub fn open(place: &dyn Place, durability: Durability, log_pages: u32) -> Result<Database, OpenError> {
    if is_missing(place)? {
        make(place, UNFINISHED)?;
        rename(place, UNFINISHED, STORE)?;
    }
    open_existing(place, durability, log_pages)
}

/// Opens the store that is there. What its write-ahead log holds is moved into it and synced before anything else; then
/// the log is made as large as it is going to be.
pub fn open_existing(
    place: &dyn Place,
    durability: Durability,
    log_pages: u32,
) -> Result<Database, OpenError> {
    let path = place.path(STORE);
    let is_short = check_file(place)?;
    let failed = |error: rusqlite::Error| OpenError::sqlite(&path, &error);
    if has_log(place)? {
        place
            .rewrite(LOG)
            .map_err(|error| OpenError::io(&place.path(LOG), "cannot write this file", &error))?;
    }
    let mut connection = connect(place, STORE).map_err(failed)?;
    connection.pragma_update(None, "synchronous", synchronous(durability)).map_err(failed)?;
    check_identity(&connection, &path)?;
    if is_short {
        check_structure(&connection, &path)?;
    }
    empty_log(&connection).map_err(failed)?;
    fill_log(place, log_pages)?;
    let log_pages = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&log_pages);
    connection
        .wal_hook(Some(move |_: &mut _, pages: i32| {
            counted.store(pages.max(0).cast_unsigned(), Ordering::Relaxed);
            Ok(())
        }))
        .map_err(failed)?;
    Ok(Database { connection, log_pages })
}

/// Opens the store to look at it: nothing is changed, neither now nor at the end.
pub fn inspect(place: &dyn Place) -> Result<Connection, OpenError> {
    let path = place.path(STORE);
    check_file(place)?;
    let failed = |error: rusqlite::Error| OpenError::sqlite(&path, &error);
    let connection = connect(place, STORE).map_err(failed)?;
    connection.pragma_update(None, "query_only", true).map_err(failed)?;
    check_identity(&connection, &path)?;
    Ok(connection)
}

/// Moves all that the write-ahead log holds into the database, syncs that, and empties the log: afterwards nothing that
/// is added to it depends on what was there before.
pub fn empty_log(connection: &Connection) -> rusqlite::Result<()> {
    connection.wal_checkpoint_v2(DEFAULT_NAME, CheckpointMode::TRUNCATE).map(|_| ())
}

/// Makes an empty database of this name, without a log.
pub fn make(place: &dyn Place, name: &str) -> Result<(), OpenError> {
    let path = place.path(name);
    for leftover in [name.to_owned(), format!("{name}-wal"), format!("{name}-journal")] {
        remove(place, &leftover)?;
    }
    let failed = |error: rusqlite::Error| OpenError::sqlite(&path, &error);
    let connection = connect(place, name).map_err(failed)?;
    fill(&connection).map_err(failed)?;
    empty_log(&connection).map_err(failed)?;
    connection.close().map_err(|(_, error)| failed(error))?;
    remove(place, &format!("{name}-wal"))
}

fn remove(place: &dyn Place, name: &str) -> Result<(), OpenError> {
    place
        .remove(name)
        .map_err(|error| OpenError::io(&place.path(name), "cannot remove this leftover", &error))
}

/// Refuses a file that says that a newer version wrote it.
pub fn refuse_newer(place: &dyn Place) -> Result<(), OpenError> {
    let path = place.path(STORE);
    if size(place, STORE)?.is_none() {
        return Ok(());
    }
    let mut header = [0; HEADER];
    place
        .read_start(STORE, &mut header)
        .map_err(|error| OpenError::io(&path, "cannot read this file", &error))?;
    let number = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (format, application) = (number(60), number(68));
    if application == APPLICATION_ID && format > FORMAT {
        return Err(OpenError::new(&path, OpenProblem::Newer(format)));
    }
    Ok(())
}

/// How often the store was opened.
pub fn starts(connection: &Connection) -> rusqlite::Result<i64> {
    connection
        .query_row("SELECT value FROM meta WHERE key = ?1", [STARTS], |row| row.get(0))
        .optional()
        .map(|starts| starts.unwrap_or(0))
}

/// Writes that down.
pub fn set_starts(connection: &Connection, starts: i64) -> rusqlite::Result<()> {
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?1, ?2)", [STARTS, starts]).map(|_| ())
}

/// Renames with what that needs to survive a power cut.
pub fn rename(place: &dyn Place, from: &str, to: &str) -> Result<(), OpenError> {
    place
        .rename(from, to)
        .map_err(|error| OpenError::io(&place.path(from), "cannot rename this file", &error))
}

/// Whether there is no store and may be none: a part of one is an error.
pub fn is_missing(place: &dyn Place) -> Result<bool, OpenError> {
    if size(place, SALVAGED)?.is_some() {
        return Err(OpenError::new(&place.path(SALVAGED), OpenProblem::SalvageUnfinished));
    }
    if size(place, STORE)?.is_some() {
        return Ok(false);
    }
    if has_log(place)? {
        return Err(OpenError::new(&place.path(LOG), OpenProblem::LogWithoutStore));
    }
    Ok(true)
}

/// Whether the log holds anything.
fn has_log(place: &dyn Place) -> Result<bool, OpenError> {
    if size(place, LOG)?.is_none() {
        return Ok(false);
    }
    let mut header = [0; LOG_HEADER as usize];
    place
        .read_start(LOG, &mut header)
        .map_err(|error| OpenError::io(&place.path(LOG), "cannot read this file", &error))?;
    Ok(header != [0; LOG_HEADER as usize])
}

/// How large a file is.
pub fn size(place: &dyn Place, name: &str) -> Result<Option<u64>, OpenError> {
    place.size(name).map_err(|error| OpenError::io(&place.path(name), "cannot look at this file", &error))
}

/// Opens a connection for the only process that may use the database.
pub fn connect(place: &dyn Place, name: &str) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let path = place.path(name);
    let connection = match place.vfs() {
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs)?,
        None => Connection::open_with_flags(path, flags)?,
    };
    // Nobody else may have it; waiting would not help.
    connection.busy_timeout(Duration::ZERO)?;
    // Whoever closes decides about the log: after an error it must stay.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // Exclusive before the first access: the log's index then is in memory and no second process gets in.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", -2 * 1024)?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "journal_size_limit", 16 * 1024 * 1024)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn fill(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "page_size", PAGE_SIZE)?;
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.execute_batch(&format!(
        "BEGIN;{TABLES}PRAGMA application_id = {APPLICATION_ID};PRAGMA user_version = {FORMAT};COMMIT;"
    ))
}

/// Looks at the file before SQLite does, which takes an empty one for a new database. True if it is shorter than it says,
/// which is right only if the log has the rest.
fn check_file(place: &dyn Place) -> Result<bool, OpenError> {
    let path = place.path(STORE);
    let damaged = |how: &str| Err(OpenError::new(&path, OpenProblem::Damaged(how.to_owned())));
    let mut header = [0; HEADER];
    let Some(length) = size(place, STORE)? else {
        return Err(OpenError::new(&path, OpenProblem::Missing));
    };
    let read = place
        .read_start(STORE, &mut header)
        .map_err(|error| OpenError::io(&path, "cannot read this file", &error))?;
    if length == 0 {
        return damaged("the file is empty");
    }
    if header[..read].iter().all(|byte| *byte == 0) {
        return damaged("the file is filled with zeros");
    }
    if read < HEADER {
        return damaged("the file is cut off");
    }
    if &header[..16] != b"SQLite format 3\0" {
        return Err(OpenError::new(&path, OpenProblem::Foreign));
    }
    let page_size = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        size => u64::from(size),
    };
    let pages = u32::from_be_bytes([header[28], header[29], header[30], header[31]]);
    let is_short = length < u64::from(pages) * page_size;
    if is_short && !has_log(place)? {
        return damaged("the file is cut off");
    }
    Ok(is_short)
}

fn fill_log(place: &dyn Place, pages: u32) -> Result<(), OpenError> {
    let size = LOG_HEADER + u64::from(pages) * (LOG_FRAME + u64::from(PAGE_SIZE));
    match place.fill(LOG, size) {
        // It grows when it has to.
        Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::WriteZero) => {
            warn!("{}: cannot be made as large as it is going to be: {error}", place.path(LOG).display());
            Ok(())
        }
        filled => filled.map_err(|error| OpenError::io(&place.path(LOG), "cannot write this file", &error)),
    }
}

fn check_identity(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let failed = |error: rusqlite::Error| OpenError::sqlite(path, &error);
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    if number("application_id").map_err(failed)? != i64::from(APPLICATION_ID) {
        return Err(OpenError::new(path, OpenProblem::Foreign));
    }
    let format = u32::try_from(number("user_version").map_err(failed)?).unwrap_or(u32::MAX);
    match format.cmp(&FORMAT) {
        std::cmp::Ordering::Less => Err(OpenError::new(path, OpenProblem::Older(format))),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(OpenError::new(path, OpenProblem::Newer(format))),
    }
}

fn check_structure(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let first: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| OpenError::sqlite(path, &error))?;
    if first == "ok" {
        return Ok(());
    }
    Err(OpenError::new(path, OpenProblem::Damaged(first)))
}

fn synchronous(durability: Durability) -> &'static str {
    match durability {
        Durability::Fsync => "FULL",
        Durability::Buffered => "NORMAL",
    }
}
