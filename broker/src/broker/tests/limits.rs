//! What happens at the limits, and that each counts.

use symqtt_codec::v5::{Unsubscribe, UnsubscribeProperties};

use super::*;
use crate::limits::{FlowLimits, Limit, QueueLimits, WhenFull};

#[tokio::test(start_paused = true)]
async fn a_name_that_publishes_too_fast_is_read_from_later_and_loses_nothing() {
    let world = World::with(Limits { publish_rate: 10, ..Limits::default() });
    let mut listener = world.listener().await;
    let mut events = world.broker.events();
    let mut sender = world.connect(Connect { keep_alive: 1, ..named("a", 0) }).await;
    sender.subscribe("other").await;
    let start = Instant::now();
    for number in 0..45 {
        sender.publish_with("topic", QoS::AtLeastOnce, &[number], PublishProperties::default()).await;
    }
    let mut at = Vec::new();
    for number in 0..45 {
        let payload = match listener.next().await {
            Some(Packet::Publish(publish)) => publish.payload.to_vec(),
            other => panic!("{other:?}"),
        };
        assert_eq!(payload, [number]);
        at.push(start.elapsed().as_millis());
    }
    // A second's worth at once, and then one every tenth of a second, to the resolution of timers.
    assert!(at[9] < 20 && at[10] >= 100 && at[10] < 120, "{at:?}");
    assert!(at[44] >= 3_500 && at[44] < 3_550, "{at:?}");
    let held = world.broker.statistics().limits.of(Limit::PublishRate);
    assert!(held >= 35, "held {held} times");
    let told = std::iter::from_fn(|| events.try_recv().ok());
    let told = told.filter(|event| matches!(event, Event::LimitReached { limit: Limit::PublishRate, .. }));
    assert_eq!(told.count(), 1);
    for _ in 0..45 {
        assert!(matches!(sender.next().await, Some(Packet::PubAck(_))));
    }
    sender.ping().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_is_held_back_still_gets_its_messages_and_outlives_its_keep_alive() {
    let world = World::with(Limits { publish_bandwidth: 1_000, ..Limits::default() });
    let mut sender = world.connect(Connect { keep_alive: 2, ..named("a", 0) }).await;
    sender.subscribe("news").await;
    let start = Instant::now();
    sender.publish_with("large", QoS::AtLeastOnce, &[0; 10_000], PublishProperties::default()).await;
    assert!(matches!(sender.next().await, Some(Packet::PubAck(_))), "a single one passes, whatever its size");
    sender.ping().await;
    assert_elapsed(start, 0);
    // The next one waits for nine seconds, four times its keep alive, and what comes behind it waits too.
    sender.publish("next", QoS::AtLeastOnce).await;
    sender.send(Packet::PingReq(symqtt_codec::v5::PingReq)).await;
    world.broker.publish("news", b"now", crate::codec::QoS::AtLeastOnce, false).await.unwrap();
    assert!(matches!(sender.next().await, Some(Packet::Publish(_))));
    assert_elapsed(start, 0);
    assert!(matches!(sender.next().await, Some(Packet::PubAck(_))));
    assert!(matches!(sender.next().await, Some(Packet::PingResp(_))), "answered late");
    assert_elapsed(start, 9);
    assert_eq!(sender.told().await, Some(ReasonCode::KeepAliveTimeout), "its silence counts from then on");
    assert_elapsed(start, 12);
    assert_eq!(world.broker.statistics().limits.of(Limit::PublishBandwidth), 1);
}

/// Nobody has to wait to see that a client is gone, unless there is more to publish for it.
#[tokio::test(start_paused = true)]
async fn whoever_owes_much_may_leave() {
    let world = World::with(Limits { publish_bandwidth: 1_000, ..Limits::default() });
    let start = Instant::now();
    for leaves in [true, false] {
        let mut sender = world.connect(named("a", 0)).await;
        sender.publish_with("large", QoS::AtMostOnce, &[0; 10_000], PublishProperties::default()).await;
        sender.ping().await;
        if leaves {
            sender.disconnect(ReasonCode::Success, None).await;
        } else {
            drop(sender);
        }
        world.until(|broker| broker.statistics().connected == 0).await;
    }
    assert!(start.elapsed() < Duration::from_secs(20), "only the second message had to wait");
}

#[tokio::test(start_paused = true)]
async fn the_connections_of_a_name_share_its_allowance_and_others_have_their_own() {
    let world = World::with(Limits { publish_rate: 4, ..Limits::default() });
    let as_name = |name: &str, id: &str| Connect { username: Some(name.into()), ..named(id, 0) };
    let mut one = world.connect(as_name("x", "1")).await;
    let mut two = world.connect(as_name("x", "2")).await;
    let mut other = world.connect(as_name("y", "1")).await;
    let start = Instant::now();
    for _ in 0..4 {
        one.acknowledged().await;
    }
    assert_elapsed(start, 0);
    for _ in 0..4 {
        two.acknowledged().await;
    }
    assert_elapsed(start, 1);
    for _ in 0..4 {
        other.acknowledged().await;
    }
    assert_elapsed(start, 1);
    // Nor does it help to come back.
    one.disconnect(ReasonCode::Success, None).await;
    let mut again = world.connect(as_name("x", "1")).await;
    for _ in 0..4 {
        again.acknowledged().await;
    }
    assert_elapsed(start, 2);
    // Other limits hold for connections that begin.
    world.broker.set_limits(Limits::default());
    let mut free = world.connect(as_name("x", "3")).await;
    for _ in 0..1_000 {
        free.acknowledged().await;
    }
    assert_elapsed(start, 2);
}

#[tokio::test(start_paused = true)]
async fn too_many_user_properties_are_refused_as_each_packet_can_be_answered() {
    let world = World::with(Limits { user_properties: 2, ..Limits::default() });
    let many = |count: usize| vec![("k".to_owned(), "v".to_owned()); count];
    let reason = |count: usize| if count > 2 { ReasonCode::QuotaExceeded } else { ReasonCode::Success };
    for count in [2, 3] {
        let mut connect = named("a", 0);
        connect.properties.user_properties = many(count);
        let mut client = world.client();
        client.send(Packet::Connect(connect)).await;
        assert_eq!(client.connack().await.reason_code, reason(count));

        let mut connect = with_will("b", 0, 0);
        connect.will.as_mut().unwrap().properties.user_properties = many(count);
        let mut client = world.client();
        client.send(Packet::Connect(connect)).await;
        assert_eq!(client.connack().await.reason_code, reason(count));

        let mut client = world.connect(named("c", 0)).await;
        let aliased = PublishProperties { topic_alias: Some(1), ..PublishProperties::default() };
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let properties = PublishProperties { user_properties: many(count), ..aliased.clone() };
            client.publish_with("topic", qos, b"", properties).await;
            let answered = match client.next().await {
                Some(Packet::PubAck(ack)) => ack.reason_code,
                Some(Packet::PubRec(ack)) => ack.reason_code,
                other => panic!("{other:?}"),
            };
            let expected = if count > 2 { reason(count) } else { ReasonCode::NoMatchingSubscribers };
            assert_eq!(answered, expected);
        }
        // The Topic Alias of a message that was refused is known.
        client.publish_with("", QoS::AtMostOnce, b"", aliased).await;
        let filter = |topic: &str| SubscribeFilter {
            topic: topic.to_owned(),
            qos: QoS::AtMostOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::SendAtSubscribe,
        };
        let properties =
            SubscribeProperties { user_properties: many(count), ..SubscribeProperties::default() };
        client
            .send(Packet::Subscribe(Subscribe {
                pkid: 1,
                properties,
                filters: vec![filter("a"), filter("b")],
            }))
            .await;
        match client.next().await {
            Some(Packet::SubAck(ack)) => assert_eq!(ack.reason_codes, [reason(count); 2]),
            other => panic!("{other:?}"),
        }
        client.ping().await;

        let ended = (count > 2).then_some(ReasonCode::QuotaExceeded);
        let properties = PublishProperties { user_properties: many(count), ..PublishProperties::default() };
        client.publish_with("topic", QoS::AtMostOnce, b"", properties).await;
        client.end_with_nothing(ended).await;

        let mut client = world.connect(named("d", 0)).await;
        let properties = UnsubscribeProperties { user_properties: many(count) };
        let unsubscribe = Unsubscribe { pkid: 1, properties, topics: vec!["a".into()] };
        client.send(Packet::Unsubscribe(unsubscribe)).await;
        if count <= 2 {
            assert!(matches!(client.next().await, Some(Packet::UnsubAck(_))));
        }
        client.end_with_nothing(ended).await;

        let mut client = world.connect(named("e", 0)).await;
        let properties = PubAckProperties { user_properties: many(count), ..PubAckProperties::default() };
        let ack = PubAck { pkid: 1, reason_code: ReasonCode::Success, properties };
        client.send(Packet::PubAck(ack)).await;
        client.end_with_nothing(ended).await;
    }
    assert_eq!(world.broker.statistics().limits.of(Limit::UserProperties), 9);
}

