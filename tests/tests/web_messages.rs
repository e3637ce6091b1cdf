//! The messages of a connection on the page: off until they are turned on, for one connection and a limited time.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{io::Write, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use ior_tests::{
    Bridge, Credentials, DEADLINE, End, World,
    http::{Events, Http},
    raw::{
        Connect, Property, Publish,
        Version::{V5, V311},
        Will,
    },
};
use serde_json::{Value, json};

/// Of "Connection 1".
const MESSAGES: &str = "/api/v1/connections/default/connection-1/messages";
const OF_THE_OTHER: &str = "/api/v1/connections/default/connection-2/messages";

#[test]
fn nobody_sees_a_message_unless_they_are_turned_on_by_whoever_may() {
    let bridge = Bridge::start();
    let admin = Http::log_in(&bridge);
    let [from, _] = ends(&bridge, "connection-1");
    admin.get(MESSAGES).expect(409);
    admin.delete(MESSAGES).expect(204);
    for minutes in [json!(0), json!(31), json!(-1), json!(1.5), json!("5"), Value::Null] {
        let problem = admin.post(MESSAGES, &json!({ "minutes": minutes })).expect(422).json();
        assert!(problem["problems"][0]["what"].is_string(), "{problem}");
    }
    let one = json!({ "minutes": 1 });
    for nowhere in ["default/connection-3", "eva/connection-1", "default/%2e%2e"] {
        let path = format!("/api/v1/connections/{nowhere}/messages");
        let answers = [admin.get(&path), admin.post(&path, &one), admin.delete(&path)];
        assert_eq!(answers.map(|answer| answer.status), [404; 3], "{nowhere}");
    }

    let token = |scope: &str| {
        let token =
            admin.post("/api/v1/tokens", &json!({ "name": scope, "scope": scope })).expect(201).json();
        Http::of(&bridge).with_token(token["token"].as_str().unwrap())
    };
    let program = token("write");
    let strangers = [(Http::of(&bridge), 401), (token("read"), 403), (token("metrics"), 403)];
    for (stranger, status) in &strangers {
        stranger.post(MESSAGES, &one).expect(*status);
    }
    admin.get(MESSAGES).expect(409);
    admin.post(MESSAGES, &one).expect(201);
    for (stranger, status) in &strangers {
        stranger.get(MESSAGES).expect(*status);
        stranger.delete(MESSAGES).expect(*status);
    }
    admin.set_csrf_token(None);
    admin.post(MESSAGES, &one).expect(403);
    admin.delete(MESSAGES).expect(403);

    let mut page = program.events(MESSAGES);
    bridge.connect(V5, &from).publish(&from.publish, "seen", 1);
    assert_eq!(page.message()["payload"], STANDARD.encode("seen"));
    admin.get(OF_THE_OTHER).expect(409);
}

#[test]
fn all_that_its_devices_tell_each_other_is_shown_and_nothing_of_others() {
    let bridge = Bridge::start();
    let admin = Http::log_in(&bridge);
    let [from, to] = ends(&bridge, "connection-1");
    let [other, _] = ends(&bridge, "connection-2");
    admin.post(MESSAGES, &json!({ "minutes": 5 })).expect(201);
    let (mut page, mut second) = (admin.events(MESSAGES), admin.events(MESSAGES));
    bridge.connect(V5, &other).publish(&other.publish, "of another connection", 1);
    let mut told = Vec::new();
    for (version, teller) in [(V5, &from), (V311, &to)] {
        let mut client = bridge.connect(version, teller);
        for qos in 0..=2 {
            client.publish(&format!("{}/q", teller.publish), "x", qos);
            told.push((teller.login.username.clone(), format!("{}/q", teller.publish), qos, false));
        }
        client.publish_retained(&teller.publish, "kept", 1);
        told.push((teller.login.username.clone(), teller.publish.clone(), 1, true));
        client.disconnect();
        let will = Will::new(&teller.publish, "gone").qos(2);
        let connect = Connect::new("mortal").will(will);
        bridge.connect_with(version, teller, connect).0.cut();
        told.push((teller.login.username.clone(), teller.publish.clone(), 2, false));
        for page in [&mut page, &mut second] {
            for (username, topic, qos, retain) in &told {
                let message = page.message();
                assert_eq!(message["from"], **username);
                let peer = if *username == from.login.username { &to } else { &from };
                assert_eq!(message["to"], *peer.login.username);
                assert_eq!(
                    (&message["topic"], &message["qos"], &message["retain"]),
                    (&json!(topic), &json!(qos), &json!(retain))
                );
            }
        }
        told.clear();
    }
}

