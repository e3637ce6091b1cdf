//! A client that sends and expects one packet at a time.

use std::{
    collections::VecDeque,
    fmt::Debug,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use super::*;
use crate::DEADLINE;

/// A TCP connection that speaks MQTT as a test tells it to. Every `expect_…` waits up to [`DEADLINE`] and fails with
/// what came instead.
pub struct Client {
    version: Version,
    stream: TcpStream,
    received: Vec<u8>,
    postponed: VecDeque<Packet>,
    next_id: u16,
    announced: Vec<Property>,
    largest: usize,
}

/// What came from the server.
#[derive(Debug)]
enum Event {
    Packet(Packet),
    Closed,
    Nothing,
}

impl Client {
    /// Opens the connection, without a packet.
    pub fn open(addr: SocketAddr, version: Version) -> Self {
        Self::try_open(addr, version).unwrap()
    }

    /// Opens the connection if somebody listens there.
    ///
    /// # Errors
    /// The socket's.
    pub fn try_open(addr: SocketAddr, version: Version) -> std::io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            version,
            stream,
            received: Vec::new(),
            postponed: VecDeque::new(),
            next_id: 0,
            announced: Vec::new(),
            largest: 0,
        })
    }

    /// Its own address.
    pub fn local_addr(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    /// The protocol version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// A property of the CONNACK, or none: `client.announced(|p| if let ReceiveMaximum(n) = p { Some(*n) } else { None })`.
    pub fn announced<T>(&self, find: impl Fn(&Property) -> Option<T>) -> Option<T> {
        self.announced.iter().find_map(find)
    }

    /// Length of the largest packet that came so far.
    pub fn largest_packet(&self) -> usize {
        self.largest
    }

    /// The server's Receive Maximum.
    pub fn receive_maximum(&self) -> u16 {
        let find = |p: &Property| if let Property::ReceiveMaximum(n) = p { Some(*n) } else { None };
        self.announced(find).unwrap_or(u16::MAX)
    }

    /// The server's Maximum Packet Size, if it announced one.
    pub fn maximum_packet_size(&self) -> Option<usize> {
        self.announced(|p| if let Property::MaximumPacketSize(n) = p { Some(*n as usize) } else { None })
    }

    /// The server's Topic Alias Maximum.
    pub fn topic_alias_maximum(&self) -> u16 {
        let find = |p: &Property| if let Property::TopicAliasMaximum(n) = p { Some(*n) } else { None };
        self.announced(find).unwrap_or(0)
    }

    /// Sends a packet or bytes.
    #[track_caller]
    pub fn send(&mut self, packet: impl Encode) {
        if let Err(error) = self.try_send(packet) {
            panic!("cannot send: {error}; the server said before: {:?}", self.next(Duration::ZERO));
        }
    }

    /// Sends a packet or bytes if the server still listens.
    ///
    /// # Errors
    /// The socket's.
    pub fn try_send(&mut self, packet: impl Encode) -> std::io::Result<()> {
        self.stream.write_all(&packet.encode(self.version))
    }

    /// How long sending may block before it fails.
    pub fn set_write_timeout(&mut self, time: Duration) {
        self.stream.set_write_timeout(Some(time)).unwrap();
    }

    /// Sends an acknowledgement in its short form.
    #[track_caller]
    pub fn acknowledge(&mut self, kind: Kind, id: u16) {
        self.send(AckPacket { kind, id, reason: None });
    }

    /// A Packet Identifier that this client has not used yet.
    pub fn packet_id(&mut self) -> u16 {
        self.next_id += 1;
        self.next_id
    }

    /// Subscribes to one filter at this QoS and expects to get it.
    #[track_caller]
    pub fn subscribe(&mut self, filter: &str, qos: u8) {
        let id = self.packet_id();
        self.send(Subscribe::new(id).filter(filter, qos));
        assert_eq!(self.expect_suback(id), [qos], "SUBACK for {filter}");
    }

    /// Publishes and waits until the handshake is complete.
    #[track_caller]
    pub fn publish(&mut self, topic: &str, payload: impl AsRef<[u8]>, qos: u8) {
        self.complete(Publish::new(topic, payload), qos);
    }

    /// Publishes with RETAIN and waits until the handshake is complete; with QoS 0 until the server answers a PINGREQ.
    #[track_caller]
    pub fn publish_retained(&mut self, topic: &str, payload: impl AsRef<[u8]>, qos: u8) {
        self.complete(Publish::new(topic, payload).retain(), qos);
        if qos == 0 {
            self.send(PingReq);
            self.wait_for("PINGRESP", |packet| *packet == Packet::PingResp);
        }
    }

    /// Sends a PUBLISH at this QoS, whose Packet Identifier this chooses, and does the handshake.
    #[track_caller]
    pub fn complete(&mut self, publish: Publish, qos: u8) {
        if qos == 0 {
            return self.send(publish);
        }
        let id = self.packet_id();
        self.send(publish.qos(qos, id));
        if qos == 1 {
            return self.expect_success(Kind::PubAck, id);
        }
        self.expect_success(Kind::PubRec, id);
        self.acknowledge(Kind::PubRel, id);
        self.expect_success(Kind::PubComp, id);
    }

    /// Publishes these payloads with QoS 1, as many at a time as the server allows, and waits until all are acknowledged.
    #[track_caller]
    pub fn publish_all(&mut self, topic: &str, payloads: impl IntoIterator<Item = impl AsRef<[u8]>>) {
        let mut payloads = payloads.into_iter();
        loop {
            let batch: Vec<_> = (1..=self.receive_maximum().min(1000)).zip(payloads.by_ref()).collect();
            let Some(&(last, _)) = batch.last() else { return };
            let publish = |(id, payload)| Publish::new(topic, payload).qos(1, id).encode(self.version);
            let packets: Vec<u8> = batch.into_iter().flat_map(publish).collect();
            self.send(packets);
            for id in 1..=last {
                self.expect_success(Kind::PubAck, id);
            }
        }
    }

    /// The next packet, whatever it is.
    #[track_caller]
    pub fn receive(&mut self) -> Packet {
        match self.next(DEADLINE) {
            Event::Packet(packet) => packet,
            other => panic!("expected a packet, got {other:?}"),
        }
    }

    /// The next packet, or `None` if the server closes the connection.
    #[track_caller]
    pub fn receive_or_closed(&mut self) -> Option<Packet> {
        match self.next(DEADLINE) {
            Event::Packet(packet) => Some(packet),
            Event::Closed => None,
            Event::Nothing => panic!("expected a packet or the end of the connection, got nothing"),
        }
    }

    /// The next packet, or `None` if there is none within this time.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn poll(&mut self, time: Duration) -> std::io::Result<Option<Packet>> {
        match self.next(time) {
            Event::Packet(packet) => Ok(Some(packet)),
            Event::Nothing => Ok(None),
            Event::Closed => Err(ErrorKind::ConnectionAborted.into()),
        }
    }

    /// Waits for whatever the server answers: a packet or the end of the connection.
    #[track_caller]
    pub fn receive_anything(&mut self) {
        let event = self.next(DEADLINE);
        assert!(!matches!(event, Event::Nothing), "expected an answer, got none");
    }

    /// Expects CONNACK.
    #[track_caller]
    pub fn expect_connack(&mut self) -> ConnAck {
        match self.next(DEADLINE) {
            Event::Packet(Packet::ConnAck(ack)) => {
                self.announced.clone_from(&ack.properties);
                ack
            }
            other => panic!("expected CONNACK, got {other:?}"),
        }
    }

    /// Expects PUBLISH and leaves the acknowledgement to the test.
    #[track_caller]
    pub fn expect_publish(&mut self) -> Message {
        match self.next(DEADLINE) {
            Event::Packet(Packet::Publish(message)) => message,
            other => panic!("expected PUBLISH, got {other:?}"),
        }
    }

    /// Expects PUBLISH and does the rest of its handshake.
    #[track_caller]
    pub fn expect_message(&mut self) -> Message {
        let message = self.expect_publish();
        match message.qos {
            1 => self.acknowledge(Kind::PubAck, message.id),
            2 => {
                self.acknowledge(Kind::PubRec, message.id);
                let id = message.id;
                self.wait_for(
                    "PUBREL",
                    |packet| matches!(packet, Packet::Ack(ack) if ack.kind == Kind::PubRel && ack.id == id),
                );
                self.acknowledge(Kind::PubComp, id);
            }
            _ => {}
        }
        message
    }

    /// Expects a message with this payload, and does its handshake.
    #[track_caller]
    pub fn expect_payload(&mut self, payload: &str) -> Message {
        let message = self.expect_message();
        assert_eq!(String::from_utf8_lossy(&message.payload), payload, "{message:?}");
        message
    }

    /// Expects an acknowledgement.
    #[track_caller]
    pub fn expect_ack(&mut self, kind: Kind, id: u16) -> Ack {
        match self.next(DEADLINE) {
            Event::Packet(Packet::Ack(ack)) if ack.kind == kind && ack.id == id => ack,
            other => panic!("expected {kind:?} {id}, got {other:?}"),
        }
    }

    /// Expects an acknowledgement that is not an error. (0x10, nobody subscribes, is none.)
    #[track_caller]
    pub fn expect_success(&mut self, kind: Kind, id: u16) {
        let ack = self.expect_ack(kind, id);
        assert!(ack.reason < 0x80, "{ack:?}");
    }

    /// Expects SUBACK and gives its codes.
    #[track_caller]
    pub fn expect_suback(&mut self, id: u16) -> Vec<u8> {
        match self.next(DEADLINE) {
            Event::Packet(Packet::SubAck(ack)) if ack.id == id => ack.codes,
            other => panic!("expected SUBACK {id}, got {other:?}"),
        }
    }

    /// Expects UNSUBACK and gives its codes: none in 3.1.1.
    #[track_caller]
    pub fn expect_unsuback(&mut self, id: u16) -> Vec<u8> {
        match self.next(DEADLINE) {
            Event::Packet(Packet::UnsubAck(ack)) if ack.id == id => ack.codes,
            other => panic!("expected UNSUBACK {id}, got {other:?}"),
        }
    }

    /// Expects a PINGREQ to be answered by its PINGRESP and nothing before it.
    #[track_caller]
    pub fn expect_silence(&mut self) {
        self.send(PingReq);
        match self.next(DEADLINE) {
            Event::Packet(Packet::PingResp) => {}
            other => panic!("expected PINGRESP and nothing before it, got {other:?}"),
        }
    }

    /// Expects the server to close the connection without another packet.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        self.expect_closed_within(DEADLINE);
    }

    /// All bytes that the server sends until it closes the connection.
    #[track_caller]
    pub fn read_until_closed(&mut self) -> Vec<u8> {
        self.stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut bytes = std::mem::take(&mut self.received);
        match self.stream.read_to_end(&mut bytes) {
            Ok(_) => bytes,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => bytes,
            Err(error) => panic!("expected the connection to be closed, got {bytes:02x?} and {error}"),
        }
    }

    /// Whether the server closes the connection within this time. Packets that come are lost.
    pub fn is_closed_within(&mut self, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            match self.next(until.saturating_duration_since(Instant::now())) {
                Event::Packet(_) => {}
                Event::Closed => return true,
                Event::Nothing => return false,
            }
        }
    }

    /// The same with another deadline.
    #[track_caller]
    pub fn expect_closed_within(&mut self, deadline: Duration) {
        match self.next(deadline) {
            Event::Closed => {}
            other => panic!("expected the connection to be closed, got {other:?}"),
        }
    }

    /// Expects the server to end the connection: MQTT 5 with DISCONNECT and this reason first, 3.1.1 without a packet.
    #[track_caller]
    pub fn expect_ended(&mut self, reason: u8) {
        self.expect_ended_within(reason, DEADLINE);
    }

    /// The same with another deadline.
    #[track_caller]
    pub fn expect_ended_within(&mut self, reason: u8, deadline: Duration) {
        if self.version == Version::V5 {
            match self.next(deadline) {
                Event::Packet(Packet::Disconnect(code, _)) if code == reason => {}
                other => panic!("expected DISCONNECT {reason:#04x}, got {other:?}"),
            }
        }
        self.expect_closed_within(deadline);
    }

    /// Says goodbye and waits until the server closes.
    #[track_caller]
    pub fn disconnect(self) {
        self.disconnect_with(Disconnect::default());
    }

    /// Says goodbye in its own way and waits until the server closes. What was on its way is ignored.
    #[track_caller]
    pub fn disconnect_with(mut self, disconnect: Disconnect) {
        self.send(disconnect);
        let until = Instant::now() + DEADLINE;
        loop {
            match self.next(until.saturating_duration_since(Instant::now())) {
                Event::Packet(Packet::Publish(_) | Packet::Ack(_)) => {}
                Event::Closed => return,
                other => panic!("expected the connection to be closed after DISCONNECT, got {other:?}"),
            }
        }
    }

    /// Ends the connection without DISCONNECT and waits until the server has noticed, that is, closed its side too.
    #[track_caller]
    pub fn cut(mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
        let until = Instant::now() + DEADLINE;
        while !matches!(self.next(until.saturating_duration_since(Instant::now())), Event::Closed) {
            assert!(Instant::now() < until, "the server did not notice the end of the connection");
        }
    }

    /// Waits for a packet; all others that come before it are given to the following `expect_…` in their order.
    #[track_caller]
    pub fn wait_for(&mut self, what: &str, wanted: impl Fn(&Packet) -> bool) -> Packet {
        let until = Instant::now() + DEADLINE;
        let mut others = VecDeque::new();
        loop {
            match self.next(until.saturating_duration_since(Instant::now())) {
                Event::Packet(packet) if wanted(&packet) => {
                    others.append(&mut self.postponed);
                    self.postponed = others;
                    return packet;
                }
                Event::Packet(packet) => others.push_back(packet),
                other => panic!("expected {what}, got {other:?} after {others:?}"),
            }
        }
    }

    fn next(&mut self, deadline: Duration) -> Event {
        if let Some(packet) = self.postponed.pop_front() {
            return Event::Packet(packet);
        }
        let until = Instant::now() + deadline;
        let mut chunk = [0; 65536];
        loop {
            if let Some((packet, size)) = Packet::parse(self.version, &self.received) {
                self.received.drain(..size);
                self.largest = self.largest.max(size);
                return Event::Packet(packet);
            }
            // A read time-out of zero would mean none.
            let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(left)).unwrap();
            match self.stream.read(&mut chunk) {
                Ok(0) => return Event::Closed,
                Ok(length) => self.received.extend(&chunk[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Event::Nothing;
                }
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                    return Event::Closed;
                }
                Err(error) => panic!("cannot read: {error}"),
            }
        }
    }
}

impl Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("version", &self.version).finish_non_exhaustive()
    }
}
