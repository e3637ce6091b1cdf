//! Devices that try to say or hear what they may not, through the real bridge.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use ior_tests::{
    Audience, Bridge, Credentials, End, Heard, ON_BOTH_VERSIONS, World,
    raw::{
        Client, Connect, Encode, Kind, Packet, Publish, Subscribe,
        Version::{self, V5, V311},
        Will,
    },
};

/// Topics that mean something to other brokers, or inside this one.
const SPECIAL: &[&str] = &[
    "$",
    "$/",
    "$x",
    "$sys/broker",
    "$SYSTEM/x",
    "$IOR/devices",
    "$queue/default/connection-1/4569",
    "$delayed/1/default/connection-1/5412",
    "$exclusive/default/connection-1/4569",
    "$CONTROL/dynamic-security/v1",
    "$bridge/connection/state",
    "$aws/things/4569/shadow/update",
    "$dp",
    "$share",
    "m0/default/connection-1/4569",
    "m0/default/connection-1/5412",
    "/m0/default/connection-1/5412",
];

#[test]
fn what_is_denied_is_denied_at_every_qos_and_reaches_nobody() {
    let bridge = Bridge::start();
    let (from, to) = ends(&bridge);
    let mut audience = Audience::of(&bridge);
    let stranger = bridge.credentials("connection-2", End::From);
    for topic in [&to.publish, &from.presence, &to.presence, &stranger.publish, "default", "elsewhere"] {
        for version in ON_BOTH_VERSIONS {
            for retain in [false, true] {
                for qos in 0..=2 {
                    assert_denied(&bridge, version, &from, topic, qos, retain);
                }
            }
        }
        audience.expect_silence();
    }
    audience.expect_nothing_retained(&bridge);
    bridge.assert_unharmed(&from);
}

#[test]
fn a_denied_publish_takes_nothing_with_it_and_hides_nothing() {
    let bridge = Bridge::start();
    let (from, to) = ends(&bridge);
    let mut audience = Audience::of(&bridge);
    for version in ON_BOTH_VERSIONS {
        let publish = |topic: &str, id: u16| Publish::new(topic, id.to_string()).qos(1, id).encode(version);
        let mut client = bridge.connect(version, &from);
        client.send([publish(&from.publish, 1), publish(&to.publish, 2), publish(&from.publish, 3)].concat());
        client.expect_success(Kind::PubAck, 1);
        let heard = |payload: &str| Heard {
            by: to.login.username.clone(),
            topic: from.publish.clone(),
            payload: payload.into(),
        };
        if version == V5 {
            assert_eq!(client.expect_ack(Kind::PubAck, 2).reason, 0x87);
            client.expect_success(Kind::PubAck, 3);
            assert_eq!(audience.heard(), [heard("1"), heard("3")]);
        } else {
            client.expect_closed();
            assert_eq!(audience.heard(), [heard("1")]);
        }
    }
}

#[test]
fn of_several_filters_only_the_allowed_one_is_granted_and_kept() {
    for version in ON_BOTH_VERSIONS {
        let bridge = World::durable().start();
        let (from, to) = ends(&bridge);
        let stranger = bridge.credentials("connection-2", End::From);
        let denied = if version == V5 { 0x87 } else { 0x80 };
        let below = format!("{}/a/#", from.publish);
        let end = end_of(&from);
        let filters: [(&str, u8); 10] = [
            ("#", denied),
            (&to.publish, denied),
            (&stranger.publish, denied),
            (&below, 1),
            ("default/connection-1/+/a", denied),
            ("default/connection-1/#", denied),
            ("+/+/+/a", denied),
            (&from.presence, denied),
            ("$SYS/#", denied),
            (&end, 1),
        ];
        let allowed = [format!("{}/a", from.publish)];
        let (mut client, _) = bridge.connect_persistent(version, &to);
        client.send(filters.iter().fold(Subscribe::new(1), |all, (filter, _)| all.filter(filter, 1)));
        assert_eq!(client.expect_suback(1), filters.map(|(_, code)| code));
        everybody_speaks(&bridge);
        assert_eq!(heard_until_end(&mut client), allowed);
        client.disconnect();
        everybody_speaks(&bridge);
        let (mut client, present) = bridge.connect_persistent(version, &to);
        assert!(present);
        assert_eq!(heard_until_end(&mut client), allowed);
        client.disconnect();
        let bridge = bridge.restart();
        everybody_speaks(&bridge);
        let (mut client, present) = bridge.connect_persistent(version, &to);
        assert!(present);
        assert_eq!(heard_until_end(&mut client), allowed);
    }
}

