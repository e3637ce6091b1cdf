//! SUBSCRIBE and UNSUBSCRIBE (sections 3.8, 3.10).

use super::qos;
use crate::codec::primitives::Reader;
use crate::codec::properties::{MISPLACED, Properties, Property};
use crate::codec::text::{is_shared, is_valid_topic_filter, is_well_formed_if_shared};
use crate::codec::{
    DecodeError, ReasonCode, RetainHandling, Subscribe, SubscribeFilter, Unsubscribe, Version,
};

pub(super) fn subscribe(mut body: Reader<'_>, version: Version) -> Result<Subscribe<'_>, DecodeError> {
    let packet_id = body.packet_id()?;
    let (subscription_id, user_properties) = match version {
        Version::V311 => (None, 0),
        Version::V5 => properties(body.properties()?)?,
    };
    let mut filters = Vec::new();
    while !body.is_empty() {
        filters.push(subscribe_filter(&mut body, version)?);
    }
    if filters.is_empty() {
        return Err(DecodeError::protocol("SUBSCRIBE without a Topic Filter"));
    }
    Ok(Subscribe { packet_id, subscription_id, filters, user_properties })
}

pub(super) fn unsubscribe(mut body: Reader<'_>, version: Version) -> Result<Unsubscribe<'_>, DecodeError> {
    let packet_id = body.packet_id()?;
    let mut user_properties = 0;
    if version == Version::V5 {
        let mut properties = Properties::new(body.properties()?);
        while let Some(property) = properties.next()? {
            if property != Property::User {
                return Err(MISPLACED);
            }
        }
        user_properties = properties.users();
    }
    let mut filters = Vec::new();
    while !body.is_empty() {
        filters.push(topic_filter(&mut body, version)?);
    }
    if filters.is_empty() {
        return Err(DecodeError::protocol("UNSUBSCRIBE without a Topic Filter"));
    }
    Ok(Unsubscribe { packet_id, filters, user_properties })
}

/// The Subscription Identifier, and how many User Properties there are.
fn properties(reader: Reader<'_>) -> Result<(Option<u32>, usize), DecodeError> {
    let mut subscription_id = None;
    let mut properties = Properties::new(reader);
    while let Some(property) = properties.next()? {
        match property {
            Property::SubscriptionIdentifier(0) => {
                return Err(DecodeError::protocol("the Subscription Identifier is 0"));
            }
            Property::SubscriptionIdentifier(id) => subscription_id = Some(id),
            Property::User => {}
            _ => return Err(MISPLACED),
        }
    }
    Ok((subscription_id, properties.users()))
}

fn subscribe_filter<'a>(body: &mut Reader<'a>, version: Version) -> Result<SubscribeFilter<'a>, DecodeError> {
    let filter = topic_filter(body, version)?;
    let options = body.u8()?;
    let reserved = match version {
        Version::V311 => 0b1111_1100,
        Version::V5 => 0b1100_0000,
    };
    if options & reserved != 0 {
        return Err(DecodeError::malformed("reserved bits are set in the Subscription Options"));
    }
    let qos = qos(options).ok_or(DecodeError::protocol("a subscription with QoS 3"))?;
    let no_local = options & 0b0000_0100 != 0;
    if no_local && is_shared(filter) {
        return Err(DecodeError::protocol("No Local on a Shared Subscription"));
    }
    let retain_handling = match options >> 4 {
        0 => RetainHandling::SendAtSubscribe,
        1 => RetainHandling::SendIfNew,
        2 => RetainHandling::DoNotSend,
        _ => return Err(DecodeError::protocol("a subscription with Retain Handling 3")),
    };
    Ok(SubscribeFilter {
        filter,
        qos,
        no_local,
        retain_as_published: options & 0b0000_1000 != 0,
        retain_handling,
    })
}

fn topic_filter<'a>(body: &mut Reader<'a>, version: Version) -> Result<&'a str, DecodeError> {
    let filter = body.string()?;
    if !is_valid_topic_filter(filter) {
        let what = "a Topic Filter is empty, or + or # is not a whole level, or a level follows #";
        return Err(DecodeError::new(ReasonCode::TopicFilterInvalid, what));
    }
    // MQTT 3.1.1 knows no Shared Subscriptions: to it this is a Topic Filter as any other.
    if version == Version::V5 && !is_well_formed_if_shared(filter) {
        let what = "a Shared Subscription is not of the form $share/name/filter";
        return Err(DecodeError::new(ReasonCode::TopicFilterInvalid, what));
    }
    Ok(filter)
}
