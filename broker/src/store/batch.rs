//! What one commit does to the database.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use rusqlite::{CachedStatement, Connection, OptionalExtension, params, params_from_iter, types::ValueRef};

use super::{
    Change, LoadRequest, Loaded, QueuedMessage, Sequence, SessionRecord, Slot, StoredMessage, Totals, Trim,
    TrimRequest, keys,
    records::{self, Table, checksum, integer, optional, row_is_whole, time},
};
use crate::{codec::PacketId, message::Message, subscriptions::SubscriptionOptions};

pub type Result<T> = rusqlite::Result<T>;

/// The names of flows and their numbers. A flow's number is in every message of it, its name only once.
#[derive(Debug, Default)]
pub struct Flows {
    numbers: HashMap<Arc<str>, u32>,
    names: HashMap<u32, Arc<str>>,
}

impl Flows {
    /// A flow that is kept.
    pub fn insert(&mut self, number: u32, name: Arc<str>) {
        self.numbers.insert(Arc::clone(&name), number);
        self.names.insert(number, name);
    }

    /// A flow of which something is kept, but not its name: its number is not free.
    pub fn insert_nameless(&mut self, number: u32) {
        self.names.entry(number).or_insert_with(|| Arc::from(""));
    }

    /// The name of a number; empty if its record was damaged.
    pub fn name(&self, number: u32) -> Arc<str> {
        self.names.get(&number).map_or_else(|| Arc::from(""), Arc::clone)
    }

    /// A number that no flow has.
    fn vacant(&self) -> u32 {
        self.names.keys().max().map_or(1, |highest| highest + 1)
    }
}

/// The changes of one transaction. What sessions hold by flow is added up at the end, in [`Batch::settle`].
pub struct Batch<'a> {
    connection: &'a Connection,
    flows: &'a mut Flows,
    totals: HashMap<(Slot, u32), Difference>,
    /// Sessions whose totals have to be counted again, since a record went of which nobody knows what it counted for.
    recount: HashSet<Slot>,
    changed: HashSet<Slot>,
}

#[derive(Default)]
struct Difference {
    messages: i64,
    bytes: i64,
}

impl<'a> Batch<'a> {
    /// Nothing yet. The caller has begun a transaction, and ends it.
    pub fn new(connection: &'a Connection, flows: &'a mut Flows) -> Self {
        Self { connection, flows, totals: HashMap::new(), recount: HashSet::new(), changed: HashSet::new() }
    }

    /// Whether there is something in it about this session's queue.
    pub fn has_changed(&self, slot: Slot) -> bool {
        self.changed.contains(&slot) || self.recount.contains(&slot)
    }

    /// Does one thing.
    pub fn apply(&mut self, change: &Change) -> Result<()> {
        self.changed.extend(change.slot());
        match change {
            Change::PutSession(session) => self.put_session(session),
            Change::EndSession(slot) => self.end_session(*slot),
            Change::ForgetWill(slot) => self.forget_will(*slot),
            Change::Subscribe { slot, filter, options } => self.subscribe(*slot, filter, options),
            Change::Unsubscribe { slot, filter } => self.unsubscribe(*slot, filter),
            Change::Enqueue { slot, message } => self.enqueue(*slot, message),
            Change::Forget { slot, sequence } => self.forget(*slot, *sequence),
            Change::Release { slot, sequence } => self.release(*slot, *sequence),
            Change::Accept { slot, packet_id } => self.accept(*slot, *packet_id),
            Change::Complete { slot, packet_id } => self.complete(*slot, *packet_id),
            Change::Retain { message, owner } => self.retain(message, owner),
            Change::Unretain { topic } => self.unretain(topic),
        }
    }

