#![allow(clippy::unwrap_used)]

use std::{fs, time::SystemTime};

use arc_swap::ArcSwap;
use ior_broker::Broker;
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::*;
use crate::{
    configuration::Configuration,
    policy::{LivePolicy, Policy},
    reload::ReloadHandle,
    rotation::{Rotation, Rotations},
    secrets::Secrets,
    settings::Environment,
    tls::Identity,
};

const KEY: &str = "default/connection-1";
const LONG: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn it_ends_when_its_time_is_over_and_says_so() {
    let world = World::new();
    let mut notices = world.messages.bridge.notices.subscribe();
    world.show(KEY, LONG).unwrap();
    let mut reader = world.messages.open(KEY, std::future::pending()).ok().unwrap();
    assert_eq!(reader.next().await.unwrap(), ":\n\n");
    let until = world.show(KEY, Duration::from_millis(1)).unwrap();
    assert!(world.messages.shown_until(KEY).is_none_or(|shown| shown == until), "a shorter time");
    assert_eq!(reader.next().await.unwrap(), "event: end\ndata: {}\n\n");
    assert_eq!(reader.next().await, None);
    assert_eq!(world.messages.shown_until(KEY), None);
    assert_eq!(world.messages.open(KEY, std::future::pending()).err(), Some(Unshown::Off));
    let event = notices.recv().await.unwrap();
    assert_eq!(event.text, format!("the messages of {KEY} are not shown any more: the time is over"));
    assert_eq!(event.connection.as_deref(), Some(KEY));
}

#[tokio::test]
async fn it_ends_when_the_bridge_stops() {
    let world = World::new();
    let mut notices = world.messages.bridge.notices.subscribe();
    world.show(KEY, LONG).unwrap();
    let reader = world.messages.open(KEY, std::future::pending()).ok().unwrap();
    world.messages.bridge.stopping.send_replace(true);
    assert!(notices.recv().await.unwrap().text.ends_with("not shown any more: the bridge stops"));
    drop(reader);
    world.messages.stop().await;
}

#[tokio::test]
async fn no_more_than_some_connections_and_pages_are_served_at_once() {
    let world = World::new();
    for number in 0..VIEWS {
        world.show(&format!("default/{number}"), LONG).unwrap();
    }
    assert_eq!(world.show("default/more", LONG), None);
    assert!(world.show("default/0", LONG).is_some(), "for longer");
    let open = || world.messages.open("default/0", std::future::pending());
    let readers: Vec<_> = (0..READERS).map(|_| open().ok().unwrap()).collect();
    assert_eq!(open().err(), Some(Unshown::TooMany));
    drop(readers);
    assert!(open().is_ok());
}

#[tokio::test]
async fn who_reads_slowly_is_told_how_many_were_left_out() {
    let world = World::new();
    world.show(KEY, LONG).unwrap();
    let number = world.messages.views.lock().by_key[KEY].number;
    let give = |text: &'static str, shown, left_out| {
        world.messages.give(KEY, number, Bytes::from_static(text.as_bytes()), shown, left_out);
    };
    give("before it came", 1, 7);
    let mut reader = world.messages.open(KEY, std::future::pending()).ok().unwrap();
    assert_eq!(reader.next().await.unwrap(), ":\n\n");
    give("a", 2, 0);
    assert_eq!(reader.next().await.unwrap(), "a");
    give("b", 50, 3);
    assert_eq!(reader.next().await.unwrap(), "bevent: left_out\ndata: {\"count\":3}\n\n");
    for _ in 0..BEHIND {
        give("missed", 10, 1);
    }
    give("c", 10, 0);
    for _ in 1..BEHIND {
        give("d", 1, 0);
    }
    assert_eq!(
        reader.next().await.unwrap(),
        format!("cevent: left_out\ndata: {{\"count\":{}}}\n\n", 11 * BEHIND)
    );
    assert_eq!(reader.next().await.unwrap(), "d");
    world.messages.give(KEY, number + 1, Bytes::from_static(b"of a view that was there before"), 1, 0);
    assert_eq!(world.messages.views.lock().by_key[KEY].messages, 1 + 7 + 2 + 53 + 44 + 10 + 3);
}

#[tokio::test]
async fn it_ends_with_the_right_of_who_reads() {
    let world = World::new();
    world.show(KEY, LONG).unwrap();
    let (right, over) = tokio::sync::oneshot::channel::<()>();
    let mut reader = world.messages.open(KEY, async { drop(over.await) }).ok().unwrap();
    reader.next().await.unwrap();
    drop(right);
    assert_eq!(reader.next().await.unwrap(), "event: end\ndata: {}\n\n");
    assert_eq!(reader.next().await, None);
    assert!(world.messages.shown_until(KEY).is_some(), "others may go on");
}

#[test]
fn which_end_is_which_means_nothing() {
    let pair = |a: &str, b: &str| Pair {
        devices: [a.to_owned(), b.to_owned()],
        flows: [a, b].map(|device| format!("u/c/{device}").into()),
    };
    assert!(pair("a", "b").joins_the_same(&pair("b", "a")));
    assert!(!pair("a", "b").joins_the_same(&pair("a", "c")));
    assert_eq!((pair("a", "b").peer_of("a"), pair("a", "b").peer_of("b")), ("b", "a"));
}

/// A bridge with the shipped configuration that nobody can connect to.
struct World {
    messages: Arc<Messages>,
    _directory: TempDir,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path().join("config");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("devices.json"), include_str!("../../../../config/devices.json")).unwrap();
        fs::write(dir.join("connections.json"), include_str!("../../../../config/connections.json")).unwrap();
        let environment = Environment::new();
        let configuration = Configuration::load(&dir, &environment).map_err(|_| "invalid").unwrap();
        let Configuration { settings, registry, .. } = &configuration;
        fs::create_dir(&settings.data_dir).unwrap();
        let secrets = Secrets::load_or_create(&settings.data_dir).unwrap();
        let rotation = Rotation::load_and_update(&settings.data_dir, registry, SystemTime::now()).unwrap();
        let policy = Policy::new(registry, secrets, &rotation, settings);
        let live = LivePolicy::new(policy, Arc::new(Rotations::new(&settings.data_dir, rotation)));
        let broker = Broker::start(Arc::new(live), settings.limits.for_broker(), None).unwrap();
        let bridge = Bridge {
            broker: Arc::new(broker),
            environment,
            identity: Arc::new(Identity::load(settings, SystemTime::now()).unwrap()),
            addresses: Arc::default(),
            web_address: Arc::default(),
            notices: broadcast::Sender::new(16),
            reload: ReloadHandle::new().0,
            pauses: mpsc::channel(1).0,
            pulse: Arc::default(),
            stopping: watch::Sender::new(false),
            started: SystemTime::now(),
            running_since: std::time::Instant::now(),
            configuration: Arc::new(ArcSwap::from_pointee(configuration)),
        };
        Self { messages: Messages::new(Arc::new(bridge)), _directory: directory }
    }

    fn show(&self, key: &str, time: Duration) -> Option<Time> {
        let configuration = self.messages.bridge.configuration.load();
        let registry = &configuration.registry;
        self.messages.show(key, Pair::of(registry, &registry.connections()[0]), time)
    }
}
