//! MQTT over TLS: clients that others wrote, certificates that come and go, and all that can be wrong with them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

use ior_tests::{
    Bridge, Credentials, DEADLINE, End, ON_BOTH_VERSIONS, World,
    clients::{Login, Subscription, Tool},
    faults::set_clock,
    process::Process,
    raw::{
        Client, Connect, Encode,
        Version::{self, V5, V311},
    },
    tls::{Authority, Pair, Tls, Tunnel, shown},
};

/// Return code of CONNACK.
const NOT_AUTHORIZED: (u8, u8) = (0x87, 5);

#[test]
fn mosquitto_and_paho_talk_over_tls() {
    let bridge = Bridge::start();
    let (from, to) = ends(&bridge);
    let tools = [Tool::Mosquitto(V311), Tool::Mosquitto(V5), Tool::Paho(V311), Tool::Paho(V5)];
    for (index, publisher) in tools.into_iter().enumerate() {
        let subscriber = tools[(index + 1) % tools.len()];
        let wanted = Subscription { filter: &to.subscribe, qos: 2, persistent: false };
        let mut heard = subscriber.subscribe(&to.login_with_tls(), wanted);
        for qos in 0..=2 {
            let payload = format!("{publisher:?} to {subscriber:?} at QoS {qos}");
            publisher.publish(&from.login_with_tls(), &from.publish, qos, &[payload.clone().into_bytes()]);
            assert_eq!(heard.expect(&payload).qos, qos);
        }
    }
    bridge.says(&["Master 1 (4569) connected from 127.0.0.1", "over TLS with MQTT 5"]);
}

#[test]
fn with_and_without_tls_devices_talk_to_each_other() {
    let bridge = Bridge::start();
    let (from, to) = ends(&bridge);
    let tunnel = tunnel(&bridge, "localhost", &from);
    let mut plain = bridge.connect(V5, &to);
    plain.subscribe(&to.subscribe, 2);
    let mut encrypted = connect(tunnel.addr, V311, &from);
    encrypted.publish(&from.publish, vec![b'x'; 500_000], 2);
    assert_eq!(plain.expect_publish().payload.len(), 500_000);
}

#[test]
fn tls_1_2_and_1_3_will_do_and_1_1_will_not() {
    let bridge = Bridge::start();
    let (from, _) = ends(&bridge);
    let login = from.login_with_tls();
    for version in ["tlsv1.2", "tlsv1.3"] {
        let output = publish(&login, &from.publish, &["--tls-version", version]);
        assert!(output.status.success(), "{version}: {output:?}");
    }
    let address = login.addr.to_string();
    // OpenSSL itself refuses it at its usual level of security.
    let old = ["s_client", "-connect", &address, "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"];
    let output = Command::new("openssl").args(old).stdin(Stdio::null()).output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    bridge.says(&["refused a connection", "neither TLS 1.2 nor 1.3", "update its TLS library"]);
}

#[test]
fn what_goes_wrong_is_told_with_what_to_do() {
    let bridge = Bridge::start();
    let (from, _) = ends(&bridge);
    let mqtts = bridge.mqtts.unwrap();

    let other = Authority::new("Somebody else's CA");
    let trusts_another = bridge.world().data().join("another.pem");
    fs::write(&trusts_another, &other.pem).unwrap();
    let login = Login { tls: Some(Tls { ca: trusts_another, own: None }), ..from.login_with_tls() };
    assert!(!publish(&login, &from.publish, &[]).status.success());
    bridge.says(&[
        "refused a connection from 127.0.0.1",
        "does not accept the server's certificate",
        "CA to trust",
    ]);

    let mut plain = TcpStream::connect(mqtts).unwrap();
    plain.write_all(&Connect::new("x").encode(V311)).unwrap();
    // An alert, and the end.
    plain.read_to_end(&mut Vec::new()).unwrap();
    bridge.says(&["it does not speak TLS, as this port does", "the port of plain MQTT"]);

    shown(bridge.addr, "localhost", from.ca()).unwrap_err();
    bridge.says(&["it speaks TLS, which this port does not", "the port of MQTT over TLS"]);

    drop(TcpStream::connect(mqtts).unwrap());
    bridge.says(&["it ended the connection within the TLS handshake"]);

    // A port scanner's look: a handshake, and gone.
    shown(mqtts, "localhost", from.ca()).unwrap();
    bridge.says(&["the connection was closed before its CONNECT"]);
    assert!(!bridge.log().contains("reading failed"), "{}", bridge.log());
    bridge.connect(V5, &from);
}