#[test]
fn whatever_a_message_holds_is_shown_as_it_is() {
    let world = World::empty().env("IOR_BRIDGE__LIMITS__MAX_PACKET_SIZE", "2MiB");
    let bridge = world.start();
    let admin = Http::log_in(&bridge);
    let [from, _] = ends(&bridge, "connection-1");
    admin.post(MESSAGES, &json!({ "minutes": 5 })).expect(201);
    let mut page = admin.events(MESSAGES);
    let mut client = bridge.connect(V5, &from);
    let every_byte: Vec<u8> = (0..=255).collect();
    let large: Vec<u8> = (0..1 << 20).map(|at| (at % 251) as u8).collect();
    let forged = b"\n\nevent: end\ndata: {}\n\n</script><script>alert(1)</script>";
    for payload in [&every_byte[..], b"", forged, &large] {
        client.publish(&from.publish, payload, 1);
        let message = page.message();
        let shown = STANDARD.decode(message["payload"].as_str().unwrap()).unwrap();
        assert_eq!(shown, payload[..payload.len().min(4096)]);
        assert_eq!(message["size"], payload.len());
        assert_eq!(message.get("content_type"), None);
    }
    for end in
        ["\"}, {\"topic\": \"x", "<img src=x onerror=alert(1)>", "\u{202e}gnp", "a\rb\nc\u{85}\u{2028}"]
    {
        let topic = format!("{}/{end}", from.publish);
        let content_type = Property::ContentType(end.to_owned());
        client.complete(Publish::new(&topic, "x").property(content_type), 1);
        let message = page.message();
        assert_eq!((&message["topic"], &message["content_type"]), (&json!(topic), &json!(end)));
    }
}

#[test]
fn what_is_shown_is_seen_by_everybody_and_told_when_it_begins_and_ends() {
    let bridge = Bridge::start();
    let admin = Http::log_in(&bridge);
    let until = admin.post(MESSAGES, &json!({ "minutes": 1 })).expect(201).json()["until"].clone();
    let longer = admin.post(MESSAGES, &json!({ "minutes": 30 })).expect(201).json()["until"].clone();
    assert!(until.as_str().unwrap() < longer.as_str().unwrap(), "{until} {longer}");
    wait_until_shown(&admin, &longer);
    assert_eq!(
        admin.get("/api/v1/connections/default/connection-2").json()["messages_shown_until"],
        Value::Null
    );

    let mut page = admin.events(MESSAGES);
    admin.delete(MESSAGES).expect(204);
    assert_eq!(page.next_within(DEADLINE).unwrap().name, "end");
    assert_eq!(page.next_within(DEADLINE), None);
    admin.get(MESSAGES).expect(409);
    wait_until_shown(&admin, &Value::Null);

    let who = "by the administrator at 127.0.0.1";
    let begins = ["the messages of default/connection-1 are shown on the page until", who];
    let ends =
        [&format!("the messages of default/connection-1 are not shown any more: turned off {who}")[..]];
    bridge.says(&begins);
    bridge.says(&ends);
    let events = admin.get("/api/v1/events?connection=default/connection-1&kind=page").expect(200).json();
    let texts: Vec<_> =
        events["events"].as_array().unwrap().iter().map(|event| event["text"].clone()).collect();
    let told = |words: &[&str]| {
        let has_all = |text: &&Value| words.iter().all(|word| text.as_str().unwrap().contains(word));
        texts.iter().filter(has_all).count()
    };
    assert_eq!((told(&begins), told(&ends)), (2, 1), "{texts:?}");
}

