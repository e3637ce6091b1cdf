//! What pages are shown while it happens, and what they are shown of the last hour.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ior_tests::{
    Bridge, Credentials, End, World,
    http::{Events, Http},
    raw::{Connect, Kind, Publish, Version::V5},
};
use serde_json::{Value, json};

/// A busy machine may take its time, and so does what is told seldom.
const LONG: Duration = Duration::from_secs(30);

#[test]
fn a_device_that_comes_and_goes_is_seen_at_once() {
    let bridge = Bridge::start();
    let http = Http::log_in(&bridge);
    let mut page = Page::open(&http);
    let device = |state: &Value| state["devices"][0].clone();
    assert_eq!(device(&page.state)["online"], false);
    assert_eq!(page.state["revision"], http.get("/api/v1/status").expect(200).json()["revision"]);

    let client = bridge.connect(V5, &ends(&bridge)[0]);
    page.wait_for("it is online", |page| device(&page.state)["online"] == true);
    let seen = device(&page.state);
    assert_eq!(seen["username"], "default.4569");
    assert_eq!(seen["sessions"][0]["address"], client.local_addr().to_string());
    assert_eq!(page.state["totals"]["devices_online"], 1);
    page.wait_for("the event", |page| page.has("connected", "default.4569"));

    client.disconnect();
    page.wait_for("it is offline", |page| device(&page.state)["online"] == false);
    page.wait_for("the event", |page| page.has("disconnected", "default.4569"));
    let numbers: Vec<_> = page.happened.iter().map(|event| event["number"].as_u64().unwrap()).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
}

#[test]
fn counters_and_rates_move_with_the_traffic() {
    const MESSAGES: u64 = 300;
    let bridge = Bridge::start();
    let http = Http::log_in(&bridge);
    let mut page = Page::open(&http);
    let [from, to] = ends(&bridge);
    let mut receiver = bridge.connect(V5, &to);
    receiver.subscribe(&to.subscribe, 1);
    let mut sender = bridge.connect(V5, &from);
    let mut sent = 0;
    // Until it is seen to move: how fast that is depends on the machine.
    page.wait_for("rates", |page| {
        while sent < MESSAGES * (page.frames as u64).min(50) {
            sender.publish(&from.publish, "hello", 1);
            receiver.expect_message();
            sent += 1;
        }
        let state = &page.state;
        let rates = [
            &state["rates"]["received"],
            &state["rates"]["sent"],
            &state["devices"][0]["rates"]["received"],
            &state["devices"][1]["rates"]["sent"],
            &state["connections"][0]["from_to"]["rate"],
        ];
        rates.iter().all(|rate| rate.as_f64().unwrap() > 0.0)
    });
    page.wait_for("all of it, and silence", |page| {
        let state = &page.state;
        state["devices"][0]["received"]["messages"] == sent
            && state["connections"][0]["from_to"]["published"]["messages"] == sent
            && state["connections"][0]["from_to"]["published"]["bytes"] == 5 * sent
            && state["totals"]["received"] == sent
            && state["rates"]["received"] == 0.0
            && state["connections"][0]["from_to"]["rate"] == 0.0
    });
    let connection = &page.state["connections"][0];
    assert_eq!(
        (&connection["key"], &connection["from"]["code"]),
        (&json!("default/connection-1"), &json!(4569))
    );
    assert_eq!(
        (&connection["to_from"]["rate"], &connection["to_from"]["published"]["messages"]),
        (&json!(0.0), &json!(0))
    );
    // It tells the presence of its peer, too.
    assert!(page.state["devices"][1]["sent"]["messages"].as_u64().unwrap() >= sent);
}

