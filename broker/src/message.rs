//! An Application Message in the one form in which it is queued, retained and carried by the live lane.

use bytes::Bytes;

use crate::codec::{ForwardedProperties, QoS};

/// What a message is made of.
#[derive(Debug, Clone, Copy)]
pub struct MessageParts<'a> {
    /// The session that published it, 0 for the server itself. No Local asks for it.
    pub publisher: u64,
    /// A valid Topic Name.
    pub topic: &'a str,
    /// QoS of the PUBLISH.
    pub qos: QoS,
    /// RETAIN of the PUBLISH.
    pub retain: bool,
    /// When it arrived, in milliseconds since the Unix epoch.
    pub received_at: u64,
    /// Message Expiry Interval in seconds.
    pub expiry: Option<u32>,
    /// Properties that are passed on unaltered.
    pub forwarded: ForwardedProperties<'a>,
    /// The payload.
    pub payload: &'a [u8],
}

/// An Application Message: one contiguous record, made by one copy out of the connection's read buffer (so nothing
/// kept pins a read buffer) and shared by everybody who keeps it.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    record: Bytes,
}

const PUBLISHER: usize = 0;
const RECEIVED_AT: usize = 8;
const EXPIRY: usize = 16;
const FLAGS: usize = 20;
const TOPIC_LEN: usize = 21;
const FORWARDED_LEN: usize = 23;
const SEQUENCE: usize = 27;
const HEADER: usize = 35;

const FLAG_RETAIN: u8 = 0b100;
const FLAG_EXPIRES: u8 = 0b1000;

impl Message {
    /// Copies the parts into one record.
    pub fn new(parts: &MessageParts<'_>) -> Self {
        let topic = &parts.topic.as_bytes()[..parts.topic.len().min(usize::from(u16::MAX))];
        let forwarded_len = parts.forwarded.len();
        let mut record = Vec::with_capacity(HEADER + topic.len() + forwarded_len + parts.payload.len());
        record.extend_from_slice(&parts.publisher.to_le_bytes());
        record.extend_from_slice(&parts.received_at.to_le_bytes());
        record.extend_from_slice(&parts.expiry.unwrap_or(0).to_le_bytes());
        let mut flags = parts.qos as u8;
        if parts.retain {
            flags |= FLAG_RETAIN;
        }
        if parts.expiry.is_some() {
            flags |= FLAG_EXPIRES;
        }
        record.push(flags);
        record.extend_from_slice(&(topic.len() as u16).to_le_bytes());
        record.extend_from_slice(&(forwarded_len as u32).to_le_bytes());
        record.extend_from_slice(&0_u64.to_le_bytes());
        record.extend_from_slice(topic);
        parts.forwarded.write(&mut record);
        record.extend_from_slice(parts.payload);
        Self { record: record.into() }
    }

    /// The message of a record that [`Message::record`] gave; `None` if it is not one.
    pub fn from_record(record: Bytes) -> Option<Self> {
        let message = Self { record };
        let body = message.record.len().checked_sub(HEADER)?;
        let topic_len = usize::from(u16::from_le_bytes(message.array(TOPIC_LEN)));
        let forwarded_len = u32::from_le_bytes(message.array(FORWARDED_LEN)) as usize;
        if topic_len.checked_add(forwarded_len)? > body || message.record[FLAGS] & 0b11 == 0b11 {
            return None;
        }
        std::str::from_utf8(&message.record[HEADER..HEADER + topic_len]).ok()?;
        Some(message)
    }

    /// The same message as if this session published it at `received_at`: for a Will Message, whose life begins when it
    /// is published.
    pub fn published_by(&self, publisher: u64, received_at: u64) -> Self {
        let mut record = self.record.to_vec();
        record[PUBLISHER..PUBLISHER + 8].copy_from_slice(&publisher.to_le_bytes());
        record[RECEIVED_AT..RECEIVED_AT + 8].copy_from_slice(&received_at.to_le_bytes());
        Self { record: record.into() }
    }

