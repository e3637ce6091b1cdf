//! What must hold for any bytes in the operator's files. Shared by the fuzz target and by `tests/fuzz_configuration.rs`.
//!
//! An input is a configuration directory as text: the files follow one another, each below a line with its name,
//! `=== devices.json`, and the environment below `=== environment`, one `NAME=value` a line. A file without such a line
//! does not exist.
#![allow(clippy::expect_used)]

use std::{fs, path::Path};

use ior_bridge::{
    commands::check::access_table,
    configuration::Configuration,
    document::{MAX_TOLD, Problem, Problems},
    policy::{Policy, Rights},
    registry::{Device, End, MAX_ID, MAX_NAME, Registry},
    rotation::Rotation,
    secrets::Secrets,
    settings::{Environment, OwnQueue, WhenFull},
};
use serde_json::{Value, json};
use tempfile::TempDir;

const FILES: [&str; 3] = ["devices.json", "connections.json", "server.json"];

/// Above the name of a file.
const MARK: &[u8] = b"=== ";

/// Loads what `input` describes as start and `check` do; panics if the loading does, or if a problem has no place or
/// what is accepted is not what it claims to be.
pub(crate) fn check(input: &[u8]) {
    thread_local!(static DIRECTORY: TempDir = tempfile::tempdir().expect("a temporary directory"));
    DIRECTORY.with(|directory| {
        let dir = directory.path().join("config");
        fs::create_dir_all(&dir).expect("a directory of this process");
        let mut environment = Environment::new();
        for name in FILES {
            let _ = fs::remove_file(dir.join(name));
        }
        for (name, contents) in parts(input) {
            match name {
                b"environment" => environment = variables(contents),
                _ => {
                    if let Some(name) = FILES.iter().find(|file| file.as_bytes() == name) {
                        fs::write(dir.join(name), contents).expect("a file of this process");
                    }
                }
            }
        }
        match Configuration::load(&dir, &environment) {
            Ok(configuration) => check_accepted(&configuration),
            Err(problems) => check_problems(&problems, &dir, &environment),
        }
    });
}

/// The names of the parts with what stands below them.
fn parts(input: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut marks: Vec<usize> = (0..input.len())
        .filter(|&at| input[at..].starts_with(MARK) && (at == 0 || input[at - 1] == b'\n'))
        .collect();
    marks.push(input.len());
    let part = |marks: &[usize]| {
        let part = &input[marks[0] + MARK.len()..marks[1]];
        let end = part.iter().position(|byte| *byte == b'\n').unwrap_or(part.len());
        (&part[..end], part.get(end + 1..).unwrap_or_default())
    };
    marks.windows(2).map(part).collect()
}

fn variables(lines: &[u8]) -> Environment {
    let lines = String::from_utf8_lossy(lines);
    let pairs = lines.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Every problem has a place that exists and says what to do, in every form in which it is told.
fn check_problems(problems: &Problems, dir: &Path, environment: &Environment) {
    assert!(!problems.is_empty(), "refused without a reason");
    for problem in problems.iter() {
        assert!(!problem.message().is_empty());
        assert!(problem.hint_text().is_some_and(|hint| !hint.is_empty()), "no hint: {}", problem.message());
        match (problem.path(), problem.variable()) {
            (Some(path), None) => check_position(problem, path, dir),
            (None, Some(variable)) => assert!(environment.contains_key(variable)),
            place => panic!("a problem at {place:?}: {}", problem.message()),
        }
    }
    assert!(problems.render(false).contains("in the configuration"));
    assert!(problems.render(true).len() >= problems.render(false).len());
    assert_eq!(problems.to_json().as_array().map(Vec::len), Some(problems.len().min(MAX_TOLD)));
}

fn check_position(problem: &Problem, path: &Path, dir: &Path) {
    assert!(path.starts_with(dir));
    let Some((line, column)) = problem.position() else { return };
    let bytes = fs::read(path).expect("a problem in a file that is there");
    let text = String::from_utf8_lossy(bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes));
    let line = line.checked_sub(1).and_then(|line| text.split('\n').nth(line));
    let length = line.expect("a line that is there").chars().count();
    assert!((1..=length + 1).contains(&column), "column {column} of {length}: {}", problem.message());
}

/// What is accepted can be compiled and shown, and stays the same when it is written out and read again.
fn check_accepted(configuration: &Configuration) {
    let Configuration { dir, settings, registry, revision: _ } = configuration;
    check_names(registry);
    settings.limits.for_broker();
    let rights = Rights::of_all(registry);
    assert_eq!(rights.len(), registry.devices().len());
    assert!(!access_table(registry).is_empty());
    Policy::new(registry, Secrets::from_key([7; 32]), &Rotation::default(), settings);

    for (name, written) in FILES.iter().zip([devices(registry), connections(registry)]) {
        fs::write(dir.join(name), written.to_string()).expect("a file of this process");
    }
    let again = Registry::load(dir);
    assert_eq!(again.as_ref(), Ok(registry), "not the same when written out and read again");
}

/// Names become topic levels, user names and folders.
fn check_names(registry: &Registry) {
    let is_name = |name: &str, most: usize| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        (1..=most).contains(&name.len()) && name.bytes().all(plain)
    };
    for device in registry.devices() {
        assert!(is_name(&device.user, MAX_NAME) && is_name(device.code.as_str(), MAX_NAME), "{device:?}");
        assert_ne!(device.code.as_str(), "presence");
        assert_eq!(registry.device(&device.user, device.code.as_str()), Some(device), "two alike");
    }
    for connection in registry.connections() {
        assert!(is_name(&connection.id, MAX_ID), "{connection:?}");
        let [from, to] = End::BOTH.map(|end| registry.end(connection, end));
        assert!(from.user == connection.user && to.user == connection.user && from.code != to.code);
    }
}

fn devices(registry: &Registry) -> Value {
    let device = |device: &Device| {
        json!({
            "code": device.code.to_json(),
            "name": device.name,
            "type": device.kind,
            "user": *device.user,
            "secret_version": device.secret_version,
            "disabled": device.disabled,
        })
    };
    json!({ "devices": registry.devices().iter().map(device).collect::<Vec<_>>() })
}

fn connections(registry: &Registry) -> Value {
    let connection = |connection: &ior_bridge::registry::Connection| {
        let [from, to] = End::BOTH.map(|end| registry.end(connection, end).code.to_json());
        json!({
            "id": *connection.id,
            "name": connection.name,
            "user": *connection.user,
            "from": from,
            "to": to,
            "queue": queue(&connection.queue),
        })
    };
    json!({ "connections": registry.connections().iter().map(connection).collect::<Vec<_>>() })
}

fn queue(queue: &OwnQueue) -> Value {
    let mut keys = serde_json::Map::new();
    let mut set = |key: &str, value: Option<Value>| keys.extend(value.map(|value| (key.to_owned(), value)));
    set("max_messages", queue.max_messages.map(Value::from));
    set("max_bytes", queue.max_bytes.map(Value::from));
    set("max_age", queue.max_age.map(|age| format!("{}s", age.as_secs()).into()));
    set(
        "when_full",
        queue.when_full.map(|when_full| match when_full {
            WhenFull::Reject => "reject".into(),
            WhenFull::DropOldest => "drop_oldest".into(),
        }),
    );
    keys.into()
}
