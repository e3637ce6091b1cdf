//! Where a packet ends, known from its first bytes.

use super::primitives::read_variable;
use super::{DecodeError, ReasonCode};

/// The length in bytes, fixed header included, of the packet that `bytes` begins with; `None` while that takes more
/// bytes to know.
///
/// # Errors
///
/// As early as it can be told, so that nothing is buffered for a packet that is going to be refused: with the first
/// byte for packets that no client may send and for wrong flags `[MQTT-2.1.3-1, MQTT-3.3.1-2, -4]`, with the Remaining
/// Length if that is not encoded in the fewest of at most four bytes `[MQTT-1.5.5-1]` or if the packet is longer than
/// `maximum` bytes ([`ReasonCode::PacketTooLarge`]).
pub fn packet_length(bytes: &[u8], maximum: u32) -> Result<Option<usize>, DecodeError> {
    let Some((&first, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    check_first_byte(first)?;
    let Some((remaining, len)) = read_variable(rest)? else {
        return Ok(None);
    };
    let total = 1 + len + remaining as usize;
    if total > maximum as usize {
        let what = "the packet is longer than the Maximum Packet Size";
        return Err(DecodeError::new(ReasonCode::PacketTooLarge, what));
    }
    Ok(Some(total))
}

/// The body of a whole packet: what follows the fixed header.
pub(super) fn body(packet: &[u8]) -> Result<&[u8], DecodeError> {
    let header = packet.get(1..).map(read_variable).transpose()?.flatten();
    let body = header.and_then(|(remaining, len)| Some((remaining, packet.get(1 + len..)?)));
    match body {
        Some((remaining, body)) if body.len() == remaining as usize => Ok(body),
        _ => Err(DecodeError::malformed("not exactly one whole packet")),
    }
}

/// Checks packet type and flags of a packet that comes from a client.
pub(super) fn check_first_byte(first: u8) -> Result<(), DecodeError> {
    let flags = first & 0x0F;
    let expected = match first >> 4 {
        CONNECT | PUBACK | PUBREC | PUBCOMP | PINGREQ | DISCONNECT | AUTH => 0,
        PUBREL | SUBSCRIBE | UNSUBSCRIBE => 0b0010,
        PUBLISH if flags & 0b0110 == 0b0110 => return Err(DecodeError::malformed("PUBLISH with QoS 3")),
        PUBLISH if flags & 0b1110 == 0b1000 => {
            return Err(DecodeError::malformed("PUBLISH with DUP and QoS 0"));
        }
        PUBLISH => return Ok(()),
        0 => return Err(DecodeError::malformed("packet type 0 is reserved")),
        _ => return Err(DecodeError::protocol("only a server may send this packet")),
    };
    if flags == expected { Ok(()) } else { Err(DecodeError::malformed("wrong flags in the fixed header")) }
}

pub(super) const CONNECT: u8 = 1;
pub(super) const CONNACK: u8 = 2;
pub(super) const PUBLISH: u8 = 3;
pub(super) const PUBACK: u8 = 4;
pub(super) const PUBREC: u8 = 5;
pub(super) const PUBREL: u8 = 6;
pub(super) const PUBCOMP: u8 = 7;
pub(super) const SUBSCRIBE: u8 = 8;
pub(super) const SUBACK: u8 = 9;
pub(super) const UNSUBSCRIBE: u8 = 10;
pub(super) const UNSUBACK: u8 = 11;
pub(super) const PINGREQ: u8 = 12;
pub(super) const PINGRESP: u8 = 13;
pub(super) const DISCONNECT: u8 = 14;
pub(super) const AUTH: u8 = 15;