#[test]
fn it_ends_when_the_connection_is_another_one_and_when_whoever_looks_may_not_any_more() {
    let world = World::empty();
    let bridge = world.start();
    let admin = Http::log_in(&bridge);
    let device = |code: u32| json!({ "code": code, "name": format!("Device {code}"), "type": "t" });
    let devices = json!([device(4569), device(5412), device(5648), device(9036)]);
    let connection = |from: u32, to: u32| json!([{ "name": "Connection 1", "from": from, "to": to }]);
    let show = || {
        admin.post(MESSAGES, &json!({ "minutes": 5 })).expect(201);
        admin.events(MESSAGES)
    };
    bridge.reconfigure(&devices, &connection(4569, 5412));
    let mut page = show();
    bridge.reconfigure(&devices, &connection(5412, 4569));
    let [from, _] = ends(&bridge, "connection-1");
    let mut client = bridge.connect(V5, &from);
    client.publish(&from.publish, "the ends have changed places", 1);
    assert_eq!(page.message()["from"], "default.5412");

    bridge.reconfigure(&devices, &connection(5412, 9036));
    client.publish(&from.publish, "not for these eyes", 1);
    page.expect_end();
    admin.get(MESSAGES).expect(409);
    let mut page = show();
    bridge.reconfigure(&devices, &json!([]));
    page.expect_end();
    bridge.says(&["the messages of default/connection-1 are not shown any more: the connection is gone"]);
    bridge.reconfigure(&devices, &connection(5412, 9036));
    admin.get(MESSAGES).expect(409);

    let mut page = show();
    let other = Http::log_in(&bridge);
    admin.delete("/api/v1/session").expect(204);
    page.expect_end();
    let mut page = other.events(MESSAGES);
    assert!(bridge.stop().0.success());
    page.expect_end();
}

#[test]
fn a_page_that_does_not_read_harms_nobody_and_a_flood_is_shown_in_part() {
    const FLOOD: usize = 5_000;
    let bridge = Bridge::start();
    let admin = Http::log_in(&bridge);
    let [from, _] = ends(&bridge, "connection-1");
    admin.post(MESSAGES, &json!({ "minutes": 5 })).expect(201);
    let mut stuck = admin.open();
    stuck.write_all(&admin.request("GET", MESSAGES, &[], None)).unwrap();
    let mut page = admin.events(MESSAGES);
    let mut client = bridge.connect(V5, &from);
    client.publish_all(&from.publish, (0..FLOOD).map(|_| vec![b'x'; 5000]));
    client.publish(&from.publish, "last", 1);
    let (mut shown, mut left_out) = (0, 0);
    // All of the flood is either shown or counted; the last message is one of them.
    while shown + left_out <= FLOOD as u64 {
        match page.next_within(DEADLINE).expect("more") {
            event if event.name == "message" => shown += 1,
            event => {
                assert_eq!(event.name, "left_out");
                left_out += event.data["count"].as_u64().unwrap();
            }
        }
    }
    assert_eq!(shown + left_out, FLOOD as u64 + 1);
    assert!(left_out > 0 && shown > 0, "{shown} {left_out}");
    client.publish(&from.publish, "after it", 1);
    assert_eq!(page.message()["payload"], STANDARD.encode("after it"));
    drop(client);
    bridge.assert_unharmed(&from);
    drop(stuck);
}

fn ends(bridge: &Bridge, connection: &str) -> [Credentials; 2] {
    [End::From, End::To].map(|end| bridge.credentials(connection, end))
}

/// What a page is told is not of the same moment.
#[track_caller]
fn wait_until_shown(admin: &Http, until: &Value) {
    let deadline = std::time::Instant::now() + DEADLINE;
    loop {
        let connection = admin.get("/api/v1/connections/default/connection-1").expect(200).json();
        if connection["messages_shown_until"] == *until {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{connection}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

trait Messages {
    fn message(&mut self) -> Value;
    fn expect_end(&mut self);
}

impl Messages for Events {
    /// The next message.
    #[track_caller]
    fn message(&mut self) -> Value {
        let event = self.next_within(DEADLINE).expect("a message");
        assert_eq!(event.name, "message", "{}", event.data);
        let time = event.data["time"].as_str().unwrap();
        assert!(time.ends_with('Z') && time.contains('T'), "{time}");
        event.data
    }

    /// Nothing more is told.
    #[track_caller]
    fn expect_end(&mut self) {
        assert_eq!(self.next_within(DEADLINE).expect("the end").name, "end");
        assert_eq!(self.next_within(DEADLINE), None);
    }
}
