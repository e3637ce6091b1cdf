//! Who is logged in: sessions of the administrator, in memory. Told the time.

use std::{
    collections::HashMap,
    time::{Duration, Instant, SystemTime},
};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::random::random_text;

/// So many at once; a further one ends the oldest.
const SESSIONS: usize = 64;
/// Bytes of an identifier, and of a CSRF token.
const RANDOM: usize = 32;

/// By what a session is found: the hash of its identifier, which only the browser has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::web) struct SessionKey([u8; 32]);

/// All of them.
#[derive(Default)]
pub(super) struct Sessions {
    by_key: HashMap<SessionKey, Session>,
}

/// A session that goes on.
pub(super) struct Session {
    csrf_token: Zeroizing<String>,
    since: Instant,
    started: SystemTime,
    /// Closed when the session is over.
    goes_on: watch::Sender<()>,
}

/// A session that has just begun.
pub(in crate::web) struct NewSession {
    /// By what it is found.
    pub(in crate::web) key: SessionKey,
    /// For the browser's cookie.
    pub(in crate::web) id: Zeroizing<String>,
}

impl Sessions {
    /// Begins one.
    pub(super) fn begin(&mut self, now: Instant) -> NewSession {
        if self.by_key.len() >= SESSIONS {
            let oldest = self.by_key.iter().min_by_key(|(_, session)| session.since).map(|(key, _)| *key);
            oldest.map(|key| self.by_key.remove(&key));
        }
        let id = random_text::<RANDOM>();
        let key = SessionKey::of(&id);
        let session = Session {
            csrf_token: random_text::<RANDOM>(),
            since: now,
            started: SystemTime::now(),
            goes_on: watch::Sender::new(()),
        };
        self.by_key.insert(key, session);
        NewSession { key, id }
    }

    /// The one with this identifier, if it goes on; else it is forgotten.
    pub(super) fn get(&mut self, key: SessionKey, max_age: Duration, now: Instant) -> Option<&Session> {
        if self.by_key.get(&key)?.left(max_age, now).is_zero() {
            self.by_key.remove(&key);
        }
        self.by_key.get(&key)
    }

    /// Ends one.
    pub(super) fn end(&mut self, key: &SessionKey) {
        self.by_key.remove(key);
    }

    /// Ends all others.
    pub(super) fn end_all_but(&mut self, kept: &SessionKey) {
        self.by_key.retain(|key, _| key == kept);
    }

    /// Ends all.
    pub(super) fn end_all(&mut self) {
        self.by_key.clear();
    }
}

impl Session {
    /// Compared in constant time.
    pub(super) fn has_csrf_token(&self, token: &[u8]) -> bool {
        self.csrf_token.as_bytes().ct_eq(token).into()
    }

    /// What requests that change something have to bring along.
    pub(super) fn csrf_token(&self) -> &str {
        &self.csrf_token
    }

    /// How long it still goes on.
    pub(super) fn left(&self, max_age: Duration, now: Instant) -> Duration {
        max_age.saturating_sub(now.saturating_duration_since(self.since))
    }

    /// Until when it goes on, by the system's clock.
    pub(super) fn expires(&self, max_age: Duration) -> SystemTime {
        self.started + max_age
    }

    /// Fails once the session is over for another reason than its age.
    pub(super) fn follow(&self) -> watch::Receiver<()> {
        self.goes_on.subscribe()
    }
}

impl SessionKey {
    /// Of this identifier.
    pub(super) fn of(id: &str) -> Self {
        Self(Sha256::digest(id).into())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_session_goes_on_until_it_is_too_old_or_ended() {
        let mut sessions = Sessions::default();
        let now = Instant::now();
        let NewSession { key, id } = sessions.begin(now);
        assert_eq!((id.len(), SessionKey::of(&id)), (43, key));
        assert!(sessions.get(key, HOUR, now + HOUR - Duration::from_millis(1)).is_some());
        assert!(sessions.get(key, HOUR / 2, now + HOUR / 2).is_none(), "by the age that is configured now");
        assert!(sessions.get(key, HOUR, now).is_none(), "over is over");
        let again = sessions.begin(now).key;
        sessions.end(&again);
        assert!(sessions.get(again, HOUR, now).is_none());
        assert!(sessions.get(SessionKey::of(""), HOUR, now).is_none());
    }

    #[test]
    fn whoever_follows_one_learns_that_it_is_over() {
        let mut sessions = Sessions::default();
        let now = Instant::now();
        let keys = [(); 3].map(|()| sessions.begin(now).key);
        let followers = keys.map(|key| sessions.get(key, HOUR, now).unwrap().follow());
        let are_over = || followers.each_ref().map(|follower| follower.has_changed().is_err());
        sessions.end_all_but(&keys[1]);
        assert_eq!(are_over(), [true, false, true]);
        sessions.end_all();
        assert_eq!(are_over(), [true; 3]);
    }

    #[test]
    fn the_oldest_gives_way() {
        let mut sessions = Sessions::default();
        let now = Instant::now();
        let at = |number: usize| now + Duration::from_secs(number as u64);
        let keys: Vec<_> = (0..SESSIONS + 2).map(|number| sessions.begin(at(number)).key).collect();
        assert_eq!(sessions.by_key.len(), SESSIONS);
        let goes_on: Vec<_> = keys.iter().map(|key| sessions.by_key.contains_key(key)).collect();
        assert_eq!(goes_on[..3], [false, false, true]);
    }

    #[test]
    fn tokens_are_of_one_session_each() {
        let mut sessions = Sessions::default();
        let now = Instant::now();
        let [one, other] = [(); 2].map(|()| sessions.begin(now).key);
        let token = sessions.get(one, HOUR, now).unwrap().csrf_token().to_owned();
        assert!(sessions.get(one, HOUR, now).unwrap().has_csrf_token(token.as_bytes()));
        assert!(!sessions.get(other, HOUR, now).unwrap().has_csrf_token(token.as_bytes()));
        for wrong in ["", &token[1..], &token.to_lowercase(), &format!("{token}A")] {
            assert!(!sessions.get(one, HOUR, now).unwrap().has_csrf_token(wrong.as_bytes()), "{wrong}");
        }
    }
}