#[test]
fn a_certificate_for_another_host_is_noticed_by_the_client() {
    let bridge = Bridge::start();
    let (from, _) = ends(&bridge);
    let mqtts = bridge.mqtts.unwrap();
    for host in ["localhost", "127.0.0.1", "::1"] {
        shown(mqtts, host, from.ca()).unwrap_or_else(|error| panic!("{host}: {error}"));
    }
    let error = shown(mqtts, "other.example", from.ca()).unwrap_err().to_string();
    assert!(error.contains("other.example"), "{error}");
}

#[test]
fn a_handshake_that_stalls_delays_nobody() {
    // Longer than any test: none of them ends by itself.
    let world = World::empty().env("IOR_BRIDGE__LIMITS__CONNECT_TIMEOUT", "600s");
    let bridge = world.start();
    let (from, _) = ends(&bridge);
    let mqtts = bridge.mqtts.unwrap();
    let stalled: Vec<_> = (0..100)
        .map(|number| {
            let mut stream = TcpStream::connect(mqtts).unwrap();
            // Nothing, or the beginning of a ClientHello of 512 bytes.
            stream.write_all(&[0x16, 3, 1, 2, 0, 1, 0][..number % 8]).unwrap();
            stream
        })
        .collect();
    let tunnel = tunnel(&bridge, "localhost", &from);
    for version in ON_BOTH_VERSIONS {
        connect(tunnel.addr, version, &from).disconnect();
        bridge.connect(version, &from).disconnect();
    }
    for mut stream in stalled {
        stream.set_nonblocking(true).unwrap();
        let waits = stream.read(&mut [0]).unwrap_err();
        assert_eq!(waits.kind(), std::io::ErrorKind::WouldBlock, "it still waits");
    }
}

#[test]
fn the_ca_survives_and_the_certificate_follows_the_names() {
    let bridge = Bridge::start();
    let (before, _) = ends(&bridge);
    let first = shown(bridge.mqtts.unwrap(), "localhost", before.ca()).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let ca = bridge.world().data().join("ca");
    assert_eq!(mode(&ca), 0o700);
    for file in ["ca.crt", "ca.key", "server.pem"] {
        assert_eq!(mode(&ca.join(file)), 0o600, "{file}");
    }

    let bridge = bridge.restart();
    assert_eq!(shown(bridge.mqtts.unwrap(), "localhost", before.ca()).unwrap(), first, "nothing changed");
    let (_, mut world) = bridge.stop();
    world.set_env("IOR_BRIDGE__HOST", "bridge.example");
    let bridge = world.start();
    bridge.says(&["made just now, since this machine is now also bridge.example"]);
    // Devices that trust the CA from then go on.
    let renewed = shown(bridge.mqtts.unwrap(), "bridge.example", before.ca()).unwrap();
    assert_ne!(renewed, first);
    let (after, _) = ends(&bridge);
    assert_eq!((after.ca(), after.json["mqtt"]["host"].as_str().unwrap()), (before.ca(), "bridge.example"));
    assert_eq!(shown(bridge.kill_and_start().mqtts.unwrap(), "localhost", before.ca()).unwrap(), renewed);
}

#[test]
fn a_certificate_that_is_gone_is_renewed_without_dropping_anybody() {
    let bridge = Bridge::start();
    let (from, to) = ends(&bridge);
    let mqtts = bridge.mqtts.unwrap();
    let first = shown(mqtts, "localhost", from.ca()).unwrap();
    let tunnel = tunnel(&bridge, "localhost", &from);
    let mut client = connect(tunnel.addr, V5, &from);
    let mut peer = bridge.connect(V311, &to);
    peer.subscribe(&to.subscribe, 1);

    fs::remove_file(bridge.world().data().join("ca/server.pem")).unwrap();
    bridge.reload();
    // The first is of the start.
    let times = |lines: &[String]| lines.iter().filter(|line| line.contains("made just now")).count();
    bridge.process().wait_until("second line", DEADLINE, |lines| (times(lines) == 2).then_some(()));
    assert!(shown(mqtts, "localhost", from.ca()).unwrap() != first, "it is another certificate");
    client.publish(&from.publish, "still here", 1);
    assert_eq!(peer.expect_publish().payload, b"still here");
}