    /// Reads messages. Those that cannot be read are removed.
    pub fn load(&mut self, request: &LoadRequest) -> Result<Loaded> {
        let mut loaded = Loaded { complete: true, ..Loaded::default() };
        if request.from >= request.below || request.from > keys::MAX_SEQUENCE {
            return Ok(loaded);
        }
        let mut damaged = Vec::new();
        {
            let mut select = self.statement(
                "SELECT key, flow, size, expires_at, options, ids, record, checksum FROM message
                 WHERE key BETWEEN ?1 AND ?2 ORDER BY key",
            )?;
            let mut rows = select.query([
                keys::message(request.slot, request.from),
                keys::message(request.slot, request.below - 1),
            ])?;
            let mut bytes = 0;
            while let Some(row) = rows.next()? {
                if !loaded.messages.is_empty()
                    && (loaded.messages.len() >= request.messages || bytes >= request.bytes)
                {
                    loaded.complete = false;
                    break;
                }
                match self.read_message(row)? {
                    Some(message) => {
                        if let StoredMessage::Message(message) = &message {
                            bytes += message.delivery.size();
                        }
                        loaded.messages.push(message);
                    }
                    None => damaged.push(row.get::<_, i64>(0)?),
                }
            }
        }
        for key in damaged {
            loaded.damaged += 1;
            self.statement("DELETE FROM message WHERE key = ?1")?.execute([key])?;
            self.recount.insert(request.slot);
        }
        Ok(loaded)
    }

    /// Removes messages; says how much.
    pub fn trim(&mut self, request: &TrimRequest) -> Result<Totals> {
        let Some(&flow) = self.flows.numbers.get(&request.flow) else { return Ok(Totals::default()) };
        let first = keys::message(request.slot, request.from);
        let last = *keys::messages(request.slot).end();
        let removed = match request.what {
            Trim::Oldest { messages, bytes } => {
                match self.oldest(first, last, flow, Totals { messages, bytes })? {
                    Some(last) => self.remove(
                        "DELETE FROM message WHERE key BETWEEN ?1 AND ?2 AND flow = ?3 RETURNING size",
                        &[first, last, i64::from(flow)],
                    )?,
                    None => Totals::default(),
                }
            }
            Trim::Expired(now) => self.remove(
                "DELETE FROM message WHERE key BETWEEN ?1 AND ?2 AND flow = ?3 AND expires_at <= ?4 RETURNING size",
                &[first, last, i64::from(flow), integer(now)],
            )?,
        };
        self.changed.insert(request.slot);
        self.count(request.slot, flow, -integer(removed.messages), -integer(removed.bytes));
        Ok(removed)
    }

    /// The number of a flow of which something may be kept.
    pub(super) fn flow_number(&self, name: &str) -> Option<u32> {
        self.flows.numbers.get(name).copied()
    }

    /// Removes the messages of a flow from the first place on and before the end.
    pub(super) fn remove_flow(
        &mut self,
        slot: Slot,
        flow: u32,
        first: Sequence,
        end: Sequence,
    ) -> Result<()> {
        let removed = self.remove(
            "DELETE FROM message WHERE key BETWEEN ?1 AND ?2 AND flow = ?3 RETURNING size",
            &[keys::message(slot, first), keys::message(slot, end - 1), i64::from(flow)],
        )?;
        self.changed.insert(slot);
        self.count(slot, flow, -integer(removed.messages), -integer(removed.bytes));
        Ok(())
    }

    /// Brings what sessions hold by flow up to date. Nothing may follow.
    pub fn settle(mut self) -> Result<()> {
        for ((slot, flow), difference) in std::mem::take(&mut self.totals) {
            if !self.recount.contains(&slot) {
                self.settle_total(slot, flow, &difference)?;
            }
        }
        for slot in std::mem::take(&mut self.recount) {
            count_again(self.connection, slot)?;
        }
        Ok(())
    }

