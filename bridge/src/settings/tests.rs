#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

#[test]
fn nothing_is_needed() {
    let settings = load(None, &[]).unwrap();
    assert_eq!(settings.mqtt, Mqtt { listen: Some("0.0.0.0:1883".parse().unwrap()) });
    let listen = Some("0.0.0.0:8883".parse().unwrap());
    assert_eq!(settings.mqtts, Mqtts { listen, pair: None, client_ca: None });
    assert_eq!(settings.websocket, WebSocket { listen: Some("0.0.0.0:8083".parse().unwrap()) });
    assert_eq!(settings.tls, TlsUse::Optional);
    assert!(!settings.host.is_empty());
    assert!(settings.data_dir.ends_with("data"));
    assert_eq!(settings.durability, Durability::Fsync);
    assert_eq!(settings.log, Log { level: "info".to_owned(), format: LogFormat::Text });
    assert_eq!(
        settings.limits,
        Limits {
            connections: 10_000,
            connections_per_address: 1000,
            logins: 512,
            connect_timeout: Duration::from_secs(10),
            failed_logins: 5,
            failed_login_delay_max: Duration::from_secs(30),
            max_connect_size: 4 << 10,
            max_will_size: 8 << 10,
            max_packet_size: 1 << 20,
            max_topic_length: 1024,
            max_topic_levels: 64,
            user_properties: 64,
            receive_maximum: 1024,
            max_inflight: 128,
            topic_alias_maximum: 64,
            keep_alive_max: 0,
            sessions_per_device: 4,
            session_expiry_max: 30 * 24 * 60 * 60,
            subscriptions_per_session: 100,
            publish_rate: 0,
            publish_bandwidth: 0,
            live_queue_messages: 1000,
            live_queue_bytes: 1 << 20,
            queue_messages: 100_000,
            queue_bytes: 64 << 20,
            queue_max_age: Duration::ZERO,
            when_full: WhenFull::Reject,
            retained_messages: 10_000,
            retained_bytes: 64 << 20,
            retained_per_device: 1000,
            rotation_window: Duration::from_secs(24 * 60 * 60),
        }
    );
}

#[test]
fn the_defaults_are_those_of_the_broker() {
    let limits = load(None, &[]).unwrap().limits.for_broker();
    assert_eq!(limits, ior_broker::limits::Limits::default());
}

#[test]
fn every_limit_that_counts_has_a_key_and_every_key_a_count() {
    let counted: std::collections::BTreeSet<_> =
        ior_broker::limits::Limit::ALL.iter().map(|limit| format!("limits.{}", key_of(*limit))).collect();
    let keys = layers::keys().into_keys().filter(|key| key.starts_with("limits."));
    // The one says what happens when another one is reached; the other one is the policy's own.
    let others = ["limits.when_full", "limits.rotation_window"];
    let keys: std::collections::BTreeSet<_> = keys.filter(|key| !others.contains(&&**key)).collect();
    assert_eq!(keys, counted);
}

#[test]
fn the_environment_beats_the_file() {
    let text = r#"{ "$schema": "x", "host": "pi.local", "mqtt": { "listen": "[::1]:7" }, "data_dir": "/d",
        "limits": { "queue_bytes": 4096, "max_inflight": 3, "when_full": "drop_oldest" } }"#;
    let settings = load(
        Some(text),
        &[
            ("IOR_BRIDGE__MQTT__LISTEN", "127.0.0.1:11883"),
            ("IOR_BRIDGE__LIMITS__MAX_INFLIGHT", "4"),
            ("IOR_BRIDGE__LIMITS__RETAINED_BYTES", "100"),
            ("IOR_BRIDGE__HOST", ""),
            ("IOR_BRIDGE_CONFIG", "not ours"),
        ],
    )
    .unwrap();
    assert_eq!((&*settings.host, settings.mqtt.listen.unwrap().port()), ("pi.local", 11883));
    assert_eq!(settings.data_dir, Path::new("/d"));
    let limits = settings.limits;
    assert_eq!((limits.queue_bytes, limits.max_inflight, limits.retained_bytes), (4096, 4, 100));
    assert_eq!(limits.when_full, WhenFull::DropOldest);
}

