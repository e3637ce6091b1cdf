//! Clients that want the same session, and sessions that give way.

use tokio::task::JoinSet;

use super::*;

const CLIENTS: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_at_once_exactly_one_stays_and_all_others_are_told() {
    for (expiry, clean_start) in [(0, false), (0, true), (60, false), (60, true)] {
        let world = Arc::new(World::start());
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let mut client = world.client();
            clients.spawn(async move {
                client.send(Packet::Connect(Connect { clean_start, ..named("same", expiry) })).await;
                assert_eq!(client.connack().await.reason_code, ReasonCode::Success);
                client.told().await
            });
        }
        let all_but_one = async {
            for _ in 1..CLIENTS {
                let told = clients.join_next().await.unwrap().unwrap();
                assert_eq!(told, Some(ReasonCode::SessionTakenOver));
            }
        };
        timeout(Duration::from_secs(30), all_but_one).await.expect("nobody hangs");
        world.until(|broker| broker.statistics().connected == 1).await;
        assert!(world.has("same") && world.broker.is_online("anonymous"));
        world.broker.stop().await;
        assert_eq!(clients.join_next().await.unwrap().unwrap(), Some(ReasonCode::ServerShuttingDown));
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_does_not_hold_its_successor_up() {
    let world = World::start();
    let mut stalled = world.client_with_pipe(64);
    stalled.send(Packet::Connect(named("a", 60))).await;
    stalled.connack().await;
    stalled.subscribe("t").await;
    for _ in 0..100 {
        world.broker.publish("t", &[0; 1000], crate::codec::QoS::AtLeastOnce, false).await.unwrap();
    }
    let before = Instant::now();
    let (mut new, present) = world.connect_for(named("a", 60)).await;
    assert!(present);
    assert_elapsed(before, 0);
    for _ in 0..100 {
        assert_eq!(new.message().await, "t");
    }
}

/// Regression: whoever found a session that another connection had only just made was told Session Present 1, and the
/// one that had made it was told 0 although it took over from the other.
#[tokio::test(start_paused = true)]
async fn session_present_is_decided_by_who_was_attached_not_by_who_looked_first() {
    let world = World::start();
    let shared = &world.broker.shared;
    let maker = shared.open_session("n", "a", true).await.unwrap();
    let finder = shared.open_session("n", "a", true).await.unwrap();
    let grant: Arc<dyn Grant> = Arc::new(Anything("n".into()));
    for (session, present) in [(finder, false), (maker, true)] {
        let attachment = session.attach(crate::codec::ReasonCode::SessionTakenOver).await;
        assert_eq!(shared.begin_session(&session, &grant, None, 10), present);
        drop(attachment);
    }
}

#[tokio::test(start_paused = true)]
async fn the_session_that_is_offline_for_longest_gives_way_with_its_will_and_subscriptions() {
    let world = World::with(Limits { sessions_per_name: 3, ..Limits::default() });
    let mut listener = world.listener().await;
    let mut first = world.connect(with_will("first", 1_000, 500)).await;
    first.subscribe("t").await;
    let _online = world.connect(named("online", 1_000)).await;
    drop(world.connect(named("second", 1_000)).await);
    tokio::time::sleep(Duration::from_secs(1)).await;
    // It is older, but was online for longer.
    drop(first);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let third = world.connect(named("third", 1_000)).await;
    assert_eq!(["first", "second", "third"].map(|id| world.has(id)), [true, false, true]);
    let _fourth = world.connect(named("fourth", 1_000)).await;
    assert!(!world.has("first") && world.has("third"));
    assert_eq!(listener.message().await, "will", "its session has ended");
    drop(third);
    let (_first, present) = world.connect_for(named("first", 1_000)).await;
    assert!(!present);
}

#[tokio::test(start_paused = true)]
#[allow(clippy::disallowed_methods, reason = "waits for the wall clock to move")]
async fn where_all_sessions_of_a_name_are_online_the_one_that_is_silent_for_longest_gives_way() {
    let world = World::with(Limits { sessions_per_name: 2, ..Limits::default() });
    let mut gone = world.connect(named("gone", 10)).await;
    let mut alive = world.connect(named("alive", 10)).await;
    // Real time: when a client was heard is told by the wall clock.
    std::thread::sleep(Duration::from_millis(5));
    alive.ping().await;
    let mut next = world.connect(named("next", 10)).await;
    assert_eq!(gone.told().await, Some(ReasonCode::QuotaExceeded));
    alive.ping().await;
    next.ping().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_returns_while_its_session_gives_way_is_answered() {
    let world = World::with(Limits { sessions_per_name: 1, ..Limits::default() });
    for round in 0..100 {
        drop(world.connect(named("returns", 60)).await);
        world.until(|broker| broker.statistics().connected == 0).await;
        let (mut returns, mut newcomer) = (world.client(), world.client());
        let connects = async {
            tokio::join!(
                returns.send(Packet::Connect(named("returns", 60))),
                newcomer.send(Packet::Connect(named("newcomer", 0)))
            );
            tokio::join!(returns.connack(), newcomer.connack())
        };
        let (returned, came) = timeout(Duration::from_secs(30), connects).await.expect("nobody hangs");
        for reason in [returned.reason_code, came.reason_code] {
            assert!([ReasonCode::Success, ReasonCode::QuotaExceeded].contains(&reason), "{reason:?} {round}");
        }
        assert!(world.broker.sessions().len() <= 1);
        drop((returns, newcomer));
        world.until(|broker| broker.statistics().connected == 0).await;
        world.until(|broker| broker.sessions().iter().all(|session| !session.online)).await;
    }
}
