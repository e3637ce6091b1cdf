//! The configuration as the operator meets it: what errors look like, the JSON Schemas, and the commands.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Output},
};

use ior_bridge::{
    configuration::Configuration,
    document::{MAX_TOLD, Problems},
    settings::Environment,
};
use serde_json::{Value, json};
use tempfile::TempDir;

const DEVICES: &str = include_str!("../../config/devices.json");
const CONNECTIONS: &str = include_str!("../../config/connections.json");

mod errors {
    use super::*;

    /// `UPDATE_GOLDEN=1 cargo test` writes the file again: read the difference before committing it.
    #[test]
    fn look_like_a_compilers() {
        let devices = r#"{
  "devices": [
    { "code": 4569, "name": "Master 1", "type": "Raspberry Pi" },
    { "code": "4569", "name": "Slave 1", "type": "Raspberry Pi" },
    { "code": "küche", "name": "Küche 🍳", "typ": "ESP32" },
    { "code": 1.5, "name": "", "type": 3, "secret_version": 0, "disabled": "no", "user": "a/b" },
    [],
    { "code": "presence", "name": "a", "name": "b", "type": "c", "user": "admin" }
  ]
}
"#;
        let complete = r#"{ "devices": [ { "code": 1, "name": "a", "type": "b" }, { "code": 22, "name": "a", "type": "b" } ] }"#;
        let connections = r#"{
  "connections": [
    { "name": "a", "from": 1, "to": 22 },
    { "name": "A", "from": "22", "to": "1" },
    { "name": "b", "from": 1, "to": 1 },
    { "name": "c", "from": 1, "to": 23, "queue": { "max_mesages": 1 } },
    { "name": "d", "frm": 1, "to": "x.y" },
    { "name": "e", "from": 1, "to": 22, "queue": {
      "max_messages": "100", "max_bytes": "1MB", "max_age": 7, "when_full": "drop" } },
    { "name": "f", "from": 22, "to": 1, "queue": 1000 }
  ]
}
"#;
        let server = r#"{ "mqtt": { "listen": null }, "mqtts": { "listen": null },
  "websocket": { "listen": null }, "durability": "disk",
  "limits": { "conections": 5, "queue_bytes": "1MB", "connect_timeout": 10 } }