#[test]
fn the_data_directory_is_beside_the_configuration() {
    let data_dir = |dir: &str, environment: &[(&str, &str)]| {
        let environment = owned(environment);
        Settings::load(Path::new(dir), &environment).unwrap().data_dir
    };
    assert_eq!(data_dir("/nowhere/config", &[]), Path::new("/nowhere/data"));
    assert_eq!(data_dir("config", &[]), Path::new("data"));
    assert_eq!(data_dir(".", &[]), Path::new("./../data"));
    assert_eq!(data_dir("/nowhere/config", &[("IOR_BRIDGE__DATA_DIR", "d")]), Path::new("/nowhere/d"));
    assert_eq!(data_dir("/nowhere/config", &[("STATE_DIRECTORY", "/s:/t")]), Path::new("/s"));
    assert_eq!(
        default_data_dir(Path::new(SYSTEM_CONFIG_DIR), &Environment::new()),
        Path::new(SYSTEM_DATA_DIR)
    );
}

#[test]
fn files_of_the_operator_are_beside_the_configuration_too() {
    let text = r#"{ "mqtts": { "cert": "tls/cert.pem", "key": "/etc/key.pem", "client_ca": "ca.pem" } }"#;
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config");
    std::fs::create_dir(&config).unwrap();
    std::fs::write(config.join(SERVER_FILE), text).unwrap();
    let mqtts = Settings::load(&config, &Environment::new()).unwrap().mqtts;
    let pair = PairFiles { cert: dir.path().join("tls/cert.pem"), key: "/etc/key.pem".into() };
    assert_eq!((mqtts.pair, mqtts.client_ca), (Some(pair), Some(dir.path().join("ca.pem"))));
}

#[test]
fn one_listener_is_enough() {
    let off = |name| load(None, &[(name, "null")]).unwrap();
    assert_eq!(off("IOR_BRIDGE__MQTT__LISTEN").mqtt.listen, None);
    assert_eq!(off("IOR_BRIDGE__MQTTS__LISTEN").mqtts.listen, None);
    assert_eq!(off("IOR_BRIDGE__WEBSOCKET__LISTEN").websocket.listen, None);
    let only_websocket = r#"{ "mqtt": { "listen": null }, "mqtts": { "listen": null }, "tls": "required" }"#;
    assert!(load(Some(only_websocket), &[]).is_ok(), "it speaks TLS too");
    // Ports that the system chooses are never the same.
    let chosen = [("IOR_BRIDGE__MQTT__LISTEN", "127.0.0.1:0"), ("IOR_BRIDGE__MQTTS__LISTEN", "127.0.0.1:0")];
    assert!(load(None, &chosen).is_ok());
}

#[test]
fn the_store_is_in_the_data_directory_unless_nothing_is_kept() {
    let store = |durability: &str| {
        let variables = [("IOR_BRIDGE__DURABILITY", durability), ("IOR_BRIDGE__DATA_DIR", "/d")];
        load(None, &variables).unwrap().store()
    };
    let at = |durability| Some(StoreSettings { directory: "/d/store".into(), durability });
    assert_eq!(store(""), at(StoreDurability::Fsync));
    assert_eq!(store("buffered"), at(StoreDurability::Buffered));
    assert_eq!(store("memory"), None);
}

#[test]
fn what_a_connection_leaves_out_is_as_the_limits_say() {
    let text = r#"{ "limits": { "queue_messages": 7, "queue_max_age": "1h", "when_full": "drop_oldest" } }"#;
    let limits = load(Some(text), &[]).unwrap().limits;
    let flow = limits.flow(&OwnQueue::default());
    assert_eq!(flow, limits.for_broker().flow);
    assert_eq!((flow.queue.messages, flow.queue.bytes), (7, 64 << 20));
    assert_eq!(flow.max_age, Some(Duration::from_secs(3600)));
    let own = OwnQueue {
        max_messages: Some(8),
        max_bytes: Some(9000),
        max_age: Some(Duration::ZERO),
        when_full: Some(WhenFull::Reject),
    };
    let flow = limits.flow(&own);
    assert_eq!((flow.queue.messages, flow.queue.bytes, flow.max_age), (8, 9000, None));
    assert_eq!(flow.when_full, ior_broker::limits::WhenFull::Reject);
}