#[tokio::test(start_paused = true)]
async fn a_connect_has_room_of_its_own_and_so_has_its_will() {
    let limits = Limits { max_connect_size: 300, max_will_size: 500, ..Limits::default() };
    let world = World::with(limits);
    let connect = |client_id: usize, will: usize| {
        let mut connect = named(&"c".repeat(client_id), 0);
        connect.will = (will > 0)
            .then(|| Will { payload: vec![b'w'; will].into(), ..with_will("", 0, 0).will.unwrap() });
        let mut bytes = BytesMut::new();
        Packet::Connect(connect).encode(&mut bytes).unwrap();
        bytes
    };
    // Both so long that the fixed header is.
    let of_will = connect(200, 100).len() - connect(200, 0).len() - 100;
    let (id, will) = (300 - (connect(200, 0).len() - 200), 500 - of_will);
    for (id, will, answer) in [
        (id, 0, Some(ReasonCode::Success)),
        (id, will, Some(ReasonCode::Success)),
        (1, will + 1, Some(ReasonCode::PacketTooLarge)),
        (id + 1, 1, Some(ReasonCode::PacketTooLarge)),
        // Not read any further.
        (id + 1, 0, None),
        (id + 1, will + 1, None),
    ] {
        let mut client = world.client();
        client.stream.write_all(&connect(id, will)).await.unwrap();
        let answered = match client.next().await {
            Some(Packet::ConnAck(connack)) => Some(connack.reason_code),
            None => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(answered, answer, "a client id of {id} and a will of {will} bytes");
    }
    let counted = world.broker.statistics().limits;
    assert_eq!((counted.of(Limit::MaxConnectSize), counted.of(Limit::MaxWillSize)), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_connect_arrives_in_whatever_pieces() {
    let world = World::start();
    let mut bytes = BytesMut::new();
    let will = Will { payload: vec![b'w'; 5_000].into(), ..with_will("", 0, 0).will.unwrap() };
    Packet::Connect(Connect { will: Some(will), ..named("a", 0) }).encode(&mut bytes).unwrap();
    let mut client = world.client();
    for byte in &bytes {
        client.stream.write_all(&[*byte]).await.unwrap();
    }
    assert_eq!(client.connack().await.reason_code, ReasonCode::Success);
}

#[tokio::test(start_paused = true)]
async fn what_is_shortened_before_the_login_counts() {
    let limits = Limits { connections: 1, keep_alive_max: 10, session_expiry_max: 100, ..Limits::default() };
    let world = World::with(limits);
    let _silent = world.client();
    tokio::time::sleep(Duration::from_secs(11)).await;
    let mut client = world.connect(Connect { keep_alive: 20, ..named("a", 1_000) }).await;
    let mut refused = world.client();
    refused.send(Packet::Connect(named("b", 0))).await;
    assert_eq!(refused.connack().await.reason_code, ReasonCode::ServerBusy);
    client.ping().await;
    counted(
        &world,
        [
            (Limit::ConnectTimeout, 1),
            (Limit::KeepAliveMax, 2),
            (Limit::SessionExpiryMax, 1),
            (Limit::Connections, 1),
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_client_may_not_send_counts() {
    let limits = Limits {
        max_packet_size: 2_000,
        max_topic_length: 20,
        max_topic_levels: 3,
        receive_maximum: std::num::NonZeroU16::MIN,
        topic_alias_maximum: 1,
        subscriptions_per_session: 1,
        sessions_per_name: 2,
        ..Limits::default()
    };
    let world = World::with(limits);
    let (long, deep) = ("x".repeat(21), "1/2/3/4");
    let mut client = world.connect(named("a", 0)).await;
    for topic in [&long, deep] {
        client.publish(topic, QoS::AtLeastOnce).await;
        assert!(
            matches!(client.next().await, Some(Packet::PubAck(ack)) if ack.reason_code == ReasonCode::TopicNameInvalid)
        );
        client.subscribe(topic).await;
        let mut connect = with_will("b", 0, 0);
        connect.will.as_mut().unwrap().topic = topic.to_owned();
        let mut refused = world.client();
        refused.send(Packet::Connect(connect)).await;
        assert_eq!(refused.connack().await.reason_code, ReasonCode::TopicNameInvalid);
    }
    client.subscribe("one").await;
    client.subscribe("two").await;
    client.publish_with("large", QoS::AtMostOnce, &[0; 2_000], PublishProperties::default()).await;
    assert_eq!(client.told().await, Some(ReasonCode::PacketTooLarge));

    let mut client = world.connect(named("a", 0)).await;
    let aliased = PublishProperties { topic_alias: Some(2), ..PublishProperties::default() };
    client.publish_with("alias", QoS::AtMostOnce, b"", aliased).await;
    assert_eq!(client.told().await, Some(ReasonCode::TopicAliasInvalid));

    let mut client = world.connect(named("a", 0)).await;
    client.publish_as(1, "twice", QoS::ExactlyOnce).await;
    client.publish_as(2, "twice", QoS::ExactlyOnce).await;
    assert_eq!(client.told().await, Some(ReasonCode::ReceiveMaximumExceeded));

    for id in ["1", "2", "3"] {
        world.connect(named(id, 60)).await.disconnect(ReasonCode::Success, None).await;
    }
    counted(
        &world,
        [
            (Limit::MaxTopicLength, 3),
            (Limit::MaxTopicLevels, 3),
            (Limit::SubscriptionsPerSession, 1),
            (Limit::MaxPacketSize, 1),
            (Limit::TopicAliasMaximum, 1),
            (Limit::ReceiveMaximum, 1),
            (Limit::SessionsPerName, 1),
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn what_finds_no_room_counts() {
    let few = |messages, bytes| QueueLimits { messages, bytes };
    let flow = FlowLimits { queue: few(2, 2_000), max_age: None, when_full: WhenFull::Reject };
    let limits = Limits {
        flow,
        live_queue: few(2, 2_000),
        retained: few(2, 2_000),
        retained_per_name: 1,
        max_inflight: std::num::NonZeroU16::MIN,
        ..Limits::default()
    };
    let world = World::with(limits);
    // It is away: what it gets waits.
    let mut away = world.connect(named("listener", 60)).await;
    away.subscribe("queue/#").await;
    away.disconnect(ReasonCode::Success, None).await;
    let mut sender = world.connect(named("a", 0)).await;
    for (size, expected) in [(0, true), (2_000, false), (0, true), (0, false)] {
        sender.publish_with("queue", QoS::AtLeastOnce, &vec![0; size], PublishProperties::default()).await;
        match sender.next().await {
            Some(Packet::PubAck(ack)) => assert_eq!(ack.reason_code == ReasonCode::Success, expected),
            other => panic!("{other:?}"),
        }
    }
    counted(&world, [(Limit::QueueBytes, 1), (Limit::QueueMessages, 1)]);
    // It acknowledges one at a time.
    let mut back = world.connect(named("listener", 0)).await;
    back.message().await;
    back.message().await;
    let counts = world.broker.statistics().limits;
    assert!(counts.of(Limit::MaxInflight) > 0);

    let mut others = world.connect(Connect { username: Some("other".into()), ..named("b", 0) }).await;
    for (is_other, topic, size, limit) in [
        (false, "1", 1, None),
        (false, "2", 1, Some(Limit::RetainedPerName)),
        (true, "3", 2_000, Some(Limit::RetainedBytes)),
        (true, "3", 1, None),
    ] {
        let client = if is_other { &mut others } else { &mut sender };
        let before = world.broker.statistics();
        client.retain_bytes(topic, size).await;
        let after = world.broker.statistics();
        assert_eq!(after.queue_full - before.queue_full, u64::from(limit.is_some()));
        if let Some(limit) = limit {
            assert_eq!(after.limits.of(limit), 1, "{limit:?}");
        }
    }
    let mut third = world.connect(Connect { username: Some("third".into()), ..named("c", 0) }).await;
    third.retain_bytes("4", 1).await;
    counted(&world, [(Limit::RetainedMessages, 1)]);
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_for_a_slow_or_absent_client_counts() {
    let few = |messages, bytes| QueueLimits { messages, bytes };
    let max_age = Some(Duration::from_secs(1));
    let flow = FlowLimits { queue: few(2, 2_000), max_age, when_full: WhenFull::DropOldest };
    let world = World::with(Limits { flow, live_queue: few(20, 1_000), ..Limits::default() });
    let mut away = world.connect(named("listener", 1_000_000)).await;
    away.subscribe("queue").await;
    away.disconnect(ReasonCode::Success, None).await;
    let mut sender = world.connect(named("a", 0)).await;
    for _ in 0..3 {
        sender.acknowledged_at("queue").await;
    }
    counted(&world, [(Limit::QueueMessages, 1), (Limit::QueueMaxAge, 0)]);
    // Ages are of the system's clock.
    let start = std::time::Instant::now();
    world.until(|_| start.elapsed() > Duration::from_millis(1_100)).await;
    let mut back = world.connect(named("listener", 0)).await;
    back.ping().await;
    counted(&world, [(Limit::QueueMaxAge, 2)]);

    let mut slow = world.client_with_pipe(1_000);
    slow.send(Packet::Connect(named("slow", 0))).await;
    slow.connack().await;
    slow.subscribe("live").await;
    for _ in 0..200 {
        sender.publish_with("live", QoS::AtMostOnce, &[0; 900], PublishProperties::default()).await;
    }
    world.until(|broker| broker.statistics().limits.of(Limit::LiveQueueBytes) > 0).await;
    world.broker.set_limits(Limits { live_queue: few(2, 1 << 20), ..Limits::default() });
    let mut slow = world.client_with_pipe(1_000);
    slow.send(Packet::Connect(named("slow 2", 0))).await;
    slow.connack().await;
    slow.subscribe("live").await;
    for _ in 0..200 {
        sender.publish_with("live", QoS::AtMostOnce, &[0; 900], PublishProperties::default()).await;
    }
    world.until(|broker| broker.statistics().limits.of(Limit::LiveQueueMessages) > 0).await;
}

#[track_caller]
fn counted<const N: usize>(world: &World, expected: [(Limit, u64); N]) {
    let counts = world.broker.statistics().limits;
    assert_eq!(expected.map(|(limit, _)| (limit, counts.of(limit))), expected);
}

impl Client {
    /// One that is acknowledged before this returns.
    async fn acknowledged(&mut self) {
        self.acknowledged_at("topic").await;
    }

    async fn acknowledged_at(&mut self, topic: &str) {
        self.publish(topic, QoS::AtLeastOnce).await;
        assert!(matches!(self.next().await, Some(Packet::PubAck(_))));
    }

    async fn publish_as(&mut self, pkid: u16, topic: &str, qos: QoS) {
        let (properties, payload) = (PublishProperties::default(), "".into());
        let pkid = Some(pkid);
        let publish =
            Publish { dup: false, qos, retain: false, topic: topic.into(), pkid, properties, payload };
        self.send(Packet::Publish(publish)).await;
        if pkid == Some(1) {
            assert!(matches!(self.next().await, Some(Packet::PubRec(_))));
        }
    }

    /// Waits for the acknowledgement.
    async fn retain_bytes(&mut self, topic: &str, size: usize) {
        let (properties, payload) = (PublishProperties::default(), vec![b'r'; size].into());
        let (qos, pkid) = (QoS::AtLeastOnce, Some(1));
        let publish =
            Publish { dup: false, qos, retain: true, topic: topic.into(), pkid, properties, payload };
        self.send(Packet::Publish(publish)).await;
        assert!(matches!(self.next().await, Some(Packet::PubAck(_))));
    }

    /// The broker ends the connection for this reason, or answers nothing before a PINGREQ.
    async fn end_with_nothing(&mut self, reason: Option<ReasonCode>) {
        match reason {
            Some(reason) => assert_eq!(self.told().await, Some(reason)),
            None => self.ping().await,
        }
    }
}
