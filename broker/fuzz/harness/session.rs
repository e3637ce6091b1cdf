//! What must hold for any sequence of operations on a session. Shared by the fuzz target and by the tests of
//! `src/fuzzing.rs`.
//!
//! The first byte of an input says which half is meant: what a client publishes, what it receives, or what it receives with
//! a session that is kept. Every two bytes that follow are a step, judged by the models that random sequences are judged by.

use std::{collections::BTreeMap, num::NonZeroU16, sync::Arc};

use crate::{
    codec::{ForwardedProperties, PacketId, Publish, QoS, ReasonCode, Version},
    session::{Bell, Inbound, Incoming, Outcome, Receipt, kept_model, model},
};

/// More steps than these are left out: the models let everything arrive in the end, in so many rounds.
const MOST_STEPS: usize = 150;

const RECEIVE_MAXIMUM: u16 = 4;
const TOPIC_ALIAS_MAXIMUM: u16 = 2;

/// Runs the steps that `input` describes; panics if a promise is broken.
pub fn check(input: &[u8]) {
    let [half, steps @ ..] = input else { return };
    let (steps, _) = steps.as_chunks::<2>();
    let steps = steps.iter().take(MOST_STEPS);
    match half % 3 {
        0 => {
            let mut publisher = Publisher::new();
            steps.for_each(|step| publisher.step(*step));
        }
        1 => model::check(steps.map(|step| received(*step))),
        _ => kept_model::check(steps.map(|step| kept(*step))),
    }
}

fn received([what, how]: [u8; 2]) -> model::Step {
    let large = how & 8 != 0;
    match what % 8 {
        0 | 1 => model::Step::Push { qos: how % 3, large },
        2 => model::Step::Promise { keep: large },
        3 => model::Step::Poll { budget: if large { usize::MAX } else { usize::from(how) } },
        4 => model::Step::Receive { packets: 1 + usize::from(how % 6) },
        5 => model::Step::Acknowledge { which: usize::from(how >> 1), refuse: how & 1 != 0 },
        6 => model::Step::WrongAcknowledgement { kind: how & 3, id: 1 + u16::from(how >> 2) },
        _ if how == 0 => model::Step::Disconnect,
        _ if how < 4 => model::Step::Revoke { topic: usize::from(how - 1) },
        _ => {
            let is_v5 = how & 1 != 0;
            model::Step::Connect {
                version: if is_v5 { Version::V5 } else { Version::V311 },
                receive_maximum: 1 + u16::from(how >> 1 & 7),
                limited: is_v5 && how & 0x10 != 0,
                aliases: if is_v5 { u16::from(how >> 5 & 3) } else { 0 },
            }
        }
    }
}

fn kept([what, how]: [u8; 2]) -> kept_model::Step {
    let number = 1 + usize::from(how & 7);
    match what % 10 {
        0 | 1 => kept_model::Step::Publish {
            qos: 1 + (how & 1),
            at_once: how & 2 != 0,
            late: how & 12 == 12,
            room: usize::from(how >> 4) % 3,
        },
        2 => kept_model::Step::Commit { work: number },
        3 => kept_model::Step::Fail { work: number },
        4 => kept_model::Step::Moment,
        5 => kept_model::Step::Poll,
        6 => kept_model::Step::Receive { packets: number },
        7 => kept_model::Step::Acknowledge { which: usize::from(how) },
        8 if how == 0 => kept_model::Step::Disconnect,
        8 if how < 3 => kept_model::Step::Revoke { room: usize::from(how) },
        8 => kept_model::Step::Connect { receive_maximum: 1 + u16::from(how & 7) },
        _ => kept_model::Step::Die,
    }
}

/// The half that takes what a client publishes, and a model of it.
struct Publisher {
    inbound: Inbound,
    // The model.
    quota: u16,
    used: u16,
    /// QoS 1 messages that are not acknowledged yet.
    held: u16,
    aliases: BTreeMap<u16, &'static str>,
    unreleased: BTreeMap<u16, Option<Arc<Receipt>>>,
    /// Receipts that are not settled, with the identifier that they were for.
    open: Vec<(u16, Arc<Receipt>)>,
}

impl Publisher {
    fn new() -> Self {
        Self {
            inbound: inbound(),
            quota: RECEIVE_MAXIMUM,
            used: 0,
            held: 0,
            aliases: BTreeMap::new(),
            unreleased: BTreeMap::new(),
            open: Vec::new(),
        }
    }

    fn step(&mut self, [what, how]: [u8; 2]) {
        let id = 1 + u16::from(how & 7);
        match what % 8 {
            0 => self.connect(if how & 1 == 0 { Version::V311 } else { Version::V5 }),
            1 => self.restart(),
            2 => self.settle(how),
            3 => self.release(id),
            4 => self.acknowledge(),
            5 => self.publish(QoS::AtMostOnce, None, how),
            6 => self.publish(QoS::AtLeastOnce, Some(id), how),
            _ => self.publish(QoS::ExactlyOnce, Some(id), how),
        }
    }

    fn connect(&mut self, version: Version) {
        self.inbound.handle_disconnect();
        self.inbound.handle_connect(version);
        self.quota = if version == Version::V5 { RECEIVE_MAXIMUM } else { u16::MAX };
        self.used = 0;
        self.held = 0;
        self.aliases.clear();
    }

