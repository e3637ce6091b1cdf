//! The golden access table: what every device of the shipped configuration may do with every interesting topic and
//! filter, found out by packets, in both versions, and written to `tests/golden/access.txt` for a person to review.
//!
//! `IOR_UPDATE_GOLDEN=1` writes the file again.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{collections::BTreeSet, fmt::Write, path::Path};

use ior_tests::{
    Bridge, Channel, Credentials, End, ON_BOTH_VERSIONS,
    raw::{
        Client, Connect, Kind, Packet, Publish, Subscribe,
        Version::{self, V5, V311},
        Will,
    },
};

#[test]
fn the_access_table_is_as_reviewed() {
    check(Channel::Tcp);
}

#[test]
fn the_access_table_is_the_same_over_tls() {
    check(Channel::Tls);
}

#[test]
fn the_access_table_is_the_same_over_websocket() {
    check(Channel::WebSocket);
}

#[test]
fn the_access_table_is_the_same_over_websocket_with_tls() {
    check(Channel::WebSocketTls);
}

#[track_caller]
fn check(channel: Channel) {
    let mut table = Table::new(channel);
    let text = table.text();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/access.txt");
    if channel == Channel::Tcp && std::env::var_os("IOR_UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&file).expect("tests/golden/access.txt");
    let changed = |from: &str, to: &str, sign: char| -> String {
        let known: BTreeSet<&str> = to.lines().collect();
        from.lines().filter(|line| !known.contains(line)).map(|line| format!("{sign} {line}\n")).collect()
    };
    let difference = changed(&golden, &text, '-') + &changed(&text, &golden, '+');
    assert!(
        text == golden,
        "access has changed; if that is meant, run again with IOR_UPDATE_GOLDEN=1:\n{difference}"
    );
}

const HEADER: &str = "\
What every device may do, found out with real packets by tests/tests/access_table.rs in MQTT 3.1.1 and 5.

yes     allowed, and what was published reached the peer and nobody else
no      refused with Not authorized (3.1.1: PUBLISH ends the connection), and nobody heard it
bad     not a valid topic or filter: refused as malformed
hears   how many of the 12 messages that all four devices published on and below their own topics, and of the retained
        presence messages, came through the subscription
";

/// What a device is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Yes,
    No,
    Bad,
}

use Answer::{Bad, No, Yes};

struct Device {
    who: Credentials,
    code: String,
    peer: String,
    connection: String,
    /// Publishes what others may or may not hear.
    sender: Client,
    /// Hears all that the device may hear.
    listener: Client,
}

struct Table {
    bridge: Bridge,
    devices: Vec<Device>,
    attempt: usize,
    /// Topics that were set retained with success.
    retained: BTreeSet<String>,
}

impl Table {
    fn new(channel: Channel) -> Self {
        let bridge = Bridge::start().over(channel);
        let ends = [("connection-1", End::From), ("connection-1", End::To)];
        let ends = ends.into_iter().chain([("connection-2", End::From), ("connection-2", End::To)]);
        let devices = ends.map(|(connection, end)| Device::connect(&bridge, connection, end)).collect();
        Self { bridge, devices, attempt: 0, retained: BTreeSet::new() }
    }

    fn text(&mut self) -> String {
        let mut text = HEADER.to_string();
        for index in 0..self.devices.len() {
            let Device { code, peer, connection, .. } = &self.devices[index];
            writeln!(text, "\nDevice {code}, whose peer on {connection} is {peer}\n").unwrap();
            writeln!(text, "{:<46} {:<8}{:<8}{:<8}{:<10}hears", "", "publish", "retain", "will", "subscribe")
                .unwrap();
            for topic in topics(&self.devices[index]) {
                let row = self.row(index, &topic);
                writeln!(text, "{:<46} {row}", format!("{topic:?}")).unwrap();
            }
        }
        self.check_what_was_retained();
        text
    }