#[test]
fn refusals_are_events_with_their_reason() {
    let bridge = World::empty().answering_at_once().start();
    let http = Http::log_in(&bridge);
    let mut page = Page::open(&http);
    let mut stranger = bridge.open(V5);
    stranger.send(Connect::new("x").user_name("default.4569").password("wrong"));
    stranger.expect_connack();
    page.wait_for("the refusal", |page| page.has("refused", "default.4569"));
    let mut client = bridge.connect(V5, &ends(&bridge)[0]);
    client.send(Publish::new("default/connection-1/5412/<b>\n", b"").qos(1, 1));
    assert_eq!(client.expect_ack(Kind::PubAck, 1).reason, 0x87);
    page.wait_for("the denial", |page| page.has("denied", "default.4569"));
    let denied = page.happened.iter().find(|event| event["kind"] == "denied").unwrap();
    assert_eq!(denied["topic"], "default/connection-1/5412/<b>\n");
    assert_eq!(denied["connection"], "default/connection-1");
    page.wait_for("the count", |page| page.state["totals"]["denied"] == 1);

    let events =
        |query: &str| http.get(&format!("/api/v1/events{query}")).expect(200).json()["events"].clone();
    let kinds = |events: Value| -> Vec<Value> {
        events.as_array().unwrap().iter().map(|event| event["kind"].clone()).collect()
    };
    let of_device = kinds(events("?device=default.4569"));
    assert_eq!(of_device, ["denied", "connected", "refused"], "newest first");
    assert_eq!(kinds(events("?device=4569&kind=refused,denied")), ["denied", "refused"]);
    assert_eq!(kinds(events("?connection=connection-1&limit=1")), ["denied"]);
    assert_eq!(kinds(events("?connection=connection-2&kind=denied")), Vec::<Value>::new());
    for (query, status, words) in [
        ("?device=nobody", 404, "no device"),
        ("?connection=nothing", 404, "no connection"),
        ("?kind=nonsense", 422, "connected"),
        ("?limit=many", 422, "limit"),
        ("?colour=red", 422, "colour"),
    ] {
        let problem = http.get(&format!("/api/v1/events{query}")).expect(status).json();
        assert!(problem["detail"].as_str().unwrap().contains(words), "{query}: {problem}");
    }
}

#[test]
fn another_configuration_is_shown_whole() {
    let bridge = Bridge::start();
    let http = Http::log_in(&bridge);
    let mut page = Page::open(&http);
    let revision = page.state["revision"].clone();
    let device = |code: u32| json!({ "code": code, "name": "New", "type": "ESP32" });
    bridge.reconfigure(&json!([device(7), device(8)]), &json!([{ "name": "n", "from": 7, "to": 8 }]));
    page.wait_for("it", |page| page.state["devices"][0]["username"] == "default.7");
    assert_ne!(page.state["revision"], revision);
    assert_eq!(page.state["connections"].as_array().unwrap().len(), 1);
    page.wait_for("the event", |page| page.happened.iter().any(|event| event["kind"] == "configuration"));
    let [list, one] =
        ["/api/v1/devices", "/api/v1/devices/default.7"].map(|path| http.get(path).expect(200).json());
    assert_eq!((&list["revision"], &one["revision"]), (&page.state["revision"], &page.state["revision"]));
    assert_eq!((&one["name"], &one["type"]), (&json!("New"), &json!("ESP32")));
    http.get("/api/v1/devices/default.4569").expect(404);
}

#[test]
fn what_pages_are_shown_can_be_asked_for() {
    let bridge = Bridge::start();
    let http = Http::log_in(&bridge);
    let status = http.get("/api/v1/status").expect(200).json();
    assert_eq!(status["bridge"]["pid"], bridge.process().id());
    for (part, key) in [
        ("bridge", "memory"),
        ("bridge", "open_files"),
        ("machine", "memory_total"),
        ("machine", "disk_total"),
    ] {
        assert!(status[part][key].as_u64().unwrap() > 0, "{status}");
    }
    assert!(
        status["listeners"].as_array().unwrap().iter().any(|listener| listener["name"] == "web"),
        "{status}"
    );
    let all = http.get("/api/v1/connections").expect(200).json();
    let one = http.get("/api/v1/connections/default/connection-2").expect(200).json();
    assert_eq!(
        (&all["connections"][1]["key"], &one["key"]),
        (&json!("default/connection-2"), &json!("default/connection-2"))
    );
    for path in [
        "/api/v1/connections/default/none",
        "/api/v1/devices/none/history",
        "/api/v1/connections/a/b/history",
    ] {
        let problem = http.get(path).expect(404);
        assert_eq!(problem.header("content-type"), Some("application/problem+json"), "{path}");
    }
    let stranger = Http::of(&bridge);
    for path in ["status", "devices", "connections", "events", "history", "live"] {
        stranger.get(&format!("/api/v1/{path}")).expect(401);
    }
}

