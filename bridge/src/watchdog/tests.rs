#![allow(clippy::unwrap_used)]

use std::path::Path;

use super::*;
use crate::{
    document::Source,
    policy::{LivePolicy, Policy},
    registry::Registry,
    rotation::{Rotation, Rotations},
    secrets::Secrets,
    settings::{Environment, Settings},
};

/// Longer than everything that a test waits for.
const LONG: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_messages_come_back_on_all_lanes_and_nobody_sees_it() {
    let world = World::start(Pace { between_rounds: Duration::from_millis(1), of_a_try: LONG });
    for _ in 0..3 {
        world.alive.recv_timeout(LONG).unwrap();
    }
    assert!(world.broker.sessions().is_empty() && world.broker.names().is_empty());
    assert_eq!(world.broker.statistics().published, 0);
    // Its rights outlast a reload.
    world.broker.reconsider().await;
    while world.alive.try_recv().is_ok() {}
    world.alive.recv_timeout(LONG).unwrap();
    world.alive.recv_timeout(LONG).unwrap();
    let World { watchdog, alive, dead, .. } = world;
    drop(watchdog);
    while alive.recv_timeout(LONG).is_ok() {}
    assert!(dead.recv_timeout(LONG).is_err(), "it has stopped, and nothing was wrong");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_notices_that_all_workers_hang() {
    let pace = Pace { between_rounds: Duration::from_millis(1), of_a_try: Duration::from_millis(20) };
    let world = World::start(pace);
    world.alive.recv_timeout(LONG).unwrap();
    let (release, wait) = mpsc::sync_channel::<()>(0);
    let wait = Arc::new(parking_lot::Mutex::new(wait));
    let hang = || {
        let wait = Arc::clone(&wait);
        tokio::spawn(async move { wait.lock().recv().unwrap_err() })
    };
    // This runs on a thread that is no worker.
    let hanging = [hang(), hang()];
    let why = world.dead.recv_timeout(LONG).unwrap();
    assert!(why.contains("no message came through the broker on either lane for 0 s"), "{why}");
    assert!(why.contains("ends with status 1"), "{why}");
    drop(release);
    for hung in hanging {
        hung.await.unwrap();
    }
}

#[test]
fn it_tells_which_lane_is_silent_and_a_late_answer_counts() {
    for (back, words) in [
        (&[Lane::Live0, Lane::Live1][..], "no QoS 1 message came through the assured lane"),
        (&[Lane::Live0, Lane::Assured][..], "no QoS 0 message came through the live lane"),
        (&[Lane::Assured][..], "no QoS 0 message came through the live lane"),
        (&[Lane::Live0][..], "no message came through the broker on either lane"),
        (&[][..], "no message came through the broker on either lane"),
    ] {
        let (asker, heard) = asker();
        // Of an earlier round, which says nothing.
        heard.send(Heard::Back(0, Lane::Live1)).unwrap();
        heard.send(Heard::Back(0, Lane::Assured)).unwrap();
        for lane in back {
            // Of the round's first try.
            heard.send(Heard::Back(1, *lane)).unwrap();
        }
        let Outcome::Silent(lanes) = asker.ask() else { panic!("not all are back") };
        assert!(asker.why(&lanes).contains(words), "{}", asker.why(&lanes));
        assert_eq!(*asker.round.borrow(), u64::from(TRIES));
        assert!(!asker.pulse.is_felt());
    }
    let (asker, heard) = asker();
    (0..WORRYING - 1).for_each(|_| asker.pulse.missed());
    assert!(asker.pulse.is_felt(), "messages of QoS 0 may get lost");
    asker.pulse.missed();
    assert!(!asker.pulse.is_felt());
    for lane in [Lane::Live0, Lane::Live1, Lane::Assured] {
        heard.send(Heard::Back(1, lane)).unwrap();
    }
    assert!(matches!(asker.ask(), Outcome::Alive));
    assert!(asker.pulse.is_felt());
    heard.send(Heard::Stop).unwrap();
    assert!(matches!(asker.ask(), Outcome::Stopped));
}

#[test]
fn it_ends_before_the_service_manager_would_end_it() {
    for seconds in [30, 45, 60, 600] {
        let watchdog = Duration::from_secs(seconds);
        let pace = Pace::of(watchdog);
        assert!(pace.between_rounds + pace.of_a_try * TRIES < watchdog, "{pace:?}");
    }
}

fn asker() -> (Asker, mpsc::SyncSender<Heard>) {
    let pace = Pace { between_rounds: Duration::ZERO, of_a_try: Duration::from_millis(1) };
    let (sender, heard) = mpsc::sync_channel(16);
    (Asker { pace, round: watch::channel(0).0, heard, pulse: Arc::default() }, sender)
}

struct World {
    broker: Arc<Broker>,
    watchdog: Watchdog,
    alive: mpsc::Receiver<()>,
    dead: mpsc::Receiver<String>,
    _dir: tempfile::TempDir,
}

impl World {
    fn start(pace: Pace) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let empty = |name: &str| Source::new(name, format!(r#"{{ "{name}": [] }}"#));
        let registry = Registry::parse(&empty("devices"), &empty("connections")).unwrap();
        let settings = Settings::load(Path::new("/nowhere/config"), &Environment::new()).unwrap();
        let policy = Policy::new(&registry, Secrets::from_key([7; 32]), &Rotation::default(), &settings);
        let rotations = Arc::new(Rotations::new(dir.path(), Rotation::default()));
        let live = LivePolicy::new(policy, rotations);
        let broker = Broker::start(Arc::new(live), settings.limits.for_broker(), None).map(Arc::new).unwrap();
        let (told, alive) = mpsc::sync_channel(1);
        let (end, dead) = mpsc::sync_channel(1);
        let alive_again = move || told.try_send(()).unwrap_or_default();
        let watchdog =
            Watchdog::start_with(Arc::clone(&broker), pace, Arc::default(), alive_again, move |why| {
                end.send(why).unwrap()
            })
            .unwrap();
        Self { broker, watchdog, alive, dead, _dir: dir }
    }
}
