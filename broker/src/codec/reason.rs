//! Reason codes of MQTT 5 (section 2.4) and the CONNACK return codes of MQTT 3.1.1 (section 3.2.2.3).

/// A Reason Code of MQTT 5. Which packets may carry which one is decided by the decoder and by whoever sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum ReasonCode {
    /// Success, Normal disconnection, or Granted QoS 0.
    Success = 0x00,
    /// Granted QoS 1.
    GrantedQos1 = 0x01,
    /// Granted QoS 2.
    GrantedQos2 = 0x02,
    /// The client disconnects but wants its Will Message published.
    DisconnectWithWill = 0x04,
    /// Accepted, but nobody subscribes.
    NoMatchingSubscribers = 0x10,
    /// The UNSUBSCRIBE named a filter without a subscription.
    NoSubscriptionExisted = 0x11,
    /// Continue authentication (AUTH).
    ContinueAuthentication = 0x18,
    /// Re-authenticate (AUTH).
    ReAuthenticate = 0x19,
    /// No other code applies, or the reason is not to be told.
    UnspecifiedError = 0x80,
    /// The packet does not conform to its format.
    MalformedPacket = 0x81,
    /// The packet is well-formed but not allowed here.
    ProtocolError = 0x82,
    /// Valid, but not accepted by this implementation.
    ImplementationSpecificError = 0x83,
    /// Protocol name or level that the server does not support.
    UnsupportedProtocolVersion = 0x84,
    /// The Client Identifier is valid but not allowed.
    ClientIdentifierNotValid = 0x85,
    /// User name or password is wrong.
    BadUserNameOrPassword = 0x86,
    /// Not authorized.
    NotAuthorized = 0x87,
    /// The server is not available.
    ServerUnavailable = 0x88,
    /// The server is busy.
    ServerBusy = 0x89,
    /// Banned by an administrator.
    Banned = 0x8A,
    /// The server shuts down.
    ServerShuttingDown = 0x8B,
    /// The authentication method is not supported.
    BadAuthenticationMethod = 0x8C,
    /// Nothing arrived for one and a half times the Keep Alive.
    KeepAliveTimeout = 0x8D,
    /// Another connection took the session over.
    SessionTakenOver = 0x8E,
    /// The Topic Filter is well-formed but not accepted.
    TopicFilterInvalid = 0x8F,
    /// The Topic Name is well-formed but not accepted.
    TopicNameInvalid = 0x90,
    /// The Packet Identifier is in use.
    PacketIdentifierInUse = 0x91,
    /// The Packet Identifier is not known.
    PacketIdentifierNotFound = 0x92,
    /// More publications in flight than the Receive Maximum.
    ReceiveMaximumExceeded = 0x93,
    /// Topic Alias 0 or above the Topic Alias Maximum, or not set.
    TopicAliasInvalid = 0x94,
    /// The packet exceeds the Maximum Packet Size.
    PacketTooLarge = 0x95,
    /// The message rate is too high.
    MessageRateTooHigh = 0x96,
    /// A quota is exceeded.
    QuotaExceeded = 0x97,
    /// Closed by an administrator.
    AdministrativeAction = 0x98,
    /// The payload does not match its Payload Format Indicator.
    PayloadFormatInvalid = 0x99,
    /// Retained messages are not supported.
    RetainNotSupported = 0x9A,
    /// The QoS is above the Maximum QoS.
    QosNotSupported = 0x9B,
    /// Use another server, for now.
    UseAnotherServer = 0x9C,
    /// Use another server from now on.
    ServerMoved = 0x9D,
    /// Shared subscriptions are not supported.
    SharedSubscriptionsNotSupported = 0x9E,
    /// Too many connections a second.
    ConnectionRateExceeded = 0x9F,
    /// The connection lasted as long as it was allowed to.
    MaximumConnectTime = 0xA0,
    /// Subscription Identifiers are not supported.
    SubscriptionIdentifiersNotSupported = 0xA1,
    /// Wildcard subscriptions are not supported.
    WildcardSubscriptionsNotSupported = 0xA2,
}

impl ReasonCode {
    /// The byte on the wire.
    pub fn byte(self) -> u8 {
        self as u8
    }

    /// Whether this code means failure (0x80 and above).
    pub fn is_error(self) -> bool {
        self.byte() >= 0x80
    }

    /// The return code that a MQTT 3.1.1 CONNACK carries for this reason (section 3.2.2.3, table 3.1).
    pub fn v3_connect_return_code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::UnsupportedProtocolVersion => 1,
            Self::ClientIdentifierNotValid => 2,
            Self::BadUserNameOrPassword => 4,
            Self::NotAuthorized | Self::Banned | Self::BadAuthenticationMethod => 5,
            _ => 3,
        }
    }
}

/// In words, as `server busy`.
impl std::fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = format!("{self:?}");
        for (at, character) in name.chars().enumerate() {
            if character.is_uppercase() && at > 0 {
                f.write_str(" ")?;
            }
            write!(f, "{}", character.to_ascii_lowercase())?;
        }
        Ok(())
    }
}
