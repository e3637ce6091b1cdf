#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use clap::ValueEnum;

use super::*;
use crate::document::Source;

const SECRET: [u8; 32] = [7; 32];

#[test]
fn the_file_says_what_the_design_says() {
    let registry = registry(&["\"from\": 4569, \"to\": 5412, \"name\": \"Connection 1\""]);
    let secrets = Secrets::from_key(SECRET);
    let reach = Reach {
        tls_port: Some(8883),
        ca: Some("-----BEGIN CERTIFICATE-----\n".to_owned()),
        ..reach("pi.local", Some(1883))
    };
    let issuer = Issuer::new(&registry, &secrets, &reach);
    let connection = &registry.connections()[0];
    let [from, to] = End::BOTH.map(|end| issuer.file(connection, end));
    let password = secrets.password("default", "4569", 1).to_string();
    assert_eq!(
        serde_json::to_value(&from).unwrap(),
        serde_json::json!({
            "deviceCode": 4569, "name": "Master 1", "user": "default", "connection": "connection-1",
            "key": from.key,
            "peer": { "deviceCode": 5412, "name": "Slave 1" },
            "mqtt": { "host": "pi.local", "port": 1883, "tls_port": 8883, "ca": "-----BEGIN CERTIFICATE-----\n",
                      "client_id": "default.4569", "username": "default.4569",
                      "password": password },
            "topics": { "publish": "default/connection-1/4569", "subscribe": "default/connection-1/5412/#",
                        "presence": "default/connection-1/presence/5412" }
        })
    );
    assert_eq!((from.key.len(), password.len()), (16, 43));
    assert_eq!(from.key, to.key);
    assert_ne!(from.mqtt.password, to.mqtt.password);
    assert_eq!(to.topics.subscribe, "default/connection-1/4569/#");
}

#[test]
fn files_are_private_and_written_only_when_they_change() {
    let dir = tempfile::tempdir().unwrap();
    let registry = registry(&["\"from\": 4569, \"to\": 5412, \"name\": \"a\""]);
    let write = |host: &str| {
        let secrets = Secrets::from_key(SECRET);
        write_all(dir.path(), &Issuer::new(&registry, &secrets, &reach(host, Some(1)))).unwrap()
    };
    let from = path(dir.path(), &registry.connections()[0], End::From);
    assert_eq!(from, dir.path().join("credentials/default/a/from.json"));
    assert_eq!(write("h").written.len(), 2);
    assert_eq!(mode(&from), 0o600);
    for parent in from.ancestors().skip(1).take(3) {
        assert_eq!(mode(parent), 0o700);
    }
    assert_eq!(write("h"), Written { unchanged: 2, ..Written::default() });
    fs::set_permissions(&from, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(write("h").written, std::slice::from_ref(&from));
    assert_eq!(mode(&from), 0o600);
    assert_eq!(write("other").written.len(), 2);
    let other = dir.path().join("other");
    fs::rename(&from, &other).unwrap();
    symlink(&other, &from).unwrap();
    assert_eq!(
        write("other").written,
        std::slice::from_ref(&from),
        "a link is replaced, never written through"
    );
}

#[test]
fn what_is_not_committed_leaves_everything_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let secrets = Secrets::from_key(SECRET);
    let (a, b) =
        ("\"from\": 4569, \"to\": 5412, \"name\": \"a\"", "\"from\": 4569, \"to\": 1, \"name\": \"b\"");
    let (one, two) = (registry(&[a]), registry(&[b]));
    let stage = |registry: &Registry, host: &str| {
        Staged::write(dir.path(), &Issuer::new(registry, &secrets, &reach(host, None))).unwrap()
    };
    let files = || {
        let root = dir.path().join(CREDENTIALS_DIR).join("default");
        let of = |name: &str| {
            let files = fs::read_dir(root.join(name)).into_iter().flatten();
            files
                .map(|file| file.unwrap().path())
                .map(|path| (fs::read(&path).unwrap(), path))
                .collect::<Vec<_>>()
        };
        let mut all = [of("a"), of("b")].concat();
        all.sort();
        all
    };
    stage(&one, "h").commit().unwrap();
    let before = files();
    assert_eq!(before.len(), 2);
    drop(stage(&one, "other"));
    drop(stage(&two, "h"));
    assert_eq!(files(), before);
    assert_eq!(stage(&two, "h").commit().unwrap().removed.len(), 2);
    assert_eq!(files().len(), 2);
}