#[test]
fn a_subscribe_of_nothing_but_denied_filters_is_answered_whole() {
    const MANY: usize = 3000;
    let bridge = Bridge::start();
    let (from, to) = ends(&bridge);
    for version in ON_BOTH_VERSIONS {
        let mut client = bridge.connect(version, &to);
        client.subscribe(&end_of(&from), 1);
        let filter = |number: usize| format!("default/connection-{number}/+/#");
        client.send((0..MANY).fold(Subscribe::new(1), |all, number| all.filter(&filter(number), 2)));
        let codes = client.expect_suback(1);
        assert_eq!(codes.len(), MANY);
        assert!(codes.iter().all(|code| [0x80, 0x87, 0x97].contains(code)), "{codes:02x?}");
        everybody_speaks(&bridge);
        assert_eq!(heard_until_end(&mut client), [""; 0]);
    }
    bridge.assert_unharmed(&to);
}

#[test]
fn wide_long_and_deep_filters_hear_nothing() {
    let bridge = Bridge::start();
    let (from, to) = ends(&bridge);
    let peer = &from.publish;
    let too_much = [
        "#".to_string(),
        "+".into(),
        "+/+".into(),
        "+/#".into(),
        "/#".into(),
        "$SYS/#".into(),
        "$SYS/+".into(),
        "/".into(),
        "//".into(),
        "///#".into(),
        "default//+/#".into(),
        "default/connection-1//#".into(),
        "/default/connection-1/4569/#".into(),
        "default/connection-1/4569#".into(),
        format!("{peer}/{}", "x".repeat(1024)),
        format!("{peer}/{}#", "+/".repeat(64)),
        format!("{peer}{}", "/".repeat(100)),
        "x".repeat(65_535),
        "/".repeat(65_535),
        "+/".repeat(32_767) + "#",
        "+/".repeat(63) + "#",
    ];
    for version in ON_BOTH_VERSIONS {
        for filter in &too_much {
            let mut client = bridge.connect(version, &to);
            client.subscribe(&end_of(&from), 1);
            client.send(Subscribe::new(1).filter(filter, 1));
            if expect_refused(&mut client, filter) {
                everybody_speaks(&bridge);
                assert_eq!(heard_until_end(&mut client), [""; 0]);
            }
        }
    }
    bridge.assert_unharmed(&to);
}

#[test]
fn empty_levels_below_the_peer_are_levels_like_others() {
    let bridge = Bridge::start();
    let (from, to) = ends(&bridge);
    let peer = &from.publish;
    for version in ON_BOTH_VERSIONS {
        let mut client = bridge.connect(version, &to);
        client.subscribe(&format!("{peer}//+/"), 1);
        client.subscribe(&end_of(&from), 1);
        let mut publisher = bridge.connect(version, &from);
        for tail in ["", "/", "//", "///", "//a", "//a/", "//a//", "/a/"] {
            publisher.publish(&format!("{peer}{tail}"), tail, 1);
        }
        publisher.publish(&end_of(&from), "x", 1);
        assert_eq!(heard_until_end(&mut client), [format!("{peer}///"), format!("{peer}//a/")]);
    }
}

