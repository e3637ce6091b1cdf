//! What a packet says, in one form for three codecs: the `Debug` text of tuples.

use std::fmt::Debug;

use bytes::BytesMut;
use ior_broker::codec::{
    ClientPacket, Connect, ConnectError, ForwardedProperties, Version, decode, decode_connect,
};
use rmqtt_codec::{v3 as r3, v5 as r5};
use symqtt_codec::{v3 as s3, v5 as s5};
use tokio_util::codec::Decoder;

/// By this crate; the error is its text.
pub(crate) fn ours(packet: &[u8], version: Version) -> Result<String, String> {
    if packet.first() == Some(&0x10) {
        let connect = decode_connect(packet).map_err(|error| match error {
            ConnectError::Invalid { error, .. } => error.what.to_owned(),
            ConnectError::UnsupportedProtocol { .. } => UNSUPPORTED_PROTOCOL.to_owned(),
            ConnectError::NotConnect => error.to_string(),
        })?;
        return if connect.version == version { Ok(connect_of(&connect)) } else { Err(OTHER_VERSION.into()) };
    }
    let packet = decode(packet, version).map_err(|error| error.what.to_owned())?;
    Ok(match &packet {
        ClientPacket::Publish(p) => publish(
            (p.dup, p.qos as u8, p.retain),
            p.topic,
            p.packet_id.map(Into::into),
            (p.message_expiry, p.topic_alias.map(Into::into)),
            &Forwarded::of(&p.forwarded),
            p.payload,
        ),
        ClientPacket::PubAck(ack) => acknowledgement("PUBACK", ack.packet_id.get(), ack.reason.byte()),
        ClientPacket::PubRec(ack) => acknowledgement("PUBREC", ack.packet_id.get(), ack.reason.byte()),
        ClientPacket::PubRel(ack) => acknowledgement("PUBREL", ack.packet_id.get(), ack.reason.byte()),
        ClientPacket::PubComp(ack) => acknowledgement("PUBCOMP", ack.packet_id.get(), ack.reason.byte()),
        ClientPacket::Subscribe(s) => {
            let filters = s.filters.iter().map(|f| {
                filter(f.filter, f.qos as u8, f.no_local, f.retain_as_published, f.retain_handling as u8)
            });
            subscribe(s.packet_id.get(), s.subscription_id, filters)
        }
        ClientPacket::Unsubscribe(u) => unsubscribe(u.packet_id.get(), u.filters.iter().copied()),
        ClientPacket::PingReq => PINGREQ.into(),
        ClientPacket::Disconnect(d) => disconnect(d.reason.byte(), d.session_expiry),
        ClientPacket::Auth { reason } => auth(reason.byte()),
    })
}

/// By `rmqtt-codec`.
pub(crate) fn rmqtt(packet: &[u8], version: Version) -> Result<String, String> {
    let mut bytes = BytesMut::from(packet);
    let content = match version {
        Version::V311 => r3::Codec::default()
            .decode(&mut bytes)
            .map(|packet| packet.map(|(packet, _)| rmqtt_3(&packet)))
            .map_err(|error| format!("{error:?}")),
        Version::V5 => r5::Codec::default()
            .decode(&mut bytes)
            .map(|packet| packet.map(|(packet, _)| rmqtt_5(&packet)))
            .map_err(|error| format!("{error:?}")),
    };
    content?.ok_or_else(|| INCOMPLETE.into())
}

/// By `symqtt-codec`.
pub(crate) fn symqtt(packet: &[u8], version: Version) -> Result<String, String> {
    let mut bytes = BytesMut::from(packet);
    let content = match version {
        Version::V311 => s3::Packet::decode(&mut bytes).map(|packet| packet.map(|packet| symqtt_3(&packet))),
        Version::V5 => s5::Packet::decode(&mut bytes).map(|packet| packet.map(|packet| symqtt_5(&packet))),
    };
    content.map_err(|error| format!("{error:?}"))?.ok_or_else(|| INCOMPLETE.into())
}

/// The properties that are passed on.
#[derive(Debug, Default)]
struct Forwarded {
    payload_format: u8,
    content_type: Option<String>,
    response_topic: Option<String>,
    correlation_data: Option<Vec<u8>>,
    user: Vec<(String, String)>,
}

impl Forwarded {
    fn of(properties: &ForwardedProperties<'_>) -> Self {
        let mut bytes = Vec::new();
        properties.write(&mut bytes);
        let mut rest = &bytes[..];
        let mut result = Self::default();
        while let Some((&identifier, after)) = rest.split_first() {
            rest = after;
            match identifier {
                0x01 => {
                    result.payload_format = rest[0];
                    rest = &rest[1..];
                }
                0x03 => result.content_type = Some(string(&mut rest)),
                0x08 => result.response_topic = Some(string(&mut rest)),
                0x09 => result.correlation_data = Some(binary(&mut rest)),
                0x26 => result.user.push((string(&mut rest), string(&mut rest))),
                other => panic!("property {other:#X} is passed on"),
            }
        }
        result
    }
}