#[test]
fn the_last_hour_is_remembered() {
    let bridge = Bridge::start();
    let http = Http::log_in(&bridge);
    let [from, _] = ends(&bridge);
    let mut sender = bridge.connect(V5, &from);
    let mut moved = |path: &str, series: &str| {
        let until = Instant::now() + Duration::from_secs(120);
        loop {
            sender.publish(&from.publish, "hello", 1);
            let history = http.get(path).expect(200).json();
            let values = history[series].as_array().unwrap();
            if values.iter().any(|value| value.as_f64().is_some_and(|value| value > 0.0)) {
                return history;
            }
            assert!(Instant::now() < until, "{history}");
            thread::sleep(Duration::from_millis(100));
        }
    };
    let totals = moved("/api/v1/history", "received");
    assert_eq!(totals["interval"], 10);
    for series in ["sent", "denied", "devices_online", "queued", "cpu", "memory", "store_bytes", "disk_free"]
    {
        assert_eq!(
            totals[series].as_array().unwrap().len(),
            totals["received"].as_array().unwrap().len(),
            "{series}"
        );
    }
    assert_eq!(totals["devices_online"].as_array().unwrap().last().unwrap(), 1);
    let device = moved("/api/v1/devices/default.4569/history", "received");
    assert_eq!(device["interval"], 30);
    let connection = moved("/api/v1/connections/default/connection-1/history", "from_to");
    assert!(connection["to_from"].as_array().unwrap().iter().all(|value| value == 0.0), "{connection}");
}

#[test]
fn a_page_that_stops_reading_is_shown_everything_anew_and_disturbs_nobody() {
    let bridge = Bridge::start();
    let http = Http::log_in(&bridge);
    // With little room on its way, it falls behind early.
    let mut slow = http.events_over(connect_with_little_room(&bridge), "/api/v1/live");
    assert_eq!(slow.next_within(LONG).unwrap().name, "state");
    let mut page = Page::open(&http);
    let goes_on = Arc::new(AtomicBool::new(true));
    let flood = thread::spawn({
        let (goes_on, mut client) = (Arc::clone(&goes_on), bridge.connect(V5, &ends(&bridge)[0]));
        move || {
            let topic = format!("elsewhere/{}", "x".repeat(240));
            while goes_on.load(Ordering::Relaxed) {
                for id in 1..=50 {
                    client.send(Publish::new(&topic, b"").qos(1, id));
                }
                for id in 1..=50 {
                    assert_eq!(client.expect_ack(Kind::PubAck, id).reason, 0x87);
                }
            }
        }
    });
    // More than is on the way and remembered together.
    page.wait_for("a flood of events", |page| page.happened.len() > 3000);
    slow.wait_for("everything anew", LONG, |event| (event.name == "state").then_some(()));
    goes_on.store(false, Ordering::Relaxed);
    flood.join().unwrap();
    page.wait_for("what was left out", |page| page.happened.iter().any(|event| event["kind"] == "missed"));
}

#[test]
fn fifty_pages_hear_of_everything_and_cost_little() {
    const PAGES: usize = 50;
    const MESSAGES: u64 = 5000;
    let bridge = Bridge::start();
    let http = Http::log_in(&bridge);
    let [from, to] = ends(&bridge);
    let mut receiver = bridge.connect(V5, &to);
    receiver.subscribe(&to.subscribe, 1);
    let mut sender = bridge.connect(V5, &from);
    let began = Instant::now();
    let pages: Vec<_> = (0..PAGES).map(|_| Page::open(&http)).collect();
    let before = bridge.process().resident();
    let pages: Vec<_> = pages
        .into_iter()
        .map(|mut page| {
            thread::spawn(move || {
                page.wait_for("all messages", |page| {
                    let state = &page.state;
                    [&state["devices"][0]["received"], &state["connections"][0]["from_to"]["published"]]
                        .iter()
                        .all(|counted| counted["messages"] == MESSAGES)
                });
                (page.frames, began.elapsed())
            })
        })
        .collect();
    for number in 0..MESSAGES {
        sender.publish(&from.publish, number.to_string(), 1);
        assert_eq!(receiver.expect_message().payload, number.to_string().as_bytes());
    }
    for page in pages {
        let (frames, elapsed) = page.join().unwrap();
        // Each look may bring changes and events.
        let most = 2.0 * (4.0 * elapsed.as_secs_f64() + 2.0);
        assert!((frames as f64) < most, "{frames} in {elapsed:?}");
    }
    let grown = bridge.process().resident().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes");
}

#[test]
fn there_is_an_end_to_how_many_pages_are_open() {
    const PAGES: usize = 100;
    let bridge = Bridge::start();
    let http = Http::log_in(&bridge);
    let mut pages: Vec<_> = (0..PAGES).map(|_| http.events("/api/v1/live")).collect();
    let problem = http.get("/api/v1/live").expect(503).json();
    assert!(problem["detail"].as_str().unwrap().contains("close one"), "{problem}");
    http.get("/api/v1/status").expect(200);
    // Whoever goes makes room.
    pages.pop();
    let until = Instant::now() + LONG;
    let request = http.request("GET", "/api/v1/live", &[], None);
    loop {
        let mut stream = http.open();
        stream.write_all(&request).unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        if &status == b"HTTP/1.1 200" {
            break;
        }
        assert!(Instant::now() < until, "no room");
    }
}

