//! The properties of MQTT 5 (section 2.2.2) that a client may send, and those that a server passes on.

use super::DecodeError;
use super::packet::ForwardedProperties;
use super::primitives::Reader;
use super::text::is_valid_topic_name;

/// One property, with its value checked as far as that does not depend on the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Property<'a> {
    PayloadFormatIndicator,
    MessageExpiryInterval(u32),
    ContentType(&'a str),
    ResponseTopic,
    CorrelationData,
    SubscriptionIdentifier(u32),
    SessionExpiryInterval(u32),
    AuthenticationMethod(&'a str),
    AuthenticationData(&'a [u8]),
    RequestProblemInformation(bool),
    WillDelayInterval(u32),
    RequestResponseInformation(bool),
    ServerReference,
    ReasonString,
    ReceiveMaximum(u16),
    TopicAliasMaximum(u16),
    TopicAlias(u16),
    User,
    MaximumPacketSize(u32),
}

impl Property<'_> {
    fn is_forwarded(self) -> bool {
        matches!(
            self,
            Self::PayloadFormatIndicator
                | Self::ContentType(_)
                | Self::ResponseTopic
                | Self::CorrelationData
                | Self::User
        )
    }
}

/// Reads properties one by one; refuses those that are there twice, all but the User Property.
pub(super) struct Properties<'a> {
    reader: Reader<'a>,
    seen: u64,
    users: usize,
}

impl<'a> Properties<'a> {
    pub(super) fn new(reader: Reader<'a>) -> Self {
        Self { reader, seen: 0, users: 0 }
    }

    pub(super) fn next(&mut self) -> Result<Option<Property<'a>>, DecodeError> {
        if self.reader.is_empty() {
            return Ok(None);
        }
        let reader = &mut self.reader;
        // A Variable Byte Integer by the standard, but all that are defined take one byte.
        let identifier = reader.u8()?;
        let property = match identifier {
            0x01 => {
                reader.flag()?;
                Property::PayloadFormatIndicator
            }
            0x02 => Property::MessageExpiryInterval(reader.u32()?),
            0x03 => Property::ContentType(reader.string()?),
            0x08 => {
                if !is_valid_topic_name(reader.string()?) {
                    return Err(DecodeError::protocol("the Response Topic is empty or contains a wildcard"));
                }
                Property::ResponseTopic
            }
            0x09 => {
                reader.binary()?;
                Property::CorrelationData
            }
            0x0B => Property::SubscriptionIdentifier(reader.variable()?),
            0x11 => Property::SessionExpiryInterval(reader.u32()?),
            0x15 => Property::AuthenticationMethod(reader.string()?),
            0x16 => Property::AuthenticationData(reader.binary()?),
            0x17 => Property::RequestProblemInformation(reader.flag()?),
            0x18 => Property::WillDelayInterval(reader.u32()?),
            0x19 => Property::RequestResponseInformation(reader.flag()?),
            0x1C => {
                reader.string()?;
                Property::ServerReference
            }
            0x1F => {
                reader.string()?;
                Property::ReasonString
            }
            0x21 => Property::ReceiveMaximum(reader.u16()?),
            0x22 => Property::TopicAliasMaximum(reader.u16()?),
            0x23 => Property::TopicAlias(reader.u16()?),
            USER_PROPERTY => {
                reader.string()?;
                reader.string()?;
                self.users += 1;
                Property::User
            }
            0x27 => Property::MaximumPacketSize(reader.u32()?),
            _ => return Err(DecodeError::malformed("a property that no client may send")),
        };
        // All identifiers above are below 64.
        let bit = 1_u64 << (identifier & 0x3F);
        if self.seen & bit != 0 && identifier != USER_PROPERTY {
            return Err(DecodeError::protocol("a property is there twice"));
        }
        self.seen |= bit;
        Ok(Some(property))
    }

    /// How many User Properties were read.
    pub(super) fn users(&self) -> usize {
        self.users
    }

    /// Checks the properties of a packet that may have a Reason String and User Properties, which the server has no
    /// use for, and says how many the latter are.
    pub(super) fn check_reason(mut self) -> Result<usize, DecodeError> {
        while let Some(property) = self.next()? {
            match property {
                Property::ReasonString | Property::User => {}
                _ => return Err(MISPLACED),
            }
        }
        Ok(self.users)
    }
}

