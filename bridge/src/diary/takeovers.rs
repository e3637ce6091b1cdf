//! Two programs with one Client Identifier take the session from each other without end. A device that returns over another
//! network takes its own session over once.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// So many within [`WHILE`] are two programs.
const MANY: u32 = 3;

/// How close together they are.
const WHILE: Duration = Duration::from_secs(60);

/// So many clients are looked at.
const REMEMBERED: usize = 1_000;

/// The sessions that were taken over a short while ago.
#[derive(Default)]
pub(super) struct Takeovers {
    /// By authenticated name and Client Identifier: how often in a row, and when last.
    recent: HashMap<(String, String), (u32, Instant)>,
}

impl Takeovers {
    /// Notes one, and says whether it is one of many.
    pub(super) fn note(&mut self, name: &str, client_id: &str, now: Instant) -> bool {
        if self.recent.len() >= REMEMBERED {
            self.recent.retain(|_, (_, last)| now.duration_since(*last) < WHILE);
        }
        let key = (name.to_owned(), client_id.to_owned());
        if self.recent.len() >= REMEMBERED && !self.recent.contains_key(&key) {
            return false;
        }
        let (times, last) = self.recent.entry(key).or_insert((0, now));
        *times = if now.duration_since(*last) < WHILE { *times + 1 } else { 1 };
        *last = now;
        *times >= MANY
    }

    /// Whether this session is taken over again and again now.
    pub(super) fn are_going_on(&self, name: &str, client_id: &str, now: Instant) -> bool {
        // Nearly always there is none, and nothing to look for.
        !self.recent.is_empty()
            && self
                .recent
                .get(&(name.to_owned(), client_id.to_owned()))
                .is_some_and(|(times, last)| *times >= MANY && now.duration_since(*last) < WHILE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_returns_is_not_two_programs() {
        let mut takeovers = Takeovers::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!takeovers.note("a", "c", at(0)) && !takeovers.note("a", "c", at(59)));
        assert!(!takeovers.note("a", "c", at(119)), "a minute later");
        assert!(!takeovers.note("a", "d", at(120)) && !takeovers.note("a", "c", at(120)));
        assert!(!takeovers.are_going_on("a", "c", at(120)));
        assert!(takeovers.note("a", "c", at(121)) && takeovers.are_going_on("a", "c", at(122)));
        assert!(!takeovers.are_going_on("a", "c", at(181)) && !takeovers.are_going_on("a", "d", at(122)));
    }

    #[test]
    fn only_so_many_are_remembered() {
        let mut takeovers = Takeovers::default();
        let start = Instant::now();
        for client in 0..2 * REMEMBERED {
            takeovers.note("a", &client.to_string(), start);
        }
        assert_eq!(takeovers.recent.len(), REMEMBERED);
        assert!(!takeovers.note("a", "new", start + WHILE));
        assert_eq!(takeovers.recent.len(), 1);
    }
}
