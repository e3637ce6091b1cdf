//! The operator's diary: what happens in the broker as lines of the log, each saying what to do where there is
//! something to do. What repeats is written once and then counted.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use ior_broker::{
    codec::Version,
    events::{DisconnectCause, Event},
};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::registry::Registry;

/// How long the same complaint is not repeated.
const QUIET: Duration = Duration::from_secs(10 * 60);

/// How many complaints are remembered at most.
const REMEMBERED: usize = 1_000;

/// Writes the diary.
pub struct Diary {
    /// "Master 1 (4569)" by MQTT user name.
    labels: HashMap<String, String>,
    complaints: Complaints,
}

impl Diary {
    /// For the devices of a registry.
    pub fn new(registry: &Registry) -> Self {
        let label = |device: &crate::registry::Device| {
            (device.user_name(), format!("{} ({})", device.name, device.code.as_str()))
        };
        Self { labels: registry.devices().iter().map(label).collect(), complaints: Complaints::default() }
    }

    /// Follows the events until the broker has gone.
    pub async fn run(mut self, mut events: Receiver<Event>) {
        loop {
            match events.recv().await {
                Ok(event) => self.write(&event),
                Err(RecvError::Lagged(missed)) => {
                    tracing::warn!("too much happened: {missed} events are not logged")
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn write(&mut self, event: &Event) {
        match event {
            Event::Connected { name, client_id, peer, version, session_present } => {
                let version = match version {
                    Version::V311 => "3.1.1",
                    Version::V5 => "5",
                };
                let session = if *session_present { ", session resumed" } else { "" };
                tracing::info!(
                    "{} connected from {peer} with MQTT {version}, client id {client_id:?}{session}",
                    self.label(name)
                );
            }
            Event::Disconnected { name, client_id, cause: cause @ DisconnectCause::Violation { .. } } => {
                let complaint =
                    format!("{} was disconnected: {cause} (client id {client_id:?})", self.label(name));
                self.complain(complaint);
            }
            Event::Disconnected { name, client_id, cause } => {
                tracing::info!("{} disconnected: {cause} (client id {client_id:?})", self.label(name));
            }
            Event::Refused { peer, detail, .. } => {
                self.complain(format!("refused a connection from {}: {detail}", peer.ip()));
            }
            Event::PublishDenied { name, topic } => {
                let complaint = format!(
                    "{} may not publish to {topic:?}; `ior-bridge explain {name} publish {topic:?}` tells why",
                    self.label(name)
                );
                self.complain(complaint);
            }
            Event::SubscribeDenied { name, filter } => {
                let complaint = format!(
                    "{} may not subscribe to {filter:?}; `ior-bridge explain {name} subscribe {filter:?}` tells why",
                    self.label(name)
                );
                self.complain(complaint);
            }
            Event::QueueFull { publisher, topic } => {
                let complaint = format!(
                    "a message of {} to {topic:?} was refused: the queue of a receiver is full, or no more retained \
                     messages are kept; the receiver has to come back, or limits.queue_messages has to grow",
                    self.label(publisher)
                );
                self.complain(complaint);
            }
        }
    }

    fn label<'a>(&'a self, name: &'a str) -> &'a str {
        self.labels.get(name).map_or(name, String::as_str)
    }

    fn complain(&mut self, complaint: String) {
        match self.complaints.due(&complaint, Instant::now()) {
            Some(0) => tracing::warn!("{complaint}"),
            Some(repeated) => tracing::warn!("{complaint} ({repeated} more times since it was last said)"),
            None => {}
        }
    }
}

/// Complaints that were written, and how often each was repeated since.
#[derive(Default)]
struct Complaints {
    last: HashMap<String, (Instant, u64)>,
}

impl Complaints {
    /// How often the complaint was held back since it was written last, if it is time to write it again.
    fn due(&mut self, complaint: &str, now: Instant) -> Option<u64> {
        if let Some((written, repeated)) = self.last.get_mut(complaint) {
            if now.duration_since(*written) < QUIET {
                *repeated += 1;
                return None;
            }
            *written = now;
            return Some(std::mem::take(repeated));
        }
        if self.last.len() >= REMEMBERED {
            self.last.retain(|_, (written, _)| now.duration_since(*written) < QUIET);
        }
        if self.last.len() >= REMEMBERED {
            return None;
        }
        self.last.insert(complaint.to_owned(), (now, 0));
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_written_once_and_then_counted() {
        let mut complaints = Complaints::default();
        let start = Instant::now();
        assert_eq!(complaints.due("a", start), Some(0));
        assert_eq!(complaints.due("a", start), None);
        assert_eq!(complaints.due("b", start), Some(0));
        assert_eq!(complaints.due("a", start), None);
        assert_eq!(complaints.due("a", start + QUIET), Some(2));
        assert_eq!(complaints.due("a", start + QUIET), None);
    }

    #[test]
    fn a_flood_of_different_complaints_is_bounded() {
        let mut complaints = Complaints::default();
        let start = Instant::now();
        let written =
            (0..10 * REMEMBERED).filter(|i| complaints.due(&i.to_string(), start).is_some()).count();
        assert_eq!(written, REMEMBERED);
        assert_eq!(complaints.last.len(), REMEMBERED);
        assert_eq!(complaints.due("new", start + QUIET), Some(0), "old ones make room");
    }
}
