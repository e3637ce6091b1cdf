//! Looking at a store without changing it.

use std::path::Path;

use rusqlite::Connection;

use super::{
    OpenError, OpenProblem, Records, keys,
    place::{Directory, LOG, Place, STORE},
    records::{Table, row_is_whole},
    schema,
};
use crate::clock::unix_ms;

/// What was found in a store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verification {
    /// What is wrong with the file as a whole; the first twenty things.
    pub problems: Vec<String>,
    /// Records that are whole.
    pub whole: Records,
    /// Records that are not.
    pub damaged: Records,
    /// Subscriptions, messages and identifiers of sessions that are not there.
    pub orphans: u64,
    /// Sessions that hold something else than what is written down about them.
    pub wrong_totals: u64,
}

impl Verification {
    /// Whether nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.problems.is_empty()
            && self.damaged == Records::default()
            && self.orphans == 0
            && self.wrong_totals == 0
    }
}

/// Reads all of the store in this directory and says what is wrong with it. Changes nothing.
///
/// # Errors
/// [`OpenError`] if there is no store, another process has it, or it cannot even be opened.
pub fn verify(directory: &Path) -> Result<Verification, OpenError> {
    verify_at(&Directory::inspect(directory)?)
}

/// Looks at a store that was brought here from elsewhere, such as a backup, and makes it fit to be opened: it has to be whole.
/// What is opened next takes no number that it took before it was copied.
///
/// # Errors
/// [`OpenError`]; what is found damaged is told as [`OpenProblem::Damaged`].
pub fn adopt(directory: &Path) -> Result<Verification, OpenError> {
    let place = Directory::open(directory)?;
    let found = verify_at(&place)?;
    let path = place.path(STORE);
    if !found.is_whole() {
        let how = found.problems.first().cloned();
        let how = how.unwrap_or_else(|| format!("records that are not whole: {}", found.damaged));
        return Err(OpenError::new(&path, OpenProblem::Damaged(how)));
    }
    let failed = |error: rusqlite::Error| OpenError::sqlite(&path, &error);
    let connection = schema::connect(&place, STORE).map_err(failed)?;
    let starts = i64::try_from(unix_ms() / 1_000).unwrap_or(i64::MAX);
    let before = schema::starts(&connection).map_err(failed)?;
    schema::set_starts(&connection, starts.max(before)).map_err(failed)?;
    schema::empty_log(&connection).map_err(failed)?;
    connection.close().map_err(|(_, error)| failed(error))?;
    place.remove(LOG).map_err(|error| OpenError::io(&place.path(LOG), "cannot remove this file", &error))?;
    Ok(found)
}

pub(super) fn verify_at(place: &dyn Place) -> Result<Verification, OpenError> {
    let connection = schema::inspect(place)?;
    let mut found = Verification::default();
    let checks: [fn(&Connection, &mut Verification) -> rusqlite::Result<()>; 4] =
        [check_structure, check_records, check_owners, check_totals];
    for check in checks {
        if let Err(error) = check(&connection, &mut found) {
            found.problems.push(error.to_string());
        }
    }
    Ok(found)
}

impl Records {
    /// The number of a table's rows.
    pub(super) fn of(&mut self, table: Table) -> Option<&mut u64> {
        match table {
            Table::Session => Some(&mut self.sessions),
            Table::Subscription => Some(&mut self.subscriptions),
            Table::Inbound => Some(&mut self.identifiers),
            Table::Message => Some(&mut self.messages),
            Table::Retained => Some(&mut self.retained),
            Table::Flow | Table::Total => None,
        }
    }
}

fn check_structure(connection: &Connection, found: &mut Verification) -> rusqlite::Result<()> {
    let mut check = connection.prepare("PRAGMA integrity_check(20)")?;
    let mut rows = check.query([])?;
    while let Some(row) = rows.next()? {
        let problem: String = row.get(0)?;
        if problem != "ok" {
            found.problems.push(problem);
        }
    }
    Ok(())
}

fn check_records(connection: &Connection, found: &mut Verification) -> rusqlite::Result<()> {
    for table in Table::ALL {
        let mut select = connection.prepare(&format!("SELECT * FROM {}", table.name()))?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let count = if row_is_whole(table, row)? { &mut found.whole } else { &mut found.damaged };
            if let Some(count) = count.of(table) {
                *count += 1;
            }
        }
    }
    Ok(())
}

fn check_owners(connection: &Connection, found: &mut Verification) -> rusqlite::Result<()> {
    for (table, slot) in [("subscription", "slot"), ("inbound", "key >> 16"), ("message", "key >> 43")] {
        let orphans: i64 = connection.query_row(
            &format!("SELECT count(*) FROM {table} WHERE {slot} NOT IN (SELECT slot FROM session)"),
            [],
            |row| row.get(0),
        )?;
        found.orphans += orphans.max(0).cast_unsigned();
    }
    Ok(())
}

fn check_totals(connection: &Connection, found: &mut Verification) -> rusqlite::Result<()> {
    let mut sessions = connection.prepare("SELECT slot FROM session")?;
    let mut rows = sessions.query([])?;
    while let Some(row) = rows.next()? {
        let slot = row.get(0)?;
        let (messages, totals) = (keys::messages(slot), keys::totals(slot));
        let counted = list(
            connection,
            "SELECT flow, count(*), sum(size) FROM message WHERE key BETWEEN ?1 AND ?2 AND flow > 0 GROUP BY flow ORDER BY flow",
            [*messages.start(), *messages.end()],
        )?;
        let written = list(
            connection,
            "SELECT key & 0xFFFFFFFF, messages, bytes FROM total WHERE key BETWEEN ?1 AND ?2 ORDER BY key",
            [*totals.start(), *totals.end()],
        )?;
        found.wrong_totals += u64::from(counted != written);
    }
    Ok(())
}

fn list(connection: &Connection, select: &str, range: [i64; 2]) -> rusqlite::Result<Vec<[i64; 3]>> {
    connection
        .prepare_cached(select)?
        .query_map(range, |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?]))?
        .collect()
}