#[test]
fn wrong_values_are_found_where_they_stand() {
    for (text, message, hint) in [
        ("§[]", "this is a list, but should be an object", "write {"),
        ("{ \"mqtt\": §5 }", "this is a number, but should be an object", "{ … }"),
        ("{ \"mqtt\": { §\"listne\": 5 } }", "unknown key \"listne\"", "did you mean \"listen\"?"),
        ("{ §\"mqtts2\": {} }", "unknown key \"mqtts2\"", "did you mean \"mqtts\"?"),
        ("{ §\"page\": {} }", "unknown key \"page\"", "the keys here are"),
        (
            "{ \"mqtt\": { \"listen\": §null }, \"mqtts\": { \"listen\": null }, \"websocket\": { \"listen\": null } }",
            "nothing listens",
            "such as \"0.0.0.0:1883\"",
        ),
        (
            "{ \"mqtts\": { \"listen\": null }, \"websocket\": { \"listen\": null }, \"tls\": §\"required\" }",
            "nobody could log in",
            "for mqtts.listen",
        ),
        (
            "{ \"mqtt\": { \"listen\": \"127.0.0.1:8883\" }, \"mqtts\": { \"listen\": §\"0.0.0.0:8883\" } }",
            "mqtt.listen is the same place",
            "another port",
        ),
        (
            "{ \"websocket\": { \"listen\": §\"[::1]:8883\" }, \"mqtts\": { \"listen\": \"[::]:8883\" } }",
            "mqtts.listen is the same place",
            "another port",
        ),
        (
            "{ \"mqtts\": { \"listen\": §\"8883\" } }",
            "not an address with a port",
            "such as \"0.0.0.0:8883\"",
        ),
        ("{ \"mqtts\": { \"cert\": §\"a.pem\" } }", "this certificate has no key", "as mqtts.key"),
        ("{ \"mqtts\": { \"key\": §\"a.pem\" } }", "this key has no certificate", "as mqtts.cert"),
        ("{ \"tls\": §true }", "not one of the choices", "\"optional\" or \"required\""),
        ("{ \"mqtt\": { \"listen\": §\"1883\" } }", "not an address with a port", "such as \"0.0.0.0:1883\""),
        ("{ \"mqtt\": { \"listen\": §1883 } }", "not an address with a port", "such as \"0.0.0.0:1883\""),
        ("{ \"host\": §\"\" }", "should be a text that is not empty", "pi.local"),
        ("{ \"host\": §5 }", "should be a text that is not empty", "pi.local"),
        ("{ \"host\": §[] }", "this is a list, but should be a single value", "a text or a number"),
        ("{ \"durability\": §\"disk\" }", "not one of the choices", "\"fsync\" or \"buffered\""),
        ("{ \"log\": { \"level\": §\"loud\" } }", "not one of the choices", "\"error\" or \"warn\" or"),
        (
            "{ \"limits\": { \"when_full\": §true } }",
            "not one of the choices",
            "\"reject\" or \"drop_oldest\"",
        ),
        ("{ \"limits\": { \"connections\": §0 } }", "number is not possible", "from 2 to 1000000"),
        ("{ \"limits\": { \"connections\": §\"5\" } }", "number is not possible", "from 2 to 1000000"),
        ("{ \"limits\": { \"connections\": §1.5 } }", "number is not possible", "from 2 to 1000000"),
        ("{ \"limits\": { \"receive_maximum\": §65536 } }", "number is not possible", "from 1 to 65535"),
        ("{ \"limits\": { \"connect_timeout\": §10 } }", "duration is not possible", "\"10s\", \"15m\""),
        ("{ \"limits\": { \"connect_timeout\": §\"11m\" } }", "duration is not possible", "from 1s to 10m"),
        ("{ \"limits\": { \"queue_bytes\": §\"1MB\" } }", "size is not possible", "from 1KiB to 64GiB"),
        ("{ \"limits\": { \"queue_bytes\": §-1 } }", "size is not possible", "from 1KiB to 64GiB"),
    ] {
        let problems = load(Some(&text.replace('§', "")), &[]).expect_err(text);
        assert_eq!(problems.len(), 1, "{text}\n{problems}");
        let problem = problems.iter().next().unwrap();
        let position = Source::new("", text).position(text.find('§').unwrap());
        assert_eq!(problem.position(), Some(position), "{text}\n{problem:?}");
        assert!(problem.message().contains(message), "{text}\n{problem:?}");
        assert!(problem.hint_text().unwrap().contains(hint), "{text}\n{problem:?}");
    }
}

