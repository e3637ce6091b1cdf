//! MQTT over WebSocket: MQTT.js in a real browser, and paho-mqtt.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use ior_tests::{
    Bridge, Credentials, DEADLINE, End, ON_BOTH_VERSIONS, World,
    browser::Page,
    clients::{Login, Subscription, Tool},
};

/// More than one frame and one read hold.
const LARGE: usize = 300_000;

#[test]
fn a_page_and_a_device_exchange_messages_of_every_qos() {
    let bridge = Bridge::start();
    let page = Page::open(None);
    exchange(&bridge, &page, &format!("ws://{}/mqtt", bridge.websocket.unwrap()));
    assert!(bridge.log().contains(" over WebSocket with MQTT 5"), "{}", bridge.log());
}

#[test]
fn a_page_comes_back_to_its_session() {
    let bridge = Bridge::start();
    let (on_page, device) = (bridge.credentials("connection-1", End::From), publisher(&bridge));
    let url = format!("ws://{}/mqtt", bridge.websocket.unwrap());
    let page = Page::open(None);
    for version in ON_BOTH_VERSIONS {
        let tool = Tool::Paho(version);
        let login = Login { client_id: format!("page-{version:?}"), ..on_page.login.clone() };
        assert_eq!(page.connect(&url, &login, version, false), Ok(false));
        assert_eq!(page.subscribe(&on_page.subscribe, 2), 2);
        assert!(page.lose_connection(), "the session is there when the connection was lost");
        tool.publish(&device.login, &device.publish, 1, &[b"after the loss".to_vec()]);
        assert_eq!(page.take().payload, b"after the loss");
        page.end();
        for qos in [1, 2] {
            tool.publish(&device.login, &device.publish, qos, &[format!("while away, {qos}").into()]);
        }
        assert_eq!(page.connect(&url, &login, version, false), Ok(true));
        for qos in [1, 2] {
            let message = page.take();
            assert_eq!((message.payload, message.qos), (format!("while away, {qos}").into(), qos));
        }
        page.end();
    }
}

#[test]
fn a_page_is_told_why_it_does_not_get_in() {
    let bridge = Bridge::start();
    let login = bridge.credentials("connection-1", End::From).login;
    let wrong = Login { password: "wrong".into(), ..login };
    let page = Page::open(None);
    for version in ON_BOTH_VERSIONS {
        let url = format!("ws://{}/mqtt", bridge.websocket.unwrap());
        let error = page.connect(&url, &wrong, version, true).unwrap_err();
        assert!(error.contains("Connection refused"), "{error}");
    }
}

#[test]
fn paho_talks_over_websocket() {
    let bridge = Bridge::start();
    talk(&bridge, |who| who.login.clone());
}

#[test]
fn a_page_that_trusts_the_ca_talks_over_tls_on_the_same_port() {
    let bridge = Bridge::start();
    let page = Page::open(Some(bridge.credentials("connection-1", End::From).ca()));
    exchange(&bridge, &page, &format!("wss://localhost:{}/mqtt", bridge.websocket.unwrap().port()));
    assert!(bridge.log().contains(" over WebSocket over TLS with MQTT 5"), "{}", bridge.log());
}

#[test]
fn paho_talks_over_websocket_over_tls() {
    let bridge = Bridge::start();
    talk(&bridge, Credentials::login_with_tls);
    assert!(bridge.log().contains(" over WebSocket over TLS with MQTT 5"), "{}", bridge.log());
}

#[test]
fn where_tls_is_required_only_websocket_over_tls_gets_in() {
    let bridge = World::empty().env("IOR_BRIDGE__TLS", "required").start();
    let who = bridge.credentials("connection-1", End::From);
    let port = bridge.websocket.unwrap().port();
    let page = Page::open(Some(who.ca()));
    for version in ON_BOTH_VERSIONS {
        let plain = page.connect(&format!("ws://localhost:{port}/mqtt"), &who.login, version, true);
        assert!(plain.is_err_and(|error| error.contains("Not authorized")));
        let secret = page.connect(&format!("wss://localhost:{port}/mqtt"), &who.login, version, true);
        assert_eq!(secret, Ok(false));
        page.end();
    }
}

