//! The messages that `docs/faq.md` quotes are those that devices and the bridge really say, each provoked here.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    net::TcpListener,
    process::{Command, Output},
};

use ior_tests::{
    Bridge, Credentials, DEADLINE, End, World,
    documents::read,
    faults::Faults,
    raw::{Connect, Version::V5},
    tls::Authority,
};
use serde_json::json;
use tokio::net::TcpSocket;

/// The topic that the quotes of refused messages have in their place.
const OWN: &str = "default/connection-1/4569/x";

#[test]
fn wrong_passwords_and_user_names() {
    let bridge = start();
    let from = end(&bridge, End::From);
    let quotes = quotes(1);
    let guess = plain(&bridge, "default.4569", "guess");
    quotes[0].is_said_by(&publish(&guess, OWN));
    quotes[1].is_logged(&bridge);
    publish(&plain(&bridge, "4569", &from.login.password), OWN);
    quotes[2].is_logged(&bridge);
    assert_eq!(quotes.len(), 3);
}

#[test]
fn logins_that_are_not_authorized() {
    let quotes = quotes(2);
    let world = World::empty().env("IOR_BRIDGE__TLS", "required");
    let bridge = world.start();
    let from = end(&bridge, End::From);
    let login = plain(&bridge, "default.4569", &from.login.password);
    quotes[0].is_said_by(&publish(&login, OWN));
    quotes[2].is_logged(&bridge);

    let bridge = start();
    let from = end(&bridge, End::From);
    let device =
        |code: u16, disabled: bool| json!({ "code": code, "name": "a", "type": "b", "disabled": disabled });
    let connection = json!([{ "name": "Connection 1", "from": 4569, "to": 5412 }]);
    bridge.reconfigure(&json!([device(4569, true), device(5412, false)]), &connection);
    publish(&plain(&bridge, "default.4569", &from.login.password), OWN);
    quotes[1].is_logged(&bridge);
    assert_eq!(quotes.len(), 3);
}

#[test]
fn certificates_and_ports() {
    let bridge = start();
    let from = end(&bridge, End::From);
    let other = bridge.world().data().join("other.pem");
    fs::write(&other, Authority::new("Another bridge's CA").pem).unwrap();
    let trusted = from.login_with_tls().tls.unwrap().ca;
    let (plain_port, tls_port) = (bridge.addr.port(), bridge.mqtts.unwrap().port());
    let with = |port: u16, ca: Option<&std::path::Path>| {
        let mut options = login(port, "default.4569", &from.login.password);
        if let Some(ca) = ca {
            options.extend(["--cafile".to_owned(), ca.display().to_string()]);
        }
        publish(&options, OWN)
    };
    let tls = quotes(3);
    tls[0].is_said_by(&with(tls_port, Some(&other)));
    tls[1].is_logged(&bridge);
    let ports = quotes(4);
    with(plain_port, Some(&trusted));
    ports[0].is_logged(&bridge);
    with(tls_port, None);
    ports[1].is_logged(&bridge);
    assert_eq!((tls.len(), ports.len()), (2, 2));
}

#[test]
fn nobody_there() {
    let quotes = quotes(5);
    // Bound, so that nobody else gets the port, and not listening.
    let bound = TcpSocket::new_v4().unwrap();
    bound.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let unused = bound.local_addr().unwrap().port();
    quotes[0].is_said_by(&publish(&login(unused, "u", "p"), OWN));
    let unknown =
        Command::new("mosquitto_pub").args(["-h", "unknown.invalid", "-t", OWN, "-m", "x"]).output();
    quotes[1].is_said_by(&unknown.unwrap());

    let bridge = start();
    let file = end(&bridge, End::From).file;
    let publish = |option: &str, value: &str| {
        bridge.world().run(&["pub", file.to_str().unwrap(), "x", "y", option, value])
    };
    quotes[2].is_said_by(&publish("--port", &unused.to_string()));
    quotes[3].is_said_by(&publish("--host", "unknown.invalid"));
    assert_eq!(quotes.len(), 4);
}

#[test]
fn topics_that_are_refused() {
    let bridge = start();
    let from = end(&bridge, End::From);
    let quotes = quotes(6);
    let login = plain(&bridge, "default.4569", &from.login.password);
    quotes[0].is_said_by(&publish(&login, "default/connection-1/5412/x"));
    quotes[2].is_logged(&bridge);
    let everything = Command::new("mosquitto_sub").args(&login).args(["-t", "#"]).output().unwrap();
    quotes[1].is_said_by(&everything);
    quotes[3].is_logged(&bridge);
    assert_eq!(quotes.len(), 4);
}

#[test]
fn connections_that_break_again_and_again() {
    let bridge = start();
    let from = end(&bridge, End::From);
    let quotes = quotes(7);
    let first = bridge.connect(V5, &from);
    let second = bridge.connect_with(V5, &from, Connect::new(&from.login.client_id).keep_alive(1)).0;
    quotes[0].is_logged(&bridge);
    quotes[2].is_logged(&bridge);
    let third_to_sixth = [(); 4].map(|()| bridge.connect(V5, &from));
    quotes[1].is_logged(&bridge);
    drop((first, second, third_to_sixth));
    assert_eq!(quotes.len(), 3);
}