fn binary(rest: &mut &[u8]) -> Vec<u8> {
    let (len, after) = rest.split_first_chunk().expect("a length");
    let (bytes, after) = after.split_at(usize::from(u16::from_be_bytes(*len)));
    *rest = after;
    bytes.to_vec()
}

fn string(rest: &mut &[u8]) -> String {
    String::from_utf8(binary(rest)).expect("the decoder has checked it")
}

fn connect_of(c: &Connect<'_>) -> String {
    let p = &c.properties;
    let will = c.will.as_ref().map(|w| {
        will(
            w.topic,
            w.payload,
            (w.qos as u8, w.retain),
            (w.delay, w.message_expiry),
            &Forwarded::of(&w.forwarded),
        )
    });
    connect(
        (c.clean_start, c.keep_alive),
        (c.client_id, c.user_name, c.password),
        will,
        ConnectProperties {
            session_expiry: p.session_expiry,
            receive_maximum: p.receive_maximum.get(),
            maximum_packet_size: p.maximum_packet_size,
            topic_alias_maximum: p.topic_alias_maximum,
            request: (p.request_response_information, p.request_problem_information),
            authentication: (
                p.authentication_method.map(str::to_owned),
                p.authentication_data.map(<[u8]>::to_vec),
            ),
        },
    )
}

fn rmqtt_3(packet: &r3::Packet) -> String {
    use r3::Packet;
    match packet {
        Packet::Connect(c) => connect(
            (c.clean_session, c.keep_alive),
            (&c.client_id, c.username.as_deref(), c.password.as_deref()),
            c.last_will.as_ref().map(|w| {
                will(&w.topic, &w.message, (w.qos as u8, w.retain), (0, None), &Forwarded::default())
            }),
            ConnectProperties::default(),
        ),
        Packet::Publish(p) => publish(
            (p.dup, p.qos as u8, p.retain),
            &p.topic,
            p.packet_id.map(Into::into),
            (None, None),
            &Forwarded::default(),
            &p.payload,
        ),
        Packet::PublishAck { packet_id } => acknowledgement("PUBACK", packet_id.get(), 0),
        Packet::PublishReceived { packet_id } => acknowledgement("PUBREC", packet_id.get(), 0),
        Packet::PublishRelease { packet_id } => acknowledgement("PUBREL", packet_id.get(), 0),
        Packet::PublishComplete { packet_id } => acknowledgement("PUBCOMP", packet_id.get(), 0),
        Packet::Subscribe { packet_id, topic_filters } => subscribe(
            packet_id.get(),
            None,
            topic_filters.iter().map(|(topic, qos)| filter(topic, *qos as u8, false, false, 0)),
        ),
        Packet::Unsubscribe { packet_id, topic_filters } => {
            unsubscribe(packet_id.get(), topic_filters.iter().map(|filter| &**filter))
        }
        Packet::PingRequest => PINGREQ.into(),
        Packet::Disconnect => disconnect(0, None),
        other => format!("{other:?}"),
    }
}