#[test]
fn credential_files_name_the_port_unless_it_is_turned_off() {
    let bridge = Bridge::start();
    let port = bridge.websocket.unwrap().port();
    assert_eq!(bridge.credentials("connection-1", End::To).json["mqtt"]["websocket_port"], port);
    let off = World::empty().env("IOR_BRIDGE__WEBSOCKET__LISTEN", "null").start();
    assert_eq!(off.websocket, None);
    assert!(off.credentials("connection-1", End::To).json["mqtt"].get("websocket_port").is_none());
}

#[test]
fn whoever_asks_for_something_else_is_told_and_so_is_the_operator() {
    let bridge = Bridge::start();
    for (path, status) in [("/", "404 Not Found"), ("/mqtt", "426 Upgrade Required")] {
        let mut stream = TcpStream::connect(bridge.websocket.unwrap()).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
        let told =
            format!("refused a connection from 127.0.0.1: its WebSocket handshake was answered {status}: ");
        bridge.process().wait_for(&told, DEADLINE, |line| line.contains(&told).then_some(()));
    }
    // A scanner, or a browser that connects ahead of time.
    drop(TcpStream::connect(bridge.websocket.unwrap()).unwrap());
    let told = "the connection was closed before its WebSocket handshake";
    bridge.process().wait_for(told, DEADLINE, |line| line.contains(told).then_some(()));
    assert!(!bridge.log().contains("ERROR"), "{}", bridge.log());
}

/// A page and a device, in both versions.
#[track_caller]
fn exchange(bridge: &Bridge, page: &Page, url: &str) {
    let (on_page, device) = (bridge.credentials("connection-1", End::From), publisher(bridge));
    let listens = bridge.credentials("connection-1", End::To).login;
    for version in ON_BOTH_VERSIONS {
        let tool = Tool::Paho(version);
        let wanted = Subscription { filter: &device.subscribe, qos: 2, persistent: false };
        let mut subscriber = tool.subscribe(&listens, wanted);
        assert_eq!(page.connect(url, &on_page.login, version, true), Ok(false));
        for qos in 0..=2 {
            assert_eq!(page.subscribe(&on_page.subscribe, qos), qos);
            let topic = format!("{}/speed", on_page.publish);
            page.publish(&topic, qos, &format!("häh? 42 at {qos}"));
            let message = subscriber.expect(format!("häh? 42 at {qos}"));
            assert_eq!((message.qos, message.topic), (qos, topic));
            let topic = format!("{}/answer", device.publish);
            tool.publish(&device.login, &topic, qos, &[b"yes".to_vec()]);
            let message = page.take();
            assert_eq!((message.qos, message.topic, message.payload), (qos, topic, b"yes".to_vec()));
        }
        let large = "0123456789".repeat(LARGE / 10);
        page.publish(&on_page.publish, 1, &large);
        subscriber.expect(&large);
        tool.publish(&device.login, &device.publish, 1, &[large.clone().into_bytes()]);
        assert!(page.take().payload == large.as_bytes());
        page.end();
    }
}

/// paho-mqtt with WebSocket to paho-mqtt with WebSocket, in both versions.
#[track_caller]
fn talk(bridge: &Bridge, login: fn(&Credentials) -> Login) {
    let addr = bridge.websocket.unwrap();
    let [from, to] = [End::From, End::To].map(|end| bridge.credentials("connection-1", end));
    let [talks, listens] = [&from, &to].map(|who| Login { addr, ..login(who) });
    for version in ON_BOTH_VERSIONS {
        let tool = Tool::PahoWebSocket(version);
        let wanted = Subscription { filter: &to.subscribe, qos: 2, persistent: false };
        let mut subscriber = tool.subscribe(&listens, wanted);
        for qos in 0..=2 {
            let payloads: Vec<_> = (0..50).map(|i| format!("{i} at {qos}").into_bytes()).collect();
            tool.publish(&talks, &from.publish, qos, &payloads);
            for payload in payloads {
                assert_eq!(subscriber.expect(payload).qos, qos);
            }
        }
    }
}

/// The device at the other end from the page, as one that publishes while another of its sessions listens.
fn publisher(bridge: &Bridge) -> Credentials {
    let to = bridge.credentials("connection-1", End::To);
    Credentials { login: Login { client_id: "publisher".into(), ..to.login.clone() }, ..to }
}