#[test]
fn a_full_queue() {
    let world = World::empty().env("IOR_BRIDGE__LIMITS__QUEUE_MESSAGES", "1");
    let bridge = world.start();
    let (from, to) = (end(&bridge, End::From), end(&bridge, End::To));
    let quotes = quotes(8);
    leave_a_session(&bridge, &to);
    let login = plain(&bridge, "default.4569", &from.login.password);
    publish(&login, OWN);
    quotes[0].is_said_by(&publish(&login, OWN));
    quotes[1].is_logged(&bridge);
    assert_eq!(quotes.len(), 2);
}

#[test]
fn what_stops_a_start_or_a_reload() {
    let quotes = quotes(9);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let world = World::empty().env("IOR_BRIDGE__MQTT__LISTEN", &taken.local_addr().unwrap().to_string());
    quotes[0].is_in(&world.start_fails().1);

    let bridge = start();
    quotes[2].is_in(&bridge.world().start_fails().1);
    let from = json!([{ "code": 4569, "name": "Master 1", "type": "Raspberry Pi" }]);
    let connection = json!([{ "name": "Connection 1", "from": 4569, "to": 5412 }]);
    bridge.world().configure(&from, &connection);
    quotes[1].is_logged(&bridge);
    quotes[3].is_logged(&bridge);
    assert_eq!(quotes.len(), 4);
}

#[test]
fn stores_that_are_damaged_or_cannot_be_written() {
    let quotes = quotes(10);
    let (world, faults) = Faults::of(World::durable());
    let bridge = world.start();
    let (from, to) = (end(&bridge, End::From), end(&bridge, End::To));
    leave_a_session(&bridge, &to);
    let login = plain(&bridge, "default.4569", &from.login.password);
    faults.set("write ENOSPC");
    let refused = publish(&login, OWN);
    assert!(text(&refused.stderr).contains("Quota exceeded"), "{refused:?}");
    quotes[1].is_logged(&bridge);
    faults.clear();
    quotes[2].is_logged(&bridge);

    let world = bridge.kill();
    let file = world.store().join("store.db");
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    quotes[0].is_in(&world.start_fails().1);
    assert_eq!(quotes.len(), 3);
}

/// Words of the document.
struct Quote(String);

/// What a section quotes, line by line.
#[track_caller]
fn quotes(section: usize) -> Vec<Quote> {
    let text = read("docs/faq.md");
    let mut sections = text.split("\n## ").skip(1);
    let section = sections.find(|text| text.starts_with(&format!("{section}. "))).expect("a section");
    let blocks = section.split("\n```text\n").skip(1).map(|rest| rest.split_once("\n```").unwrap().0);
    blocks.flat_map(str::lines).map(|line| Quote(line.to_owned())).collect()
}

impl Quote {
    /// Whether a line has all that stands between the `…`, in this order.
    fn is_of(&self, line: &str) -> bool {
        let mut rest = Some(line);
        for part in self.0.split('…') {
            rest = rest.and_then(|rest| rest.split_once(part)).map(|(_, rest)| rest);
        }
        rest.is_some()
    }

    #[track_caller]
    fn is_in(&self, said: &str) {
        assert!(said.lines().any(|line| self.is_of(line)), "{:?} is not in\n{said}", self.0);
    }

    #[track_caller]
    fn is_said_by(&self, device: &Output) {
        self.is_in(&(text(&device.stdout) + &text(&device.stderr)));
    }

    #[track_caller]
    fn is_logged(&self, bridge: &Bridge) {
        bridge.process().wait_for(&self.0, DEADLINE * 4, |line| self.is_of(line).then_some(()));
    }
}

fn start() -> Bridge {
    World::empty().env("IOR_BRIDGE__HOST", "localhost").start()
}

fn end(bridge: &Bridge, end: End) -> Credentials {
    bridge.credentials("connection-1", end)
}

/// A kept session whose device is away.
fn leave_a_session(bridge: &Bridge, who: &Credentials) {
    let (mut client, _) = bridge.connect_persistent(V5, who);
    client.subscribe(&who.subscribe, 1);
    client.disconnect();
}

/// How mosquitto's clients log in.
fn login(port: u16, user_name: &str, password: &str) -> Vec<String> {
    let port = port.to_string();
    ["-h", "localhost", "-p", &port, "-V", "mqttv5", "-q", "1", "-u", user_name, "-P", password]
        .map(str::to_owned)
        .into()
}

fn plain(bridge: &Bridge, user_name: &str, password: &str) -> Vec<String> {
    login(bridge.addr.port(), user_name, password)
}

fn publish(login: &[String], topic: &str) -> Output {
    Command::new("mosquitto_pub").args(login).args(["-t", topic, "-m", "x"]).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
