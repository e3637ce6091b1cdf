//! CONNECT (section 3.1).

use std::num::NonZeroU16;

use super::qos;
use crate::codec::frame::{begins_connect, body, check_first_byte};
use crate::codec::primitives::{Reader, read_variable};
use crate::codec::properties::{Forwarding, MISPLACED, Properties, Property};
use crate::codec::{Connect, ConnectError, ConnectProperties, DecodeError, QoS, ReasonCode, Version, Will};

/// Decodes the first packet of a connection, which must be exactly one whole CONNECT.
///
/// An empty Client Identifier is no error here, not even with Clean Session 0 in MQTT 3.1.1: the server refuses that
/// with return code 0x02 `[MQTT-3.1.3-8]` (3.1.1).
///
/// # Errors
///
/// See [`ConnectError`].
pub fn decode_connect(packet: &[u8]) -> Result<Connect<'_>, ConnectError> {
    let &first = packet.first().ok_or(ConnectError::NotConnect)?;
    if !begins_connect(first) {
        return Err(ConnectError::NotConnect);
    }
    let (name, level, mut body) =
        protocol(first, packet).map_err(|error| ConnectError::Invalid { version: None, error })?;
    let version = match (name, level) {
        (b"MQTT", 4) => Version::V311,
        (b"MQTT", 5) => Version::V5,
        // Bridges set the highest bit of the level.
        _ if level & 0x7F < 5 => {
            return Err(ConnectError::UnsupportedProtocol { level, answer: Version::V311 });
        }
        _ => return Err(ConnectError::UnsupportedProtocol { level, answer: Version::V5 }),
    };
    connect(&mut body, version).map_err(|error| ConnectError::Invalid { version: Some(version), error })
}

/// Whether a CONNECT has a Will, as far as its first bytes tell: `None` while that takes more of them. One of another
/// protocol than MQTT has none that anybody would read.
pub fn connect_has_will(bytes: &[u8]) -> Option<bool> {
    const NAME: &[u8] = b"\0\x04MQTT";
    const WILL_FLAG: u8 = 0b0000_0100;
    let (_, length) = read_variable(bytes.get(1..)?).ok()??;
    let header = bytes.get(1 + length..)?;
    if !NAME.starts_with(&header[..header.len().min(NAME.len())]) {
        return Some(false);
    }
    // A byte for the level is between them.
    header.get(NAME.len() + 1).map(|flags| flags & WILL_FLAG != 0)
}

fn protocol(first: u8, packet: &[u8]) -> Result<(&[u8], u8, Reader<'_>), DecodeError> {
    check_first_byte(first)?;
    let mut body = Reader::new(body(packet)?);
    let name = body.binary()?;
    let level = body.u8()?;
    Ok((name, level, body))
}

fn connect<'a>(body: &mut Reader<'a>, version: Version) -> Result<Connect<'a>, DecodeError> {
    let flags = Flags::new(body.u8()?, version)?;
    let keep_alive = body.u16()?;
    let properties = match version {
        Version::V311 => ConnectProperties::default(),
        Version::V5 => properties(body.properties()?)?,
    };
    let client_id = body.string()?;
    let will = match flags.will_qos {
        Some(qos) => Some(will(body, version, qos, flags.will_retain)?),
        None => None,
    };
    let user_name = if flags.user_name { Some(body.string()?) } else { None };
    let password = if flags.password { Some(body.binary()?) } else { None };
    body.end()?;
    Ok(Connect {
        version,
        clean_start: flags.clean_start,
        keep_alive,
        client_id,
        will,
        user_name,
        password,
        properties,
    })
}

/// The Connect Flags (section 3.1.2.3).
struct Flags {
    clean_start: bool,
    /// `Some` exactly if the Will Flag is set.
    will_qos: Option<QoS>,
    will_retain: bool,
    user_name: bool,
    password: bool,
}

impl Flags {
    fn new(bits: u8, version: Version) -> Result<Self, DecodeError> {
        if bits & 0b0000_0001 != 0 {
            return Err(DecodeError::malformed("the reserved Connect Flag is set"));
        }
        let will_qos = match bits & 0b0000_0100 {
            0 if bits & 0b0011_1000 != 0 => {
                return Err(DecodeError::malformed("Will QoS or Will Retain without a Will"));
            }
            0 => None,
            _ => Some(qos(bits >> 3).ok_or(DecodeError::malformed("a Will with QoS 3"))?),
        };
        let flags = Self {
            clean_start: bits & 0b0000_0010 != 0,
            will_qos,
            will_retain: bits & 0b0010_0000 != 0,
            user_name: bits & 0b1000_0000 != 0,
            password: bits & 0b0100_0000 != 0,
        };
        if version == Version::V311 && flags.password && !flags.user_name {
            return Err(DecodeError::malformed(
                "a Password without a User Name: MQTT 3.1.1 does not allow that",
            ));
        }
        Ok(flags)
    }
}

fn properties(reader: Reader<'_>) -> Result<ConnectProperties<'_>, DecodeError> {
    let mut result = ConnectProperties::default();
    let mut properties = Properties::new(reader);
    while let Some(property) = properties.next()? {
        match property {
            Property::SessionExpiryInterval(seconds) => result.session_expiry = seconds,
            Property::ReceiveMaximum(maximum) => {
                result.receive_maximum =
                    NonZeroU16::new(maximum).ok_or(DecodeError::protocol("the Receive Maximum is 0"))?;
            }
            Property::MaximumPacketSize(0) => {
                return Err(DecodeError::protocol("the Maximum Packet Size is 0"));
            }
            Property::MaximumPacketSize(bytes) => result.maximum_packet_size = Some(bytes),
            Property::TopicAliasMaximum(maximum) => result.topic_alias_maximum = maximum,
            Property::RequestResponseInformation(asked) => result.request_response_information = asked,
            Property::RequestProblemInformation(asked) => result.request_problem_information = asked,
            Property::AuthenticationMethod(method) => result.authentication_method = Some(method),
            Property::AuthenticationData(data) => result.authentication_data = Some(data),
            Property::User => {}
            _ => return Err(MISPLACED),
        }
    }
    if result.authentication_data.is_some() && result.authentication_method.is_none() {
        return Err(DecodeError::protocol("Authentication Data without an Authentication Method"));
    }
    result.user_properties = properties.users();
    Ok(result)
}

fn will<'a>(
    body: &mut Reader<'a>,
    version: Version,
    qos: QoS,
    retain: bool,
) -> Result<Will<'a>, DecodeError> {
    let before = body.len();
    let (delay, message_expiry, forwarded) = match version {
        Version::V311 => Default::default(),
        Version::V5 => {
            let (mut delay, mut message_expiry) = (0, None);
            let mut properties = Forwarding::new(body.properties()?);
            while let Some(property) = properties.next()? {
                match property {
                    Property::WillDelayInterval(seconds) => delay = seconds,
                    Property::MessageExpiryInterval(seconds) => message_expiry = Some(seconds),
                    _ => return Err(MISPLACED),
                }
            }
            (delay, message_expiry, properties.finish())
        }
    };
    let topic = body.topic_name()?;
    if topic.is_empty() {
        return Err(DecodeError::new(ReasonCode::TopicNameInvalid, "the Will Topic is empty"));
    }
    let payload = body.binary()?;
    let size = before - body.len();
    Ok(Will { topic, payload, qos, retain, delay, message_expiry, forwarded, size })
}
