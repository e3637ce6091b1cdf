#![allow(clippy::unwrap_used)]

use std::{path::Path, sync::Arc};

use ior_broker::access::{Access, Grant, Login, Refusal};

use super::*;
use crate::{
    document::Source,
    policy::Policy,
    rotation::{Rotation, Rotations},
    settings::{Environment, Settings},
};

const DEVICES: &str = include_str!("../../../config/devices.json");
const CONNECTIONS: &str = include_str!("../../../config/connections.json");

#[tokio::test(flavor = "multi_thread")]
async fn the_rules_of_the_bridge_hold_and_nothing_is_left() {
    for (devices, connections, players) in [
        (DEVICES.to_owned(), CONNECTIONS, 2),
        (DEVICES.to_owned(), r#"{ "connections": [ { "name": "c", "from": 4569, "to": 5412 } ] }"#, 2),
        (DEVICES.to_owned(), r#"{ "connections": [] }"#, 0),
        (DEVICES.replacen("\"Master 1\"", "\"Master 1\", \"disabled\": true", 1), CONNECTIONS, 2),
        (DEVICES.replace("\"Raspberry Pi\"", "\"Raspberry Pi\", \"disabled\": true"), CONNECTIONS, 0),
        (r#"{ "devices": [] }"#.to_owned(), r#"{ "connections": [] }"#, 0),
    ] {
        let world = World::new(&devices, connections, Broken::Nothing);
        let mut events = world.broker.events();
        assert_eq!(world.test.players.len(), players);
        world.run().await.unwrap();
        assert!(world.live.grant("self-test/default.4569").is_none());
        while let Ok(event) = events.try_recv() {
            if let ior_broker::events::Event::Connected { name, .. } = event {
                assert!(name.starts_with("self-test/"), "{name}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_broken_is_found() {
    for (broken, words) in [
        (Broken::Locked, "default.4569 may log in with its password"),
        (Broken::AnyPassword, "nobody may log in as default.4569 with a wrong password"),
        (Broken::Deaf, "default.4569 may subscribe to default/connection-1/5412/#"),
        (Broken::Mute, "what default.4569 publishes reaches default.5412"),
        (Broken::HearsAll, "default.4569 may not subscribe to default/connection-2/5648/#"),
        (Broken::SaysAll, "default.4569 may not publish on default/connection-2/5648"),
    ] {
        let error = World::new(DEVICES, CONNECTIONS, broken).run().await.unwrap_err().to_string();
        assert!(error.contains(&format!("This should hold: {words}. But: ")), "{error}");
    }
}

/// A policy with a fault.
struct Faulty {
    live: LivePolicy,
    broken: Broken,
}

struct FaultyGrant {
    grant: Arc<dyn Grant>,
    broken: Broken,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Broken {
    Nothing,
    Locked,
    AnyPassword,
    Deaf,
    Mute,
    HearsAll,
    SaysAll,
}

impl Access for Faulty {
    fn login(&self, login: &Login<'_>) -> Result<Arc<dyn Grant>, Refusal> {
        let user_name = login.user_name.unwrap();
        let grant = match self.broken {
            Broken::Locked => self.live.login(&Login { password: None, ..*login })?,
            Broken::AnyPassword => self.live.grant(user_name).unwrap(),
            _ => self.live.login(login)?,
        };
        Ok(Arc::new(FaultyGrant { grant, broken: self.broken }))
    }

    fn grant(&self, name: &str) -> Option<Arc<dyn Grant>> {
        self.live.grant(name)
    }
}

impl Grant for FaultyGrant {
    fn name(&self) -> &str {
        self.grant.name()
    }

    fn may_publish(&self, topic: &str) -> bool {
        self.broken != Broken::Mute && (self.broken == Broken::SaysAll || self.grant.may_publish(topic))
    }

    fn may_subscribe(&self, filter: &str) -> bool {
        self.broken != Broken::Deaf && (self.broken == Broken::HearsAll || self.grant.may_subscribe(filter))
    }
}

struct World {
    broker: Broker,
    live: LivePolicy,
    test: SelfTest,
    limits: Limits,
}

impl World {
    fn new(devices: &str, connections: &str, broken: Broken) -> Self {
        let registry = Registry::parse(&Source::new("d", devices), &Source::new("c", connections)).unwrap();
        let settings = Settings::load(Path::new("/nowhere/config"), &Environment::new()).unwrap();
        let secrets = Secrets::from_key([7; 32]);
        let test = SelfTest::new(&registry, &secrets).unwrap();
        let policy = Policy::new(&registry, secrets, &Rotation::default(), &settings);
        let rotations = Rotations::new(Path::new("/nowhere"), Rotation::default());
        let live = LivePolicy::new(policy, Arc::new(rotations));
        let access = Arc::new(Faulty { live: live.clone(), broken });
        let limits = Limits { connections: 2, connections_per_address: 1, ..settings.limits.for_broker() };
        let broker = Broker::start(access, limits.clone(), None).unwrap();
        Self { broker, live, test, limits }
    }

    async fn run(&self) -> Result<Duration, SelfTestError> {
        let result = self.test.run(&self.broker, &self.live, &self.limits).await;
        self.broker.stop().await;
        result
    }
}