    /// The same message as the `sequence`-th change of the retained messages.
    pub fn as_change(&self, sequence: u64) -> Self {
        let mut record = self.record.to_vec();
        record[SEQUENCE..SEQUENCE + 8].copy_from_slice(&sequence.to_le_bytes());
        Self { record: record.into() }
    }

    /// Which change of the retained messages it was; 0 if it went through no lane that needs to know.
    pub fn sequence(&self) -> u64 {
        u64::from_le_bytes(self.array(SEQUENCE))
    }

    /// The record: what the store keeps.
    pub fn record(&self) -> &Bytes {
        &self.record
    }

    /// The record: what the live lane carries.
    pub fn into_record(self) -> Bytes {
        self.record
    }

    /// The session that published it; 0 for the server itself.
    pub fn publisher(&self) -> u64 {
        u64::from_le_bytes(self.array(PUBLISHER))
    }

    /// When it arrived, in milliseconds since the Unix epoch.
    pub fn received_at(&self) -> u64 {
        u64::from_le_bytes(self.array(RECEIVED_AT))
    }

    /// QoS of the PUBLISH.
    pub fn qos(&self) -> QoS {
        match self.record[FLAGS] & 0b11 {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        }
    }

    /// RETAIN of the PUBLISH.
    pub fn retain(&self) -> bool {
        self.record[FLAGS] & FLAG_RETAIN != 0
    }

    /// Topic Name.
    pub fn topic(&self) -> &str {
        // Both constructors saw valid UTF-8 here; checking again costs less than the alternative, which is `unsafe`.
        std::str::from_utf8(&self.record[HEADER..self.topic_end()]).unwrap_or_default()
    }

    /// Property bytes that are passed on unaltered, in the form that the encoder takes.
    pub fn forwarded(&self) -> &[u8] {
        &self.record[self.topic_end()..self.forwarded_end()]
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.record[self.forwarded_end()..]
    }

    /// Bytes of memory that the record holds.
    pub fn size(&self) -> usize {
        self.record.len()
    }

    /// Seconds of the Message Expiry Interval that are left at `now` (milliseconds since the Unix epoch): `Ok(None)`
    /// if the message never expires.
    ///
    /// # Errors
    /// [`Expired`] if nothing is left `[MQTT-3.3.2-5]`. A clock that went backwards counts as no time passed.
    pub fn remaining_expiry(&self, now: u64) -> Result<Option<u32>, Expired> {
        if self.record[FLAGS] & FLAG_EXPIRES == 0 {
            return Ok(None);
        }
        let interval = u64::from(u32::from_le_bytes(self.array(EXPIRY)));
        let passed = now.saturating_sub(self.received_at()) / 1000;
        match interval.saturating_sub(passed) {
            0 => Err(Expired),
            left => Ok(Some(left as u32)),
        }
    }

    /// When the message expires, in milliseconds since the Unix epoch; `u64::MAX` if never.
    pub fn expires_at(&self) -> u64 {
        if self.record[FLAGS] & FLAG_EXPIRES == 0 {
            return u64::MAX;
        }
        let interval = u64::from(u32::from_le_bytes(self.array(EXPIRY)));
        self.received_at().saturating_add(interval * 1000)
    }

    fn topic_end(&self) -> usize {
        HEADER + usize::from(u16::from_le_bytes(self.array(TOPIC_LEN)))
    }

    fn forwarded_end(&self) -> usize {
        self.topic_end() + u32::from_le_bytes(self.array(FORWARDED_LEN)) as usize
    }

    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.record[at..at + N]);
        bytes
    }
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message")
            .field("topic", &self.topic())
            .field("qos", &self.qos())
            .field("retain", &self.retain())
            .field("payload_len", &self.payload().len())
            .finish_non_exhaustive()
    }
}

/// The Message Expiry Interval has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expired;