fn rmqtt_5(packet: &r5::Packet) -> String {
    use r5::Packet;
    match packet {
        Packet::Connect(c) => connect(
            (c.clean_start, c.keep_alive),
            (&c.client_id, c.username.as_deref(), c.password.as_deref()),
            c.last_will.as_ref().map(|w| {
                let forwarded = Forwarded {
                    payload_format: w.is_utf8_payload.unwrap_or(false).into(),
                    content_type: w.content_type.as_deref().map(str::to_owned),
                    response_topic: w.response_topic.as_deref().map(str::to_owned),
                    correlation_data: w.correlation_data.as_deref().map(<[u8]>::to_vec),
                    user: w.user_properties.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
                };
                let expiry = w.message_expiry_interval.map(Into::into);
                let delay = w.will_delay_interval_sec.unwrap_or(0);
                will(&w.topic, &w.message, (w.qos as u8, w.retain), (delay, expiry), &forwarded)
            }),
            ConnectProperties {
                session_expiry: c.session_expiry_interval_secs,
                receive_maximum: c.receive_max.map_or(u16::MAX, Into::into),
                maximum_packet_size: c.max_packet_size.map(Into::into),
                topic_alias_maximum: c.topic_alias_max,
                request: (c.request_response_info, c.request_problem_info),
                authentication: (
                    c.auth_method.as_deref().map(str::to_owned),
                    c.auth_data.as_deref().map(<[u8]>::to_vec),
                ),
            },
        ),
        Packet::Publish(p) => {
            let properties = p.properties.clone().unwrap_or_default();
            let forwarded = Forwarded {
                payload_format: properties.is_utf8_payload.into(),
                content_type: properties.content_type.map(|text| text.to_string()),
                response_topic: properties.response_topic.map(|text| text.to_string()),
                correlation_data: properties.correlation_data.map(|data| data.to_vec()),
                user: properties
                    .user_properties
                    .iter()
                    .map(|(k, v)| (k.to_string(), v.to_string()))
                    .collect(),
            };
            let numbers =
                (properties.message_expiry_interval.map(Into::into), properties.topic_alias.map(Into::into));
            let flags = (p.dup, p.qos as u8, p.retain);
            publish(flags, &p.topic, p.packet_id.map(Into::into), numbers, &forwarded, &p.payload)
        }
        Packet::PublishAck(a) => acknowledgement("PUBACK", a.packet_id.get(), a.reason_code as u8),
        Packet::PublishReceived(a) => acknowledgement("PUBREC", a.packet_id.get(), a.reason_code as u8),
        Packet::PublishRelease(a) => acknowledgement("PUBREL", a.packet_id.get(), a.reason_code as u8),
        Packet::PublishComplete(a) => acknowledgement("PUBCOMP", a.packet_id.get(), a.reason_code as u8),
        Packet::Subscribe(s) => {
            let filters = s.topic_filters.iter().map(|(topic, o)| {
                filter(topic, o.qos as u8, o.no_local, o.retain_as_published, o.retain_handling as u8)
            });
            subscribe(s.packet_id.get(), s.id.map(Into::into), filters)
        }
        Packet::Unsubscribe(u) => {
            unsubscribe(u.packet_id.get(), u.topic_filters.iter().map(|filter| &**filter))
        }
        Packet::PingRequest => PINGREQ.into(),
        Packet::Disconnect(d) => disconnect(d.reason_code as u8, d.session_expiry_interval_secs),
        Packet::Auth(a) => auth(a.reason_code as u8),
        other => format!("{other:?}"),
    }
}

fn symqtt_3(packet: &s3::Packet) -> String {
    use s3::Packet;
    match packet {
        Packet::Connect(c) => connect(
            (c.clean_session, c.keep_alive),
            (&c.client_id, c.username.as_deref(), c.password.as_deref()),
            c.will.as_ref().map(|w| {
                will(&w.topic, &w.message, (w.qos as u8, w.retain), (0, None), &Forwarded::default())
            }),
            ConnectProperties::default(),
        ),
        Packet::Publish(p) => publish(
            (p.dup, p.qos as u8, p.retain),
            &p.topic,
            p.pkid,
            (None, None),
            &Forwarded::default(),
            &p.payload,
        ),
        Packet::PubAck(a) => acknowledgement("PUBACK", a.pkid, 0),
        Packet::PubRec(a) => acknowledgement("PUBREC", a.pkid, 0),
        Packet::PubRel(a) => acknowledgement("PUBREL", a.pkid, 0),
        Packet::PubComp(a) => acknowledgement("PUBCOMP", a.pkid, 0),
        Packet::Subscribe(s) => {
            subscribe(s.pkid, None, s.filters.iter().map(|f| filter(&f.topic, f.qos as u8, false, false, 0)))
        }
        Packet::Unsubscribe(u) => unsubscribe(u.pkid, u.topics.iter().map(String::as_str)),
        Packet::PingReq(_) => PINGREQ.into(),
        Packet::Disconnect(_) => disconnect(0, None),
        other => format!("{other:?}"),
    }
}