    fn put_session(&mut self, session: &SessionRecord) -> Result<()> {
        let will = session.will.as_ref();
        let row = [
            ValueRef::Integer(i64::from(session.slot)),
            ValueRef::Text(session.name.as_bytes()),
            ValueRef::Text(session.client_id.as_bytes()),
            ValueRef::Integer(i64::from(session.expiry)),
            optional(session.left_at.and_then(time)),
            ValueRef::Integer(integer(session.sent_below)),
            will.map_or(ValueRef::Null, |will| ValueRef::Blob(will.message.record())),
            optional(will.map(|will| i64::from(will.delay))),
        ];
        self.put(
            "INSERT OR REPLACE INTO session VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            Table::Session,
            &row,
        )
    }

    fn forget_will(&mut self, slot: Slot) -> Result<()> {
        let session = self
            .statement("SELECT * FROM session WHERE slot = ?1")?
            .query_row([i64::from(slot)], |row| {
                let mut columns = [ValueRef::Null; 9];
                for (at, column) in columns.iter_mut().enumerate() {
                    *column = row.get_ref(at)?;
                }
                Ok(records::session(&columns))
            })
            .optional()?;
        match session.flatten() {
            Some(session) => self.put_session(&SessionRecord { will: None, ..session }),
            None => Ok(()),
        }
    }

    fn end_session(&mut self, slot: Slot) -> Result<()> {
        let number = i64::from(slot);
        self.statement("DELETE FROM session WHERE slot = ?1")?.execute([number])?;
        self.statement("DELETE FROM subscription WHERE slot = ?1")?.execute([number])?;
        for (delete, range) in [
            ("DELETE FROM inbound WHERE key BETWEEN ?1 AND ?2", keys::all_inbound(slot)),
            ("DELETE FROM message WHERE key BETWEEN ?1 AND ?2", keys::messages(slot)),
            ("DELETE FROM total WHERE key BETWEEN ?1 AND ?2", keys::totals(slot)),
        ] {
            self.statement(delete)?.execute([range.start(), range.end()])?;
        }
        self.totals.retain(|(of, _), _| *of != slot);
        self.recount.remove(&slot);
        Ok(())
    }

    fn subscribe(&mut self, slot: Slot, filter: &str, options: &SubscriptionOptions) -> Result<()> {
        let row = [
            ValueRef::Integer(i64::from(slot)),
            ValueRef::Text(filter.as_bytes()),
            ValueRef::Integer(records::subscription_options(options)),
            optional(options.subscription_id.map(i64::from)),
        ];
        self.put(
            "INSERT OR REPLACE INTO subscription VALUES (NULL, ?1, ?2, ?3, ?4, ?5)",
            Table::Subscription,
            &row,
        )
    }

    fn unsubscribe(&mut self, slot: Slot, filter: &str) -> Result<()> {
        self.statement("DELETE FROM subscription WHERE slot = ?1 AND filter = ?2")?
            .execute(params![i64::from(slot), filter])?;
        Ok(())
    }

    fn enqueue(&mut self, slot: Slot, message: &QueuedMessage) -> Result<()> {
        let flow = self.flow(&message.flow)?;
        let delivery = &message.delivery;
        let size = integer(delivery.size() as u64);
        let ids = records::subscription_ids(&delivery.subscription_ids);
        let row = [
            ValueRef::Integer(keys::message(slot, message.sequence)),
            ValueRef::Integer(i64::from(flow)),
            ValueRef::Integer(size),
            optional(time(message.expires_at)),
            ValueRef::Integer(records::delivery_options(delivery)),
            if ids.is_empty() { ValueRef::Null } else { ValueRef::Blob(&ids) },
            ValueRef::Blob(delivery.message.record()),
        ];
        const INSERT: &str = "INSERT OR IGNORE INTO message VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        self.put(INSERT, Table::Message, &row)?;
        if self.connection.changes() == 0 {
            // An attempt that failed may turn out to have come into effect when the store is opened again.
            self.forget(slot, message.sequence)?;
            self.put(INSERT, Table::Message, &row)?;
        }
        self.count(slot, flow, 1, size);
        Ok(())
    }

