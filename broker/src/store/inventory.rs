//! What a store holds, by session and flow, and how large it is.

use std::path::Path;

use rusqlite::Connection;

use super::{
    OpenError, StoreError, Totals,
    answers::contain,
    contents,
    intake::CountDone,
    keys,
    place::{Directory, LOG, Place, STORE},
    schema,
    writer::{State, Writer},
};

/// What is in a store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory {
    /// Every session.
    pub sessions: Vec<KeptSession>,
    /// Retained messages, and the bytes of their records.
    pub retained: Totals,
    /// Bytes of a page of the database.
    pub page_bytes: u64,
    /// Pages of the database.
    pub pages: u64,
    /// Those of them that hold nothing: new messages go there first.
    pub free_pages: u64,
    /// Bytes of the database's file.
    pub database_bytes: u64,
    /// Bytes of its write-ahead log, which is as large as it ever had to be.
    pub log_bytes: u64,
}

/// A session, and what waits for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptSession {
    /// The authenticated name.
    pub name: String,
    /// The Client Identifier.
    pub client_id: String,
    /// When its connection ended, in milliseconds since the Unix epoch; `None` while it has one.
    pub left_at: Option<u64>,
    /// Subscriptions.
    pub subscriptions: u64,
    /// Messages that wait or are in flight, by flow.
    pub waiting: Vec<(String, Totals)>,
}

/// Looks into the store in this directory. Changes nothing.
///
/// # Errors
/// [`OpenError`] if there is no store, another process has it, or it cannot be read.
pub fn inventory(directory: &Path) -> Result<Inventory, OpenError> {
    let place = Directory::inspect(directory)?;
    let connection = schema::inspect(&place)?;
    let found = read(&connection).map_err(|error| OpenError::sqlite(&place.path(STORE), &error))?;
    Ok(found.with_sizes(&place))
}

/// All but the sizes of files.
pub fn read(connection: &Connection) -> rusqlite::Result<Inventory> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map(unsigned);
    let mut found = Inventory {
        page_bytes: number("page_size")?,
        pages: number("page_count")?,
        free_pages: number("freelist_count")?,
        ..Inventory::default()
    };
    let flows = contents::read_flows(connection)?;
    let mut sessions = connection.prepare(
        "SELECT slot, name, client_id, left_at, (SELECT count(*) FROM subscription WHERE slot = session.slot) \
         FROM session ORDER BY name, client_id",
    )?;
    let mut totals = connection
        .prepare("SELECT key, messages, bytes FROM total WHERE key BETWEEN ?1 AND ?2 AND messages > 0")?;
    let mut rows = sessions.query([])?;
    while let Some(row) = rows.next()? {
        let keys = keys::totals(row.get(0)?);
        let waiting = totals.query_map([*keys.start(), *keys.end()], |row| {
            let flow = keys::of_total(row.get(0)?).1;
            let held = Totals { messages: unsigned(row.get(1)?), bytes: unsigned(row.get(2)?) };
            Ok((flows.name(flow).to_string(), held))
        })?;
        found.sessions.push(KeptSession {
            name: row.get(1)?,
            client_id: row.get(2)?,
            left_at: row.get::<_, Option<i64>>(3)?.map(unsigned),
            subscriptions: unsigned(row.get(4)?),
            waiting: waiting.collect::<rusqlite::Result<_>>()?,
        });
    }
    let retained = "SELECT count(*), coalesce(sum(length(record)), 0) FROM retained";
    found.retained = connection.query_row(retained, [], |row| {
        Ok(Totals { messages: unsigned(row.get(0)?), bytes: unsigned(row.get(1)?) })
    })?;
    Ok(found)
}

impl Writer {
    /// Tells what is there.
    pub fn count(&self, done: CountDone) {
        let State::Open(database) = &self.state else { return done(Err(StoreError::Closed)) };
        let counted = read(&database.connection);
        contain(|| done(counted.map_err(|error| StoreError::Failed(error.to_string().into()))));
    }
}

impl Inventory {
    /// With the sizes of the files there.
    pub fn with_sizes(mut self, place: &dyn Place) -> Self {
        let size = |name| place.size(name).ok().flatten().unwrap_or(0);
        (self.database_bytes, self.log_bytes) = (size(STORE), size(LOG));
        self
    }
}

fn unsigned(number: i64) -> u64 {
    number.max(0).cast_unsigned()
}
