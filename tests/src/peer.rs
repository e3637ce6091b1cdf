//! A client with a session that stays, as the standards want it: it remembers what it must from one connection to the
//! next, and sends again what the server has not acknowledged. The server may die at any moment.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{Error, ErrorKind, Result},
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::{
    DEADLINE,
    raw::{
        Ack, AckPacket, Client, ConnAck, Connect, Disconnect, Encode, Kind, Message, Packet, Publish, Version,
    },
};

/// A client that keeps its session's state. It acknowledges at once what it receives.
pub struct Peer {
    version: Version,
    connect: Connect,
    connection: Option<Client>,
    /// Own messages whose handshake is not complete, in the order of their first sending.
    outgoing: VecDeque<Outgoing>,
    /// QoS 2 messages of the server by Packet Identifier, from their PUBLISH to their PUBREL.
    unreleased: BTreeMap<u16, Vec<u8>>,
}

/// What became known by a packet from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// A message. One with QoS 2 that was sent again does not come here again.
    Received(Message),
    /// PUBACK or PUBREC: the server has an own message, if the reason is below 0x80.
    Acknowledged {
        /// Its payload.
        payload: Vec<u8>,
        /// Reason Code.
        reason: u8,
    },
}

struct Outgoing {
    id: u16,
    qos: u8,
    topic: String,
    payload: Vec<u8>,
    retain: bool,
    /// PUBREC came: from now on only PUBREL is sent.
    received: bool,
}

impl Peer {
    /// A client that will connect with this CONNECT.
    pub fn new(version: Version, connect: Connect) -> Self {
        Self { version, connect, connection: None, outgoing: VecDeque::new(), unreleased: BTreeMap::new() }
    }