    fn forget(&mut self, slot: Slot, sequence: Sequence) -> Result<()> {
        let removed: Option<(u32, i64)> = self
            .statement("DELETE FROM message WHERE key = ?1 RETURNING flow, size")?
            .query_row([keys::message(slot, sequence)], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        if let Some((flow, size)) = removed {
            self.count(slot, flow, -1, -size);
        }
        Ok(())
    }

    pub(super) fn release(&mut self, slot: Slot, sequence: Sequence) -> Result<()> {
        let key = keys::message(slot, sequence);
        let kept: Option<(u32, i64)> = self
            .statement("SELECT flow, size FROM message WHERE key = ?1")?
            .query_row([key], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((flow, size)) = kept else { return Ok(()) };
        let row = [
            ValueRef::Integer(key),
            ValueRef::Integer(0),
            ValueRef::Integer(0),
            ValueRef::Null,
            ValueRef::Integer(0),
            ValueRef::Null,
            ValueRef::Null,
        ];
        self.put(
            "INSERT OR REPLACE INTO message VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            Table::Message,
            &row,
        )?;
        self.count(slot, flow, -1, -size);
        Ok(())
    }

    fn accept(&mut self, slot: Slot, packet_id: PacketId) -> Result<()> {
        let row = [ValueRef::Integer(keys::inbound(slot, packet_id))];
        self.put("INSERT OR REPLACE INTO inbound VALUES (?1, ?2)", Table::Inbound, &row)
    }

    fn complete(&mut self, slot: Slot, packet_id: PacketId) -> Result<()> {
        self.statement("DELETE FROM inbound WHERE key = ?1")?.execute([keys::inbound(slot, packet_id)])?;
        Ok(())
    }

    fn retain(&mut self, message: &Message, owner: &str) -> Result<()> {
        let row = [
            ValueRef::Text(message.topic().as_bytes()),
            ValueRef::Text(owner.as_bytes()),
            ValueRef::Blob(message.record()),
        ];
        self.put("INSERT OR REPLACE INTO retained VALUES (NULL, ?1, ?2, ?3, ?4)", Table::Retained, &row)
    }

    fn unretain(&mut self, topic: &str) -> Result<()> {
        self.statement("DELETE FROM retained WHERE topic = ?1")?.execute([topic])?;
        Ok(())
    }

    fn put(&self, insert: &str, table: Table, row: &[ValueRef<'_>]) -> Result<()> {
        let mut insert = self.statement(insert)?;
        for (at, column) in row.iter().enumerate() {
            insert.raw_bind_parameter(at + 1, Bound(*column))?;
        }
        insert.raw_bind_parameter(row.len() + 1, checksum(table, row))?;
        insert.raw_execute()?;
        Ok(())
    }

    fn flow(&mut self, name: &Arc<str>) -> Result<u32> {
        if let Some(number) = self.flows.numbers.get(name) {
            return Ok(*number);
        }
        let number = self.flows.vacant();
        let row = [ValueRef::Integer(i64::from(number)), ValueRef::Text(name.as_bytes())];
        self.put("INSERT OR REPLACE INTO flow VALUES (?1, ?2, ?3)", Table::Flow, &row)?;
        self.flows.insert(number, Arc::clone(name));
        Ok(number)
    }

    fn read_message(&self, row: &rusqlite::Row<'_>) -> Result<Option<StoredMessage>> {
        if !row_is_whole(Table::Message, row)? {
            return Ok(None);
        }
        let mut columns = [ValueRef::Null; 8];
        for (at, column) in columns.iter_mut().enumerate() {
            *column = row.get_ref(at)?;
        }
        Ok(records::queued(&columns, |flow| self.flows.name(flow)))
    }

    /// The last of a flow's first rows that together are so much, or of all if they are not.
    fn oldest(&self, first: i64, last: i64, flow: u32, wanted: Totals) -> Result<Option<i64>> {
        let mut select = self.statement(
            "SELECT key, size FROM message WHERE key BETWEEN ?1 AND ?2 AND flow = ?3 ORDER BY key",
        )?;
        let mut rows = select.query([first, last, i64::from(flow)])?;
        let mut found = Totals::default();
        let mut end = None;
        while found.messages < wanted.messages || found.bytes < wanted.bytes {
            let Some(row) = rows.next()? else { break };
            found.messages += 1;
            found.bytes += row.get::<_, i64>(1)?.max(0).cast_unsigned();
            end = Some(row.get(0)?);
        }
        Ok(end)
    }

    fn remove(&self, delete: &str, bounds: &[i64]) -> Result<Totals> {
        let mut delete = self.statement(delete)?;
        let mut rows = delete.query(params_from_iter(bounds))?;
        let mut removed = Totals::default();
        while let Some(row) = rows.next()? {
            removed.messages += 1;
            removed.bytes += row.get::<_, i64>(0)?.max(0).cast_unsigned();
        }
        Ok(removed)
    }

    fn count(&mut self, slot: Slot, flow: u32, messages: i64, bytes: i64) {
        if flow != 0 {
            let difference = self.totals.entry((slot, flow)).or_default();
            difference.messages += messages;
            difference.bytes += bytes;
        }
    }

    fn settle_total(&self, slot: Slot, flow: u32, difference: &Difference) -> Result<()> {
        if difference.messages == 0 && difference.bytes == 0 {
            return Ok(());
        }
        let key = keys::total(slot, flow);
        let before = self
            .statement("SELECT key, messages, bytes, checksum FROM total WHERE key = ?1")?
            .query_row([key], |row| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)))
            .optional()?
            .unwrap_or((0, 0));
        let (messages, bytes) = (before.0 + difference.messages, before.1 + difference.bytes);
        put_total(self.connection, key, messages, bytes)
    }

    pub(super) fn statement(&self, sql: &str) -> Result<CachedStatement<'a>> {
        self.connection.prepare_cached(sql)
    }
}

