//! The few MQTT packets that a load generator needs, written and read without allocating per message.

use crate::Result;

/// Most bytes that a PUBLISH's payload begins with for the generator's own use: pair, sequence number, due time.
pub(crate) const STAMP: usize = 20;

/// The protocol version of every connection of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// MQTT 3.1.1.
    V311,
    /// MQTT 5.
    V5,
}

/// Who logs in.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) client_id: String,
    pub(crate) username: String,
    pub(crate) password: String,
}

/// What becomes of a session when its connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Session {
    /// It ends too, and so does one that was there before.
    Clean,
    /// It goes on for as long as every measurement, and one that was there before is resumed.
    Persistent,
}

/// A packet from the relay, borrowed from the read buffer.
#[derive(Debug)]
pub(crate) enum Packet<'a> {
    ConnAck { code: u8 },
    SubAck { code: u8 },
    PubAck { code: u8 },
    Publish { packet_id: Option<[u8; 2]>, payload: &'a [u8] },
}

/// Appends a CONNECT with a keep alive that outlasts every measurement.
pub(crate) fn connect(out: &mut Vec<u8>, version: Version, login: &Login, session: Session) {
    const KEEP_ALIVE_SECONDS: u16 = 1800;
    const WITH_USERNAME_AND_PASSWORD: u8 = 0b1100_0000;
    const CLEAN: u8 = 0b10;
    let mut body = Vec::with_capacity(128);
    string(&mut body, "MQTT");
    body.push(if version == Version::V5 { 5 } else { 4 });
    body.push(WITH_USERNAME_AND_PASSWORD | if session == Session::Clean { CLEAN } else { 0 });
    body.extend_from_slice(&KEEP_ALIVE_SECONDS.to_be_bytes());
    match (version, session) {
        (Version::V5, Session::Persistent) => session_expiry(&mut body),
        _ => no_properties(&mut body, version),
    }
    string(&mut body, &login.client_id);
    string(&mut body, &login.username);
    string(&mut body, &login.password);
    packet(out, 0x10, &body);
}

/// Appends a SUBSCRIBE to one Topic Filter, Packet Identifier 1.
pub(crate) fn subscribe(out: &mut Vec<u8>, version: Version, filter: &str, qos: u8) {
    let mut body = Vec::with_capacity(128);
    body.extend_from_slice(&[0, 1]);
    no_properties(&mut body, version);
    string(&mut body, filter);
    body.push(qos);
    packet(out, 0x82, &body);
}

/// Appends a DISCONNECT without a reason.
pub(crate) fn disconnect(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xE0, 0]);
}

/// Appends a PUBACK.
pub(crate) fn puback(out: &mut Vec<u8>, packet_id: [u8; 2]) {
    out.extend_from_slice(&[0x40, 2, packet_id[0], packet_id[1]]);
}

/// A PUBLISH that is encoded once; only its Packet Identifier and its stamp change from message to message.
pub(crate) struct PublishTemplate {
    bytes: Vec<u8>,
    /// Where the Packet Identifier stands; QoS 0 has none.
    packet_id: Option<usize>,
    /// Where the payload begins.
    payload: usize,
}

impl PublishTemplate {
    /// `size` is the payload's, at least [`STAMP`] bytes.
    pub(crate) fn new(version: Version, topic: &str, qos: u8, pair: u32, size: usize) -> Self {
        let mut body = Vec::with_capacity(topic.len() + size + 8);
        string(&mut body, topic);
        let packet_id = (qos > 0).then_some(body.len());
        if packet_id.is_some() {
            body.extend_from_slice(&[0, 1]);
        }
        no_properties(&mut body, version);
        let payload = body.len();
        body.extend_from_slice(&pair.to_be_bytes());
        body.resize(payload + size.max(STAMP), b'.');
        let mut bytes = Vec::new();
        packet(&mut bytes, 0x30 | (qos << 1), &body);
        let header = bytes.len() - body.len();
        Self { bytes, packet_id: packet_id.map(|at| header + at), payload: header + payload }
    }

    /// Appends message number `sequence`, stamped with the time at which it was due.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>, sequence: u64, due: u64) {
        if let Some(at) = self.packet_id {
            let id = (sequence % u64::from(u16::MAX)) as u16 + 1;
            self.bytes[at..at + 2].copy_from_slice(&id.to_be_bytes());
        }
        let at = self.payload;
        self.bytes[at + 4..at + 12].copy_from_slice(&sequence.to_be_bytes());
        self.bytes[at + 12..at + 20].copy_from_slice(&due.to_be_bytes());
        out.extend_from_slice(&self.bytes);
    }
}

/// What a message says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) pair: u32,
    pub(crate) sequence: u64,
    /// Nanoseconds on the monotonic clock; 0 where nobody asks.
    pub(crate) due: u64,
}

