//! Rights that are taken away while the broker runs.

mod messages;
mod races;
mod retained;
mod sessions;

use std::collections::{BTreeSet, HashMap};

use super::*;

/// Who may be in which rooms: whoever is in one may publish there and hear all that is said there. A room is the first
/// level of its topics, and a flow.
#[derive(Clone, Default)]
struct Rooms(Arc<RwLock<HashMap<String, BTreeSet<String>>>>);

impl Rooms {
    fn new(rooms: &[(&str, &[&str])]) -> Self {
        let all = Self::default();
        for (name, rooms) in rooms {
            all.set(name, rooms);
        }
        all
    }

    /// From now on, as far as whoever asks knows.
    fn set(&self, name: &str, rooms: &[&str]) {
        let rooms = rooms.iter().map(|room| (*room).to_owned()).collect();
        self.0.write().insert(name.to_owned(), rooms);
    }

    fn remove(&self, name: &str) {
        self.0.write().remove(name);
    }
}

struct InRooms {
    name: String,
    all: Rooms,
}

impl InRooms {
    fn may_enter(&self, topic: &str) -> bool {
        let room = topic.split('/').next().unwrap_or_default();
        self.all.0.read().get(&self.name).is_some_and(|rooms| rooms.contains(room))
    }
}

impl Access for Rooms {
    fn login(&self, login: &Login<'_>) -> Result<Arc<dyn Grant>, Refusal> {
        let refusal =
            || Refusal { reason: crate::codec::ReasonCode::NotAuthorized, detail: "unknown".to_owned() };
        self.grant(login.user_name.unwrap_or_default()).ok_or_else(refusal)
    }

    fn grant(&self, name: &str) -> Option<Arc<dyn Grant>> {
        self.0.read().get(name)?;
        Some(Arc::new(InRooms { name: name.to_owned(), all: self.clone() }))
    }

    fn flow(&self, topic: &str) -> Option<Flow> {
        let room = topic.split('/').next().unwrap_or_default();
        Some(Flow { name: room.into(), limits: Limits::default().flow })
    }
}

impl Grant for InRooms {
    fn name(&self) -> &str {
        &self.name
    }

    fn may_publish(&self, topic: &str) -> bool {
        self.may_enter(topic)
    }

    fn may_subscribe(&self, filter: &str) -> bool {
        self.may_enter(filter)
    }

    fn may_hear(&self, flow: &str) -> bool {
        self.may_enter(flow)
    }
}

/// As this name, with a session that stays for so long.
fn by(name: &str, client_id: &str, session_expiry: u32) -> Connect {
    Connect { username: Some(name.into()), ..named(client_id, session_expiry) }
}

/// In memory, and in a directory.
fn places() -> [Option<tempfile::TempDir>; 2] {
    [None, Some(tempfile::tempdir().unwrap())]
}

fn path(place: &Option<tempfile::TempDir>) -> Option<&Path> {
    place.as_ref().map(|directory| directory.path())
}

impl World {
    async fn say(&self, topic: &str, qos: crate::codec::QoS) {
        self.broker.publish(topic, topic.as_bytes(), qos, false).await.unwrap();
    }

    async fn say_all(&self, topics: &[&str]) {
        for topic in topics {
            self.say(topic, crate::codec::QoS::AtLeastOnce).await;
        }
    }

    async fn until_offline(&self, name: &str) {
        self.until(|broker| !broker.is_online(name)).await;
    }
}

impl Client {
    /// The next PUBLISH, which is not acknowledged.
    async fn publish_of(&mut self) -> Publish {
        match self.next().await {
            Some(Packet::Publish(publish)) => publish,
            other => panic!("{other:?}"),
        }
    }

    async fn expect(&mut self, topics: &[&str]) {
        for topic in topics {
            assert_eq!(self.message().await, *topic);
        }
    }

    async fn acknowledge(&mut self, pkid: u16) {
        let properties = PubAckProperties::default();
        self.send(Packet::PubAck(PubAck { pkid, reason_code: ReasonCode::Success, properties })).await;
    }
}