#[test]
fn a_clock_that_starts_in_1970_is_told_and_made_good() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut world = World::empty();
    set_clock(&mut world, 60 - i64::try_from(now).unwrap());
    let bridge = world.start();
    bridge.says(&["WARN", "the clock says 1970-01-01, which cannot be", "certificates begin on 2026-01-01"]);
    bridge.says(&["the bridge's own CA, valid until 2036-01-01", "valid until 2027-02-02"]);
    let (_, mut world) = bridge.stop();
    set_clock(&mut world, 0);
    let before = fs::read_to_string(world.data().join("ca/ca.crt")).unwrap();
    let bridge = world.start();
    bridge.says(&[
        "the bridge's own CA, valid until 2036-01-01",
        "made just now, since the old one is valid until 2027-02-02",
    ]);
    shown(bridge.mqtts.unwrap(), "localhost", &before).unwrap();
}

#[test]
fn a_ca_that_is_damaged_stops_the_start_and_stays_as_it_is() {
    let (_, world) = Bridge::start().stop();
    let ca = world.data().join("ca/ca.crt");
    let whole = fs::read_to_string(&ca).unwrap();
    fs::write(&ca, &whole[..whole.len() / 2]).unwrap();
    let (status, log) = world.start_fails();
    assert_eq!(status.code(), Some(1));
    assert!(log.contains("ca.crt is damaged") && log.contains("from a backup"), "{log}");
    assert_eq!(fs::read_to_string(&ca).unwrap(), whole[..whole.len() / 2]);
    let check = world.run(&["check"]);
    assert_eq!(check.status.code(), Some(1));
    assert!(text(&check.stderr).contains("ca.crt is damaged"), "{check:?}");
    fs::write(&ca, &whole).unwrap();
    let bridge = world.start();
    assert_eq!(ends(&bridge).0.ca(), whole);
}

#[test]
fn the_operators_certificate_is_swapped_while_clients_stay() {
    let operator = Authority::new("Operator's CA");
    let first = operator.sign("localhost", 90);
    let world = World::empty();
    let dir = world.config().parent().unwrap().to_owned();
    let write = |pair: &Pair| private(pair.write(&dir, "bridge", &operator.pem));
    let (cert, key) = write(&first);
    let world = own_pair(world, &cert, &key);
    let bridge = world.start();
    let (from, to) = ends(&bridge);
    assert_eq!(from.ca().trim(), operator.pem.trim(), "the end of its chain");
    assert!(!bridge.world().data().join("ca").exists(), "an own CA is not needed");
    let mqtts = bridge.mqtts.unwrap();
    let shows = || shown(mqtts, "localhost", &operator.pem).unwrap();
    assert_eq!(shows(), first.der());
    let tunnel = tunnel(&bridge, "localhost", &from);
    let mut client = connect(tunnel.addr, V5, &from);
    let mut peer = connect(tunnel.addr, V311, &to);
    peer.subscribe(&to.subscribe, 1);
    let mut talk = |payload: &str| {
        client.publish(&from.publish, payload, 1);
        assert_eq!(peer.expect_publish().payload, payload.as_bytes());
    };
    talk("before");

    let second = operator.sign("localhost", 60);
    write(&second);
    bridge.reload();
    let swapped = |lines: &[String]| {
        lines.iter().filter(|line| line.contains("certificate of mqtts.cert")).count() == 2
    };
    bridge.process().wait_until("second certificate", DEADLINE, |lines| swapped(lines).then_some(()));
    assert_eq!(shows(), second.der());
    talk("after the swap");

    let bad = Pair { cert: operator.sign("localhost", 30).cert, key: first.key };
    write(&bad);
    bridge.reload();
    bridge.says(&[
        "ERROR",
        "what is shown stays as it was",
        "bridge.key is not the key of the first certificate",
    ]);
    fs::remove_file(&key).unwrap();
    bridge.reload();
    bridge.says(&["ERROR", "what is shown stays as it was", "mqtts.key: ", "bridge.key does not exist"]);
    write(&operator.sign("localhost", -30));
    bridge.reload();
    bridge.says(&["ERROR", "what is shown stays as it was", "was valid until"]);
    assert_eq!(shows(), second.der());
    talk("after bad ones");
    connect(tunnel.addr, V5, &from).disconnect();
}

#[test]
fn a_certificate_whose_ca_everybody_trusts_brings_none() {
    let operator = Authority::new("A CA that everybody trusts");
    let world = World::empty();
    let (cert, key) =
        private(operator.sign("localhost", 90).write(world.config().parent().unwrap(), "bridge", ""));
    let bridge = own_pair(world, &cert, &key).start();
    let (from, _) = ends(&bridge);
    assert_eq!(from.json["mqtt"].get("ca"), None);
    assert_eq!(from.json["mqtt"]["tls_port"], bridge.mqtts.unwrap().port());
    shown(bridge.mqtts.unwrap(), "localhost", &operator.pem).unwrap();
}

