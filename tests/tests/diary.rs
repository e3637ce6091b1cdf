//! What the operator reads when a device is set up wrongly: one line that says what to change, and then only how often.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{process::Command, time::Duration};

use ior_tests::{
    Bridge, Credentials, End, World,
    clients::Login,
    process::Process,
    raw::{Connect, Version::V311},
};

/// So often a client tries what cannot succeed.
const TRIES: usize = 3;

#[test]
fn a_device_that_is_set_up_wrongly_is_explained_in_one_line_and_then_counted() {
    let bridge = World::empty().answering_at_once().start();
    let who = bridge.credentials("connection-1", End::From);
    let login = &who.login;
    let tls = who.login_with_tls();
    let ca = who.file.with_extension("pem");
    let plain_to_tls = Login { addr: tls.addr, ..login.clone() };
    let cases = [
        (
            "the wrong password",
            client(
                "mosquitto_pub",
                &Login { password: "wrong".into(), ..login.clone() },
                &["-t", "x", "-m", "x"],
            ),
            "wrong password for default.4569: give it the one of its credential file; `ior-bridge credentials default.4569`",
        ),
        (
            "a user name that is only a code",
            client(
                "mosquitto_pub",
                &Login { username: "4569".into(), ..login.clone() },
                &["-t", "x", "-m", "x"],
            ),
            "no device has the user name \"4569\": did you mean \"default.4569\"?",
        ),
        (
            "a topic that it may not publish to",
            client("mosquitto_pub", login, &["-V", "5", "-q", "1", "-t", "elsewhere", "-m", "x"]),
            "Master 1 (4569) may not publish to \"elsewhere\": have it use default/connection-1/4569, or a topic below that",
        ),
        (
            "a filter that it may not subscribe to",
            client("mosquitto_sub", login, &["-E", "-t", "#"]),
            "Master 1 (4569) may not subscribe to \"#\": have it use default/connection-1/5412/#",
        ),
        (
            "TLS at the port without",
            client("mosquitto_pub", login, &["--cafile", ca.to_str().unwrap(), "-t", "x", "-m", "x"]),
            "it speaks TLS, which this port does not: give it the port of MQTT over TLS",
        ),
        (
            "no TLS at the port with",
            client("mosquitto_pub", &plain_to_tls, &["-t", "x", "-m", "x"]),
            "it does not speak TLS, as this port does: turn TLS on in the client, or give it the port of plain MQTT",
        ),
        (
            "a browser",
            python(&format!("import urllib.request; urllib.request.urlopen('http://{}')", login.addr)),
            "it speaks HTTP, which this port does not: web pages use MQTT over WebSocket, which has a port of its own",
        ),
    ];
    for (what, mut command, words) in cases {
        for _ in 0..TRIES {
            // mosquitto's clients end well when a topic was refused.
            let output = command().output().unwrap();
            assert!(output.status.code() != Some(124), "{what}: {output:?}");
        }
        bridge.says(&["WARN", words]);
    }
    for _ in 0..TRIES {
        let mut nameless = bridge.open(V311);
        let connect = Connect::new("").persistent(V311).user_name(&login.username).password(&login.password);
        nameless.send(connect);
        nameless.expect_connack();
    }
    let nameless = "an empty client identifier needs a clean session";
    bridge.says(&["WARN", nameless, "give the client an identifier"]);

    let log = bridge.log();
    let explained = |words: &str| log.lines().filter(|line| line.contains(words)).count();
    let all = [
        "wrong password",
        "no device has the user name",
        "may not publish",
        "may not subscribe",
        "it speaks TLS",
        "it does not speak TLS",
        "it speaks HTTP",
        nameless,
    ];
    for words in all {
        assert_eq!(explained(words), 1, "{words}\n{log}");
    }
    let log = bridge.end();
    for words in all {
        let counted =
            |line: &&str| line.contains(words) && line.contains("(2 more times since that was last said)");
        assert_eq!(log.lines().filter(counted).count(), 1, "{words}\n{log}");
    }
    assert!(!log.contains("ERROR"), "{log}");
}

#[test]
fn a_device_without_tls_is_told_apart_where_tls_is_required() {
    let bridge = World::empty().env("IOR_BRIDGE__TLS", "required").start();
    let file = bridge.world().data().join("credentials/default/connection-1/from.json");
    let login = Credentials::read(&file, bridge.addr).login;
    let mut publish = client("mosquitto_pub", &login, &["-t", "x", "-m", "x"]);
    for _ in 0..TRIES {
        assert!(!publish().output().unwrap().status.success());
    }
    bridge.says(&["WARN", "\"default.4569\" logs in without TLS", "give the device its new credential file"]);
    let log = bridge.end();
    assert_eq!(log.matches("logs in without TLS").count(), 2, "once, and once with the count\n{log}");
    assert!(log.contains("(2 more times"), "{log}");
}

#[test]
fn two_programs_with_one_client_identifier_are_noticed() {
    let bridge = Bridge::start();
    let who = bridge.credentials("connection-1", End::From);
    let mut subscribe = client("mosquitto_sub", &who.login, &["-t", &who.subscribe]);
    let programs = [Process::start(&mut subscribe()), Process::start(&mut subscribe())];
    let words = "is there twice: two programs take the session of client id \"default.4569\" from each other";
    let twice = |line: &str| (line.contains("WARN") && line.contains(words)).then_some(());
    bridge.process().wait_for(words, Duration::from_secs(60), twice);
    drop(programs);
    let log = bridge.end();
    assert!(log.matches("connected from").count() < 12, "that they come is not told for ever\n{log}");
}

#[test]
fn a_device_that_returns_is_no_complaint() {
    let bridge = Bridge::start();
    let who = bridge.credentials("connection-1", End::From);
    let clients = [bridge.connect(V311, &who), bridge.connect(V311, &who)];
    bridge.says(&["INFO", "took the session over"]);
    drop(clients);
    assert!(!bridge.end().contains("WARN"));
}

/// Starts one of mosquitto's clients as this device.
fn client(program: &str, login: &Login, arguments: &[&str]) -> Box<dyn FnMut() -> Command> {
    let host =
        if arguments.contains(&"--cafile") { "localhost".to_owned() } else { login.addr.ip().to_string() };
    let own = ["-h", &host, "-p", &login.addr.port().to_string(), "-i", &login.client_id];
    let credentials = ["-u", &login.username, "-P", &login.password];
    let all: Vec<String> = own.iter().chain(&credentials).chain(arguments).map(ToString::to_string).collect();
    let program = program.to_owned();
    Box::new(move || {
        let mut command = Command::new("timeout");
        command.arg("10").arg(&program).args(&all);
        command
    })
}

fn python(program: &str) -> Box<dyn FnMut() -> Command> {
    let program = program.to_owned();
    Box::new(move || {
        let mut command = Command::new("python3");
        command.args(["-c", &program]);
        command
    })
}
