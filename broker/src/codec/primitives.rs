//! The data types of section 1.5, read from a slice that is never read past.

use super::DecodeError;
use super::packet::PacketId;
use super::text::{has_null, is_valid_topic_name};
use crate::codec::ReasonCode;

const TOO_SHORT: DecodeError = DecodeError::malformed("the packet ends in the middle of a field");

/// What is left to read of a packet, or of its properties.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    /// Takes all that is left.
    pub(super) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Checks that nothing is left.
    pub(super) fn end(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::malformed("bytes follow the last field")) }
    }

    pub(super) fn bytes(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(TOO_SHORT)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (chunk, rest) = self.rest.split_first_chunk().ok_or(TOO_SHORT)?;
        self.rest = rest;
        Ok(*chunk)
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.chunk().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.chunk().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.chunk().map(u32::from_be_bytes)
    }

    /// A Variable Byte Integer.
    pub(super) fn variable(&mut self) -> Result<u32, DecodeError> {
        let (value, len) = read_variable(self.rest)?.ok_or(TOO_SHORT)?;
        self.bytes(len)?;
        Ok(value)
    }

    /// Binary Data: a length of two bytes and that many bytes.
    pub(super) fn binary(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.u16()?;
        self.bytes(usize::from(len))
    }

    /// A UTF-8 Encoded String `[MQTT-1.5.4-1, -2]`.
    pub(super) fn string(&mut self) -> Result<&'a str, DecodeError> {
        let text = self.utf8()?;
        if has_null(text) { Err(NULL) } else { Ok(text) }
    }

    /// A Topic Name `[MQTT-3.3.2-1, -2]`; may be empty.
    pub(super) fn topic_name(&mut self) -> Result<&'a str, DecodeError> {
        let text = self.utf8()?;
        if text.is_empty() || is_valid_topic_name(text) {
            Ok(text)
        } else if has_null(text) {
            Err(NULL)
        } else {
            let what = "a Topic Name contains a wildcard: publish to a topic without + and #";
            Err(DecodeError::new(ReasonCode::TopicNameInvalid, what))
        }
    }

    /// A Packet Identifier `[MQTT-2.2.1-3]`.
    pub(super) fn packet_id(&mut self) -> Result<PacketId, DecodeError> {
        PacketId::new(self.u16()?).ok_or(DecodeError::protocol("the Packet Identifier is 0"))
    }

    /// The properties of a packet, with their length.
    pub(super) fn properties(&mut self) -> Result<Reader<'a>, DecodeError> {
        let len = self.variable()?;
        Ok(Reader::new(self.bytes(len as usize)?))
    }

    fn utf8(&mut self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.binary()?)
            .map_err(|_| DecodeError::malformed("a string is not well-formed UTF-8"))
    }
}

const NULL: DecodeError = DecodeError::malformed("a string contains U+0000");

/// The Variable Byte Integer that `bytes` begins with and how many bytes it takes; `None` while it is incomplete.
/// Refuses more than four bytes and encodings that are not the shortest `[MQTT-1.5.5-1]`.
pub(super) fn read_variable(bytes: &[u8]) -> Result<Option<(u32, usize)>, DecodeError> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            if byte == 0 && index > 0 {
                return Err(DecodeError::malformed("a length is not encoded in the fewest bytes"));
            }
            return Ok(Some((value, index + 1)));
        }
    }
    if bytes.len() < 4 {
        Ok(None)
    } else {
        Err(DecodeError::malformed("a length takes more than four bytes"))
    }
}

/// How many bytes a Variable Byte Integer takes.
pub(super) const fn variable_len(value: usize) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// Appends a Variable Byte Integer of at most 268,435,455.
pub(super) fn write_variable(mut value: usize, out: &mut Vec<u8>) {
    while value > 0x7F {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