#[test]
fn a_hundred_filters_of_the_greatest_depth_do_not_delay_others() {
    let bridge = Bridge::start();
    let (from, to) = ends(&bridge);
    let peer = &from.publish;
    for version in ON_BOTH_VERSIONS {
        let mut greedy = bridge.connect(version, &to);
        // Of 61 levels below the peer's topic, each differently literal, so that all are walked for a topic of `a`s.
        let filter = |number: usize| {
            let level = |level: usize| if level % 7 == number % 7 || level == number { "a" } else { "+" };
            format!("{peer}/{}", (0..61).map(level).collect::<Vec<_>>().join("/"))
        };
        greedy.send((0..100).fold(Subscribe::new(1), |all, number| all.filter(&filter(number), 1)));
        assert_eq!(greedy.expect_suback(1).len(), 100);
        let mut publisher = bridge.connect(version, &from);
        let deep = format!("{peer}/{}", ["a"; 61].join("/"));
        publisher.publish_all(&deep, (0..500).map(|number| number.to_string()));
        let mut neighbour = bridge.connect(version, &bridge.credentials("connection-2", End::To));
        neighbour.expect_silence();
        for number in 0..500 {
            greedy.expect_payload(&number.to_string());
        }
    }
    bridge.assert_unharmed(&to);
}

#[test]
fn shared_subscriptions_are_refused_in_every_form() {
    let bridge = Bridge::start();
    let (from, to) = ends(&bridge);
    let peer = &from.publish;
    let mut audience = Audience::of(&bridge);
    let forms = [
        format!("$share/group/{peer}"),
        format!("$share/group/{peer}/#"),
        format!("$share/{peer}"),
        format!("$share//{peer}/#"),
        format!("$share/+/{peer}/#"),
        format!("$share/#/{peer}"),
        format!("$share/a+b/{peer}"),
        format!("$share/ä/{peer}/#"),
        format!("$Share/group/{peer}/#"),
        format!("/$share/group/{peer}/#"),
        format!("$share/group//{peer}"),
        format!("$share/group/$share/group/{peer}"),
        format!("$queue/{peer}/#"),
        "$share".into(),
        "$share/".into(),
        "$share/group".into(),
        "$share/group/".into(),
        "$share/group/#".into(),
        "$share/group/+".into(),
        "$share/#".into(),
        "$share/+".into(),
        "$share/+/#".into(),
    ];
    for version in ON_BOTH_VERSIONS {
        for (index, form) in forms.iter().enumerate() {
            let (mut client, _) = bridge.connect_persistent(version, &to);
            client.subscribe(&end_of(&from), 1);
            client.send(Subscribe::new(1).filter(form, (index % 3) as u8));
            if expect_refused(&mut client, form) {
                everybody_speaks(&bridge);
                assert_eq!(heard_until_end(&mut client), [""; 0], "{form}");
                client.disconnect();
            }
            bridge.connect(version, &to).disconnect();
        }
        // Whatever everybody said reached its own audience, and the live lane lives.
        assert!(audience.heard().iter().all(|heard| heard.payload == b"x"));
    }
    bridge.assert_unharmed(&to);
}

#[test]
fn special_topics_are_denied_in_every_way() {
    let bridge = Bridge::start();
    let (from, to) = ends(&bridge);
    let mut audience = Audience::of(&bridge);
    for version in ON_BOTH_VERSIONS {
        for topic in SPECIAL {
            for qos in 0..=2 {
                assert_denied(&bridge, version, &from, topic, qos, qos == 1);
            }
            let mut mortal = bridge.open(version);
            mortal.send(login(&from).will(Will::new(topic, "x").retain()));
            assert_eq!(mortal.expect_connack().code, if version == V5 { 0x87 } else { 5 }, "{topic}");
            for filter in [topic.to_string(), format!("{topic}/#"), format!("{topic}/+")] {
                let mut client = bridge.connect(version, &to);
                client.subscribe(&end_of(&from), 1);
                client.send(Subscribe::new(1).filter(&filter, 1));
                if expect_refused(&mut client, &filter) {
                    everybody_speaks(&bridge);
                    assert_eq!(heard_until_end(&mut client), [""; 0], "{filter}");
                }
            }
        }
        assert!(audience.heard().iter().all(|heard| heard.payload == b"x"));
    }
    audience.expect_nothing_retained(&bridge);
}

