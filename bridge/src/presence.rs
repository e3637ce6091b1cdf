//! Tells each device whether its peer is there: the retained message on `<user>/<connection>/presence/<code>`.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::SystemTime,
};

use ior_broker::{Broker, codec::QoS, events::Event};
use tokio::sync::{
    broadcast::{Receiver, error::RecvError},
    mpsc, oneshot,
};

use crate::registry::{End, Registry};

/// Keeps the presence messages of all devices true for as long as the broker runs.
pub struct Presence {
    broker: Arc<Broker>,
    topics: Topics,
    online: HashSet<Arc<str>>,
    changes: mpsc::Receiver<Change>,
}

/// Tells [`Presence`] that there are other devices or connections now.
pub struct PresenceTopics(mpsc::Sender<Change>);

/// The topics of each device, by MQTT user name.
type Topics = HashMap<String, Vec<String>>;

struct Change {
    topics: Topics,
    done: oneshot::Sender<()>,
}

impl Presence {
    /// Publishes that everybody is offline.
    pub async fn start(broker: Arc<Broker>, registry: &Registry) -> (Self, PresenceTopics) {
        let (sender, changes) = mpsc::channel(1);
        let presence = Self { broker, topics: topics(registry), online: HashSet::new(), changes };
        for topics in presence.topics.values() {
            presence.publish(topics, false).await;
        }
        (presence, PresenceTopics(sender))
    }

    /// Follows the events and the changes.
    pub async fn run(mut self, mut events: Receiver<Event>) {
        loop {
            let event = tokio::select! {
                event = events.recv() => event,
                Some(change) = self.changes.recv() => {
                    self.change(change.topics).await;
                    // Nobody may be waiting any more.
                    let _ = change.done.send(());
                    continue;
                }
            };
            match event {
                Ok(Event::Connected { name, .. } | Event::Disconnected { name, .. }) => {
                    self.update(HashSet::from([name])).await;
                }
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => {
                    let known = self.online.iter().map(Arc::clone);
                    let all = self.broker.sessions().into_iter().map(|session| session.name).chain(known);
                    self.update(all.collect()).await;
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// What is new is published, what is gone is cleared, and all else stays as it was said.
    async fn change(&mut self, topics: Topics) {
        let before = std::mem::replace(&mut self.topics, topics);
        let not_in = |others: &Topics, name: &str, topic: &String| {
            !others.get(name).is_some_and(|others| others.contains(topic))
        };
        for (name, topics) in &before {
            for topic in topics.iter().filter(|topic| not_in(&self.topics, name, topic)) {
                self.send(topic, "").await;
            }
        }
        for (name, topics) in &self.topics {
            let new: Vec<_> = topics.iter().filter(|topic| not_in(&before, name, topic)).cloned().collect();
            self.publish(&new, self.online.contains(&**name)).await;
        }
    }

    /// Looks at the sessions rather than at the event: a device is online as long as one of its sessions is.
    async fn update(&mut self, names: HashSet<Arc<str>>) {
        for name in names {
            let online = self.broker.is_online(&name);
            let changed =
                if online { self.online.insert(Arc::clone(&name)) } else { self.online.remove(&name) };
            if changed && let Some(topics) = self.topics.get(&*name) {
                self.publish(topics, online).await;
            }
        }
    }

    async fn publish(&self, topics: &[String], online: bool) {
        let since = humantime::format_rfc3339_seconds(SystemTime::now());
        let payload = format!(r#"{{"online":{online},"since":"{since}"}}"#);
        for topic in topics {
            self.send(topic, &payload).await;
        }
    }

    async fn send(&self, topic: &str, payload: &str) {
        // An error says that somebody's queue is full; everybody else knows.
        if self.broker.publish(topic, payload.as_bytes(), QoS::AtLeastOnce, true).await.is_err() {
            tracing::debug!("a receiver's queue is full: it does not hear what {topic} says");
        }
    }
}

impl PresenceTopics {
    /// When this returns, there is a message for every device of the registry, and none for others.
    pub async fn replace(&self, registry: &Registry) {
        let (done, told) = oneshot::channel();
        // An error says that the broker stops.
        if self.0.send(Change { topics: topics(registry), done }).await.is_ok() {
            let _ = told.await;
        }
    }
}

fn topics(registry: &Registry) -> Topics {
    let mut topics = Topics::new();
    for connection in registry.connections() {
        for end in End::BOTH {
            let device = registry.end(connection, end);
            let topic = format!("{}/{}/presence/{}", device.user, connection.id, device.code.as_str());
            topics.entry(device.user_name()).or_default().push(topic);
        }
    }
    topics
}
