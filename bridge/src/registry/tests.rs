#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use super::*;
use crate::settings::WhenFull;

const MASTER: &str = r#"{ "code": 4569, "name": "Master 1", "type": "Raspberry Pi" }"#;
const SLAVE: &str = r#"{ "code": 5412, "name": "Slave 1", "type": "Raspberry Pi" }"#;

#[test]
fn the_shipped_configuration_is_what_the_design_says() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
    let registry = Registry::load(&dir).unwrap();
    let devices: Vec<_> =
        registry.devices().iter().map(|device| (device.user_name(), &*device.name)).collect();
    let expected = [("4569", "Master 1"), ("5412", "Slave 1"), ("5648", "Master 2"), ("9036", "Slave 2")];
    assert_eq!(devices, expected.map(|(code, name)| (format!("default.{code}"), name)));
    assert!(registry.devices().iter().all(|device| device.kind == "Raspberry Pi"));
    let connections: Vec<_> = registry
        .connections()
        .iter()
        .map(|connection| {
            let [from, to] = End::BOTH.map(|end| registry.end(connection, end).code.as_str());
            (&*connection.id, &*connection.name, from, to)
        })
        .collect();
    assert_eq!(
        connections,
        [("connection-1", "Connection 1", "4569", "5412"), ("connection-2", "Connection 2", "5648", "9036")]
    );
}

#[test]
fn optional_keys_and_equal_codes_of_different_users_are_fine() {
    let registry = Registry::parse(
        &Source::new("devices.json", format!(
            r#"{{ "devices": [ {MASTER}, {SLAVE},
                {{ "code": "4569", "name": "Ü", "type": "ESP32", "user": "eva", "secret_version": 3, "disabled": true }},
                {{ "code": "04569", "name": "other", "type": "ESP32", "user": "eva" }} ] }}"#
        )),
        &Source::new(
            "connections.json",
            r#"{ "connections": [ { "id": "x_Y", "name": "…", "from": 4569, "to": "04569", "user": "eva" } ] }"#,
        ),
    )
    .unwrap();
    let device = registry.device("eva", "4569").unwrap();
    assert_eq!((device.secret_version, device.disabled, device.code.to_json()), (3, true, 4569.into()));
    assert_eq!(registry.device("eva", "04569").unwrap().code.to_json(), "04569");
    let connection = &registry.connections()[0];
    assert_eq!((&*connection.id, &*connection.user), ("x_Y", "eva"));
    assert_eq!(registry.end(connection, End::To).code.as_str(), "04569");
}

