//! How the page looks, and whether everybody can use it. Pictures of every place are kept in `target/screenshots/`: whoever
//! changes the page looks at them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread::JoinHandle,
    time::Duration,
};

use ior_tests::{
    Bridge, End, World,
    raw::{Client, Connect, Kind, Publish, Version::V5},
    visitor::{Browser, LOG_IN, Look, Visitor, first_password, pictures},
};
use serde_json::json;

/// A place, and how one gets to the dialog that is shown there.
type Place = (&'static str, &'static str, &'static [Step]);

enum Step {
    Click(&'static str),
    See(&'static str),
    Fill(&'static str, &'static str),
}

use Step::{Click, Fill, See};

const PLACES: [Place; 13] = [
    ("overview", "/", &[See("svg"), See("role=log >> li")]),
    ("devices", "/devices", &[See("tr:has-text(\"Pump house\") >> text=Online")]),
    ("device", "/devices/default.pump-1", &[See("role=log >> li"), See("svg")]),
    ("connections", "/connections", &[See("article >> svg"), See("text=3 queued")]),
    (
        "connection",
        "/connections/default/pump-and-tank",
        &[See(".message"), See("role=log >> li"), See("svg")],
    ),
    ("live", "/live", &[See("role=log >> li")]),
    ("account", "/account", &[See("text=Theme")]),
    ("no-such-place", "/devices/default.nobody", &[See("h1")]),
    (
        "dialog-add-device",
        "/devices",
        &[
            Click("role=button[name=\"Add device\"]"),
            Fill("Code", "pump-1"),
            Fill("Name (optional)", "Pump"),
            See("role=dialog >> .field.is-wrong"),
        ],
    ),
    (
        "dialog-create-connection",
        "/connections",
        &[
            Click("role=button[name=\"Create connection\"]"),
            Fill("From", "Pump"),
            Click("role=option >> text=Pump house"),
            Fill("To", "tan"),
            See("role=option >> text=Water tank"),
        ],
    ),
    (
        "dialog-delete-connection",
        "/connections/default/greenhouse",
        &[Click("role=button[name=\"Delete …\"]"), See("role=dialog >> text=3 messages")],
    ),
    (
        "dialog-qr-code",
        "/connections/default/greenhouse",
        &[
            Click("role=region[name=\"Credentials of Greenhouse vents\"] >> role=button[name=\"QR code\"]"),
            See("role=dialog >> img.qr"),
        ],
    ),
    (
        "dialog-remove-device",
        "/devices/default.pump-1",
        &[Click("role=button[name=\"Remove\"]"), See("role=dialog >> role=checkbox")],
    ),
];

#[test]
fn every_place_is_for_everybody_and_fits_every_window() {
    let village = Village::start();
    let browser = Browser::open();
    let visitor = browser.visit(&village.bridge);
    for look in Look::ALL {
        visitor.looks_with(look);
        visitor.sees(LOG_IN);
        is_as_it_should_be(&visitor, "login", look);
    }
    visitor.logs_in(village.bridge.world());
    visitor.goes_to("/connections/default/pump-and-tank");
    visitor.clicks("role=button[name=\"Show messages …\"]");
    visitor.clicks("role=dialog >> role=button[name=\"Show messages\"]");
    visitor.sees(".message");
    for (name, path, steps) in PLACES {
        visitor.goes_to(path);
        for step in steps {
            match *step {
                Click(what) => visitor.clicks(what),
                See(what) => visitor.sees(what),
                Fill(label, text) => visitor.fills(label, text),
            }
        }
        for look in Look::ALL {
            visitor.looks_with(look);
            is_as_it_should_be(&visitor, name, look);
        }
    }
    println!("pictures of every place are in {}", pictures().display());
}

/// Light and dark have their own colours, and a phone its own order: so each is looked at.
fn is_as_it_should_be(visitor: &Visitor, place: &str, look: Look) {
    let name = format!("{place}-{}", look.name);
    visitor.keeps_picture(&name);
    visitor.sees_all_of_its_width(&name);
    if look.name != "phone-dark" {
        visitor.meets_no_barrier(&name);
    }
}

#[test]
fn a_keyboard_is_enough() {
    let bridge = Bridge::start();
    let browser = Browser::open();
    let visitor = browser.visit(&bridge);
    visitor.sees("input:focus");
    visitor.types(&first_password(bridge.world()));
    visitor.presses("Enter");
    visitor.sees("role=heading[name=\"Overview\"]");
    visitor.tabs_to("role=navigation >> role=link[name=\"Devices\"]");
    visitor.presses("Enter");
    visitor.sees("role=heading[name=\"Devices\"]");
    visitor.tabs_to("role=button[name=\"Add device\"]");
    visitor.presses("Enter");
    visitor.sees("role=dialog >> input:focus");
    visitor.presses("Escape");
    visitor.misses("role=dialog");
    // Whoever closes a dialog is where he opened it.
    visitor.sees("button:focus:has-text(\"Add device\")");
    visitor.presses("Enter");
    visitor.sees("role=dialog >> input:focus");
    visitor.types("99");
    visitor.presses("Enter");
    visitor.sees("role=dialog >> text=99 is added");
    visitor.tabs_to("role=button[name=\"Connect it\"]");
    visitor.presses("Enter");
    visitor.sees("role=dialog >> role=combobox[name=\"From\"]");
    // The one that was added is chosen already; the focus is where the other is chosen.
    visitor.sees("input:focus");
    visitor.types("Slave 2");
    visitor.sees("role=option >> text=Slave 2");
    visitor.presses("Enter");
    visitor.presses("Enter");
    visitor.sees("text=The connection is ready.");
    visitor.tabs_to("role=region[name=\"Credentials of 99\"] >> text=Download file");
    visitor.tabs_to("role=button[name=\"Show messages …\"]");
}

/// A bridge as somebody has it who uses it: devices with names, some of them online, with traffic, and with trouble.
struct Village {
    bridge: Bridge,
    stop: Option<Sender<()>>,
    traffic: Option<JoinHandle<()>>,
}

impl Village {
    fn start() -> Self {
        let device = |code: &str, name: &str, kind: &str| json!({ "code": code, "name": name, "type": kind });
        let world = World::durable().answering_at_once();
        world.configure(
            &json!([
                device("pump-1", "Pump house", "Raspberry Pi"),
                device("tank", "Water tank, upper field", "ESP32"),
                device("vents", "Greenhouse vents", "ESP32"),
                device("climate", "Greenhouse climate", "Raspberry Pi Zero 2"),
                device("gate", "Gate", "ESP8266"),
                device("door", "Door bell with a name that is much longer than anybody would expect it to be", "Phone"),
                device("4569", "Master 1", "Raspberry Pi"),
                device("5412", "Slave 1", "Raspberry Pi"),
                device("robot-arm", "Robot arm", "Industrial PC"),
                device("console", "Console", "Laptop"),
                { "code": "old", "name": "Old weather station", "type": "Arduino", "disabled": true },
                { "code": "pump-1", "name": "Neighbour's pump", "type": "ESP32", "user": "neighbour" },
                { "code": "tank", "name": "Neighbour's tank", "type": "ESP32", "user": "neighbour" },
            ]),
            &json!([
                { "id": "pump-and-tank", "name": "Pump and tank", "from": "pump-1", "to": "tank" },
                { "id": "greenhouse", "name": "Greenhouse", "from": "climate", "to": "vents" },
                { "name": "Gate and bell", "from": "gate", "to": "door" },
                { "name": "Connection 1", "from": "4569", "to": "5412" },
                { "name": "Robot", "from": "console", "to": "robot-arm" },
                { "name": "Pump and console", "from": "pump-1", "to": "console" },
                { "name": "Neighbour's water", "from": "pump-1", "to": "tank", "user": "neighbour" },
            ]),
        );
        let bridge = world.start();
        trouble(&bridge);
        let talkers =
            ["pump-and-tank", "connection-1", "robot"].map(|connection| talkers(&bridge, connection));
        let (stop, stopped) = channel();
        let traffic = std::thread::spawn(move || {
            let mut talkers = talkers;
            let mut count = 0;
            // Some messages a second, as devices send them.
            while stopped.recv_timeout(Duration::from_millis(150)) == Err(RecvTimeoutError::Timeout) {
                count += 1;
                for (number, (speaker, topic, listener)) in talkers.iter_mut().enumerate() {
                    if count % (number + 1) == 0 {
                        let level = 40 + count % 17;
                        let payload = format!("{{\"level\":{level},\"unit\":\"%\",\"pump\":{}}}", level < 50);
                        speaker.publish(&format!("{topic}/level"), payload, 1);
                        listener.expect_message();
                    }
                }
            }
        });
        Self { bridge, stop: Some(stop), traffic: Some(traffic) }
    }
}

impl Drop for Village {
    fn drop(&mut self) {
        self.stop = None;
        let _ = self.traffic.take().map(JoinHandle::join);
    }
}

/// Two ends that are online: who speaks, on which topic, and who listens.
fn talkers(bridge: &Bridge, connection: &str) -> (Client, String, Client) {
    let [from, to] = [End::From, End::To].map(|end| bridge.credentials(connection, end));
    let mut listener = bridge.connect(V5, &to);
    listener.subscribe(&to.subscribe, 1);
    (bridge.connect(V5, &from), from.publish, listener)
}

/// Messages that wait, a topic that is denied, a stranger, a wrong password.
fn trouble(bridge: &Bridge) {
    let [climate, vents] = [End::From, End::To].map(|end| bridge.credentials("greenhouse", end));
    let (mut away, _) = bridge.connect_persistent(V5, &vents);
    away.subscribe(&vents.subscribe, 1);
    away.disconnect();
    let mut speaker = bridge.connect(V5, &climate);
    for degrees in [19, 21, 24] {
        speaker.publish(&climate.publish, format!("{degrees} °C"), 1);
    }
    speaker.send(Publish::new("default/pump-and-tank/pump-1/level", "100").qos(1, 9));
    assert_eq!(speaker.expect_ack(Kind::PubAck, 9).reason, 0x87);
    speaker.disconnect();
    for (name, password) in [("default.gate", "wrong"), ("default.nobody", "x"), ("admin", "admin")] {
        let mut stranger = bridge.open(V5);
        stranger.send(Connect::new("esp-1a2b3c").user_name(name).password(password));
        stranger.expect_connack();
    }
}
