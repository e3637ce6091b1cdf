//! How sessions, messages and the rest become rows, and back. Every row ends with a checksum of all before it, since
//! SQLite has none for its pages.

use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Row, types::ValueRef};

use super::{QueuedMessage, SessionRecord, Slot, StoredMessage, WillRecord, keys};
use crate::{
    codec::{PacketId, QoS},
    message::Message,
    queue::Delivery,
    subscriptions::SubscriptionOptions,
};

/// The tables whose rows carry a checksum. The number is part of it, so no row passes for another table's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// `slot, name, client_id, expiry, left_at, sent_below, will, will_delay`
    Session = 1,
    /// `id, slot, filter, options, subscription_id`
    Subscription = 2,
    /// `key`
    Inbound = 3,
    /// `id, name`
    Flow = 4,
    /// `key, messages, bytes`
    Total = 5,
    /// `key, flow, size, expires_at, options, ids, record`
    Message = 6,
    /// `id, topic, owner, record`
    Retained = 7,
}

impl Table {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::Session,
        Self::Subscription,
        Self::Inbound,
        Self::Flow,
        Self::Total,
        Self::Message,
        Self::Retained,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Subscription => "subscription",
            Self::Inbound => "inbound",
            Self::Flow => "flow",
            Self::Total => "total",
            Self::Message => "message",
            Self::Retained => "retained",
        }
    }

    /// Columns, the checksum included.
    pub fn columns(self) -> usize {
        match self {
            Self::Session => 9,
            Self::Subscription => 6,
            Self::Inbound => 2,
            Self::Flow => 3,
            Self::Total => 4,
            Self::Message => 8,
            Self::Retained => 5,
        }
    }

    /// The column with which the checksum begins: a number that SQLite gives is not in it.
    fn checked_from(self) -> usize {
        usize::from(matches!(self, Self::Subscription | Self::Retained))
    }
}

/// The checksum of a row's columns, without the one that holds it; for tables whose number SQLite gives, without that
/// either.
pub fn checksum(table: Table, columns: &[ValueRef<'_>]) -> i64 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[table as u8]);
    for column in columns {
        match column {
            ValueRef::Null => hasher.update(&[0]),
            ValueRef::Integer(value) => {
                hasher.update(&[1]);
                hasher.update(&value.to_le_bytes());
            }
            ValueRef::Real(value) => {
                hasher.update(&[2]);
                hasher.update(&value.to_le_bytes());
            }
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
                hasher.update(&[3]);
                hasher.update(&(bytes.len() as u64).to_le_bytes());
                hasher.update(bytes);
            }
        }
    }
    i64::from(hasher.finalize().cast_signed())
}

