//! Rights that are taken away while the broker runs.

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
}

/// As this name, with a session that stays for so long.
fn by(name: &str, client_id: &str, session_expiry: u32) -> Connect {
    Connect { username: Some(name.into()), ..named(client_id, session_expiry) }
}
