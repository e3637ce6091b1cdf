//! The operator's diary: what happens in the broker as lines of the log, each saying what to do where there is
//! something to do. What repeats is written once and then counted.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use ior_broker::{
    codec::Version,
    events::{DisconnectCause, Event},
    limits::Limit,
};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::{registry::Registry, settings::key_of};

/// How long the same complaint is not repeated.
const QUIET: Duration = Duration::from_secs(10 * 60);

/// How many complaints of a kind are remembered at most.
const REMEMBERED: usize = 1_000;

/// How much of a text that a client made up is repeated, in characters.
const ECHOED: usize = 64;

/// What devices are called in the diary: "Master 1 (4569)" by MQTT user name.
#[derive(Clone)]
pub struct Labels(Arc<ArcSwap<HashMap<String, String>>>);

/// Writes the diary.
pub struct Diary {
    labels: Labels,
    /// By kind, so that strangers cannot crowd out what devices do wrong.
    refused: Complaints,
    denied: Complaints,
    other: Complaints,
}

impl Labels {
    /// For the devices of a registry.
    pub fn new(registry: &Registry) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(labels(registry).collect())))
    }

    /// From now on for these devices, and for those of the registry before, of which there is something to tell still.
    pub fn replace(&self, before: &Registry, registry: &Registry) {
        self.0.store(Arc::new(labels(before).chain(labels(registry)).collect()));
    }

    fn of(&self, name: &str) -> String {
        self.0.load().get(name).map_or(name, String::as_str).to_owned()
    }
}

fn labels(registry: &Registry) -> impl Iterator<Item = (String, String)> {
    registry.devices().iter().map(|device| (device.user_name(), device.label()))
}

impl Diary {
    /// With these names.
    pub fn new(labels: Labels) -> Self {
        Self {
            labels,
            refused: Complaints::default(),
            denied: Complaints::default(),
            other: Complaints::default(),
        }
    }

