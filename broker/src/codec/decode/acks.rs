//! PUBACK, PUBREC, PUBREL, PUBCOMP, DISCONNECT and AUTH (sections 3.4 to 3.7, 3.14, 3.15).

use crate::codec::primitives::Reader;
use crate::codec::properties::{MISPLACED, Properties, Property};
use crate::codec::{Ack, ClientDisconnect, DecodeError, ReasonCode, Version};

/// PUBACK or PUBREC.
pub(super) fn publish_ack(body: Reader<'_>, version: Version) -> Result<Ack, DecodeError> {
    ack(body, version, |byte| {
        Some(match byte {
            0x00 => ReasonCode::Success,
            // By the standard only a server has a use for it, but bridges of other brokers send it as clients.
            0x10 => ReasonCode::NoMatchingSubscribers,
            0x80 => ReasonCode::UnspecifiedError,
            0x83 => ReasonCode::ImplementationSpecificError,
            0x87 => ReasonCode::NotAuthorized,
            0x90 => ReasonCode::TopicNameInvalid,
            0x91 => ReasonCode::PacketIdentifierInUse,
            0x97 => ReasonCode::QuotaExceeded,
            0x99 => ReasonCode::PayloadFormatInvalid,
            _ => return None,
        })
    })
}

/// PUBREL or PUBCOMP.
pub(super) fn release_ack(body: Reader<'_>, version: Version) -> Result<Ack, DecodeError> {
    ack(body, version, |byte| match byte {
        0x00 => Some(ReasonCode::Success),
        0x92 => Some(ReasonCode::PacketIdentifierNotFound),
        _ => None,
    })
}

pub(super) fn disconnect(mut body: Reader<'_>, version: Version) -> Result<ClientDisconnect, DecodeError> {
    let mut result =
        ClientDisconnect { reason: ReasonCode::Success, session_expiry: None, user_properties: 0 };
    if version == Version::V5 && !body.is_empty() {
        result.reason = disconnect_reason(body.u8()?).ok_or(WRONG_REASON)?;
        if !body.is_empty() {
            (result.session_expiry, result.user_properties) = disconnect_properties(body.properties()?)?;
        }
    }
    body.end()?;
    Ok(result)
}

/// AUTH, with the reasons that a client may give (table 3-11).
pub(super) fn auth(mut body: Reader<'_>) -> Result<ReasonCode, DecodeError> {
    // Without a body it means Success, which only a server may send.
    let reason = match if body.is_empty() { 0x00 } else { body.u8()? } {
        0x18 => ReasonCode::ContinueAuthentication,
        0x19 => ReasonCode::ReAuthenticate,
        _ => return Err(WRONG_REASON),
    };
    let mut has_method = false;
    let mut properties = Properties::new(body.properties()?);
    while let Some(property) = properties.next()? {
        match property {
            Property::AuthenticationMethod(_) => has_method = true,
            Property::AuthenticationData(_) | Property::ReasonString | Property::User => {}
            _ => return Err(MISPLACED),
        }
    }
    body.end()?;
    if has_method { Ok(reason) } else { Err(DecodeError::protocol("AUTH without an Authentication Method")) }
}

const WRONG_REASON: DecodeError =
    DecodeError::protocol("a Reason Code that a client may not give in this packet");

fn ack(
    mut body: Reader<'_>,
    version: Version,
    reason_of: impl Fn(u8) -> Option<ReasonCode>,
) -> Result<Ack, DecodeError> {
    let mut result = Ack { packet_id: body.packet_id()?, reason: ReasonCode::Success, user_properties: 0 };
    if version == Version::V5 && !body.is_empty() {
        result.reason = reason_of(body.u8()?).ok_or(WRONG_REASON)?;
        if !body.is_empty() {
            result.user_properties = Properties::new(body.properties()?).check_reason()?;
        }
    }
    body.end()?;
    Ok(result)
}

/// The reasons that a client may give (table 3-10).
fn disconnect_reason(byte: u8) -> Option<ReasonCode> {
    Some(match byte {
        0x00 => ReasonCode::Success,
        0x04 => ReasonCode::DisconnectWithWill,
        0x80 => ReasonCode::UnspecifiedError,
        0x81 => ReasonCode::MalformedPacket,
        0x82 => ReasonCode::ProtocolError,
        0x83 => ReasonCode::ImplementationSpecificError,
        0x90 => ReasonCode::TopicNameInvalid,
        0x93 => ReasonCode::ReceiveMaximumExceeded,
        0x94 => ReasonCode::TopicAliasInvalid,
        0x95 => ReasonCode::PacketTooLarge,
        0x96 => ReasonCode::MessageRateTooHigh,
        0x97 => ReasonCode::QuotaExceeded,
        0x98 => ReasonCode::AdministrativeAction,
        0x99 => ReasonCode::PayloadFormatInvalid,
        _ => return None,
    })
}

/// The Session Expiry Interval, and how many User Properties there are.
fn disconnect_properties(reader: Reader<'_>) -> Result<(Option<u32>, usize), DecodeError> {
    let mut session_expiry = None;
    let mut properties = Properties::new(reader);
    while let Some(property) = properties.next()? {
        match property {
            Property::SessionExpiryInterval(seconds) => session_expiry = Some(seconds),
            Property::ReasonString | Property::User => {}
            Property::ServerReference => {
                return Err(DecodeError::protocol("a client sent a Server Reference"));
            }
            _ => return Err(MISPLACED),
        }
    }
    Ok((session_expiry, properties.users()))
}
