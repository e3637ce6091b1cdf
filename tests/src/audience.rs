//! Everybody who could hear something: all devices of the shipped configuration, listening to all that they may hear.

use std::time::Instant;

use crate::{
    Bridge, Credentials, DEADLINE, End,
    raw::{Client, Connect, Message, Version::V5},
};

/// The ends of the shipped configuration's connections.
const ENDS: [(&str, End); 4] = [
    ("connection-1", End::From),
    ("connection-1", End::To),
    ("connection-2", End::From),
    ("connection-2", End::To),
];

/// A listener and a sender for each of the four devices: of the sessions that a device may have, two are left.
pub struct Audience {
    members: Vec<Member>,
    rounds: usize,
}

/// A message, and who heard it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// User Name of the device that heard it.
    pub by: String,
    /// Topic Name.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
}

struct Member {
    who: Credentials,
    listener: Client,
    sender: Client,
}

impl Audience {
    /// All devices come and listen.
    #[track_caller]
    pub fn of(bridge: &Bridge) -> Self {
        let member = |(connection, end)| {
            let who = bridge.credentials(connection, end);
            let connect = |name: &str| bridge.connect_with(V5, &who, Connect::new(name)).0;
            let (mut listener, sender) = (connect("audience-listens"), connect("audience-marks"));
            listener.subscribe(&who.subscribe, 2);
            Member { listener, sender, who }
        };
        Self { members: ENDS.map(member).into(), rounds: 0 }
    }

    /// What has been heard since the last time. Whoever listens hears at the end a message of his peer in each lane, so
    /// that nothing can be on its way any more.
    #[track_caller]
    pub fn heard(&mut self) -> Vec<Heard> {
        self.rounds += 1;
        let markers = [0, 1].map(|qos| format!("marker {} at {qos}", self.rounds).into_bytes());
        for Member { who, sender, .. } in &mut self.members {
            for (qos, marker) in markers.iter().enumerate() {
                sender.publish(&format!("{}/marker", who.publish), marker, qos as u8);
            }
        }
        let mut heard = Vec::new();
        for Member { who, listener, .. } in &mut self.members {
            let mut missing = markers.to_vec();
            while !missing.is_empty() {
                let Message { topic, payload, .. } = listener.expect_message();
                match missing.iter().position(|marker| *marker == payload) {
                    Some(index) => drop(missing.remove(index)),
                    None => heard.push(Heard { by: who.login.username.clone(), topic, payload }),
                }
            }
        }
        heard
    }

    /// Waits until this is what has been heard since the last time: for what the bridge does by itself when a client is gone,
    /// such as a Will, which nobody is told has been done.
    #[track_caller]
    pub fn expect(&mut self, expected: &[Heard]) {
        let until = Instant::now() + DEADLINE;
        let mut heard = self.heard();
        while heard.len() < expected.len() && Instant::now() < until {
            heard.extend(self.heard());
        }
        assert_eq!(heard, expected);
    }

    /// Fails if anybody has heard anything since the last time.
    #[track_caller]
    pub fn expect_silence(&mut self) {
        assert_eq!(self.heard(), []);
    }

    /// Fails if anybody who subscribes now gets a retained message.
    #[track_caller]
    pub fn expect_nothing_retained(&self, bridge: &Bridge) {
        for Member { who, .. } in &self.members {
            let mut late = bridge.connect_with(V5, who, Connect::new("late")).0;
            late.subscribe(&who.subscribe, 1);
            late.expect_silence();
            late.disconnect();
        }
    }
}