    /// Follows the events.
    pub async fn run(mut self, mut events: Receiver<Event>) {
        loop {
            match events.recv().await {
                Ok(event) => self.write(&event),
                Err(RecvError::Lagged(_)) => {
                    self.other.complain("too much happens at once: some of it is not logged".to_owned());
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn write(&mut self, event: &Event) {
        match event {
            Event::Connected { name, client_id, peer, channel, version, session_present } => {
                let version = match version {
                    Version::V311 => "3.1.1",
                    Version::V5 => "5",
                };
                let session = if *session_present { ", session resumed" } else { "" };
                tracing::info!(
                    "{} connected from {peer} over {channel} with MQTT {version}, client id {}{session}",
                    self.label(name),
                    echo(client_id)
                );
            }
            Event::Disconnected { name, client_id, cause } => {
                let line =
                    format!("{} disconnected: {cause} (client id {})", self.label(name), echo(client_id));
                match cause {
                    DisconnectCause::Violation { .. } => self.other.complain(line),
                    _ => tracing::info!("{line}"),
                }
            }
            Event::Refused { peer, detail, .. } => {
                self.refused.complain(format!("refused a connection from {}: {detail}", peer.ip()));
            }
            Event::PublishDenied { name, topic } => {
                let complaint = self.denial(name, "publish", topic);
                self.denied.complain(complaint);
            }
            Event::SubscribeDenied { name, filter } => {
                let complaint = self.denial(name, "subscribe", filter);
                self.denied.complain(complaint);
            }
            Event::QueueFull { publisher, topic, limit } => {
                let (key, publisher, topic) = (key_of(*limit), self.label(publisher), echo(topic));
                self.other.complain(match limit {
                    Limit::QueueMessages | Limit::QueueBytes => format!(
                        "a message of {publisher} to {topic} was refused: a receiver's queue is full (it has to come \
                         back, or the connection's queue in connections.json or limits.{key} in server.json has to \
                         grow)"
                    ),
                    _ => format!(
                        "a message of {publisher} to {topic} was refused: too much is retained (clear some topics with \
                         an empty retained message, or raise limits.{key} in server.json)"
                    ),
                });
            }
            Event::LimitReached { name, limit } => {
                let complaint = format!(
                    "{} {} (limits.{} in server.json)",
                    self.label(name),
                    what_happened(*limit),
                    key_of(*limit)
                );
                self.other.complain(complaint);
            }
            Event::StoreFailing { detail } => tracing::error!(
                "messages cannot be kept, so those of QoS 1 and 2 are refused where they would have to be; all others \
                 go on: {detail}"
            ),
            Event::StoreRecovered => tracing::warn!("messages are kept again"),
            Event::StoreDamaged { name, messages } => tracing::error!(
                "{messages} messages that were kept for {} are damaged and lost: the disk or memory card may fail; stop \
                 the bridge and look with `ior-bridge store verify`",
                self.label(name)
            ),
        }
    }

    fn denial(&self, name: &str, action: &str, topic: &str) -> String {
        let (device, topic) = (self.label(name), echo(topic));
        format!("{device} may not {action} to {topic}; `ior-bridge explain {name} {action} TOPIC` tells why")
    }

    fn label(&self, name: &str) -> String {
        self.labels.of(name)
    }
}

/// What became of a device that reached this limit.
pub(crate) fn what_happened(limit: Limit) -> &'static str {
    match limit {
        Limit::SessionsPerName => "has more sessions than it may: the one that was away for longest is gone",
        Limit::SubscriptionsPerSession => "was refused a subscription: its session has as many as it may",
        Limit::MaxTopicLength => "was refused a topic or topic filter that is too long",
        Limit::MaxTopicLevels => "was refused a topic or topic filter that has too many levels",
        Limit::UserProperties => "was refused a packet with too many user properties",
        Limit::PublishRate => "publishes faster than it may, and is held back: nothing is lost",
        Limit::PublishBandwidth => "publishes more bytes than it may, and is held back: nothing is lost",
        _ => "reached a limit",
    }
}

/// A text that a client made up, escaped and not too long.
pub(crate) fn echo(text: &str) -> String {
    let mut characters = text.chars();
    let beginning: String = characters.by_ref().take(ECHOED).collect();
    let more = if characters.next().is_some() { "…" } else { "" };
    format!("{beginning:?}{more}")
}

/// Complaints that were written, and how often each was repeated since.
#[derive(Default)]
struct Complaints {
    last: HashMap<String, (Instant, u64)>,
}

/// What to do with a complaint.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    /// Write it, with how often it was held back since it was written last.
    Write(u64),
    /// It was written a short while ago.
    Hold,
    /// There are too many different ones.
    TooMany,
}

impl Complaints {
    fn complain(&mut self, complaint: String) {
        let now = Instant::now();
        match self.due(&complaint, now) {
            Due::Write(0) => tracing::warn!("{complaint}"),
            Due::Write(repeated) => {
                tracing::warn!("{complaint} ({repeated} more times since it was last said)")
            }
            Due::Hold => {}
            Due::TooMany => {
                let summary =
                    format!("more than {REMEMBERED} such complaints: further new ones are held back");
                // Remembered beside the others, so that it is not repeated either.
                if self.last.insert(summary.clone(), (now, 0)).is_none() {
                    tracing::warn!("{summary}");
                }
            }
        }
    }

    fn due(&mut self, complaint: &str, now: Instant) -> Due {
        if let Some((written, repeated)) = self.last.get_mut(complaint) {
            if now.duration_since(*written) < QUIET {
                *repeated += 1;
                return Due::Hold;
            }
            *written = now;
            return Due::Write(std::mem::take(repeated));
        }
        if self.last.len() >= REMEMBERED {
            self.last.retain(|_, (written, _)| now.duration_since(*written) < QUIET);
        }
        if self.last.len() >= REMEMBERED {
            return Due::TooMany;
        }
        self.last.insert(complaint.to_owned(), (now, 0));
        Due::Write(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_written_once_and_then_counted() {
        let mut complaints = Complaints::default();
        let start = Instant::now();
        assert_eq!(complaints.due("a", start), Due::Write(0));
        assert_eq!(complaints.due("a", start), Due::Hold);
        assert_eq!(complaints.due("b", start), Due::Write(0));
        assert_eq!(complaints.due("a", start), Due::Hold);
        assert_eq!(complaints.due("a", start + QUIET), Due::Write(2));
        assert_eq!(complaints.due("a", start + QUIET), Due::Hold);
    }

    #[test]
    fn a_flood_of_different_complaints_is_bounded() {
        let mut complaints = Complaints::default();
        let start = Instant::now();
        let written =
            (0..10 * REMEMBERED).filter(|i| complaints.due(&i.to_string(), start) == Due::Write(0)).count();
        assert_eq!(written, REMEMBERED);
        assert_eq!(complaints.due("new", start), Due::TooMany);
        assert_eq!(complaints.last.len(), REMEMBERED);
        assert_eq!(complaints.due("new", start + QUIET), Due::Write(0), "old ones make room");
    }

    #[test]
    fn what_clients_make_up_is_cut_and_escaped() {
        assert_eq!(echo("a\u{1b}[2J"), r#""a\u{1b}[2J""#);
        assert_eq!(echo(&"ü".repeat(65)), format!("{:?}…", "ü".repeat(64)));
    }
}