    /// What is kept is known again, what is not is not.
    fn restart(&mut self) {
        self.unreleased.retain(|_, receipt| {
            receipt.as_ref().is_none_or(|receipt| receipt.outcome() == Some(Outcome::Kept))
        });
        self.unreleased.values_mut().for_each(|receipt| *receipt = None);
        self.open.clear();
        self.inbound = inbound();
        let known: Vec<_> = self.unreleased.keys().map(|id| packet_id(*id)).collect();
        self.inbound.restore(&known);
        self.connect(Version::V5);
    }

    fn publish(&mut self, qos: QoS, id: Option<u16>, how: u8) {
        let alias = u16::from(how >> 3 & 3);
        let topic = if alias > 0 && how & 0x20 == 0 { "" } else { ["a", "b"][usize::from(how >> 7)] };
        let publish = Publish {
            dup: false,
            qos,
            retain: false,
            topic,
            packet_id: id.map(packet_id),
            message_expiry: None,
            topic_alias: NonZeroU16::new(alias),
            forwarded: ForwardedProperties::default(),
            payload: b"",
        };
        let expected = self.expect(qos, id, alias, topic);
        let incoming = self.inbound.handle_publish(&publish).map(|incoming| match incoming {
            Incoming::New { topic } => Some(topic.to_owned()),
            Incoming::Duplicate(_) => None,
        });
        assert_eq!(incoming, expected.map(|topic| topic.map(str::to_owned)), "{publish:?}");
        match (expected, id) {
            (Err(_), _) => self.connect(Version::V5),
            (Ok(Some(_)), Some(id)) if how & 0x40 == 0 => self.take(qos, id, how & 0x20 != 0),
            // A grant refused it, or it was taken before.
            _ => {}
        }
    }

    /// The topic of a new message, nothing for one that was taken before, or why the connection must end.
    fn expect(
        &mut self,
        qos: QoS,
        id: Option<u16>,
        alias: u16,
        topic: &'static str,
    ) -> Result<Option<&'static str>, ReasonCode> {
        let was_taken = qos == QoS::ExactlyOnce && id.is_some_and(|id| self.was_taken(id));
        if qos != QoS::AtMostOnce && !was_taken && self.used >= self.quota {
            return Err(ReasonCode::ReceiveMaximumExceeded);
        }
        let topic = match alias {
            0 => topic,
            _ if alias > TOPIC_ALIAS_MAXIMUM => return Err(ReasonCode::TopicAliasInvalid),
            _ if topic.is_empty() => *self.aliases.get(&alias).ok_or(ReasonCode::ProtocolError)?,
            _ => {
                self.aliases.insert(alias, topic);
                topic
            }
        };
        Ok((!was_taken).then_some(topic))
    }

    fn was_taken(&mut self, id: u16) -> bool {
        let Some(receipt) = self.unreleased.get(&id) else { return false };
        let is_refused = receipt.as_ref().is_some_and(|receipt| receipt.outcome() == Some(Outcome::Refused));
        if is_refused {
            self.unreleased.remove(&id);
            self.used = self.used.saturating_sub(1);
        }
        !is_refused
    }

    fn take(&mut self, qos: QoS, id: u16, waits: bool) {
        let receipt = waits.then(|| Receipt::new(&Arc::<Bell>::default()));
        match qos {
            QoS::ExactlyOnce => {
                self.inbound.accept(packet_id(id), receipt.clone());
                self.unreleased.insert(id, receipt.clone());
                self.open.extend(receipt.map(|receipt| (id, receipt)));
                self.used += 1;
            }
            _ if waits => {
                self.inbound.hold(qos);
                self.used += 1;
                self.held += 1;
            }
            _ => {}
        }
    }

    /// Something is kept, or could not be; the session is told at once or finds out by itself.
    fn settle(&mut self, how: u8) {
        if self.open.is_empty() {
            return;
        }
        let (id, receipt) = self.open.remove(usize::from(how >> 2) % self.open.len());
        receipt.settle(how & 1 == 0);
        if how & 2 == 0 {
            return;
        }
        let outcome = receipt.outcome().expect("it has one part");
        self.inbound.handle_settled(packet_id(id), &receipt, outcome);
        let is_its =
            |known: &Option<Arc<Receipt>>| known.as_ref().is_some_and(|known| Arc::ptr_eq(known, &receipt));
        if self.unreleased.get(&id).is_some_and(is_its) {
            match outcome {
                Outcome::Kept => drop(self.unreleased.insert(id, None)),
                Outcome::Refused => {
                    self.unreleased.remove(&id);
                    self.used = self.used.saturating_sub(1);
                }
            }
        }
    }

    fn release(&mut self, id: u16) {
        let expected = match self.unreleased.remove(&id) {
            Some(_) => {
                self.used = self.used.saturating_sub(1);
                ReasonCode::Success
            }
            None => ReasonCode::PacketIdentifierNotFound,
        };
        assert_eq!(self.inbound.handle_pubrel(packet_id(id)), expected);
    }

    fn acknowledge(&mut self) {
        if self.held > 0 {
            self.held -= 1;
            self.used = self.used.saturating_sub(1);
            self.inbound.acknowledge();
        }
    }
}

fn inbound() -> Inbound {
    Inbound::new(packet_id(RECEIVE_MAXIMUM), TOPIC_ALIAS_MAXIMUM)
}

fn packet_id(value: u16) -> PacketId {
    PacketId::new(value).expect("not 0")
}