    fn row(&mut self, device: usize, topic: &str) -> String {
        let [publish, retain, will] = [Self::publish, Self::retain, Self::will].map(|action| {
            let answers = ON_BOTH_VERSIONS.map(|version| {
                self.attempt += 1;
                let payload = format!("attempt {}", self.attempt);
                let answer = action(self, device, topic, &payload, version);
                self.check_who_heard(device, topic, &payload, answer);
                answer
            });
            cell(answers)
        });
        let subscribed = ON_BOTH_VERSIONS.map(|version| self.subscribe(device, topic, version));
        let heard = match subscribed.clone().map(|(_, heard)| heard) {
            [v311, v5] if v311 == v5 && v5.is_empty() => "-".into(),
            [v311, v5] if v311 == v5 => v5.len().to_string(),
            [v311, v5] => format!("3.1.1: {v311:?}, 5: {v5:?}"),
        };
        let subscribe = cell(subscribed.map(|(answer, _)| answer));
        format!("{publish:<8}{retain:<8}{will:<8}{subscribe:<10}{heard}")
    }

    fn publish(&mut self, device: usize, topic: &str, payload: &str, version: Version) -> Answer {
        self.send(device, Publish::new(topic, payload).qos(1, 1), version)
    }

    fn retain(&mut self, device: usize, topic: &str, payload: &str, version: Version) -> Answer {
        let answer = self.send(device, Publish::new(topic, payload).retain().qos(1, 1), version);
        if answer == Yes {
            self.retained.insert(topic.into());
        }
        answer
    }

    fn send(&mut self, device: usize, publish: Publish, version: Version) -> Answer {
        let mut client = self.devices[device].probe(&self.bridge, version);
        client.send(publish);
        match client.receive_or_closed() {
            Some(Packet::Ack(ack)) if ack.kind == Kind::PubAck && ack.reason < 0x80 => {
                client.disconnect();
                Yes
            }
            Some(Packet::Ack(ack)) if ack.kind == Kind::PubAck && ack.reason == 0x87 => No,
            Some(Packet::Disconnect(0x81 | 0x82 | 0x90, _)) => Bad,
            None if version == V311 => No,
            other => panic!("PUBLISH was answered with {other:?}"),
        }
    }

    fn will(&mut self, device: usize, topic: &str, payload: &str, version: Version) -> Answer {
        let who = &self.devices[device].who;
        let mut client = self.bridge.open(version);
        let connect = Connect::new("probe").user_name(&who.login.username).password(&who.login.password);
        client.send(connect.will(Will::new(topic, payload).qos(1)));
        match client.receive_or_closed() {
            Some(Packet::ConnAck(ack)) if ack.code == 0 => {
                client.cut();
                Yes
            }
            Some(Packet::ConnAck(ack)) if ack.code == if version == V5 { 0x87 } else { 5 } => No,
            Some(Packet::ConnAck(ack)) if version == V5 && [0x81, 0x82, 0x90].contains(&ack.code) => Bad,
            None => Bad,
            other => panic!("CONNECT with a will was answered with {other:?}"),
        }
    }

    /// Subscribes, lets all devices publish, and tells which topics were heard.
    fn subscribe(&mut self, device: usize, filter: &str, version: Version) -> (Answer, BTreeSet<String>) {
        let peer = self.devices.iter().position(|other| other.code == self.devices[device].peer).unwrap();
        let marker = format!("{}/marker", self.devices[peer].who.publish);
        let mut client = self.devices[device].probe(&self.bridge, version);
        client.subscribe(&marker, 1);
        client.send(Subscribe::new(100).filter(filter, 1));
        let mut heard = BTreeSet::new();
        let answer = loop {
            match client.receive_or_closed() {
                // Retained messages may come before the SUBACK.
                Some(Packet::Publish(message)) => self.hear(device, message, &mut client, &mut heard),
                Some(Packet::SubAck(ack)) => match ack.codes[..] {
                    [0..=2] => break Yes,
                    [0x80] if version == V311 => break No,
                    [0x87 | 0x9E] if version == V5 => break No,
                    [0x8F] if version == V5 => return (Bad, heard),
                    ref codes => panic!("SUBSCRIBE to {filter} was answered with {codes:02x?}"),
                },
                Some(Packet::Disconnect(0x81 | 0x82 | 0x8F, _)) => return (Bad, heard),
                None if version == V311 => return (Bad, heard),
                other => panic!("SUBSCRIBE to {filter} was answered with {other:?}"),
            }
        };
        for device in &mut self.devices {
            for below in ["", "/a", "/a/b"] {
                device.sender.publish(&format!("{}{below}", device.who.publish), "probe", 1);
            }
        }
        self.devices[peer].sender.publish(&marker, "end", 1);
        loop {
            let message = client.expect_publish();
            if message.topic == marker {
                break;
            }
            self.hear(device, message, &mut client, &mut heard);
        }
        assert!(answer == Yes || heard.is_empty(), "{filter} was refused, but {heard:?} came");
        client.disconnect();
        self.forget_what_listeners_heard();
        (answer, heard)
    }