#[test]
fn only_files_of_connections_that_are_gone_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let secrets = Secrets::from_key(SECRET);
    let two = registry(&[
        "\"from\": 4569, \"to\": 5412, \"name\": \"a\"",
        "\"from\": 4569, \"to\": 1, \"name\": \"b\"",
    ]);
    let one = registry(&["\"from\": 4569, \"to\": 5412, \"name\": \"a\""]);
    let write = |registry: &Registry| {
        write_all(dir.path(), &Issuer::new(registry, &secrets, &reach("h", None))).unwrap()
    };
    write(&two);
    let root = dir.path().join(CREDENTIALS_DIR);
    for foreign in ["default/a/notes.txt", "default/from.json", "from.json"] {
        fs::write(root.join(foreign), "mine").unwrap();
    }
    fs::write(root.join("default/a/.ior-bridge-abc"), "unfinished").unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("from.json"), "mine").unwrap();
    symlink(elsewhere.path(), root.join("default/c")).unwrap();
    let removed = write(&one).removed;
    let expected = ["default/a/.ior-bridge-abc", "default/b/from.json", "default/b/to.json"];
    assert_eq!(removed, expected.map(|name| root.join(name)));
    assert!(!root.join("default/b").exists());
    for kept in ["default/a/notes.txt", "default/from.json", "from.json", "default/a/from.json"] {
        assert!(root.join(kept).exists(), "{kept}");
    }
    assert!(elsewhere.path().join("from.json").exists());
}

#[test]
fn every_snippet_holds_all_that_is_needed_and_quotes_it() {
    let registry = registry(&["\"from\": 4569, \"to\": 5412, \"name\": \"a\""]);
    let secrets = Secrets::from_key(SECRET);
    let reach = reach("it's \"here\"", Some(1884));
    let issuer = Issuer::new(&registry, &secrets, &reach);
    let file = issuer.file(&registry.connections()[0], End::From);
    for format in Format::value_variants() {
        let text = format.render(&file);
        let host = match format {
            Format::Mosquitto | Format::Env => r#"'it'\''s "here"'"#,
            _ => r#""it's \"here\"""#,
        };
        for needed in [
            host,
            "1884",
            "default.4569",
            &file.mqtt.password,
            "default/a/4569",
            "default/a/5412/#",
            "default/a/presence/5412",
        ] {
            assert!(text.contains(needed), "{format:?}: {needed} is not in\n{text}");
        }
    }
    let mut nasty = file.clone();
    nasty.name = "a \\\n#include".to_owned();
    assert!(Format::Arduino.render(&nasty).starts_with("// a   #include, connected with Slave 1."));
}

#[test]
fn every_snippet_uses_tls_where_it_can() {
    let registry = registry(&["\"from\": 4569, \"to\": 5412, \"name\": \"a\""]);
    let secrets = Secrets::from_key(SECRET);
    let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let render = |ca: Option<&str>, format: Format| {
        let reach =
            Reach { tls_port: Some(8884), ca: ca.map(str::to_owned), ..reach("pi.local", Some(1883)) };
        format.render(&Issuer::new(&registry, &secrets, &reach).file(&registry.connections()[0], End::From))
    };
    for (format, with_ca, without) in [
        (Format::Mosquitto, "cat > ior-bridge-ca.pem <<'END'\n-----BEGIN", "--capath /etc/ssl/certs"),
        (Format::Paho, "(cadata=CA)", "ssl.create_default_context()"),
        (Format::Arduino, "\"AAAA\\n\"\n", "the CA that signed the bridge's certificate"),
        (Format::EspIdf, ".certificate = CA,", ".crt_bundle_attach = esp_crt_bundle_attach,"),
        (Format::Env, "MQTT_CA='-----BEGIN", "MQTT_TLS_PORT='8884'"),
    ] {
        for (ca, needed) in [(Some(pem), with_ca), (None, without)] {
            let text = render(ca, format);
            assert!(text.contains("8884") && text.contains(needed), "{format:?}: {needed} is not in\n{text}");
            let plain = format != Format::Env && text.contains("1883");
            assert!(!plain && !text.contains("OVER_TCP"), "{text}");
        }
    }
}

fn reach(host: &str, port: Option<u16>) -> Reach {
    Reach { host: host.to_owned(), port, tls_port: None, ca: None, websocket_port: None }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn registry(connections: &[&str]) -> Registry {
    let devices = [("4569", "Master 1"), ("5412", "Slave 1"), ("1", "Other")]
        .map(|(code, name)| format!(r#"{{ "code": "{code}", "name": "{name}", "type": "ESP32" }}"#));
    let connections: Vec<_> = connections.iter().map(|connection| format!("{{ {connection} }}")).collect();
    Registry::parse(
        &Source::new("d", format!(r#"{{ "devices": [ {} ] }}"#, devices.join(","))),
        &Source::new("c", format!(r#"{{ "connections": [ {} ] }}"#, connections.join(","))),
    )
    .unwrap()
}