#[test]
fn a_bad_pair_of_the_operator_is_told_at_the_start_and_by_check() {
    let operator = Authority::new("Operator's CA");
    let good = operator.sign("localhost", 90);
    let world = World::empty();
    let dir = world.config().parent().unwrap().to_owned();
    let (cert, key) = private(good.write(&dir, "good", ""));
    let (_, other_key) = private(operator.sign("localhost", 90).write(&dir, "other", ""));
    let missing = dir.join("missing.pem");
    for (cert, key, words) in [
        (&missing, &key, "mqtts.cert: "),
        (&cert, &missing, "missing.pem does not exist"),
        (&cert, &other_key, "is not the key of the first certificate"),
        (&key, &key, "holds no certificate"),
    ] {
        let world = own_pair(World::empty(), cert, key);
        let (status, log) = world.start_fails();
        assert_eq!(status.code(), Some(2), "{log}");
        assert!(log.contains(words), "{words} is not in {log}");
        let check = world.run(&["check"]);
        assert_eq!(check.status.code(), Some(2));
        assert!(text(&check.stderr).contains(words), "{check:?}");
        let check: serde_json::Value =
            serde_json::from_slice(&world.run(&["check", "--json"]).stdout).unwrap();
        assert_eq!(check["ok"], false);
        assert!(check["tls"]["problem"].as_str().unwrap().contains(words), "{check}");
    }

    let (old, old_key) = private(operator.sign("localhost", -1).write(&dir, "old", ""));
    fs::set_permissions(&old_key, fs::Permissions::from_mode(0o644)).unwrap();
    let bridge = own_pair(World::empty(), &old, &old_key).start();
    bridge.says(&["ERROR", "devices refuse the certificate", "renew it"]);
    bridge.says(&["WARN", "can be read or written by others (mode 0644): run chmod 600"]);
    let check = bridge.world().run(&["check"]);
    assert_eq!(check.status.code(), Some(1));
    assert!(text(&check.stdout).contains("warning: the private key"), "{check:?}");
    assert!(text(&check.stderr).contains("renew it"), "{check:?}");
}

#[test]
fn client_certificates_are_asked_for_in_addition_to_the_password() {
    let (clients, strangers) = (Authority::new("Devices"), Authority::new("Strangers"));
    let world = World::empty();
    let dir = world.config().parent().unwrap().to_owned();
    let client_ca = dir.join("clients.pem");
    fs::write(&client_ca, &clients.pem).unwrap();
    let bridge = world.env("IOR_BRIDGE__MQTTS__CLIENT_CA", client_ca.to_str().unwrap()).start();
    let (from, _) = ends(&bridge);
    let login = |own| {
        let login = from.login_with_tls();
        let tls = login.tls.clone().map(|tls| Tls { own, ..tls });
        Login { tls, ..login }
    };
    let device = clients.sign("device-1", 90).write(&dir, "device", "");
    let stranger = strangers.sign("device-1", 90).write(&dir, "stranger", "");
    let expired = clients.sign("device-1", -1).write(&dir, "expired", "");

    for version in ["tlsv1.2", "tlsv1.3"] {
        let output = publish(&login(Some(device.clone())), &from.publish, &["--tls-version", version]);
        assert!(output.status.success(), "{version}: {output:?}");
        for (own, words) in [
            (None, "it showed no certificate of its own"),
            (Some(stranger.clone()), "the certificate that it showed is not accepted"),
            (Some(expired.clone()), "the certificate that it showed has expired"),
        ] {
            assert!(!publish(&login(own), &from.publish, &["--tls-version", version]).status.success());
            bridge.says(&["refused a connection", words]);
        }
    }
    let guesses = Login { password: "guess".to_owned(), ..login(Some(device)) };
    assert!(!publish(&guesses, &from.publish, &[]).status.success());
    bridge.says(&["wrong password for default.4569"]);
}

