//! The packets, as plain data that borrows from the bytes it was read from.

use std::num::NonZeroU16;

use super::ReasonCode;

/// The protocol version of a connection, decided by its CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// MQTT 3.1.1, protocol level 4.
    V311,
    /// MQTT 5.0, protocol level 5.
    V5,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::V311 => "3.1.1",
            Self::V5 => "5",
        })
    }
}

/// Quality of Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    /// QoS 0.
    AtMostOnce = 0,
    /// QoS 1.
    AtLeastOnce = 1,
    /// QoS 2.
    ExactlyOnce = 2,
}

/// A Packet Identifier: 1 to 65,535 `[MQTT-2.2.1-3]`.
pub type PacketId = NonZeroU16;

/// CONNECT, the first packet of every connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect<'a> {
    /// From the protocol level.
    pub version: Version,
    /// Clean Start (5) or Clean Session (3.1.1).
    pub clean_start: bool,
    /// Keep Alive in seconds; 0 turns it off.
    pub keep_alive: u16,
    /// May be empty: the server then gives one.
    pub client_id: &'a str,
    /// The Will Message, if any.
    pub will: Option<Will<'a>>,
    /// User Name.
    pub user_name: Option<&'a str>,
    /// Password: any bytes; in MQTT 5 allowed without a User Name.
    pub password: Option<&'a [u8]>,
    /// Properties; for 3.1.1 the defaults.
    pub properties: ConnectProperties<'a>,
}

/// Properties of CONNECT; a missing one has the value that the standard gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectProperties<'a> {
    /// Session Expiry Interval in seconds; 0 ends the session with the connection, `u32::MAX` never.
    pub session_expiry: u32,
    /// How many QoS 1 and 2 publications the client takes at once; never 0.
    pub receive_maximum: NonZeroU16,
    /// The largest packet the client takes, in bytes; never `Some(0)`.
    pub maximum_packet_size: Option<u32>,
    /// The highest Topic Alias that the client takes; 0 is none.
    pub topic_alias_maximum: u16,
    /// Whether the client asks for Response Information.
    pub request_response_information: bool,
    /// Whether Reason Strings and User Properties may be sent on packets other than PUBLISH, CONNACK, DISCONNECT.
    pub request_problem_information: bool,
    /// Authentication Method: extended authentication is asked for.
    pub authentication_method: Option<&'a str>,
    /// Authentication Data.
    pub authentication_data: Option<&'a [u8]>,
    /// How many User Properties there are; they are checked and left out.
    pub user_properties: usize,
}

impl Default for ConnectProperties<'_> {
    fn default() -> Self {
        Self {
            session_expiry: 0,
            receive_maximum: NonZeroU16::MAX,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            authentication_method: None,
            authentication_data: None,
            user_properties: 0,
        }
    }
}

/// The Will of a CONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will<'a> {
    /// Will Topic: a valid Topic Name.
    pub topic: &'a str,
    /// Will Payload.
    pub payload: &'a [u8],
    /// Will QoS.
    pub qos: QoS,
    /// Will Retain.
    pub retain: bool,
    /// Will Delay Interval in seconds.
    pub delay: u32,
    /// Message Expiry Interval in seconds.
    pub message_expiry: Option<u32>,
    /// What is passed on unaltered.
    pub forwarded: ForwardedProperties<'a>,
    /// Bytes that properties, topic and payload take in the CONNECT.
    pub size: usize,
}

/// The properties that a server passes on unaltered: Payload Format Indicator, Content Type, Response Topic,
/// Correlation Data and User Properties, the last in their order `[MQTT-3.3.2-4, -15, -16, -17, -18, -20]`.
///
/// Keeps the validated property bytes as they came; `write` leaves out the others (Message Expiry Interval, Topic
/// Alias, Will Delay Interval).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ForwardedProperties<'a> {
    /// All property bytes of the packet, validated, without their length.
    pub(super) raw: &'a [u8],
    /// How many of `raw`'s bytes are passed on.
    pub(super) len: usize,
    pub(super) users: usize,
}

