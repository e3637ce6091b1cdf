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

/// Whether a packet with this first byte is a CONNECT: no other may be the first of a connection `[MQTT-3.1.0-1]`.
pub fn begins_connect(first: u8) -> bool {
    first >> 4 == CONNECT
}

/// Whether these are the first bytes of a PUBLISH.
pub fn begins_publish(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| first >> 4 == PUBLISH)
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

const CONNECT: u8 = 1;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_is_known_from_the_first_bytes() {
        for (bytes, length) in [
            (&b""[..], None),
            (b"\x30", None),
            (b"\x30\x80", None),
            (b"\x30\xFF\xFF\xFF", None),
            (b"\xC0\x00", Some(2)),
            (b"\x30\x7F", Some(129)),
            (b"\x30\x80\x01", Some(131)),
            (b"\x30\xFF\xFF\xFF\x7F", Some(268_435_460)),
        ] {
            assert_eq!(packet_length(bytes, u32::MAX), Ok(length), "{bytes:02X?}");
        }
    }

    #[test]
    fn a_length_is_in_the_fewest_of_at_most_four_bytes_1_5_5_1() {
        for bytes in
            [&b"\x30\x80\x00"[..], b"\x30\xFF\x80\x00", b"\x30\x80\x80\x80\x00", b"\x30\xFF\xFF\xFF\xFF"]
        {
            let error = packet_length(bytes, u32::MAX).map_err(|error| error.reason);
            assert_eq!(error, Err(ReasonCode::MalformedPacket), "{bytes:02X?}");
        }
    }

    #[test]
    fn a_packet_over_the_maximum_is_refused_with_its_header_3_1_2_24() {
        assert_eq!(packet_length(b"\x30\x08", 10), Ok(Some(10)));
        let error = packet_length(b"\x30\x09", 10).map_err(|error| error.reason);
        assert_eq!(error, Err(ReasonCode::PacketTooLarge));
    }

    #[test]
    fn a_wrong_first_byte_is_refused_before_the_length_2_1_3_1() {
        let accepted: Vec<u8> = (0..=255).filter(|&first| packet_length(&[first], 10).is_ok()).collect();
        let publish = [0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x3A, 0x3B, 0x3C, 0x3D];
        let others = [0x40, 0x50, 0x62, 0x70, 0x82, 0xA2, 0xC0, 0xE0, 0xF0];
        assert_eq!(accepted, [&[0x10][..], &publish, &others].concat());
        for server_only in [0x20, 0x90, 0xB0, 0xD0] {
            let error = packet_length(&[server_only], 10).map_err(|error| error.reason);
            assert_eq!(error, Err(ReasonCode::ProtocolError));
        }
    }
}