impl Stamp {
    /// Fails on a payload that the generator did not write.
    pub(crate) fn read(payload: &[u8]) -> Result<Self> {
        let (pair, rest) = payload.split_first_chunk().ok_or("a payload is too short")?;
        let (sequence, rest) = rest.split_first_chunk().ok_or("a payload is too short")?;
        let (due, _) = rest.split_first_chunk().ok_or("a payload is too short")?;
        Ok(Self {
            pair: u32::from_be_bytes(*pair),
            sequence: u64::from_be_bytes(*sequence),
            due: u64::from_be_bytes(*due),
        })
    }
}

/// Reads the packet at the front of `bytes`; with it the number of its bytes. `None` if it is not whole yet.
pub(crate) fn read(bytes: &[u8], version: Version) -> Result<Option<(Packet<'_>, usize)>> {
    let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
    let Some((length, rest)) = variable_length(rest)? else { return Ok(None) };
    let Some(body) = rest.get(..length) else { return Ok(None) };
    let consumed = bytes.len() - rest.len() + length;
    let packet = match first >> 4 {
        3 => publish(first, body, version)?,
        4 => Packet::PubAck { code: body.get(2).copied().unwrap_or(0) },
        2 => Packet::ConnAck { code: *body.get(1).ok_or("a CONNACK is too short")? },
        9 => Packet::SubAck { code: *body.last().ok_or("a SUBACK is too short")? },
        14 => {
            let reason = body.first().copied().unwrap_or(0);
            return Err(format!("the relay disconnected with reason {reason:#04x}").into());
        }
        other => return Err(format!("the relay sent an unexpected packet of type {other}").into()),
    };
    Ok(Some((packet, consumed)))
}

fn publish(first: u8, body: &[u8], version: Version) -> Result<Packet<'_>> {
    const SHORT: &str = "a PUBLISH is too short";
    let (length, rest) = body.split_first_chunk::<2>().ok_or(SHORT)?;
    let mut rest = rest.get(usize::from(u16::from_be_bytes(*length))..).ok_or(SHORT)?;
    let mut packet_id = None;
    if first & 0b110 != 0 {
        let (id, after) = rest.split_first_chunk::<2>().ok_or(SHORT)?;
        packet_id = Some(*id);
        rest = after;
    }
    if version == Version::V5 {
        let (length, after) = variable_length(rest)?.ok_or(SHORT)?;
        rest = after.get(length..).ok_or(SHORT)?;
    }
    Ok(Packet::Publish { packet_id, payload: rest })
}

/// A Variable Byte Integer and what follows it; `None` if it is not whole yet.
fn variable_length(bytes: &[u8]) -> Result<Option<(usize, &[u8])>> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((value, &bytes[index + 1..])));
        }
    }
    if bytes.len() >= 4 { Err("a packet's length has more than four bytes".into()) } else { Ok(None) }
}

fn packet(out: &mut Vec<u8>, first: u8, body: &[u8]) {
    out.push(first);
    let mut length = body.len();
    loop {
        let low = (length % 128) as u8;
        length /= 128;
        out.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            break;
        }
    }
    out.extend_from_slice(body);
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Properties with a Session Expiry Interval of a day, which a connection of MQTT 3.1.1 has without saying so.
fn session_expiry(out: &mut Vec<u8>) {
    const LENGTH: u8 = 5;
    const SESSION_EXPIRY_INTERVAL: u8 = 0x11;
    const DAY_SECONDS: u32 = 24 * 60 * 60;
    out.extend_from_slice(&[LENGTH, SESSION_EXPIRY_INTERVAL]);
    out.extend_from_slice(&DAY_SECONDS.to_be_bytes());
}

fn no_properties(out: &mut Vec<u8>, version: Version) {
    if version == Version::V5 {
        out.push(0);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_written_publish_reads_back_at_every_version_and_qos() {
        for version in [Version::V311, Version::V5] {
            for qos in [0, 1] {
                let mut template = PublishTemplate::new(version, "default/bench-1/1", qos, 7, 200);
                let mut out = Vec::new();
                template.write(&mut out, 65_536, 99);
                for cut in 0..out.len() {
                    assert!(read(&out[..cut], version).unwrap().is_none());
                }
                let (packet, consumed) = read(&out, version).unwrap().unwrap();
                assert_eq!(consumed, out.len());
                let Packet::Publish { packet_id, payload } = packet else { panic!("{packet:?}") };
                assert_eq!(packet_id, (qos > 0).then_some([0, 2]));
                assert_eq!(payload.len(), 200);
                assert_eq!(Stamp::read(payload).unwrap(), Stamp { pair: 7, sequence: 65_536, due: 99 });
            }
        }
    }

    #[test]
    fn an_endless_length_is_an_error() {
        assert!(read(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 1], Version::V311).is_err());
    }
}
