//! Reading what was kept, when a store is opened.

use std::{collections::HashMap, sync::Arc};

use rusqlite::{Connection, OptionalExtension, Row, types::ValueRef};
use tracing::error;

use super::{
    Change, Contents, Records, Slot, StoredSession, Totals,
    batch::{Batch, Flows, count_again},
    keys, records,
    records::{Table, row_is_whole},
    schema,
};

type Result<T> = rusqlite::Result<T>;

/// Reads all but the messages in queues, and counts this start. Records that are not whole are removed, with what belongs
/// to a session that is not.
pub fn read(connection: &Connection) -> Result<(Contents, Flows)> {
    let transaction = connection.unchecked_transaction()?;
    let mut contents = Contents { starts: count_start(connection)?, ..Contents::default() };
    let mut damaged = Records::default();
    remove_damaged(connection, &mut damaged)?;
    connection
        .execute("DELETE FROM flow WHERE id NOT IN (SELECT DISTINCT key & 0xFFFFFFFF FROM total)", [])?;
    let flows = read_flows(connection)?;
    contents.sessions = read_sessions(connection, &flows)?;
    read_rows(connection, Table::Retained, |columns| contents.retained.extend(records::retained(columns)))?;
    transaction.commit()?;
    if damaged != Records::default() {
        error!("records of the store were damaged and are lost ({damaged}): see `ior-bridge store verify`");
    }
    contents.damaged = damaged;
    Ok((contents, flows))
}

/// The flows that have a number.
pub fn read_flows(connection: &Connection) -> Result<Flows> {
    let mut flows = Flows::default();
    read_rows(connection, Table::Flow, |columns| {
        if let (Some(number), Some(name)) = (records::number(&columns[0]), records::text(&columns[1])) {
            flows.insert(number, Arc::from(name));
        }
    })?;
    read_rows(connection, Table::Total, |columns| {
        if let Some(key) = records::number(&columns[0]) {
            flows.insert_nameless(keys::of_total(key).1);
        }
    })?;
    Ok(flows)
}

fn count_start(connection: &Connection) -> Result<u64> {
    let starts = schema::starts(connection)?.saturating_add(1);
    schema::set_starts(connection, starts)?;
    Ok(starts.max(1).cast_unsigned())
}

fn remove_damaged(connection: &Connection, damaged: &mut Records) -> Result<()> {
    for key in damaged_rows(connection, Table::Session)? {
        damaged.sessions += 1;
        let slot = key as Slot;
        let range = keys::messages(slot);
        damaged.messages += connection
            .query_row(
                "SELECT count(*) FROM message WHERE key BETWEEN ?1 AND ?2",
                [range.start(), range.end()],
                |row| row.get::<_, i64>(0),
            )?
            .cast_unsigned();
        // Nobody can own it any more, and its number will be another session's.
        let mut flows = Flows::default();
        let mut batch = Batch::new(connection, &mut flows);
        batch.apply(&Change::EndSession(slot))?;
        batch.settle()?;
    }
    for key in damaged_rows(connection, Table::Total)? {
        count_again(connection, keys::of_total(key).0)?;
    }
    for (table, lost) in [
        (Table::Subscription, &mut damaged.subscriptions),
        (Table::Inbound, &mut damaged.identifiers),
        (Table::Retained, &mut damaged.retained),
    ] {
        for key in damaged_rows(connection, table)? {
            *lost += 1;
            connection.execute(&format!("DELETE FROM {} WHERE rowid = ?1", table.name()), [key])?;
        }
    }
    Ok(())
}

fn damaged_rows(connection: &Connection, table: Table) -> Result<Vec<i64>> {
    let mut select = connection.prepare(&format!("SELECT * FROM {}", table.name()))?;
    let mut rows = select.query([])?;
    let mut damaged = Vec::new();
    while let Some(row) = rows.next()? {
        if !row_is_whole(table, row)?
            || !with_columns(table, row, |columns| records::is_readable(table, columns))?
        {
            damaged.push(row.get(0)?);
        }
    }
    Ok(damaged)
}

fn read_sessions(connection: &Connection, flows: &Flows) -> Result<Vec<StoredSession>> {
    let mut sessions: Vec<StoredSession> = Vec::new();
    let mut places: HashMap<Slot, usize> = HashMap::new();
    read_rows(connection, Table::Session, |columns| {
        if let Some(record) = records::session(columns) {
            places.insert(record.slot, sessions.len());
            sessions.push(StoredSession {
                record,
                subscriptions: Vec::new(),
                unreleased: Vec::new(),
                totals: Vec::new(),
                range: None,
            });
        }
    })?;
    let mut of = |slot: Slot, add: &mut dyn FnMut(&mut StoredSession)| {
        if let Some(session) = places.get(&slot).and_then(|place| sessions.get_mut(*place)) {
            add(session);
        }
    };
    read_rows(connection, Table::Subscription, |columns| {
        if let Some((slot, filter, options)) = records::subscription(columns) {
            of(slot, &mut |session| session.subscriptions.push((filter.clone(), options)));
        }
    })?;
    read_rows(connection, Table::Inbound, |columns| {
        if let Some((slot, packet_id)) = records::inbound(columns) {
            of(slot, &mut |session| session.unreleased.push(packet_id));
        }
    })?;
    read_rows(connection, Table::Total, |columns| {
        let [key, messages, bytes, _] = columns else { return };
        if let (Some(key), Some(messages), Some(bytes)) =
            (records::number(key), records::number(messages), records::number(bytes))
        {
            let (slot, flow) = keys::of_total(key);
            of(slot, &mut |session| session.totals.push((flows.name(flow), Totals { messages, bytes })));
        }
    })?;
    for session in &mut sessions {
        session.range = range(connection, session.record.slot)?;
    }
    Ok(sessions)
}

fn range(connection: &Connection, slot: Slot) -> Result<Option<(u64, u64)>> {
    let keys = keys::messages(slot);
    let end = |select: &str| {
        connection
            .prepare_cached(select)?
            .query_row([keys.start(), keys.end()], |row| row.get::<_, i64>(0))
            .optional()
            .map(|key| key.map(keys::sequence))
    };
    let first = end("SELECT key FROM message WHERE key BETWEEN ?1 AND ?2 ORDER BY key LIMIT 1")?;
    let last = end("SELECT key FROM message WHERE key BETWEEN ?1 AND ?2 ORDER BY key DESC LIMIT 1")?;
    Ok(first.zip(last))
}

fn read_rows(connection: &Connection, table: Table, mut each: impl FnMut(&[ValueRef<'_>])) -> Result<()> {
    let mut select = connection.prepare(&format!("SELECT * FROM {}", table.name()))?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        if row_is_whole(table, row)? {
            with_columns(table, row, &mut each)?;
        }
    }
    Ok(())
}

fn with_columns<T>(table: Table, row: &Row<'_>, read: impl FnOnce(&[ValueRef<'_>]) -> T) -> Result<T> {
    let mut columns = [ValueRef::Null; 9];
    for (at, column) in columns.iter_mut().take(table.columns()).enumerate() {
        *column = row.get_ref(at)?;
    }
    Ok(read(&columns[..table.columns()]))
}
