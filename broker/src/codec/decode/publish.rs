//! PUBLISH (section 3.3).

use std::num::NonZeroU16;

use super::qos;
use crate::codec::primitives::Reader;
use crate::codec::properties::{Forwarding, MISPLACED, Property};
use crate::codec::{DecodeError, ForwardedProperties, Publish, QoS, ReasonCode, Version};

pub(super) fn publish(first: u8, mut body: Reader<'_>, version: Version) -> Result<Publish<'_>, DecodeError> {
    let qos = qos(first >> 1).ok_or(DecodeError::malformed("PUBLISH with QoS 3"))?;
    let topic = body.topic_name()?;
    let packet_id = if qos == QoS::AtMostOnce { None } else { Some(body.packet_id()?) };
    let properties = match version {
        Version::V311 => PublishProperties::default(),
        Version::V5 => properties(body.properties()?)?,
    };
    if topic.is_empty() && properties.topic_alias.is_none() {
        return Err(DecodeError::protocol("the Topic Name is empty and there is no Topic Alias"));
    }
    Ok(Publish {
        dup: first & 0b1000 != 0,
        qos,
        retain: first & 0b0001 != 0,
        topic,
        packet_id,
        message_expiry: properties.message_expiry,
        topic_alias: properties.topic_alias,
        forwarded: properties.forwarded,
        payload: body.rest(),
    })
}

#[derive(Default)]
struct PublishProperties<'a> {
    message_expiry: Option<u32>,
    topic_alias: Option<NonZeroU16>,
    forwarded: ForwardedProperties<'a>,
}

fn properties(reader: Reader<'_>) -> Result<PublishProperties<'_>, DecodeError> {
    let mut result = PublishProperties::default();
    let mut properties = Forwarding::new(reader);
    while let Some(property) = properties.next()? {
        match property {
            Property::MessageExpiryInterval(seconds) => result.message_expiry = Some(seconds),
            Property::TopicAlias(alias) => {
                let invalid = DecodeError::new(ReasonCode::TopicAliasInvalid, "the Topic Alias is 0");
                result.topic_alias = Some(NonZeroU16::new(alias).ok_or(invalid)?);
            }
            Property::SubscriptionIdentifier(_) => {
                return Err(DecodeError::protocol("a client sent a Subscription Identifier in PUBLISH"));
            }
            _ => return Err(MISPLACED),
        }
    }
    result.forwarded = properties.finish();
    Ok(result)
}