/// PUBLISH as a client sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish<'a> {
    /// DUP: a retransmission; never set with QoS 0.
    pub dup: bool,
    /// QoS.
    pub qos: QoS,
    /// RETAIN.
    pub retain: bool,
    /// Topic Name: valid and without wildcards; empty only together with a Topic Alias.
    pub topic: &'a str,
    /// Present exactly if the QoS is above 0.
    pub packet_id: Option<PacketId>,
    /// Message Expiry Interval in seconds.
    pub message_expiry: Option<u32>,
    /// Topic Alias: the value as sent. 0 is refused by the decoder with [`ReasonCode::TopicAliasInvalid`].
    pub topic_alias: Option<NonZeroU16>,
    /// What is passed on unaltered.
    pub forwarded: ForwardedProperties<'a>,
    /// The Application Message.
    pub payload: &'a [u8],
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP as a client sends it. Reason String and User Properties are checked and left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// The Packet Identifier that is acknowledged.
    pub packet_id: PacketId,
    /// Success for 3.1.1 and for the short forms.
    pub reason: ReasonCode,
    /// How many User Properties there are.
    pub user_properties: usize,
}

/// SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// Packet Identifier.
    pub packet_id: PacketId,
    /// Subscription Identifier, 1 to 268,435,455.
    pub subscription_id: Option<u32>,
    /// At least one.
    pub filters: Vec<SubscribeFilter<'a>>,
    /// How many User Properties there are; they are checked and left out.
    pub user_properties: usize,
}

/// One Topic Filter of a SUBSCRIBE with its options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscribeFilter<'a> {
    /// A valid Topic Filter; may be a Shared Subscription (`$share/…`), which is well-formed then.
    pub filter: &'a str,
    /// Maximum QoS.
    pub qos: QoS,
    /// No Local; false for 3.1.1. Never set on a Shared Subscription.
    pub no_local: bool,
    /// Retain As Published; false for 3.1.1.
    pub retain_as_published: bool,
    /// Retain Handling; `SendAtSubscribe` for 3.1.1.
    pub retain_handling: RetainHandling,
}

/// When a SUBSCRIBE gets the retained messages (section 3.8.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum RetainHandling {
    /// At every SUBSCRIBE.
    #[default]
    SendAtSubscribe = 0,
    /// Only if the subscription is new.
    SendIfNew = 1,
    /// Never.
    DoNotSend = 2,
}

/// UNSUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// Packet Identifier.
    pub packet_id: PacketId,
    /// At least one valid Topic Filter.
    pub filters: Vec<&'a str>,
    /// How many User Properties there are; they are checked and left out.
    pub user_properties: usize,
}

/// What a client may send after its CONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientPacket<'a> {
    /// PUBLISH.
    Publish(Publish<'a>),
    /// PUBACK: PUBLISH of QoS 1 received.
    PubAck(Ack),
    /// PUBREC: PUBLISH of QoS 2 received.
    PubRec(Ack),
    /// PUBREL: PUBLISH of QoS 2 released.
    PubRel(Ack),
    /// PUBCOMP: QoS 2 complete.
    PubComp(Ack),
    /// SUBSCRIBE.
    Subscribe(Subscribe<'a>),
    /// UNSUBSCRIBE.
    Unsubscribe(Unsubscribe<'a>),
    /// PINGREQ.
    PingReq,
    /// DISCONNECT.
    Disconnect(ClientDisconnect),
    /// AUTH (MQTT 5 only).
    Auth {
        /// Continue authentication or Re-authenticate.
        reason: ReasonCode,
    },
}

impl ClientPacket<'_> {
    /// How many User Properties it has; those of AUTH, which is never accepted, are not counted.
    pub fn user_properties(&self) -> usize {
        match self {
            Self::Publish(publish) => publish.forwarded.user_properties(),
            Self::PubAck(ack) | Self::PubRec(ack) | Self::PubRel(ack) | Self::PubComp(ack) => {
                ack.user_properties
            }
            Self::Subscribe(subscribe) => subscribe.user_properties,
            Self::Unsubscribe(unsubscribe) => unsubscribe.user_properties,
            Self::Disconnect(disconnect) => disconnect.user_properties,
            Self::PingReq | Self::Auth { .. } => 0,
        }
    }
}

/// DISCONNECT as a client sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientDisconnect {
    /// Success for 3.1.1.
    pub reason: ReasonCode,
    /// Session Expiry Interval in seconds, where the client changes it.
    pub session_expiry: Option<u32>,
    /// How many User Properties there are; they are checked and left out.
    pub user_properties: usize,
}

/// CONNACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnAck<'a> {
    /// Session Present; false with every refusal.
    pub session_present: bool,
    /// For 3.1.1 encoded by [`ReasonCode::v3_connect_return_code`].
    pub reason: ReasonCode,
    /// Written for MQTT 5 only.
    pub properties: ConnAckProperties<'a>,
}

/// Properties of CONNACK; `None` leaves one out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConnAckProperties<'a> {
    /// Session Expiry Interval in seconds, where it is not the one that the client asked for.
    pub session_expiry: Option<u32>,
    /// Receive Maximum of the server.
    pub receive_maximum: Option<NonZeroU16>,
    /// Maximum Packet Size of the server in bytes.
    pub maximum_packet_size: Option<u32>,
    /// Assigned Client Identifier.
    pub assigned_client_id: Option<&'a str>,
    /// Topic Alias Maximum of the server.
    pub topic_alias_maximum: Option<u16>,
    /// Reason String.
    pub reason_string: Option<&'a str>,
    /// Shared Subscription Available; `Some(false)` announces that there are none.
    pub shared_subscription_available: Option<bool>,
    /// Server Keep Alive in seconds.
    pub server_keep_alive: Option<u16>,
}

/// PUBLISH as the server sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerPublish<'a> {
    /// DUP.
    pub dup: bool,
    /// QoS.
    pub qos: QoS,
    /// RETAIN.
    pub retain: bool,
    /// May be empty if `topic_alias` is set.
    pub topic: &'a str,
    /// Present exactly if the QoS is above 0.
    pub packet_id: Option<PacketId>,
    /// Message Expiry Interval that is left, in seconds. MQTT 5 only, as all below but the payload.
    pub message_expiry: Option<u32>,
    /// Topic Alias.
    pub topic_alias: Option<NonZeroU16>,
    /// Subscription Identifiers of the subscriptions that matched.
    pub subscription_ids: &'a [u32],
    /// Property bytes as [`ForwardedProperties::write`] made them.
    pub forwarded: &'a [u8],
    /// The Application Message.
    pub payload: &'a [u8],
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP as the server sends it. Encoded in the shortest form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerAck<'a> {
    /// The Packet Identifier that is acknowledged.
    pub packet_id: PacketId,
    /// MQTT 5 only.
    pub reason: ReasonCode,
    /// Reason String. MQTT 5 only.
    pub reason_string: Option<&'a str>,
}

/// What the server sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerPacket<'a> {
    /// CONNACK.
    ConnAck(ConnAck<'a>),
    /// PUBLISH.
    Publish(ServerPublish<'a>),
    /// PUBACK.
    PubAck(ServerAck<'a>),
    /// PUBREC.
    PubRec(ServerAck<'a>),
    /// PUBREL.
    PubRel(ServerAck<'a>),
    /// PUBCOMP.
    PubComp(ServerAck<'a>),
    /// SUBACK: one reason per filter, in their order. In 3.1.1 every error is 0x80.
    SubAck {
        /// The SUBSCRIBE's.
        packet_id: PacketId,
        /// One per filter.
        reasons: &'a [ReasonCode],
    },
    /// UNSUBACK: one reason per filter, in their order; 3.1.1 sends none.
    UnsubAck {
        /// The UNSUBSCRIBE's.
        packet_id: PacketId,
        /// One per filter.
        reasons: &'a [ReasonCode],
    },
    /// PINGRESP.
    PingResp,
    /// DISCONNECT. MQTT 5 only: encodes to nothing for 3.1.1.
    Disconnect {
        /// Why.
        reason: ReasonCode,
        /// Reason String.
        reason_string: Option<&'a str>,
    },
}