    /// Whatever the table says: nobody may ever hear anything but his peer and its presence.
    fn hear(
        &self,
        device: usize,
        message: ior_tests::raw::Message,
        client: &mut Client,
        heard: &mut BTreeSet<String>,
    ) {
        let Device { connection, peer, code, .. } = &self.devices[device];
        let topic = &message.topic;
        let base = format!("default/{connection}/{peer}");
        let presence = format!("default/{connection}/presence/{peer}");
        let allowed = *topic == base || topic.starts_with(&format!("{base}/")) || *topic == presence;
        assert!(allowed, "{code} hears {topic}");
        if message.qos == 1 {
            client.acknowledge(Kind::PubAck, message.id);
        }
        // What earlier rows left retained is not one of the probes.
        if *topic == presence || message.payload == b"probe" {
            heard.insert(message.topic);
        }
    }

    /// Whoever listens to all that he may hear got this attempt, if it was allowed and from his peer, and nothing else.
    fn check_who_heard(&mut self, device: usize, topic: &str, payload: &str, answer: Answer) {
        let sender = self.devices[device].code.clone();
        for device in &mut self.devices {
            device.sender.publish(&format!("{}/marker", device.who.publish), "marker", 1);
        }
        for device in &mut self.devices {
            let expected = answer == Yes && device.peer == sender;
            let mut heard = Vec::new();
            loop {
                let message = device.listener.expect_message();
                match message.text() {
                    "marker" => break,
                    text => heard.push((message.topic.clone(), text.to_string())),
                }
            }
            let wanted = if expected { vec![(topic.to_string(), payload.to_string())] } else { Vec::new() };
            assert_eq!(heard, wanted, "{} after {sender} sent {payload} to {topic:?}", device.code);
        }
    }

    fn forget_what_listeners_heard(&mut self) {
        for device in &mut self.devices {
            device.sender.publish(&format!("{}/marker", device.who.publish), "marker", 1);
        }
        for device in &mut self.devices {
            while device.listener.expect_message().text() != "marker" {}
        }
    }

    /// A new subscription gets what its peer retained with success, and nothing that was refused.
    fn check_what_was_retained(&mut self) {
        let mut found = BTreeSet::new();
        for device in &self.devices {
            let mut client = device.probe(&self.bridge, V5);
            client.subscribe(&device.who.subscribe, 0);
            client.send(ior_tests::raw::PingReq);
            loop {
                match client.receive() {
                    Packet::Publish(message) => assert!(message.retain && found.insert(message.topic)),
                    Packet::PingResp => break,
                    other => panic!("expected PUBLISH or PINGRESP, got {other:?}"),
                }
            }
        }
        assert_eq!(found, self.retained);
    }
}

impl Device {
    fn connect(bridge: &Bridge, connection: &str, end: End) -> Self {
        let who = bridge.credentials(connection, end);
        let connect = |id: &str| bridge.connect_with(V5, &who, Connect::new(id)).0;
        let (sender, mut listener) = (connect("sender"), connect("listener"));
        listener.subscribe(&who.subscribe, 1);
        Self {
            code: who.json["deviceCode"].to_string(),
            peer: who.json["peer"]["deviceCode"].to_string(),
            connection: connection.into(),
            sender,
            listener,
            who,
        }
    }

    fn probe(&self, bridge: &Bridge, version: Version) -> Client {
        bridge.connect_with(version, &self.who, Connect::new("probe")).0
    }
}