/// A property that does not belong to the packet it is in (section 2.2.2.2).
pub(super) const MISPLACED: DecodeError = DecodeError::malformed("a property does not belong to this packet");

/// Collects what is passed on while properties are read.
pub(super) struct Forwarding<'a> {
    properties: Properties<'a>,
    raw: &'a [u8],
    len: usize,
}

impl<'a> Forwarding<'a> {
    pub(super) fn new(reader: Reader<'a>) -> Self {
        Self { raw: reader.clone().rest(), properties: Properties::new(reader), len: 0 }
    }

    /// The next property that is not just passed on.
    pub(super) fn next(&mut self) -> Result<Option<Property<'a>>, DecodeError> {
        loop {
            let before = self.properties.reader.len();
            match self.properties.next()? {
                Some(property) if property.is_forwarded() => {
                    self.len += before - self.properties.reader.len()
                }
                other => return Ok(other),
            }
        }
    }

    pub(super) fn finish(self) -> ForwardedProperties<'a> {
        ForwardedProperties { raw: self.raw, len: self.len, users: self.properties.users() }
    }
}

impl ForwardedProperties<'_> {
    /// How many bytes `write` appends.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is passed on.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many User Properties are among them.
    pub fn user_properties(&self) -> usize {
        self.users
    }

    /// Appends the properties that are passed on, and nothing else.
    pub fn write(&self, out: &mut Vec<u8>) {
        if self.len == self.raw.len() {
            out.extend_from_slice(self.raw);
            return;
        }
        let mut rest = self.raw;
        let mut properties = Properties::new(Reader::new(rest));
        while let Ok(Some(property)) = properties.next() {
            let (bytes, after) = rest.split_at(rest.len() - properties.reader.len());
            if property.is_forwarded() {
                out.extend_from_slice(bytes);
            }
            rest = after;
        }
    }
}

/// The Content Type among property bytes that are passed on.
pub(crate) fn content_type(forwarded: &[u8]) -> Option<&str> {
    let mut properties = Properties::new(Reader::new(forwarded));
    while let Ok(Some(property)) = properties.next() {
        if let Property::ContentType(content_type) = property {
            return Some(content_type);
        }
    }
    None
}

impl Reader<'_> {
    /// A byte that is 0 or 1.
    fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::protocol("a property that is 0 or 1 has another value")),
        }
    }
}

const USER_PROPERTY: u8 = 0x26;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn what_is_passed_on_keeps_its_order_and_nothing_else_is_3_3_2_18() {
        let kept = b"\x26\0\x01k\0\x01v\x01\x01\x03\0\x01t\x08\0\x01r\x09\0\x01\xFF\x26\0\0\0\0";
        let alias = b"\x23\0\x01";
        for raw in [kept.to_vec(), [alias, &kept[..]].concat(), [&kept[..], alias].concat()] {
            let forwarded = forwarded(&raw);
            let mut out = Vec::new();
            forwarded.write(&mut out);
            assert_eq!(out, kept);
            assert_eq!((forwarded.len(), forwarded.user_properties()), (kept.len(), 2));
            assert_eq!(content_type(&out), Some("t"));
        }
        let expiry = forwarded(b"\x02\0\0\0\x01");
        assert!(expiry.is_empty());
        let mut out = Vec::new();
        expiry.write(&mut out);
        assert!(out.is_empty());
        assert_eq!(content_type(&out), None);
    }

    fn forwarded(raw: &[u8]) -> ForwardedProperties<'_> {
        let mut forwarding = Forwarding::new(Reader::new(raw));
        while forwarding.next().unwrap().is_some() {}
        forwarding.finish()
    }
}