#[test]
fn a_dollar_below_the_own_topic_is_nothing_special() {
    let bridge = Bridge::start();
    let (from, to) = ends(&bridge);
    let mut audience = Audience::of(&bridge);
    for version in ON_BOTH_VERSIONS {
        let mut client = bridge.connect(version, &from);
        for tail in ["$SYS/x", "$share/g/a", "$"] {
            let topic = format!("{}/{tail}", from.publish);
            client.publish(&topic, "x", 1);
            let by = to.login.username.clone();
            assert_eq!(audience.heard(), [Heard { by, topic, payload: b"x".into() }]);
        }
    }
}

fn ends(bridge: &Bridge) -> (Credentials, Credentials) {
    (bridge.credentials("connection-1", End::From), bridge.credentials("connection-1", End::To))
}

fn login(who: &Credentials) -> Connect {
    Connect::new("attacker").user_name(&who.login.username).password(&who.login.password)
}

/// Publishes over a connection of its own, and expects what each version is told.
#[track_caller]
fn assert_denied(bridge: &Bridge, version: Version, who: &Credentials, topic: &str, qos: u8, retain: bool) {
    let mut client = bridge.connect_with(version, who, Connect::new("attacker")).0;
    let publish = Publish::new(topic, "denied");
    let publish = if retain { publish.retain() } else { publish };
    client.send(if qos == 0 { publish } else { publish.qos(qos, 1) });
    match (version, qos) {
        (V311, _) | (V5, 0) => client.expect_ended(0x87),
        (V5, 1) => assert_eq!(client.expect_ack(Kind::PubAck, 1).reason, 0x87, "{topic}"),
        (V5, _) => assert_eq!(client.expect_ack(Kind::PubRec, 1).reason, 0x87, "{topic}"),
    }
}

/// Expects a SUBSCRIBE of one filter to be refused, and says whether the connection goes on.
#[track_caller]
fn expect_refused(client: &mut Client, filter: &str) -> bool {
    let filter = &filter[..filter.len().min(80)];
    let version = client.version();
    match client.receive_or_closed() {
        Some(Packet::SubAck(ack)) => {
            let allowed: &[u8] = if version == V5 { &[0x87, 0x8F, 0x9E] } else { &[0x80] };
            assert!(allowed.contains(&ack.codes[0]), "{filter}: {:02x?}", ack.codes);
            true
        }
        Some(Packet::Disconnect(0x81 | 0x82 | 0x8F, _)) => false,
        None if version == V311 => false,
        other => panic!("{filter}: {other:?}"),
    }
}

/// Every device publishes on its own topic and below it, at last on [`end_of`] it.
#[track_caller]
fn everybody_speaks(bridge: &Bridge) {
    for connection in ["connection-1", "connection-2"] {
        for end in [End::From, End::To] {
            let who = bridge.credentials(connection, end);
            let mut client = bridge.connect_with(V5, &who, Connect::new("speaks")).0;
            for topic in [who.publish.clone(), format!("{}/a", who.publish), end_of(&who)] {
                client.publish(&topic, "x", 1);
            }
            client.disconnect();
        }
    }
}

fn end_of(who: &Credentials) -> String {
    format!("{}/end", who.publish)
}

/// The topics of all messages that come before the one on [`end_of`] the client's peer.
#[track_caller]
fn heard_until_end(client: &mut Client) -> Vec<String> {
    let mut topics = Vec::new();
    loop {
        let topic = client.expect_message().topic;
        if topic.ends_with("/end") {
            return topics;
        }
        topics.push(topic);
    }
}