#[test]
fn a_credential_of_the_service_is_found_where_systemd_puts_it() {
    let text = r#"{ "mqtts": { "cert": "/etc/cert.pem", "key": "credential:mqtts.key" } }"#;
    let key = |environment: &[(&str, &str)]| load(Some(text), environment).unwrap().mqtts.pair.unwrap().key;
    assert_eq!(key(&[("CREDENTIALS_DIRECTORY", "/run/c")]), Path::new("/run/c/mqtts.key"));
    assert_eq!(key(&[]), Path::new("/run/credentials/ior-bridge.service/mqtts.key"), "for other commands");
    for wrong in ["credential:", "credential:../key", "credential:/etc/key"] {
        let problems = load(Some(&text.replace("credential:mqtts.key", wrong)), &[]).unwrap_err();
        let problem = problems.iter().next().unwrap();
        assert_eq!(problem.message(), "this is not the name of a credential");
        assert!(problem.hint_text().unwrap().contains("\"credential:mqtts.key\""), "{problem:?}");
    }
}

#[test]
fn wrong_variables_are_named() {
    let problems = load(
        Some("{ \"host\": 1, \"limits\": { \"max_inflight\": 0 } }"),
        &[
            ("IOR_BRIDGE__MQTT__LISTEN", "null"),
            ("IOR_BRIDGE__MQTTS__LISTEN", "null"),
            ("IOR_BRIDGE__WEBSOCKET__LISTEN", "null"),
            ("IOR_BRIDGE__MQTT__LISTNE", "x"),
            ("IOR_BRIDGE__MQTT", "x"),
            ("IOR_BRIDGE__LIMITS__MAX_INFLIGHT", "many"),
            ("IOR_BRIDGE__NONSENSE__ALTOGETHER", "x"),
            ("IOR_BRIDGE__host", "x"),
        ],
    )
    .unwrap_err();
    let found: Vec<_> = problems
        .iter()
        .map(|problem| {
            (problem.variable().unwrap_or("server.json"), problem.message(), problem.hint_text().unwrap())
        })
        .collect();
    let shown = format!("{found:#?}");
    let expect = |variable: &str, message: &str, hint: &str| {
        let matches = |(at, is, how): &&(&str, &str, &str)| {
            *at == variable && is.contains(message) && how.contains(hint)
        };
        assert_eq!(found.iter().filter(matches).count(), 1, "{variable}\n{shown}");
    };
    expect("server.json", "not empty", "pi.local");
    expect("IOR_BRIDGE__MQTT__LISTEN", "nothing listens", "0.0.0.0:1883");
    expect("IOR_BRIDGE__MQTT__LISTNE", "no such setting", "did you mean IOR_BRIDGE__MQTT__LISTEN?");
    expect("IOR_BRIDGE__MQTT", "no such setting", "");
    expect("IOR_BRIDGE__LIMITS__MAX_INFLIGHT", "number is not possible", "from 1 to 1024");
    expect("IOR_BRIDGE__NONSENSE__ALTOGETHER", "no such setting", "the keys of server.json");
    expect("IOR_BRIDGE__host", "no such setting", "did you mean IOR_BRIDGE__HOST?");
    assert_eq!(found.len(), 7, "{shown}");
}

#[test]
fn every_key_can_be_set() {
    // A key that is read but has no default would be refused as unknown; one with a default that nothing reads would
    // be accepted with any value.
    for (key, section) in layers::keys() {
        if section || key == "$schema" {
            continue;
        }
        let name = format!("IOR_BRIDGE__{}", key.replace('.', "__").to_uppercase());
        assert!(load(None, &[(&name, "\u{1}")]).is_err(), "{name} is not read");
    }
}

fn load(text: Option<&str>, environment: &[(&str, &str)]) -> Result<Settings, Problems> {
    let dir = tempfile::tempdir().unwrap();
    if let Some(text) = text {
        std::fs::write(dir.path().join(SERVER_FILE), text).unwrap();
    }
    Settings::load(dir.path(), &owned(environment))
}

fn owned(environment: &[(&str, &str)]) -> Environment {
    environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
