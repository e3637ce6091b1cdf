//! The operator's diary: what happens in the broker as lines of the log, each saying what to do where there is
//! something to do. What repeats is written once and then counted.

mod complaints;
mod fields;
mod labels;
mod takeovers;

use std::time::{Duration, Instant};

use ior_broker::{
    codec::ReasonCode,
    events::{DisconnectCause, Event},
    limits::Limit,
};
use tokio::{
    sync::{
        broadcast::{
            Receiver,
            error::{RecvError, TryRecvError},
        },
        oneshot,
    },
    time::interval,
};

pub use self::labels::Labels;
use self::{complaints::Complaints, fields::Fields, takeovers::Takeovers};
use crate::settings::key_of;

/// How often it is looked whether a count is due.
const LOOK: Duration = Duration::from_secs(60);

/// How much of a text that a client made up is repeated, in characters.
const ECHOED: usize = 64;

/// Writes the diary.
pub struct Diary {
    labels: Labels,
    /// By kind, so that strangers cannot crowd out what devices do wrong.
    refused: Complaints,
    denied: Complaints,
    other: Complaints,
    takeovers: Takeovers,
}

impl Diary {
    /// With these names.
    pub fn new(labels: Labels) -> Self {
        Self {
            labels,
            refused: Complaints::default(),
            denied: Complaints::default(),
            other: Complaints::default(),
            takeovers: Takeovers::default(),
        }
    }

    /// Follows the events until `ends` says that the bridge stops, and then tells what was only counted.
    pub async fn run(mut self, mut events: Receiver<Event>, mut ends: oneshot::Receiver<()>) {
        let mut look = interval(LOOK);
        loop {
            let event = tokio::select! {
                event = events.recv() => event,
                _ = look.tick() => {
                    self.settle(false);
                    continue;
                }
                _ = &mut ends => break,
            };
            match event {
                Ok(event) => self.write(&event),
                Err(RecvError::Lagged(_)) => self.miss(),
                Err(RecvError::Closed) => return,
            }
        }
        loop {
            match events.try_recv() {
                Ok(event) => self.write(&event),
                Err(TryRecvError::Lagged(_)) => self.miss(),
                Err(_) => return self.settle(true),
            }
        }
    }

    fn miss(&mut self) {
        let what = "too much happens at once: some of it is not logged";
        self.other.complain(what.to_owned(), Fields::default());
    }

    fn settle(&mut self, ends: bool) {
        let now = Instant::now();
        for complaints in [&mut self.refused, &mut self.denied, &mut self.other] {
            complaints.settle(now, ends);
        }
    }

    fn write(&mut self, event: &Event) {
        match event {
            Event::Connected { name, client_id, peer, channel, version, session_present } => {
                if self.takeovers.are_going_on(name, client_id, Instant::now()) {
                    return;
                }
                let session = if *session_present { ", session resumed" } else { "" };
                let line = format!(
                    "{} connected from {peer} over {channel} with MQTT {version}, client id {}{session}",
                    self.label(name),
                    echo(client_id)
                );
                Fields::of(name).client_id(client_id).peer(peer).info(&line);
            }
            Event::Disconnected { name, client_id, cause } => self.write_disconnected(name, client_id, cause),
            Event::Refused { peer, user_name, reason, detail } => {
                let known = user_name.as_deref().filter(|name| self.labels.device(name).is_some());
                let fields = known.map_or_else(Fields::default, Fields::of);
                // A port of its own for every attempt would make every one another.
                let peer = peer.ip();
                let complaint = format!("refused a connection from {peer}: {detail}");
                self.refused.complain(complaint, fields.peer(&peer).reason(*reason));
            }
            Event::PublishDenied { name, topic } => self.write_denied(name, "publish", topic),
            Event::SubscribeDenied { name, filter } => self.write_denied(name, "subscribe", filter),
            Event::QueueFull { publisher, topic, limit } => {
                let fields = Fields::of(publisher)
                    .topic(topic)
                    .connection(self.labels.connection(topic))
                    .limit(key_of(*limit));
                let (key, publisher, topic) = (key_of(*limit), self.label(publisher), echo(topic));
                let complaint = match limit {
                    Limit::QueueMessages | Limit::QueueBytes => format!(
                        "a message of {publisher} to {topic} was refused: a receiver's queue is full (it has to come \
                         back, or the connection's queue in connections.json or limits.{key} in server.json has to \
                         grow)"
                    ),
                    _ => format!(
                        "a message of {publisher} to {topic} was refused: too much is retained (clear some topics with \
                         an empty retained message, or raise limits.{key} in server.json)"
                    ),
                };
                self.other.complain(complaint, fields);
            }
            Event::LimitReached { name, limit } => {
                let complaint = format!(
                    "{} {} (limits.{} in server.json)",
                    self.label(name),
                    what_happened(*limit),
                    key_of(*limit)
                );
                self.other.complain(complaint, Fields::of(name).limit(key_of(*limit)));
            }
            Event::StoreFailing { detail } => tracing::error!(
                reason = "store",
                "messages cannot be kept, so those of QoS 1 and 2 are refused where they would have to be; all others \
                 go on: {detail}"
            ),
            Event::StoreRecovered => tracing::warn!(reason = "store", "messages are kept again"),
            Event::StoreDamaged { name, messages } => tracing::error!(
                reason = "store",
                device = &**name,
                "{messages} messages that were kept for {} are damaged and lost: the disk or memory card may fail; stop \
                 the bridge and look with `ior-bridge store verify`",
                self.label(name)
            ),
        }
    }

    fn write_disconnected(&mut self, name: &str, client_id: &str, cause: &DisconnectCause) {
        let (label, client) = (self.label(name), echo(client_id));
        let line = format!("{label} disconnected: {cause} (client id {client})");
        let fields = Fields::of(name).client_id(client_id).cause(cause);
        match cause {
            DisconnectCause::Violation { .. } => self.other.complain(line, fields),
            DisconnectCause::Server(ReasonCode::SessionTakenOver)
                if self.takeovers.note(name, client_id, Instant::now()) =>
            {
                let complaint = format!(
                    "{label} is there twice: two programs take the session of client id {client} from each other; give each a \
                     client id of its own, or stop one"
                );
                self.other.complain(complaint, fields);
            }
            _ => fields.info(&line),
        }
    }

    fn write_denied(&mut self, name: &str, action: &str, topic: &str) {
        let fields = Fields::of(name).topic(topic).connection(self.labels.connection(topic));
        let device = self.labels.device(name);
        let label = device.as_ref().map_or(name, |device| &device.label);
        let topics = device.as_ref().map_or(&[][..], |device| match action {
            "publish" => &device.publish,
            _ => &device.subscribe,
        });
        let allowed = match topics {
            [] => "it is in no connection: add it to one in connections.json".to_owned(),
            [own] if action == "publish" => format!("have it use {own}, or a topic below that"),
            [own] => format!("have it use {own}"),
            [first, .., last] => {
                format!("have it use one of its {} topics, {first} to {last}", topics.len())
            }
        };
        let complaint = format!(
            "{label} may not {action} to {}: {allowed}; `ior-bridge explain {name} {action} TOPIC` tells why",
            echo(topic)
        );
        self.denied.complain(complaint, fields.reason(ReasonCode::NotAuthorized));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_make_up_is_cut_and_escaped() {
        assert_eq!(echo("a\u{1b}[2J"), r#""a\u{1b}[2J""#);
        assert_eq!(echo(&"ü".repeat(65)), format!("{:?}…", "ü".repeat(64)));
    }
}