#[test]
fn a_page_ends_with_its_session_and_no_other() {
    let bridge = Bridge::start();
    let [one, other] = [(); 2].map(|()| Http::log_in(&bridge));
    let [mut ends, mut stays] = [&one, &other].map(Page::open);
    one.delete("/api/v1/session").expect(204);
    ends.events.wait_for_end(LONG);
    let _client = bridge.connect(V5, &self::ends(&bridge)[0]);
    stays.wait_for("what happens after that", |page| page.state["devices"][0]["online"] == true);
}

#[test]
fn the_end_of_the_bridge_is_told() {
    let bridge = Bridge::start();
    let http = Http::log_in(&bridge);
    let mut page = Page::open(&http);
    let stop = thread::spawn(move || bridge.stop());
    page.events.wait_for("the end", LONG, |event| (event.name == "stopping").then_some(()));
    page.events.wait_for_end(LONG);
    let (status, _world) = stop.join().unwrap();
    assert!(status.success());
}

/// Regression: whoever was connected went on being served.
#[test]
fn a_page_that_is_turned_off_ends_for_those_who_have_it_open() {
    let world = World::empty().without_env("IOR_BRIDGE__WEB__LISTEN");
    world.write("server.json", r#"{ "web": { "listen": "127.0.0.1:0" } }"#);
    let bridge = world.start();
    let http = Http::log_in(&bridge);
    let mut page = Page::open(&http);
    bridge.after("configuration reloaded", || {
        bridge.world().write("server.json", r#"{ "web": { "listen": null } }"#);
    });
    page.events.wait_for_end(LONG);
    assert!(TcpStream::connect(bridge.web.unwrap()).is_err(), "it is off");
    bridge.assert_unharmed(&bridge.credentials("connection-1", End::From));
}

/// An open page, and what it knows.
struct Page {
    events: Events,
    state: Value,
    /// Oldest first.
    happened: Vec<Value>,
    /// How often it was told something.
    frames: usize,
}

impl Page {
    #[track_caller]
    fn open(http: &Http) -> Self {
        let mut events = http.events("/api/v1/live");
        let first = events.next_within(LONG).expect("a page that goes on");
        assert_eq!(first.name, "state");
        Self { events, state: first.data, happened: vec![], frames: 1 }
    }

    /// Takes what it is told until this is so.
    #[track_caller]
    fn wait_for(&mut self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let until = Instant::now() + 2 * LONG;
        while !is_so(self) {
            assert!(
                Instant::now() < until,
                "not seen: {what}, only {} and {:?}",
                self.state,
                self.happened.last()
            );
            let event = self.events.next_within(LONG).expect("a page that goes on");
            self.frames += 1;
            match event.name.as_str() {
                "state" => self.state = event.data,
                "changes" => self.take(&event.data),
                "events" => self.happened.extend(event.data.as_array().unwrap().iter().cloned()),
                other => panic!("{other}: {}", event.data),
            }
        }
    }

    fn take(&mut self, changes: &Value) {
        for part in ["time", "bridge", "machine", "store", "totals", "rates"] {
            if let Some(changed) = changes.get(part) {
                self.state[part] = changed.clone();
            }
        }
        for (list, key) in [("devices", "username"), ("connections", "key")] {
            for changed in changes[list].as_array().unwrap() {
                let known = self.state[list].as_array_mut().unwrap();
                *known.iter_mut().find(|known| known[key] == changed[key]).unwrap() = changed.clone();
            }
        }
    }

    /// Whether something of this kind has happened to a device.
    fn has(&self, kind: &str, username: &str) -> bool {
        self.happened.iter().any(|event| event["kind"] == kind && event["username"] == username)
    }
}

fn ends(bridge: &Bridge) -> [Credentials; 2] {
    [End::From, End::To].map(|end| bridge.credentials("connection-1", end))
}

/// To the page, with a receive buffer as small as the system allows.
fn connect_with_little_room(bridge: &Bridge) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(2048).unwrap();
        let stream = socket.connect(bridge.web.unwrap()).await.unwrap().into_std().unwrap();
        stream.set_nonblocking(false).unwrap();
        stream
    })
}
