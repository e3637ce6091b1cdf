//! All sessions, by authenticated name and Client Identifier.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

use super::{Session, SessionId};
use crate::limits::Limits;

/// All sessions of a broker.
pub struct Registry {
    by_name: Mutex<HashMap<Arc<str>, Vec<Arc<Session>>>>,
    last_passing: AtomicU64,
}

/// The session that a CONNECT asked for.
pub struct Found {
    /// It.
    pub session: Arc<Session>,
    /// The one that gave way for it. The caller ends it.
    pub evicted: Option<Arc<Session>>,
}

impl Registry {
    /// Without sessions, for a process that is the `starts`-th one of its store, from 1: so that no number of a session
    /// that is not kept is used again as long as messages may name it.
    pub fn new(starts: u64) -> Self {
        Self { by_name: Mutex::default(), last_passing: AtomicU64::new(starts << 32) }
    }

    /// A number for a session that is not kept.
    pub fn passing(&self) -> SessionId {
        SessionId::Passing(self.last_passing.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Whether there is this session.
    pub fn has(&self, name: &str, client_id: &str) -> bool {
        self.by_name.lock().get(name).is_some_and(|all| all.iter().any(|s| *s.client_id == *client_id))
    }

    /// Puts a session in that was kept.
    pub fn restore(&self, session: Arc<Session>) {
        self.by_name.lock().entry(Arc::clone(&session.name)).or_default().push(session);
    }

    /// Finds the session or makes a new one. Where the name has as many as it may, the one that is offline for longest
    /// gives way; where all are online, the one that was heard from least recently: most likely its client is gone and
    /// nobody has noticed.
    ///
    /// `None` if a new one is needed and `new_id` has none for it.
    pub fn find_or_create(
        &self,
        name: &str,
        client_id: &str,
        limits: &Limits,
        new_id: impl FnOnce() -> Option<SessionId>,
    ) -> Option<Found> {
        let mut by_name = self.by_name.lock();
        if let Some(session) =
            by_name.get(name).and_then(|all| all.iter().find(|s| *s.client_id == *client_id))
        {
            return Some(Found { session: Arc::clone(session), evicted: None });
        }
        let id = new_id()?;
        let shared_name = by_name.get_key_value(name).map_or_else(|| Arc::from(name), |(k, _)| Arc::clone(k));
        let sessions = by_name.entry(Arc::clone(&shared_name)).or_default();
        let evicted = if sessions.len() < limits.sessions_per_name {
            None
        } else {
            let offline = sessions.iter().filter_map(|session| Some((session.offline_since()?, session.id)));
            let online = sessions.iter().map(|session| (session.last_heard(), session.id));
            let chosen = offline.min().map(|(_, id)| id).or_else(|| online.min().map(|(_, id)| id));
            sessions.iter().position(|session| Some(session.id) == chosen).map(|at| sessions.remove(at))
        };
        let session = Arc::new(Session::new(id, shared_name, client_id, limits));
        sessions.push(Arc::clone(&session));
        Some(Found { session, evicted })
    }

    /// Takes a session out; nothing happens if it is not in.
    pub fn remove(&self, session: &Session) {
        let mut by_name = self.by_name.lock();
        if let Some(sessions) = by_name.get_mut(&session.name) {
            sessions.retain(|other| other.id != session.id);
            sessions.shrink_to_fit();
            if sessions.is_empty() {
                by_name.remove(&session.name);
            }
        }
    }

    /// The sessions of one name as they are now.
    pub fn of(&self, name: &str) -> Vec<Arc<Session>> {
        self.by_name.lock().get(name).cloned().unwrap_or_default()
    }

    /// All sessions as they are now.
    pub fn all(&self) -> Vec<Arc<Session>> {
        self.by_name.lock().values().flatten().map(Arc::clone).collect()
    }
}