#[test]
fn where_tls_is_required_plain_logins_are_refused() {
    let bridge = World::empty().env("IOR_BRIDGE__TLS", "required").start();
    let (from, _) = ends(&bridge);
    assert_eq!(from.json["mqtt"].get("port"), None);
    for version in ON_BOTH_VERSIONS {
        for password in [from.login.password.as_str(), "guess"] {
            let mut client = bridge.open(version);
            client.send(Connect::new("x").user_name(&from.login.username).password(password));
            let expected = if version == V5 { NOT_AUTHORIZED.0 } else { NOT_AUTHORIZED.1 };
            assert_eq!(client.expect_connack().code, expected);
            client.expect_closed();
        }
    }
    bridge.says(&["\"default.4569\" logs in without TLS", "new credential file"]);
    assert!(!bridge.log().contains(&from.login.password));
    let tunnel = tunnel(&bridge, "localhost", &from);
    for version in ON_BOTH_VERSIONS {
        connect(tunnel.addr, version, &from).disconnect();
    }
    let output = bridge.world().run(&["credentials", "4569", "--format", "env"]);
    assert!(text(&output.stdout).contains("MQTT_TLS_PORT="), "{output:?}");
    assert!(!text(&output.stdout).contains("MQTT_PORT="), "{output:?}");
}

#[test]
fn one_listener_is_enough() {
    let bridge = World::empty().env("IOR_BRIDGE__MQTT__LISTEN", "null").start();
    let (from, _) = ends(&bridge);
    assert_eq!((bridge.addr.port(), from.json["mqtt"].get("port")), (0, None));
    connect(tunnel(&bridge, "localhost", &from).addr, V5, &from).disconnect();

    let off =
        World::empty().env("IOR_BRIDGE__MQTTS__LISTEN", "null").env("IOR_BRIDGE__WEBSOCKET__LISTEN", "null");
    let bridge = off.start();
    let (from, _) = ends(&bridge);
    assert_eq!((bridge.mqtts, bridge.websocket), (None, None));
    assert_eq!((from.json["mqtt"].get("tls_port"), from.json["mqtt"].get("ca")), (None, None));
    bridge.connect(V5, &from);
}

