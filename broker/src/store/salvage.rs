//! Keeping what is whole of a damaged store.

use std::{
    io,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, params, params_from_iter, types::ValueRef};

use super::{
    OpenError, OpenProblem, Records, batch,
    pages::{Pages, RawRow},
    place::{Directory, LOG, Place, SALVAGED, STORE, UNFINISHED},
    records::{self, Table},
    schema,
};
use crate::clock::unix_ms;

/// What became of a damaged store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Salvage {
    /// What is in the new store.
    pub kept: Records,
    /// Records that were found, but are not whole.
    pub damaged: Records,
    /// Pages of the file whose records cannot be found.
    pub unreadable_pages: u64,
    /// Subscriptions, messages and identifiers whose session is lost: nobody could have them.
    pub orphans: u64,
    /// Messages that sessions had according to what was written down about them, but that are not kept.
    pub missing_messages: u64,
    /// Where the damaged files are now.
    pub moved: Vec<PathBuf>,
    /// An interrupted salvage was finished; what was kept and lost was found then.
    pub was_unfinished: bool,
}

/// Puts every whole record of the store in this directory into a new store, which takes its place. The damaged files are
/// kept beside it as `store.db.damaged-<unix time>`. Messages that were taken from the store shortly before may be in it
/// again.
///
/// # Errors
/// [`OpenError`] if there is no store, another process has it, or the files cannot be read or written. The damaged files
/// are as they were then.
pub fn salvage(directory: &Path) -> Result<Salvage, OpenError> {
    let place = Directory::open(directory)?;
    let mut salvage = Salvage::default();
    if schema::size(&place, SALVAGED)?.is_some() {
        salvage.was_unfinished = true;
    } else {
        build(&place, &mut salvage)?;
        schema::rename(&place, UNFINISHED, SALVAGED)?;
    }
    // From here on a start refuses until all has its place: the new store must never be seen with the old log.
    salvage.moved = move_aside(&place)?;
    schema::rename(&place, SALVAGED, STORE)?;
    Ok(salvage)
}

fn build(place: &Directory, salvage: &mut Salvage) -> Result<(), OpenError> {
    let path = place.path(STORE);
    if schema::size(place, STORE)?.is_none() && schema::size(place, LOG)?.is_none() {
        return Err(OpenError::new(&path, OpenProblem::Missing));
    }
    schema::refuse_newer(place)?;
    let pages = Pages::open(&path, &place.path(LOG))
        .map_err(|error| OpenError::io(&path, "cannot read this file", &error))?;
    schema::make(place, UNFINISHED)?;
    fill(place, &pages, salvage).map_err(|error| match error {
        Problem::Reading(error) => OpenError::io(&path, "cannot read this file", &error),
        Problem::Writing(error) => OpenError::sqlite(&place.path(UNFINISHED), &error),
    })
}

enum Problem {
    Reading(io::Error),
    Writing(rusqlite::Error),
}

impl From<rusqlite::Error> for Problem {
    fn from(error: rusqlite::Error) -> Self {
        Self::Writing(error)
    }
}

fn fill(place: &Directory, pages: &Pages, salvage: &mut Salvage) -> Result<(), Problem> {
    let connection = schema::connect(place, UNFINISHED)?;
    // If this is interrupted the file is thrown away: it needs no journal.
    connection.pragma_update(None, "journal_mode", "OFF")?;
    connection.execute_batch("BEGIN")?;
    let mut written = Ok(());
    salvage.unreadable_pages = pages
        .for_each_row(|_, row| {
            if written.is_ok() {
                written = keep(&connection, &row, salvage);
            }
        })
        .map_err(Problem::Reading)?;
    written?;
    salvage.orphans = remove_orphans(&connection)?;
    salvage.missing_messages = settle_totals(&connection)?;
    count(&connection, salvage)?;
    schema::set_starts(&connection, integer_time())?;
    connection.execute_batch("COMMIT")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    schema::empty_log(&connection)?;
    connection.close().map_err(|(_, error)| error)?;
    place.remove(&format!("{UNFINISHED}-wal")).map_err(Problem::Reading)
}