/// Whether a row's checksum, its last column, is that of the others.
pub fn is_whole(table: Table, columns: &[ValueRef<'_>]) -> bool {
    let Some((ValueRef::Integer(stored), content)) = columns.split_last() else { return false };
    columns.len() == table.columns() && checksum(table, &content[table.checked_from()..]) == *stored
}

/// The same for a row that a query gave.
pub fn row_is_whole(table: Table, row: &Row<'_>) -> rusqlite::Result<bool> {
    let mut columns = [ValueRef::Null; 9];
    for (at, column) in columns.iter_mut().take(table.columns()).enumerate() {
        *column = row.get_ref(at)?;
    }
    Ok(is_whole(table, &columns[..table.columns()]))
}

/// Whether the columns of a whole row also mean something: if not, something else than this program wrote them.
pub fn is_readable(table: Table, columns: &[ValueRef<'_>]) -> bool {
    match table {
        Table::Session => session(columns).is_some(),
        Table::Subscription => subscription(columns).is_some(),
        Table::Inbound => inbound(columns).is_some(),
        Table::Retained => retained(columns).is_some(),
        Table::Message => queued(columns, |_| Arc::from("")).is_some(),
        Table::Flow | Table::Total => true,
    }
}

/// A number that must fit, as SQLite keeps it; what does not fit is as large as can be.
pub fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A time that may be never.
pub fn time(value: u64) -> Option<i64> {
    i64::try_from(value).ok()
}

/// A column that may be NULL.
pub fn optional(value: Option<i64>) -> ValueRef<'static> {
    value.map_or(ValueRef::Null, ValueRef::Integer)
}

/// The options of a subscription in one number.
pub fn subscription_options(options: &SubscriptionOptions) -> i64 {
    i64::from(options.qos as u8)
        | i64::from(options.no_local) << 2
        | i64::from(options.retain_as_published) << 3
}

/// The subscription of a whole row: whose, Topic Filter, options.
pub fn subscription(columns: &[ValueRef<'_>]) -> Option<(Slot, Box<str>, SubscriptionOptions)> {
    let [_, slot, filter, options, subscription_id, _] = columns else { return None };
    let bits = number(options)?;
    let options = SubscriptionOptions {
        qos: qos(bits)?,
        no_local: bits & 0b100 != 0,
        retain_as_published: bits & 0b1000 != 0,
        subscription_id: match subscription_id {
            ValueRef::Null => None,
            id => Some(number(id)?),
        },
        since: 0,
    };
    Some((number(slot)?, text(filter)?.into(), options))
}

/// The session of a whole row.
pub fn session(columns: &[ValueRef<'_>]) -> Option<SessionRecord> {
    let [slot, name, client_id, expiry, left_at, sent_below, will, delay, _] = columns else { return None };
    Some(SessionRecord {
        slot: number(slot)?,
        name: text(name)?.into(),
        client_id: text(client_id)?.into(),
        expiry: number(expiry)?,
        left_at: match left_at {
            ValueRef::Null => None,
            time => Some(number(time)?),
        },
        sent_below: number(sent_below)?,
        will: match will {
            ValueRef::Null => None,
            record => Some(WillRecord { message: message(record)?, delay: number(delay)? }),
        },
    })
}

/// The identifier of a whole row: whose, and which.
pub fn inbound(columns: &[ValueRef<'_>]) -> Option<(Slot, PacketId)> {
    let key: i64 = number(columns.first()?)?;
    Some((Slot::try_from(key >> 16).ok()?, PacketId::new((key & 0xFFFF) as u16)?))
}

/// The QoS in what [`delivery_options`] gives.
pub const QOS_BITS: i64 = 0b11;
/// QoS 2 there.
pub const QOS_2: i64 = 2;

/// How a message is sent, in one number.
pub fn delivery_options(delivery: &Delivery) -> i64 {
    i64::from(delivery.qos as u8) | i64::from(delivery.retain) << 2
}

/// Subscription identifiers in one column; empty for none.
pub fn subscription_ids(ids: &[u32]) -> Vec<u8> {
    ids.iter().flat_map(|id| id.to_le_bytes()).collect()
}

/// The message of a whole row. `flow_name` gives the name of a flow.
pub fn queued(columns: &[ValueRef<'_>], flow_name: impl FnOnce(u32) -> Arc<str>) -> Option<StoredMessage> {
    let [key, flow, _, expires_at, options, ids, record, _] = columns else { return None };
    let sequence = keys::sequence(number(key)?);
    let flow: u32 = number(flow)?;
    if flow == 0 {
        return Some(StoredMessage::Released(sequence));
    }
    let bits = number(options)?;
    let subscription_ids = match ids {
        ValueRef::Blob(ids) if ids.len() % 4 == 0 => {
            ids.chunks_exact(4).map(|id| u32::from_le_bytes([id[0], id[1], id[2], id[3]])).collect()
        }
        ValueRef::Null => Vec::new(),
        _ => return None,
    };
    Some(StoredMessage::Message(QueuedMessage {
        sequence,
        flow: flow_name(flow),
        expires_at: match expires_at {
            ValueRef::Null => u64::MAX,
            time => number(time)?,
        },
        delivery: Delivery {
            message: message(record)?,
            qos: qos(bits)?,
            retain: bits & 0b100 != 0,
            subscription_ids,
        },
    }))
}

/// The retained message of a whole row, and whom it counts for.
pub fn retained(columns: &[ValueRef<'_>]) -> Option<(Message, Arc<str>)> {
    let [_, _, owner, record, _] = columns else { return None };
    Some((message(record)?, text(owner)?.into()))
}

/// An integer column.
pub fn number<T: TryFrom<i64>>(column: &ValueRef<'_>) -> Option<T> {
    match column {
        ValueRef::Integer(value) => T::try_from(*value).ok(),
        _ => None,
    }
}

/// A text column.
pub fn text<'a>(column: &ValueRef<'a>) -> Option<&'a str> {
    match column {
        ValueRef::Text(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

fn message(column: &ValueRef<'_>) -> Option<Message> {
    match column {
        ValueRef::Blob(record) => Message::from_record(Bytes::copy_from_slice(record)),
        _ => None,
    }
}

fn qos(bits: i64) -> Option<QoS> {
    match bits & QOS_BITS {
        0 => Some(QoS::AtMostOnce),
        1 => Some(QoS::AtLeastOnce),
        QOS_2 => Some(QoS::ExactlyOnce),
        _ => None,
    }
}
