//! What clients send.

mod acks;
mod connect;
mod publish;
mod subscribe;

pub use connect::{connect_has_will, decode_connect};

use super::frame::{self, body, check_first_byte};
use super::primitives::Reader;
use super::{ClientPacket, DecodeError, QoS, Version};

/// Decodes exactly one whole packet (see [`packet_length`](super::packet_length)) that a client sent after its
/// CONNECT. Allocates nothing but the list of filters of SUBSCRIBE and UNSUBSCRIBE, which grows as they are read.
///
/// # Errors
///
/// If the packet does not conform to the standard of `version`; close the connection then `[MQTT-4.13.1-1]`. Limits
/// that the server chooses or announced (Receive Maximum, Topic Alias Maximum, state of the session) are not checked.
pub fn decode(packet: &[u8], version: Version) -> Result<ClientPacket<'_>, DecodeError> {
    let &first = packet.first().ok_or(DecodeError::malformed("not exactly one whole packet"))?;
    check_first_byte(first)?;
    let body = Reader::new(body(packet)?);
    match first >> 4 {
        frame::PUBLISH => publish::publish(first, body, version).map(ClientPacket::Publish),
        frame::PUBACK => acks::publish_ack(body, version).map(ClientPacket::PubAck),
        frame::PUBREC => acks::publish_ack(body, version).map(ClientPacket::PubRec),
        frame::PUBREL => acks::release_ack(body, version).map(ClientPacket::PubRel),
        frame::PUBCOMP => acks::release_ack(body, version).map(ClientPacket::PubComp),
        frame::SUBSCRIBE => subscribe::subscribe(body, version).map(ClientPacket::Subscribe),
        frame::UNSUBSCRIBE => subscribe::unsubscribe(body, version).map(ClientPacket::Unsubscribe),
        frame::PINGREQ => body.end().map(|()| ClientPacket::PingReq),
        frame::DISCONNECT => acks::disconnect(body, version).map(ClientPacket::Disconnect),
        frame::AUTH if version == Version::V5 => acks::auth(body).map(|reason| ClientPacket::Auth { reason }),
        frame::AUTH => Err(DecodeError::malformed("packet type 15 is reserved in MQTT 3.1.1")),
        _ => Err(DecodeError::protocol("a second CONNECT")),
    }
}

/// The QoS of two bits.
fn qos(bits: u8) -> Option<QoS> {
    match bits & 0b11 {
        0 => Some(QoS::AtMostOnce),
        1 => Some(QoS::AtLeastOnce),
        2 => Some(QoS::ExactlyOnce),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