"#;
        let variable = [("IOR_BRIDGE__LIMITS__CONECTIONS".to_owned(), "5".to_owned())].into();
        let mut text = String::new();
        for (title, devices, connections, server, environment) in [
            ("devices", devices, CONNECTIONS, "{}", Environment::new()),
            ("connections, settings and environment", complete, connections, server, variable),
            (
                "not JSON",
                "{ \"devices\": [\n  { \"code\": 042 } ] }",
                "{ \"connections\": [\n",
                "",
                Environment::new(),
            ),
        ] {
            let dir = directory(&[
                ("devices.json", devices),
                ("connections.json", connections),
                ("server.json", server),
            ]);
            let problems = Configuration::load(dir.path(), &environment).unwrap_err();
            let shown = problems.render(false).replace(&dir.path().display().to_string(), "config");
            text.push_str(&format!("==== {title}\n\n{shown}\n\n"));
            positions_agree(&problems);
        }
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/config_errors.txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &text).unwrap();
        }
        assert_eq!(text, fs::read_to_string(golden).unwrap_or_default());
    }

    /// Regression: loading them compared every key and every device with all others, and showed every problem in the whole
    /// text: minutes for a file of a megabyte.
    #[test]
    fn of_very_many_the_first_are_told() {
        let all =
            |count: usize, one: &dyn Fn(usize) -> String| (0..count).map(one).collect::<Vec<_>>().join(", ");
        let device = |n| format!(r#"{{ "code": "device-{n}", "name": "a", "type": "b" }}"#);
        let devices = format!(r#"{{ "devices": [ {} ] }}"#, all(5_000, &device));
        let connection = |n| format!(r#"{{ "name": "{n}", "from": "device-{n}", "to": "device-x{n}" }}"#);
        let connections = format!(r#"{{ "connections": [ {} ] }}"#, all(5_000, &connection));
        let server = format!("{{ {} }}", all(20_000, &|n| format!(r#""key-{n}": 1"#)));
        let told = |server: &str, count: usize| {
            let dir = directory(&[
                ("devices.json", &devices),
                ("connections.json", &connections),
                ("server.json", server),
            ]);
            let problems = Configuration::load(dir.path(), &Environment::new()).unwrap_err();
            assert_eq!((problems.len(), problems.iter().count()), (count, MAX_TOLD));
            let end = format!("\n{count} errors in the configuration: these are the first");
            assert!(problems.render(false).ends_with(&end));
        };
        told("{}", 5_000);
        told(&server, 25_000);
    }

    /// What the picture shows and what programs are told is the same place.
    fn positions_agree(problems: &Problems) {
        let text = problems.render(false);
        for problem in problems.iter() {
            let (Some(path), Some((line, column))) = (problem.path(), problem.position()) else { continue };
            let place = format!("--> {}:{line}:{column}\n", path.display());
            assert!(text.contains(&place), "{place} is not in\n{text}");
        }
    }
}

mod schemas {
    use super::*;

    #[test]
    fn keep_in_step_with_the_parser() {
        let entry = json!({ "code": 1, "name": "a", "type": "b" });
        let other = json!({ "code": 2, "name": "a", "type": "b" });
        let devices = |device: &Value| json!({ "devices": [device, other] });
        let device_accepts =
            |device: &Value| load(&devices(device).to_string(), "{ \"connections\": [] }", "{}");
        agree("devices", "/properties/devices/items", &entry, &device_accepts);

        let both = json!({ "devices": [entry, other, { "code": 1, "name": "a", "type": "b", "user": "eva" },
            { "code": 2, "name": "a", "type": "b", "user": "eva" }] });
        let connection = json!({ "id": "c", "name": "a", "from": 1, "to": 2 });
        let connection_accepts = |connection: &Value| {
            load(&both.to_string(), &json!({ "connections": [connection] }).to_string(), "{}")
        };
        agree("connections", "/properties/connections/items", &connection, &connection_accepts);
        agree("connections", "/properties/connections/items/properties/queue", &json!({}), &|queue| {
            let mut connection = connection.clone();
            connection["queue"] = queue.clone();
            connection_accepts(&connection)
        });

        let server = |text: Value| load(DEVICES, CONNECTIONS, &text.to_string());
        agree("server", "", &json!({}), &|value| server(value.clone()));
        for section in ["mqtt", "mqtts", "websocket", "limits", "log"] {
            let pointer = format!("/properties/{section}");
            agree("server", &pointer, &json!({}), &|value| server(json!({ (section): value })));
        }
        agree("devices", "", &json!({ "devices": [] }), &|value| {
            load(&value.to_string(), "{ \"connections\": [] }", "{}")
        });
        agree("connections", "", &json!({ "connections": [] }), &|value| {
            load(DEVICES, &value.to_string(), "{}")
        });
    }

    #[test]
    fn are_where_the_files_say() {
        for (file, text) in [("devices", DEVICES), ("connections", CONNECTIONS)] {
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(value["$schema"], format!("./schema/{file}.schema.json"));
        }
    }

    /// The object that a schema describes has the keys that the parser knows, and both agree about values: `valid` is
    /// changed one key at a time.
    fn agree(schema: &str, pointer: &str, valid: &Value, accepts: &dyn Fn(&Value) -> Result<(), Problems>) {
        let root = root(schema);
        let object = root.pointer(pointer).unwrap();
        accepts(valid).unwrap();
        let with = |key: &str, value: &Value| {
            let mut changed = valid.clone();
            changed[key] = value.clone();
            changed
        };

        assert_eq!(object["additionalProperties"], false, "{schema}{pointer}");
        let mut known = keys_of_hint(&accepts(&with("qqqqqqqqqqqq", &Value::Null)).unwrap_err());
        if pointer.is_empty() {
            known.insert("$schema".to_owned());
        }
        let properties = object["properties"].as_object().unwrap();
        assert_eq!(properties.keys().cloned().collect::<BTreeSet<_>>(), known, "{schema}{pointer}");

        for required in object["required"].as_array().into_iter().flatten() {
            let mut without = valid.clone();
            without.as_object_mut().unwrap().remove(required.as_str().unwrap());
            assert!(accepts(&without).is_err(), "{schema}{pointer}: {without}");
        }
        for (key, property) in properties {
            let (good, bad) = samples(&root, property);
            // What refers to other entries is judged for its form only.
            let refers = schema == "connections" && ["from", "to", "user"].contains(&&**key);
            for value in good.iter().filter(|_| !refers) {
                let changed = with(key, value);
                assert!(accepts(&changed).is_ok(), "{schema}{pointer}: {changed}: {:?}", accepts(&changed));
            }
            for value in bad {
                let changed = with(key, &value);
                assert!(accepts(&changed).is_err(), "{schema}{pointer}: {changed}");
            }
        }
    }

    /// Values at the edge of what a schema takes, on either side.
    fn samples(root: &Value, schema: &Value) -> (Vec<Value>, Vec<Value>) {
        if let Some(reference) = schema["$ref"].as_str() {
            return samples(root, root.pointer(reference.trim_start_matches('#')).unwrap());
        }
        let (mut good, mut bad) = (Vec::new(), vec![json!([[]]), json!({ "qqqqqqqqqqqq": 1 })]);
        good.extend(schema.get("default").cloned());
        if let Some(choices) = schema["anyOf"].as_array() {
            for choice in choices {
                good.extend(samples(root, choice).0);
            }
            bad.extend([json!(true), json!(-1), json!(1.5)]);
            good.retain(|value| *value != json!(0) && *value != json!("0"));
            return (good, bad);
        }
        if let Some(words) = schema["enum"].as_array() {
            good.extend(words.iter().cloned());
            bad.extend([json!("qqq"), json!(7)]);
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => kinds[0].clone(),
            kind => kind.clone(),
        };
        match kind.as_str() {
            Some("integer") => {
                let [least, most] = ["minimum", "maximum"].map(|key| schema[key].as_i64());
                good.extend(least.into_iter().chain(most).map(|edge| json!(edge)));
                bad.extend(
                    least.map(|least| json!(least - 1)).into_iter().chain(most.map(|most| json!(most + 1))),
                );
                bad.extend([json!("7"), json!(1.5)]);
            }
            Some("boolean") => {
                good.extend([json!(true), json!(false)]);
                bad.extend([json!("true"), json!(1)]);
            }
            Some("string") => {
                if let Some(most) = schema["maxLength"].as_u64() {
                    good.extend([json!("x"), json!("x".repeat(most as usize))]);
                    bad.push(json!("x".repeat(most as usize + 1)));
                }
                if schema["minLength"] == 1 {
                    bad.push(json!(""));
                }
                if schema["pattern"].as_str().is_some_and(|pattern| pattern.contains("A-Za-z0-9_-")) {
                    bad.extend(["a.b", "a/b", "ä", "+", " "].map(|text| json!(text)));
                }
                let words = schema["not"]["enum"].as_array().into_iter().flatten();
                bad.extend(words.chain(schema["not"].get("const")).cloned());
                bad.extend([json!(true)]);
            }
            _ => {}
        }
        (good, bad)
    }

    fn keys_of_hint(problems: &Problems) -> BTreeSet<String> {
        let mut hints =
            problems.iter().filter_map(|problem| problem.hint_text()?.strip_prefix("the keys here are "));
        let keys = hints.next_back().unwrap().split(", ");
        keys.map(|key| key.trim_matches('"').to_owned()).collect()
    }

    fn root(schema: &str) -> Value {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../config/schema/{schema}.schema.json"));
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    }

    fn load(devices: &str, connections: &str, server: &str) -> Result<(), Problems> {
        let dir = directory(&[
            ("devices.json", devices),
            ("connections.json", connections),
            ("server.json", server),
        ]);
        Configuration::load(dir.path(), &Environment::new()).map(drop)
    }
}

mod commands {
    use super::*;

    #[test]
    fn check_shows_the_access_table_in_80_columns() {
        let dir = shipped();
        let text = stdout(&bridge(&dir, &["check"]));
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let row = "default.4569  default/connection-1/4569  default/connection-1/5412/#";
        assert!(text.lines().any(|line| line == row), "{text}");
        assert!(text.ends_with("The configuration is fine: 4 devices, 2 connections.\n"), "{text}");
        let report: Value = serde_json::from_str(&stdout(&bridge(&dir, &["check", "--json"]))).unwrap();
        assert_eq!(report["devices"][0]["subscribe"][0], "default/connection-1/5412/#");
        assert!(!dir.path().join("data").exists(), "check writes nothing");
    }

    #[test]
    fn an_invalid_configuration_is_status_2() {
        let dir = shipped();
        let broken = DEVICES.replace("\"code\": 5412", "\"cod\": 5412");
        fs::write(dir.path().join("config/devices.json"), broken).unwrap();
        for command in [&["check"][..], &["credentials"], &["explain", "1", "publish", "x"], &["run"], &[]] {
            let output = bridge(&dir, command);
            assert_eq!(output.status.code(), Some(2), "{command:?}");
            let text = String::from_utf8(output.stderr).unwrap();
            assert!(text.contains("devices.json:5:7\n") && text.contains("did you mean \"code\"?"), "{text}");
            assert!(!text.contains('\u{1b}'), "no colours, for this is no terminal");
        }
        let output = bridge(&dir, &["check", "--json"]);
        assert_eq!(output.status.code(), Some(2));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let place = ["line", "column"].map(|key| report["problems"][1][key].as_u64().unwrap());
        assert_eq!((report["ok"].as_bool(), place), (Some(false), [5, 7]));
        assert_eq!(bridge(&dir, &["nonsense"]).status.code(), Some(2));
    }

    #[test]
    fn explain_says_what_decides() {
        let dir = shipped();
        let text = stdout(&bridge(&dir, &["explain", "4569", "publish", "default/connection-1/4569/x"]));
        assert!(
            text.starts_with("allowed: default.4569 (Master 1), publish default/connection-1/4569/x\n"),
            "{text}"
        );
        let text = stdout(&bridge(&dir, &["explain", "default.4569", "subscribe", "default/#"]));
        assert!(
            text.starts_with("refused: ")
                && text.contains("it may subscribe:\n  default/connection-1/5412/#\n")
        );
        let report = stdout(&bridge(&dir, &["explain", "4569", "subscribe", "#", "--json"]));
        assert_eq!(serde_json::from_str::<Value>(&report).unwrap()["allowed"], false);
        assert_eq!(bridge(&dir, &["explain", "1", "publish", "x"]).status.code(), Some(2));
    }

    #[test]
    fn credentials_are_written_or_shown() {
        let dir = shipped();
        let text = stdout(&bridge(&dir, &["credentials"]));
        assert!(
            text.contains("connection-1/from.json\n") && text.contains("4 written, 0 unchanged, 0 removed"),
            "{text}"
        );
        let file = dir.path().join("data/credentials/default/connection-1/from.json");
        assert_eq!(stdout(&bridge(&dir, &["credentials", "4569"])), fs::read_to_string(file).unwrap());
        let both: Value =
            serde_json::from_str(&stdout(&bridge(&dir, &["credentials", "connection-2"]))).unwrap();
        assert_eq!((&both[0]["deviceCode"], &both[1]["deviceCode"]), (&json!(5648), &json!(9036)));
        let text = stdout(&bridge(&dir, &["credentials", "4569", "--format", "env"]));
        assert!(text.contains("\nMQTT_USERNAME='default.4569'\n"), "{text}");
        let text = stdout(&bridge(&dir, &["credentials", "--json"]));
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["files"].as_array().unwrap().len(), 4);
        assert_eq!(bridge(&dir, &["credentials", "nobody"]).status.code(), Some(2));
    }

    fn shipped() -> TempDir {
        directory(&[("config/devices.json", DEVICES), ("config/connections.json", CONNECTIONS)])
    }

    fn bridge(dir: &TempDir, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ior-bridge"));
        command.args(arguments).current_dir(dir.path()).env_remove("RUST_LOG").env_remove("STATE_DIRECTORY");
        command.output().unwrap()
    }

    #[track_caller]
    fn stdout(output: &Output) -> String {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout.clone()).unwrap()
    }
}

fn directory(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}