/// 3.1.1 cannot tell a PUBLISH that is refused from one that is malformed.
fn cell([v311, v5]: [Answer; 2]) -> String {
    let word = |answer| match answer {
        Yes => "yes",
        No => "no",
        Bad => "bad",
    };
    if v311 == v5 || (v311 == No && v5 == Bad) {
        word(v5).into()
    } else {
        format!("3.1.1 {}, 5 {}", word(v311), word(v5))
    }
}

/// Every topic and filter that is interesting to a device.
fn topics(device: &Device) -> Vec<String> {
    let Device { code: own, peer, connection, .. } = device;
    let (other, strangers) = if connection == "connection-1" {
        ("connection-2", ["5648", "9036"])
    } else {
        ("connection-1", ["4569", "5412"])
    };
    let [stranger, second] = strangers;
    let base = format!("default/{connection}");
    let mut all = Vec::new();
    for code in [own, peer] {
        let cut = &code[..code.len() - 1];
        for tail in [
            "", "/", "//", "/a", "/a/b/c", "//a", "/+", "/#", "/+/#", "/a/+/b", "/a/#", "/#/a", "/a+", "/a#",
            "+", "#",
        ] {
            all.push(format!("{base}/{code}{tail}"));
        }
        for near in
            [format!("{code}0"), format!("{code}x/a"), cut.to_string(), format!("{cut}+"), format!("{cut}#")]
        {
            all.push(format!("{base}/{near}"));
        }
        for text in [
            format!("/{base}/{code}"),
            format!("{base}//{code}"),
            format!("default//{connection}/{code}"),
            format!(" {base}/{code}"),
            format!("{base}/{code} "),
            format!("{base}/presence/{code}"),
            format!("{base}/presence/{code}/"),
            format!("{base}/presence/{code}/a"),
            format!("{base}/presence/{code}/#"),
            format!("{base}/presence/{code}0"),
            format!("Default/{connection}/{code}"),
            format!("default/{}/{code}", connection.to_uppercase()),
            format!("default/{connection}0/{code}"),
            format!("default/{}/{code}", &connection[..connection.len() - 1]),
            format!("default/{other}/{code}"),
            format!("other/{connection}/{code}"),
            format!("+/{connection}/{code}"),
            format!("default/+/{code}"),
            format!("default/+/{code}/#"),
            format!("+/+/{code}"),
            format!("{connection}/{code}"),
            code.clone(),
            format!("$SYS/{base}/{code}"),
            format!("$share/group/{base}/{code}"),
            format!("$share/group/{base}/{code}/#"),
            format!("$queue/{base}/{code}"),
            format!("{base}/{code}/../{stranger}"),
        ] {
            all.push(text);
        }
    }
    for text in [
        "",
        "/",
        "//",
        "#",
        "/#",
        "+",
        "+/+",
        "+/#",
        "+/+/+",
        "+/+/+/#",
        "+/+/+/+",
        "default",
        "default/",
        "default/#",
        "default/+",
        "default/+/#",
        "default/+/+",
        "default/+/+/#",
        "$SYS",
        "$SYS/#",
        "$SYS/broker/version",
        "$SYS/+/version",
        "$share",
        "$share/",
        "$share/group",
        "$share/group/",
        "$share/group/#",
        "$share//a",
        "$share/+/a",
        "$share/#",
        "other/#",
        "other/a/b",
    ] {
        all.push(text.into());
    }
    for tail in ["", "/", "/#", "/+", "/+/#", "/+/a", "/presence", "/presence/", "/presence/#", "/presence/+"]
    {
        all.push(format!("{base}{tail}"));
    }
    for tail in ["", "/#", "/+", "/+/#", "/presence/#", "/presence/+"] {
        all.push(format!("default/{other}{tail}"));
    }
    for code in [stranger, second] {
        for tail in ["", "/a", "/#", "/+"] {
            all.push(format!("default/{other}/{code}{tail}"));
        }
        all.push(format!("default/{other}/presence/{code}"));
        all.push(format!("{base}/{code}"));
        all.push(format!("{base}/presence/{code}"));
    }
    all
}