/// Counts what a session holds by flow from its messages.
pub fn count_again(connection: &Connection, slot: Slot) -> Result<()> {
    let range = keys::totals(slot);
    connection.execute("DELETE FROM total WHERE key BETWEEN ?1 AND ?2", [range.start(), range.end()])?;
    let range = keys::messages(slot);
    let mut select = connection.prepare(
        "SELECT flow, count(*), sum(size) FROM message WHERE key BETWEEN ?1 AND ?2 AND flow > 0 GROUP BY flow",
    )?;
    let mut rows = select.query([range.start(), range.end()])?;
    while let Some(row) = rows.next()? {
        put_total(connection, keys::total(slot, row.get(0)?), row.get(1)?, row.get(2)?)?;
    }
    Ok(())
}

fn put_total(connection: &Connection, key: i64, messages: i64, bytes: i64) -> Result<()> {
    if messages <= 0 {
        connection.prepare_cached("DELETE FROM total WHERE key = ?1")?.execute([key])?;
        return Ok(());
    }
    let bytes = bytes.max(0);
    let row = [ValueRef::Integer(key), ValueRef::Integer(messages), ValueRef::Integer(bytes)];
    connection.prepare_cached("INSERT OR REPLACE INTO total VALUES (?1, ?2, ?3, ?4)")?.execute([
        key,
        messages,
        bytes,
        checksum(Table::Total, &row),
    ])?;
    Ok(())
}

/// A column on its way into a statement.
pub struct Bound<'a>(pub ValueRef<'a>);

impl rusqlite::ToSql for Bound<'_> {
    fn to_sql(&self) -> Result<rusqlite::types::ToSqlOutput<'_>> {
        Ok(rusqlite::types::ToSqlOutput::Borrowed(self.0))
    }
}