#[test]
fn pub_sub_and_latency_speak_tls() {
    for setting in [("IOR_BRIDGE__TLS", "required"), ("IOR_BRIDGE__TLS", "optional")] {
        let bridge = World::empty().env(setting.0, setting.1).start();
        let (from, to) = ends(&bridge);
        let [from_file, to_file] = [&from, &to].map(|who| who.file.to_str().unwrap());
        let option: &[&str] = if setting.1 == "required" { &[] } else { &["--tls"] };
        let run = |arguments: &[&str]| {
            let host = ["--host", "localhost"];
            bridge.world().run(&[arguments, &host, option].concat())
        };
        let latency = run(&["latency", from_file, to_file, "--count", "50", "--rate", "1000", "--json"]);
        let report: serde_json::Value = serde_json::from_slice(&latency.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", text(&latency.stderr)));
        assert_eq!(report["lost"], 0, "{report}");

        // What is sent last, at QoS 0, arrives too.
        for qos in ["0", "1", "2"] {
            let kept = run(&["pub", from_file, "kept", "a message", "--retain", "--qos", qos]);
            assert!(kept.status.success(), "{kept:?}");
            let heard = run(&["sub", to_file, "kept", "--count", "1"]);
            assert_eq!(text(&heard.stdout), "kept a message\n", "QoS {qos}: {heard:?}");
            let over = run(&["pub", from_file, "kept", "", "--retain", "--qos", "1"]);
            assert!(over.status.success(), "{over:?}");
        }
        bridge.says(&["over TLS with MQTT 5, client id \"default.4569-latency-"]);
        assert!(!bridge.log().contains("over TCP"), "{}", bridge.log());
    }
}

#[test]
fn sub_connects_again_over_tls() {
    let bridge = Bridge::start();
    let (from, to) = ends(&bridge);
    let mqtts = bridge.mqtts.unwrap();
    let [from, to] = [&from, &to].map(|who| who.file.to_str().unwrap());
    let kept = ["pub", from, "x", "kept", "--retain", "--tls", "--host", "localhost"];
    assert!(bridge.world().run(&kept).status.success());
    let arguments = ["sub", to, "--tls", "--host", "localhost", "--count", "2"];
    let mut sub = Process::start(&mut bridge.world().command(&arguments));
    sub.wait_for("kept message", DEADLINE, |line| (line == "x kept").then_some(()));
    let mut world = bridge.kill();
    let broke = |line: &str| line.contains("connecting again").then(|| line.to_owned());
    let broke = sub.wait_for("broken connection", DEADLINE, broke);
    assert!(!broke.contains("rustls"), "{broke}");
    world.set_env("IOR_BRIDGE__MQTTS__LISTEN", &mqtts.to_string());
    let _bridge = world.start();
    assert!(sub.wait(DEADLINE * 2).success());
    assert_eq!(sub.log().matches("x kept").count(), 2, "{}", sub.log());
}

#[test]
fn pub_tells_what_is_wrong_with_tls() {
    let bridge = Bridge::start();
    let (from, _) = ends(&bridge);
    let stranger = bridge.world().data().join("stranger.json");
    let mut json = from.json.clone();
    json["mqtt"]["ca"] = Authority::new("Another bridge's CA").pem.into();
    fs::write(&stranger, json.to_string()).unwrap();
    let [file, stranger] = [&from.file, &stranger].map(|path| path.to_str().unwrap());
    let port = bridge.addr.port().to_string();
    for (arguments, words) in [
        (
            &["pub", stranger, "x", "y", "--tls", "--host", "localhost"][..],
            "that the CA of the credential file did not sign",
        ),
        (
            &["pub", file, "x", "y", "--tls", "--host", "localhost", "--port", &port],
            "is this the port of `mqtts.listen`?",
        ),
        (
            &["pub", file, "x", "y", "--tls", "--host", "unknown.invalid"],
            "the host name `unknown.invalid` is unknown",
        ),
    ] {
        let output = bridge.world().run(arguments);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(text(&output.stderr).contains(words), "{words} is not in {}", text(&output.stderr));
    }
    let elsewhere = World::empty().env("IOR_BRIDGE__MQTTS__LISTEN", "127.0.0.2:0").start();
    let file = ends(&elsewhere).0.file;
    let output =
        elsewhere.world().run(&["pub", file.to_str().unwrap(), "x", "y", "--tls", "--host", "127.0.0.2"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("is not for `127.0.0.2`"), "{output:?}");

    json["mqtt"].as_object_mut().unwrap().remove("tls_port");
    fs::write(stranger, json.to_string()).unwrap();
    let output = bridge.world().run(&["pub", stranger, "x", "y", "--tls"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("names no port for MQTT over TLS"), "{output:?}");
}

#[test]
fn a_refused_login_over_tls_is_told_as_without() {
    let bridge = Bridge::start();
    let (from, _) = ends(&bridge);
    let wrong = bridge.world().data().join("wrong.json");
    let mut json = from.json.clone();
    json["mqtt"]["password"] = "guess".into();
    fs::write(&wrong, json.to_string()).unwrap();
    let file = wrong.to_str().unwrap();
    let output = bridge.world().run(&["pub", file, "x", "y", "--tls", "--host", "localhost"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("refused the user name or password of `default.4569`"),
        "{output:?}"
    );
}

fn ends(bridge: &Bridge) -> (Credentials, Credentials) {
    (bridge.credentials("connection-1", End::From), bridge.credentials("connection-1", End::To))
}

fn tunnel(bridge: &Bridge, host: &str, who: &Credentials) -> Tunnel {
    Tunnel::open(bridge.mqtts.unwrap(), host, who.ca())
}

#[track_caller]
fn connect(addr: SocketAddr, version: Version, who: &Credentials) -> Client {
    let mut client = Client::open(addr, version);
    let connect = Connect::new(&who.login.client_id);
    client.send(connect.user_name(&who.login.username).password(&who.login.password));
    assert_eq!(client.expect_connack().code, 0, "CONNACK");
    client
}

/// `mosquitto_pub` with further options.
fn publish(login: &Login, topic: &str, options: &[&str]) -> Output {
    let mut command = Command::new("mosquitto_pub");
    command.args([
        "-h",
        "localhost",
        "-p",
        &login.addr.port().to_string(),
        "-t",
        topic,
        "-m",
        "x",
        "-q",
        "1",
    ]);
    command.args(["-u", &login.username, "-P", &login.password]);
    let Tls { ca, own } = login.tls.as_ref().unwrap();
    command.arg("--cafile").arg(ca).args(options);
    if let Some((cert, key)) = own {
        command.arg("--cert").arg(cert).arg("--key").arg(key);
    }
    command.output().unwrap()
}

fn own_pair(world: World, cert: &Path, key: &Path) -> World {
    world
        .env("IOR_BRIDGE__HOST", "localhost")
        .env("IOR_BRIDGE__MQTTS__CERT", cert.to_str().unwrap())
        .env("IOR_BRIDGE__MQTTS__KEY", key.to_str().unwrap())
}

fn private((cert, key): (PathBuf, PathBuf)) -> (PathBuf, PathBuf) {
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    (cert, key)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
