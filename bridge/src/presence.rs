//! Tells each device whether its peer is there: the retained message on `<user>/<connection>/presence/<code>`.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::SystemTime,
};

use ior_broker::{Broker, codec::QoS, events::Event};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::registry::{End, Registry};

/// Keeps the presence messages of all devices true for as long as the broker runs.
pub struct Presence {
    broker: Arc<Broker>,
    /// The topics of each device, by MQTT user name.
    topics: HashMap<String, Vec<String>>,
    online: HashSet<Arc<str>>,
}

impl Presence {
    /// Publishes that everybody is offline.
    pub async fn start(broker: Arc<Broker>, registry: &Registry) -> Self {
        let mut topics: HashMap<String, Vec<String>> = HashMap::new();
        for connection in registry.connections() {
            for end in End::BOTH {
                let device = registry.end(connection, end);
                let topic = format!("{}/{}/presence/{}", device.user, connection.id, device.code.as_str());
                topics.entry(device.user_name()).or_default().push(topic);
            }
        }
        let presence = Self { broker, topics, online: HashSet::new() };
        for name in presence.topics.keys() {
            presence.publish(name, false).await;
        }
        presence
    }

    /// Follows the events.
    pub async fn run(mut self, mut events: Receiver<Event>) {
        loop {
            match events.recv().await {
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

    /// Looks at the sessions rather than at the event: a device is online as long as one of its sessions is.
    async fn update(&mut self, names: HashSet<Arc<str>>) {
        for name in names {
            let online = self.broker.is_online(&name);
            let changed =
                if online { self.online.insert(Arc::clone(&name)) } else { self.online.remove(&name) };
            if changed {
                self.publish(&name, online).await;
            }
        }
    }

    async fn publish(&self, name: &str, online: bool) {
        let since = humantime::format_rfc3339_seconds(SystemTime::now());
        let payload = format!(r#"{{"online":{online},"since":"{since}"}}"#);
        for topic in self.topics.get(name).into_iter().flatten() {
            // An error says that somebody's queue is full; everybody else knows.
            if self.broker.publish(topic, payload.as_bytes(), QoS::AtLeastOnce, true).await.is_err() {
                tracing::warn!("a receiver's queue is full: it does not hear what {topic} says");
            }
        }
    }
}