    /// Whether it has a connection, as far as it knows.
    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// How many own messages are not completely acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.outgoing.len()
    }

    /// How many QoS 2 messages of the server wait for their PUBREL.
    pub fn unreleased(&self) -> usize {
        self.unreleased.len()
    }

    /// Connects, and sends again what is not acknowledged; if the server has no session, what it knew of it is forgotten,
    /// as the standards say.
    ///
    /// # Errors
    /// Nobody listens, or the connection is lost at once.
    pub fn connect(&mut self, addr: SocketAddr) -> Result<ConnAck> {
        self.connection = None;
        let mut client = Client::try_open(addr, self.version)?;
        client.try_send(&self.connect)?;
        let ack = match client.poll(DEADLINE)? {
            Some(Packet::ConnAck(ack)) => ack,
            Some(other) => panic!("expected CONNACK, got {other:?}"),
            None => panic!("no CONNACK"),
        };
        if ack.code != 0 {
            return Ok(ack);
        }
        if !ack.session_present {
            self.outgoing.clear();
            self.unreleased.clear();
        }
        self.connection = Some(client);
        for index in 0..self.outgoing.len() {
            let again = &self.outgoing[index];
            match again.received {
                true => self.send(AckPacket { kind: Kind::PubRel, id: again.id, reason: None }),
                false => self.send(again.publish().dup()),
            }
        }
        Ok(ack)
    }

    /// The connection, for packets that concern no handshake of a message.
    #[track_caller]
    pub fn client(&mut self) -> &mut Client {
        self.connection.as_mut().expect("a connection")
    }

    /// Publishes, now or when it connects again.
    pub fn publish(&mut self, topic: &str, payload: impl AsRef<[u8]>, qos: u8, retain: bool) {
        let id = self.free_id();
        let (topic, payload) = (topic.to_owned(), payload.as_ref().to_vec());
        let outgoing = Outgoing { id, qos, topic, payload, retain, received: false };
        self.send(outgoing.publish());
        self.outgoing.push_back(outgoing);
    }

    /// Waits for a packet and does what it asks for. `None` if there was none in this time, if it tells nothing new, or if
    /// there is no connection.
    pub fn poll(&mut self, time: Duration) -> Option<Happened> {
        let client = self.connection.as_mut()?;
        match client.poll(time) {
            Ok(Some(packet)) => self.handle(packet),
            Ok(None) => None,
            Err(_) => {
                self.connection = None;
                None
            }
        }
    }

    /// Waits until `find` gives something for what happens.
    ///
    /// # Errors
    /// The connection is lost.
    #[track_caller]
    pub fn wait_for<T>(&mut self, what: &str, mut find: impl FnMut(Happened) -> Option<T>) -> Result<T> {
        let until = Instant::now() + DEADLINE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {what}");
            if let Some(found) = self.poll(left).and_then(&mut find) {
                return Ok(found);
            }
            if !self.is_connected() {
                return Err(Error::new(ErrorKind::ConnectionAborted, format!("closed before {what}")));
            }
        }
    }

    /// Ends the connection with DISCONNECT.
    pub fn disconnect(&mut self) {
        self.disconnect_with(Disconnect::default());
    }

    /// Ends the connection with this DISCONNECT, unless the server is faster, and waits until the server has closed it.
    /// What was on its way is ignored.
    pub fn disconnect_with(&mut self, disconnect: Disconnect) {
        self.send(disconnect);
        let Some(mut client) = self.connection.take() else { return };
        while let Ok(packet) = client.poll(DEADLINE) {
            assert!(packet.is_some(), "the server does not close the connection after DISCONNECT");
        }
    }

    /// Ends the connection without DISCONNECT, and waits until the server has noticed.
    pub fn lose(&mut self) {
        if let Some(client) = self.connection.take() {
            client.cut();
        }
    }

    /// Ends the connection without DISCONNECT, and without waiting for anything.
    pub fn cut(&mut self) {
        self.connection = None;
    }

    fn handle(&mut self, packet: Packet) -> Option<Happened> {
        match packet {
            Packet::Publish(message) => self.receive(message),
            Packet::Ack(ack) => match ack.kind {
                Kind::PubAck => self.acknowledged(&ack, 1),
                Kind::PubRec => self.acknowledged(&ack, 2),
                Kind::PubRel => {
                    self.unreleased.remove(&ack.id);
                    self.acknowledge(Kind::PubComp, ack.id);
                    None
                }
                Kind::PubComp => {
                    let index = self.find(ack.id, |own| own.received);
                    self.outgoing.remove(index);
                    None
                }
            },
            Packet::Disconnect(..) => {
                self.connection = None;
                None
            }
            other => panic!("{other:?} was not asked for"),
        }
    }

    fn receive(&mut self, message: Message) -> Option<Happened> {
        match message.qos {
            1 => self.acknowledge(Kind::PubAck, message.id),
            2 => {
                self.acknowledge(Kind::PubRec, message.id);
                if let Some(before) = self.unreleased.insert(message.id, message.payload.clone()) {
                    assert!(
                        before == message.payload,
                        "identifier {} is in use for {:?}, and comes with {:?}",
                        message.id,
                        String::from_utf8_lossy(&before),
                        String::from_utf8_lossy(&message.payload)
                    );
                    return None;
                }
            }
            _ => {}
        }
        Some(Happened::Received(message))
    }

    fn acknowledged(&mut self, ack: &Ack, qos: u8) -> Option<Happened> {
        let index = self.find(ack.id, |own| own.qos == qos && !own.received);
        let payload = self.outgoing[index].payload.clone();
        if qos == 2 && ack.reason < 0x80 {
            self.outgoing[index].received = true;
            self.acknowledge(Kind::PubRel, ack.id);
        } else {
            self.outgoing.remove(index);
        }
        Some(Happened::Acknowledged { payload, reason: ack.reason })
    }

    /// A connection has only answers to what was sent over it, so there is always one.
    fn find(&self, id: u16, state: impl Fn(&Outgoing) -> bool) -> usize {
        let found = self.outgoing.iter().position(|own| own.id == id && state(own));
        found.unwrap_or_else(|| panic!("an acknowledgement of {id}, which waits for no such one"))
    }

    /// The smallest one, so that each is used again as soon as it may be.
    fn free_id(&self) -> u16 {
        let is_free = |id: &u16| !self.outgoing.iter().any(|own| own.id == *id);
        (1..=u16::MAX).find(is_free).expect("fewer messages than identifiers")
    }

    fn acknowledge(&mut self, kind: Kind, id: u16) {
        self.send(AckPacket { kind, id, reason: None });
    }

    /// What cannot be sent is sent again over the next connection; what has come already is still read.
    fn send(&mut self, packet: impl Encode) {
        if let Some(client) = &mut self.connection {
            let _ = client.try_send(packet);
        }
    }
}

impl Outgoing {
    fn publish(&self) -> Publish {
        let publish = Publish::new(&self.topic, &self.payload).qos(self.qos, self.id);
        if self.retain { publish.retain() } else { publish }
    }
}