fn keep(connection: &Connection, row: &RawRow, salvage: &mut Salvage) -> rusqlite::Result<()> {
    let mut columns = [ValueRef::Null; 9];
    let Some(columns) = row.columns(&mut columns) else { return Ok(()) };
    let Some(table) = table_of(columns) else { return Ok(()) };
    if !records::is_whole(table, columns) || !records::is_readable(table, columns) {
        if let Some(damaged) = salvage.damaged.of(table) {
            *damaged += 1;
        }
        return Ok(());
    }
    let places = ["?1,?2", "?3", "?4", "?5", "?6", "?7", "?8", "?9"][..columns.len() - 1].join(",");
    connection
        .prepare_cached(&format!("INSERT OR IGNORE INTO {} VALUES ({places})", table.name()))?
        .execute(params_from_iter(columns.iter().map(|column| batch::Bound(*column))))?;
    Ok(())
}

/// The table that a row is of, by the number of its columns; none if it is of SQLite's or of our notes.
fn table_of(columns: &[ValueRef<'_>]) -> Option<Table> {
    const FIRST_IDENTIFIER: i64 = 1 << 16;
    let ValueRef::Integer(key) = columns.first()? else { return None };
    let table = Table::ALL.into_iter().find(|table| table.columns() == columns.len())?;
    (table != Table::Inbound || *key >= FIRST_IDENTIFIER).then_some(table)
}

fn remove_orphans(connection: &Connection) -> rusqlite::Result<u64> {
    let mut removed = 0;
    for (table, slot) in [("subscription", "slot"), ("inbound", "key >> 16"), ("message", "key >> 43")] {
        removed += connection
            .execute(&format!("DELETE FROM {table} WHERE {slot} NOT IN (SELECT slot FROM session)"), [])?
            as u64;
    }
    Ok(removed)
}

/// Writes down what sessions have now; says how many messages they had more.
fn settle_totals(connection: &Connection) -> rusqlite::Result<u64> {
    let written: i64 =
        connection.query_row("SELECT coalesce(sum(messages), 0) FROM total", [], |row| row.get(0))?;
    connection.execute("DELETE FROM total", [])?;
    let slots: Vec<u32> = connection
        .prepare("SELECT slot FROM session")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for slot in slots {
        batch::count_again(connection, slot)?;
    }
    let kept: i64 =
        connection.query_row("SELECT coalesce(sum(messages), 0) FROM total", [], |row| row.get(0))?;
    Ok((written - kept).max(0).cast_unsigned())
}

fn count(connection: &Connection, salvage: &mut Salvage) -> rusqlite::Result<()> {
    for table in Table::ALL {
        if let Some(kept) = salvage.kept.of(table) {
            let rows: i64 = connection.query_row(
                &format!("SELECT count(*) FROM {}", table.name()),
                params![],
                |row| row.get(0),
            )?;
            *kept = rows.max(0).cast_unsigned();
        }
    }
    Ok(())
}

/// Higher than any count of starts, which is lost.
fn integer_time() -> i64 {
    records::integer(unix_ms() / 1_000)
}

fn move_aside(place: &Directory) -> Result<Vec<PathBuf>, OpenError> {
    let mut time = unix_ms() / 1_000;
    while schema::size(place, &damaged_name(time))?.is_some() {
        time += 1;
    }
    let mut moved = Vec::new();
    for (name, suffix) in [(LOG, "-wal"), (STORE, "")] {
        if schema::size(place, name)?.is_some() {
            let aside = damaged_name(time) + suffix;
            schema::rename(place, name, &aside)?;
            moved.push(place.path(&aside));
        }
    }
    Ok(moved)
}

fn damaged_name(time: u64) -> String {
    format!("{STORE}.damaged-{time}")
}