fn symqtt_5(packet: &s5::Packet) -> String {
    use s5::Packet;
    match packet {
        Packet::Connect(c) => connect(
            (c.clean_start, c.keep_alive),
            (&c.client_id, c.username.as_deref(), c.password.as_deref()),
            c.will.as_ref().map(|w| {
                let p = &w.properties;
                let forwarded = Forwarded {
                    payload_format: p.payload_format_indicator.unwrap_or(0),
                    content_type: p.content_type.clone(),
                    response_topic: p.response_topic.clone(),
                    correlation_data: p.correlation_data.as_deref().map(<[u8]>::to_vec),
                    user: p.user_properties.clone(),
                };
                let numbers = (p.will_delay_interval.unwrap_or(0), p.message_expiry_interval);
                will(&w.topic, &w.payload, (w.qos as u8, w.retain), numbers, &forwarded)
            }),
            ConnectProperties {
                session_expiry: c.properties.session_expiry_interval.unwrap_or(0),
                receive_maximum: c.properties.receive_maximum.unwrap_or(u16::MAX),
                maximum_packet_size: c.properties.maximum_packet_size,
                topic_alias_maximum: c.properties.topic_alias_maximum.unwrap_or(0),
                request: (
                    c.properties.request_response_information == Some(1),
                    c.properties.request_problem_information != Some(0),
                ),
                authentication: (
                    c.properties.authentication_method.clone(),
                    c.properties.authentication_data.as_deref().map(<[u8]>::to_vec),
                ),
            },
        ),
        Packet::Publish(p) => {
            let forwarded = Forwarded {
                payload_format: p.properties.payload_format_indicator.unwrap_or(0),
                content_type: p.properties.content_type.clone(),
                response_topic: p.properties.response_topic.clone(),
                correlation_data: p.properties.correlation_data.as_deref().map(<[u8]>::to_vec),
                user: p.properties.user_properties.clone(),
            };
            let numbers = (p.properties.message_expiry_interval, p.properties.topic_alias);
            publish((p.dup, p.qos as u8, p.retain), &p.topic, p.pkid, numbers, &forwarded, &p.payload)
        }
        Packet::PubAck(a) => acknowledgement("PUBACK", a.pkid, a.reason_code as u8),
        Packet::PubRec(a) => acknowledgement("PUBREC", a.pkid, a.reason_code as u8),
        Packet::PubRel(a) => acknowledgement("PUBREL", a.pkid, a.reason_code as u8),
        Packet::PubComp(a) => acknowledgement("PUBCOMP", a.pkid, a.reason_code as u8),
        Packet::Subscribe(s) => {
            let filters = s.filters.iter().map(|f| {
                filter(&f.topic, f.qos as u8, f.no_local, f.retain_as_published, f.retain_handling as u8)
            });
            subscribe(s.pkid, s.properties.subscription_identifier, filters)
        }
        Packet::Unsubscribe(u) => unsubscribe(u.pkid, u.topics.iter().map(String::as_str)),
        Packet::PingReq(_) => PINGREQ.into(),
        Packet::Disconnect(d) => disconnect(d.reason_code as u8, d.properties.session_expiry_interval),
        Packet::Auth(a) => auth(a.status as u8),
        other => format!("{other:?}"),
    }
}

struct ConnectProperties {
    session_expiry: u32,
    receive_maximum: u16,
    maximum_packet_size: Option<u32>,
    topic_alias_maximum: u16,
    request: (bool, bool),
    authentication: (Option<String>, Option<Vec<u8>>),
}

impl Default for ConnectProperties {
    fn default() -> Self {
        Self {
            session_expiry: 0,
            receive_maximum: u16::MAX,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            request: (false, true),
            authentication: (None, None),
        }
    }
}

fn connect(
    header: (bool, u16),
    login: (&str, Option<&str>, Option<&[u8]>),
    will: Option<String>,
    properties: ConnectProperties,
) -> String {
    let p = properties;
    let limits = (p.session_expiry, p.receive_maximum, p.maximum_packet_size, p.topic_alias_maximum);
    said("CONNECT", (header, login, will, limits, p.request, p.authentication))
}

fn will(
    topic: &str,
    payload: &[u8],
    flags: (u8, bool),
    numbers: (u32, Option<u32>),
    forwarded: &Forwarded,
) -> String {
    said("will", (topic, payload, flags, numbers, forwarded))
}

fn publish(
    flags: (bool, u8, bool),
    topic: &str,
    packet_id: Option<u16>,
    numbers: (Option<u32>, Option<u16>),
    forwarded: &Forwarded,
    payload: &[u8],
) -> String {
    said("PUBLISH", (flags, topic, packet_id, numbers, forwarded, payload))
}

fn acknowledgement(name: &str, packet_id: u16, reason: u8) -> String {
    said(name, (packet_id, reason))
}

fn filter(filter: &str, qos: u8, no_local: bool, retain_as_published: bool, retain_handling: u8) -> String {
    said("filter", (filter, qos, no_local, retain_as_published, retain_handling))
}

fn subscribe(packet_id: u16, id: Option<u32>, filters: impl Iterator<Item = String>) -> String {
    said("SUBSCRIBE", (packet_id, id, filters.collect::<Vec<_>>()))
}

fn unsubscribe<'a>(packet_id: u16, filters: impl Iterator<Item = &'a str>) -> String {
    said("UNSUBSCRIBE", (packet_id, filters.collect::<Vec<_>>()))
}

fn disconnect(reason: u8, session_expiry: Option<u32>) -> String {
    said("DISCONNECT", (reason, session_expiry))
}

fn auth(reason: u8) -> String {
    said("AUTH", reason)
}

fn said(name: &str, fields: impl Debug) -> String {
    format!("{name} {fields:?}")
}

pub(crate) const UNSUPPORTED_PROTOCOL: &str = "unsupported protocol";
const PINGREQ: &str = "PINGREQ";
const OTHER_VERSION: &str = "the other version";
const INCOMPLETE: &str = "incomplete";
