//! How slots, sequence numbers and identifiers become row numbers: what belongs to a session is one range, messages in
//! their order.

use std::ops::RangeInclusive;

use super::{MAX_SLOT, Sequence, Slot};
use crate::codec::PacketId;

const SEQUENCE_BITS: u32 = 43;

/// The highest sequence number: at 100,000 messages a second it lasts for almost three years of one session.
pub const MAX_SEQUENCE: Sequence = (1 << SEQUENCE_BITS) - 1;

/// Whether this is the number of a session.
pub fn is_slot(slot: Slot) -> bool {
    (1..=MAX_SLOT).contains(&slot)
}

/// Whether this is the place of a message.
pub fn is_place(slot: Slot, sequence: Sequence) -> bool {
    is_slot(slot) && (1..=MAX_SEQUENCE).contains(&sequence)
}

/// The row of a message.
pub fn message(slot: Slot, sequence: Sequence) -> i64 {
    i64::from(slot) << SEQUENCE_BITS | sequence.min(MAX_SEQUENCE).cast_signed()
}

/// The rows of all messages of a session.
pub fn messages(slot: Slot) -> RangeInclusive<i64> {
    message(slot, 0)..=message(slot, MAX_SEQUENCE)
}

/// The sequence number of a message's row.
pub fn sequence(message: i64) -> Sequence {
    message.cast_unsigned() & MAX_SEQUENCE
}

/// The row of a QoS 2 identifier.
pub fn inbound(slot: Slot, packet_id: PacketId) -> i64 {
    i64::from(slot) << 16 | i64::from(packet_id.get())
}

/// The rows of all identifiers of a session.
pub fn all_inbound(slot: Slot) -> RangeInclusive<i64> {
    i64::from(slot) << 16..=i64::from(slot) << 16 | 0xFFFF
}

/// The row of what a session keeps of a flow.
pub fn total(slot: Slot, flow: u32) -> i64 {
    i64::from(slot) << 32 | i64::from(flow)
}

/// The rows of what a session keeps of all flows.
pub fn totals(slot: Slot) -> RangeInclusive<i64> {
    total(slot, 0)..=total(slot, u32::MAX)
}

/// The session and flow of such a row.
pub fn of_total(key: i64) -> (Slot, u32) {
    ((key >> 32) as Slot, key as u32)
}