#[test]
fn a_connection_may_limit_its_queues() {
    let queue = |text: &str| {
        let devices = format!(r#"{{ "devices": [ {MASTER}, {SLAVE} ] }}"#);
        let connection = format!(r#"{{ "name": "a", "from": 4569, "to": 5412{text} }}"#);
        let connections = format!(r#"{{ "connections": [ {connection} ] }}"#);
        let registry =
            Registry::parse(&Source::new("devices.json", devices), &Source::new("c.json", connections));
        registry.unwrap().connections()[0].queue
    };
    assert_eq!(queue(""), OwnQueue::default());
    assert_eq!(queue(r#", "queue": {}"#), OwnQueue::default());
    let text = r#", "queue": { "max_messages": 10, "max_bytes": "64MiB", "max_age": "7d", "when_full": "drop_oldest" }"#;
    let all = OwnQueue {
        max_messages: Some(10),
        max_bytes: Some(64 << 20),
        max_age: Some(Duration::from_secs(7 * 24 * 60 * 60)),
        when_full: Some(WhenFull::DropOldest),
    };
    assert_eq!(queue(text), all);
    assert_eq!(queue(r#", "queue": { "max_bytes": 1024 }"#).max_bytes, Some(1024));
}

#[test]
fn ids_are_made_from_names() {
    let slugs = ["Connection 1", " Küche -> Hof! ", "a__b", "接続"].map(name::id_from_name);
    assert_eq!(
        slugs,
        [Some("connection-1"), Some("k-che-hof"), Some("a-b"), None].map(|id| id.map(str::to_owned))
    );
}

#[test]
fn codes_become_numbers_only_if_nothing_is_lost() {
    let json = |code: &str| DeviceCode::new(code).unwrap().to_json();
    assert_eq!(json("0"), 0);
    assert_eq!(json("9007199254740991"), MAX_NUMBER);
    for text in ["00", "9007199254740992", "-1", "robot"] {
        assert_eq!(json(text), text);
    }
}

#[test]
fn syntax_errors() {
    for (text, message, hint) in [
        ("{ \"devices\": [§ ", "EOF while parsing a list", "the file ends too early: close every quote"),
        ("§", "the file is empty", "write at least { \"devices\": [] }"),
        ("{ \"devices\": [ 1,\n §] }", "trailing comma", "remove the comma before this"),
        ("{\n\t§devices: [] }", "key must be a string", "write the key in double quotes"),
        ("{ \"devices\" §[] }", "expected `:`", "write a colon between the key and its value"),
        ("{ \"devices\": []\n§\"x\": 1 }", "expected `,` or `}`", "a comma is missing before this"),
        ("{ \"devices\": [ 1 §2 ] }", "expected `,` or `]`", "a comma is missing before this"),
        ("{ \"devices\": [ 0§42 ] }", "invalid number", "a code such as \"042\" is written in double quotes"),
        ("{ \"devices\": [] } §}", "trailing characters", "is there a bracket too many?"),
        ("§// devices\n{}", "expected value", "JSON has no comments: remove it"),
        ("{ \"devices\": [ §'a' ] }", "expected value", "write a text in double quotes"),
        ("{ \"ü\": §\"\\ud800\" }", "unexpected end of hex escape", "remove the escape"),
    ] {
        assert_problem(devices_problem(text), text, message, hint);
    }
    let (deep, problem) = ("[".repeat(40) + &"]".repeat(40), "this is nested too deeply");
    assert_eq!(devices_problem(&deep).message(), problem);
}

#[test]
fn wrong_form() {
    for (text, message, hint) in [
        ("§[]", "this is a list, but should be an object", "write { \"devices\": [ {"),
        ("§{}", "the key \"devices\" is missing", "add \"devices\": [ … ]"),
        ("{ \"devices\": §{} }", "this is an object, but should be a list", "write \"devices\": [ … ]"),
        ("{ \"devices\": [ §4569 ] }", "this is a number, but should be an object", "write { \"code\": 4569"),
        ("{ \"devices\": [], §\"device\": 1 }", "unknown key \"device\"", "did you mean \"devices\"?"),
        ("{ \"devices\": [], §\"x\": 1 }", "unknown key \"x\"", "the keys here are \"devices\""),
        ("{ \"devices\": [], §\"devices\": [] }", "\"devices\" is written twice", "remove one of the two"),
        (
            "{ \"$schema\": §1, \"devices\": [] }",
            "this is a number, but should be a text",
            "devices.schema.json",
        ),
    ] {
        assert_problem(devices_problem(text), text, message, hint);
    }
    for (device, message, hint) in [
        (r#"§{ "name": "a", "type": "b" }"#, "the key \"code\" is missing", "add \"code\": 4569"),
        (r#"§{ "code": 1, "type": "b" }"#, "the key \"name\" is missing", "add \"name\": \"Master 1\""),
        (r#"§{ "code": 1, "name": "b" }"#, "the key \"type\" is missing", "add \"type\": \"Raspberry Pi\""),
        (
            r#"{ "code": §null, "name": "a", "type": "b" }"#,
            "this is null, but should be a device code",
            "4569",
        ),
        (
            r#"{ "code": 1, "name": §true, "type": "b" }"#,
            "this is true or false, but should be a text",
            "Master 1",
        ),
        (r#"{ "code": 1, "name": §" ", "type": "b" }"#, "this cannot be empty", "Master 1"),
        (r#"{ "code": 1, "name": §"a\u001b[2J", "type": "b" }"#, "control character '\\u{1b}'", "Master 1"),
        (r#"{ "code": 1, "name": §"a\u202e", "type": "b" }"#, "control character '\\u{202e}'", "Master 1"),
        (
            r#"{ "code": 1, "name": "a", "type": "b", §"Disabled": true }"#,
            "unknown key",
            "did you mean \"disabled\"?",
        ),
        (r#"{ "code": 1, "name": "a", "type": "b", "disabled": §"yes" }"#, "should be true or false", "true"),
        (
            r#"{ "code": 1, "name": "a", "type": "b", "secret_version": §0 }"#,
            "not a secret version",
            "from 1 to",
        ),
        (
            r#"{ "code": 1, "name": "a", "type": "b", "secret_version": §1.5 }"#,
            "not a secret version",
            "from 1 to",
        ),
        (
            r#"{ "code": 1, "name": "a", "type": "b", "user": §7 }"#,
            "should be a text",
            "\"user\": \"default\"",
        ),
        (
            r#"{ "code": 1, "name": "a", "type": "b", "user": §"a.b" }"#,
            "cannot contain '.'",
            "A-Z a-z 0-9 _ -",
        ),
        (r#"{ "code": 1, "name": "a", "type": "b", "user": §"admin" }"#, "the bridge's own", "another name"),
    ] {
        let text = format!("{{ \"devices\": [\n  {device}\n] }}");
        assert_problem(devices_problem(&text), &text, message, hint);
    }
    let long = format!(
        "{{ \"devices\": [ {{ \"code\": 1, \"type\": \"b\", \"name\": §\"{}\" }} ] }}",
        "x".repeat(101)
    );
    assert_problem(devices_problem(&long), &long, "cannot be longer than 100", "Master 1");
}

#[test]
fn bad_codes() {
    for (code, message, hint) in [
        (r#""""#, "cannot be empty", "1 to 32 characters"),
        (r#""a/b""#, "cannot contain '/'", "1 to 32 characters of A-Z a-z 0-9 _ -"),
        (r#""a+""#, "cannot contain '+'", "1 to 32 characters"),
        (r#""ä""#, "cannot contain 'ä'", "1 to 32 characters"),
        (r#""..""#, "cannot contain '.'", "1 to 32 characters"),
        (r#""123456789012345678901234567890123""#, "longer than 32 characters, this has 33", "1 to 32"),
        (r#""presence""#, "presence messages have this topic", "choose another code"),
        ("-1", "-1 cannot be a device code", "whole number from 0 to 9007199254740991"),
        ("1.0", "1.0 cannot be a device code", "or a text in double quotes"),
        ("1e3", "1e3 cannot be a device code", "or a text in double quotes"),
        ("9007199254740992", "cannot be a device code", "whole number from 0 to"),
    ] {
        let text =
            format!("{{ \"devices\": [ {{ \"code\": §{code}, \"name\": \"ü\", \"type\": \"b\" }} ] }}");
        assert_problem(devices_problem(&text), &text, message, hint);
    }
}

#[test]
fn duplicate_codes() {
    let text =
        format!("{{ \"devices\": [ {MASTER},\n {{ \"code\": §4569, \"name\": \"a\", \"type\": \"b\" }} ] }}");
    let message = "the user \"default\" has two devices with the code 4569";
    assert_problem(devices_problem(&text), &text, message, "give this device another code");
    let text = text.replace("§4569", "§\"4569\"");
    let message = "\"4569\" and 4569 are the same code";
    assert_problem(devices_problem(&text), &text, message, "give this device another code");
}

#[test]
fn connections_without_sense() {
    for (connections, message, hint) in [
        (
            r#"{ "name": "a", "from": 4569, "to": §4569 }"#,
            "cannot be connected with itself",
            "another device",
        ),
        (
            r#"{ "name": "a", "from": 4569, "to": §"4569" }"#,
            "cannot be connected with itself",
            "another device",
        ),
        (
            r#"{ "name": "a", "from": §4565, "to": 5412 }"#,
            "no device with the code \"4565\"",
            "did you mean \"4569\"?",
        ),
        (
            r#"{ "name": "a", "from": 4569, "to": §"x" }"#,
            "no device with the code \"x\"",
            "add the device to devices.json",
        ),
        (
            r#"{ "name": "a", "from": 4569, "to": §7 }"#,
            "no device with the code \"7\"",
            "a device of the user \"eva\"",
        ),
        (
            r#"{ "name": "a", "from": 4569, "to": 5412 }, { "name": "b", "from": §4569, "to": 5412 }"#,
            "4569 and 5412 are connected already",
            "a connection works in both directions",
        ),
        (
            r#"{ "name": "a", "from": 4569, "to": 5412 }, { "name": "b", "from": §5412, "to": "4569" }"#,
            "5412 and 4569 are connected already",
            "remove one of the two",
        ),
        (
            r#"{ "name": "A 1", "from": 4569, "to": 5412 }, { "name": §"a-1", "from": 5412, "to": 1 }"#,
            "two connections with the id \"a-1\"",
            "change its name, or add another \"id\"",
        ),
        (
            r#"{ "name": "A 1", "from": 4569, "to": 5412 }, { "id": §"a-1", "name": "b", "from": 1, "to": 5412 }"#,
            "two connections with the id \"a-1\"",
            "add another \"id\"",
        ),
        (
            r#"{ "name": §"接続", "from": 4569, "to": 5412 }"#,
            "no id can be made from this name: the name has none of A-Z a-z 0-9",
            "\"id\": \"connection-1\"",
        ),
        (
            r#"{ "name": §"a name of as many letters as this one has makes an id that is too long", "from": 4569, "to": 5412 }"#,
            "no id can be made from this name: it would be longer than 64 characters",
            "\"id\": \"connection-1\"",
        ),
        (
            r#"{ "name": "a", "id": §"a/b", "from": 4569, "to": 5412 }"#,
            "cannot contain '/'",
            "1 to 64 characters",
        ),
        (r#"§{ "name": "a", "to": 5412 }"#, "the key \"from\" is missing", "the code of one device"),
        (r#"§{ "name": "a", "from": 5412 }"#, "the key \"to\" is missing", "the code of the other device"),
        (
            r#"{ "name": "a", "from": 4569, "to": 5412, "queue": §1 }"#,
            "this is a number, but should be an object",
            "write { \"max_messages\": 1000",
        ),
        (
            r#"{ "name": "a", "from": 4569, "to": 5412, "queue": { §"max_mesages": 1 } }"#,
            "unknown key \"max_mesages\"",
            "did you mean \"max_messages\"?",
        ),
        (
            r#"{ "name": "a", "from": 4569, "to": 5412, "queue": { "max_messages": §0 } }"#,
            "number is not possible",
            "from 1 to 100000000",
        ),
        (
            r#"{ "name": "a", "from": 4569, "to": 5412, "queue": { "max_messages": §"5" } }"#,
            "number is not possible",
            "from 1 to 100000000",
        ),
        (
            r#"{ "name": "a", "from": 4569, "to": 5412, "queue": { "max_bytes": §1023 } }"#,
            "size is not possible",
            "from 1KiB to 64GiB",
        ),
        (
            r#"{ "name": "a", "from": 4569, "to": 5412, "queue": { "max_age": §[60] } }"#,
            "duration is not possible",
            "from 0s to 3650d",
        ),
        (
            r#"{ "name": "a", "from": 4569, "to": 5412, "queue": { "when_full": §true } }"#,
            "not one of the choices",
            "\"reject\" or \"drop_oldest\"",
        ),
    ] {
        let text = format!("{{\n\"connections\": [ {connections} ] }}");
        let devices = format!(
            r#"{{ "devices": [ {MASTER}, {SLAVE}, {{ "code": 1, "name": "a", "type": "b" }},
                {{ "code": 7, "name": "a", "type": "b", "user": "eva" }} ] }}"#
        );
        let problems = problems(&devices, &text.replace('§', ""));
        assert_eq!(problems.len(), 1, "{problems}");
        assert_problem(problems.iter().next().unwrap().clone(), &text, message, hint);
    }
}

#[test]
fn every_error_of_both_files_at_once_and_none_that_only_follows() {
    let problems = problems(
        r#"{ "devices": [ { "code": "a b", "name": "a", "type": "b" }, { "code": 2, "nam": "a", "type": "b" },
                          { "code": 3, "name": "a", "type": 5 } ] }"#,
        r#"{ "connections": [ { "name": "a", "from": 2, "to": 9 }, { "name": "b", "from": 2, "to": 2 } ] }"#,
    );
    let found: Vec<_> = problems.iter().map(Problem::message).collect();
    assert_eq!(
        found,
        [
            "a device code cannot contain ' '",
            "the key \"name\" is missing",
            "unknown key \"nam\"",
            "this is a number, but should be a text",
            "a device cannot be connected with itself",
        ]
    );
}

#[test]
fn files_that_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let messages = || -> Vec<String> {
        let problems = Registry::load(dir.path()).unwrap_err();
        problems
            .iter()
            .map(|problem| format!("{} | {}", problem.message(), problem.hint_text().unwrap()))
            .collect()
    };
    assert!(messages()[0].starts_with("there is no such file | write it, at least { \"devices\": [] }"));
    assert_eq!(messages().len(), 2);
    std::fs::write(dir.path().join(CONNECTIONS_FILE), "\u{feff}{ \"connections\": [] }").unwrap();
    std::fs::write(dir.path().join(DEVICES_FILE), b"{\n \"devices\": [ \"\xFC\" ] }").unwrap();
    assert_eq!(
        messages(),
        ["this is not UTF-8 | save the file as UTF-8 (it may be in Latin-1 or Windows-1252)"]
    );
    let problem = Registry::load(dir.path()).unwrap_err().iter().next().unwrap().clone();
    assert_eq!(problem.position(), Some((2, 16)));
    std::fs::write(dir.path().join(DEVICES_FILE), b"\xFF\xFE{\0}\0").unwrap();
    assert_eq!(messages(), ["this is not UTF-8 | it looks like UTF-16: save it as UTF-8"]);
    let huge = std::fs::File::create(dir.path().join(DEVICES_FILE)).unwrap();
    huge.set_len(crate::document::MAX_FILE_SIZE + 1).unwrap();
    assert!(messages()[0].starts_with("is larger than 16777216 bytes | is this the right file?"));
    std::fs::remove_file(dir.path().join(DEVICES_FILE)).unwrap();
    std::fs::create_dir(dir.path().join(DEVICES_FILE)).unwrap();
    assert!(messages()[0].starts_with("cannot be read: it is no file"), "{:?}", messages());
}

/// The only problem that the devices have; `§` is left out of the text.
#[track_caller]
fn devices_problem(text: &str) -> Problem {
    let problems = problems(&text.replace('§', ""), r#"{ "connections": [] }"#);
    assert_eq!(problems.len(), 1, "{text}\n{problems}");
    problems.iter().next().unwrap().clone()
}

fn problems(devices: &str, connections: &str) -> Problems {
    let [devices, connections] = [("devices.json", devices), ("connections.json", connections)]
        .map(|(name, text)| Source::new(name, text));
    Registry::parse(&devices, &connections).unwrap_err()
}

/// The problem must be where `§` stands in the text.
#[track_caller]
fn assert_problem(problem: Problem, text: &str, message: &str, hint: &str) {
    let marked = Source::new("", text);
    let position = marked.position(text.find('§').unwrap());
    assert_eq!(problem.position(), Some(position), "{text}\n{problem:?}");
    assert!(problem.message().contains(message), "{text}\n{problem:?}");
    assert!(problem.hint_text().unwrap().contains(hint), "{text}\n{problem:?}");
}
