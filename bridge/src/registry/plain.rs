//! `devices.json` and `connections.json` as they are written: right in form, not yet checked for sense.

use std::sync::Arc;

use super::name::{DeviceCode, check};
use crate::{
    document::{Node, Object, Problems, Reader, Source, Span, Spanned, Value, parse},
    quantities::{self, Refused},
    settings::{MAX_AGE, MAX_BYTES, MAX_MESSAGES, OwnQueue, WHEN_FULL},
    terminal::is_unseen,
};

/// Keys of `devices.json`.
pub(super) const DEVICES_FILE: &[&str] = &["$schema", "devices"];
/// Keys of a device.
pub(super) const DEVICE: &[&str] = &["code", "name", "type", "user", "secret_version", "disabled"];
/// Keys of `connections.json`.
pub(super) const CONNECTIONS_FILE: &[&str] = &["$schema", "connections"];
/// Keys of a connection.
pub(super) const CONNECTION: &[&str] = &["name", "from", "to", "id", "user", "queue"];
/// Keys of a connection's queue.
pub(super) const QUEUE: &[&str] = &["max_messages", "max_bytes", "max_age", "when_full"];

/// Longest name and type, in characters.
pub const MAX_LABEL: usize = 100;
/// The user of whatever names none.
pub const DEFAULT_USER: &str = "default";
/// Names that the bridge keeps for itself.
pub(super) const RESERVED_USERS: &[&str] = &["admin", "bridge"];

const DEVICE_EXAMPLE: &str = r#"{ "code": 4569, "name": "Master 1", "type": "Raspberry Pi" }"#;
const CONNECTION_EXAMPLE: &str = r#"{ "name": "Connection 1", "from": 4569, "to": 5412 }"#;
const QUEUE_EXAMPLE: &str = r#"{ "max_messages": 1000, "max_bytes": "1MiB", "max_age": "7d" }"#;

/// A device as written; `None` is what was missing or wrong, and noted.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) user: Option<String>,
    pub(super) code: Option<Spanned<DeviceCode>>,
    pub(super) name: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) secret_version: Option<u32>,
    pub(super) disabled: Option<bool>,
}

/// A connection as written; `None` is what was missing or wrong, and noted.
#[derive(Debug)]
pub(super) struct Connection {
    /// Where its id comes from: the id, else the name.
    pub(super) id_span: Span,
    pub(super) id: Option<String>,
    pub(super) name: Option<Spanned<String>>,
    pub(super) user: Option<String>,
    pub(super) from: Option<Spanned<DeviceCode>>,
    pub(super) to: Option<Spanned<DeviceCode>>,
    pub(super) queue: Option<OwnQueue>,
}

/// The devices of a file, and whether none had to be left out because it could not be understood.
pub(super) fn devices(source: &Arc<Source>, problems: &mut Problems) -> (Vec<Device>, bool) {
    let example = format!(r#"{{ "devices": [ {DEVICE_EXAMPLE} ] }}"#);
    let Some(nodes) = items(source, problems, DEVICES_FILE, "devices", &example) else {
        return (Vec::new(), false);
    };
    let mut reader = Reader::new(source, problems);
    let devices: Vec<_> = nodes.iter().filter_map(|node| device(&mut reader, node)).collect();
    let complete = devices.len() == nodes.len()
        && devices.iter().all(|device| device.code.is_some() && device.user.is_some());
    (devices, complete)
}

/// The connections of a file.
pub(super) fn connections(source: &Arc<Source>, problems: &mut Problems) -> Vec<Connection> {
    let example = format!(r#"{{ "connections": [ {CONNECTION_EXAMPLE} ] }}"#);
    let nodes = items(source, problems, CONNECTIONS_FILE, "connections", &example).unwrap_or_default();
    let mut reader = Reader::new(source, problems);
    nodes.iter().filter_map(|node| connection(&mut reader, node)).collect()
}

/// The list that a file holds under its one key; `None` if there is none.
fn items(
    source: &Arc<Source>,
    problems: &mut Problems,
    known: &[&str],
    key: &str,
    example: &str,
) -> Option<Vec<Node>> {
    let root = match parse(source, &format!("{{ \"{key}\": [] }}")) {
        Ok(root) => root,
        Err(problem) => {
            problems.push(problem);
            return None;
        }
    };
    let mut reader = Reader::new(source, problems);
    let object = reader.object(&root, known, example)?;
    if let Some(schema) = object.get("$schema") {
        reader.text(schema, &format!("\"./schema/{key}.schema.json\""));
    }
    let list = reader.required(&object, key, &format!("\"{key}\": [ … ]"))?;
    reader.list(list, &format!("\"{key}\": [ … ]"))?;
    let Value::Object(members) = root.value else { return None };
    match members.into_iter().find(|member| member.key == key)?.value.value {
        Value::List(items) => Some(items),
        _ => None,
    }
}

fn device(reader: &mut Reader<'_>, node: &Node) -> Option<Device> {
    let object = reader.object(node, DEVICE, DEVICE_EXAMPLE)?;
    let code = reader.required(&object, "code", "\"code\": 4569");
    let name = reader.required(&object, "name", "\"name\": \"Master 1\"");
    let kind = reader.required(&object, "type", "\"type\": \"Raspberry Pi\"");
    Some(Device {
        user: user(reader, &object),
        code: code.and_then(|node| device_code(reader, node)),
        name: name.and_then(|node| label(reader, node, "Master 1")).map(|name| name.value),
        kind: kind.and_then(|node| label(reader, node, "Raspberry Pi")).map(|kind| kind.value),
        secret_version: match object.get("secret_version") {
            Some(node) => secret_version(reader, node),
            None => Some(1),
        },
        disabled: match object.get("disabled") {
            Some(node) => reader.flag(node, "\"disabled\": true"),
            None => Some(false),
        },
    })
}

fn connection(reader: &mut Reader<'_>, node: &Node) -> Option<Connection> {
    let object = reader.object(node, CONNECTION, CONNECTION_EXAMPLE)?;
    let name = reader.required(&object, "name", "\"name\": \"Connection 1\"");
    let from = reader.required(&object, "from", "\"from\": 4569, the code of one device");
    let to = reader.required(&object, "to", "\"to\": 5412, the code of the other device");
    let name = name.and_then(|node| label(reader, node, "Connection 1"));
    let id = object.get("id");
    Some(Connection {
        id_span: id
            .map(|id| &id.span)
            .or(name.as_ref().map(|name| &name.span))
            .unwrap_or(&object.span)
            .clone(),
        id: match id {
            Some(node) => connection_id(reader, node),
            None => name.as_ref().and_then(|name| id_from_name(reader, name)),
        },
        name,
        user: user(reader, &object),
        from: from.and_then(|node| device_code(reader, node)),
        to: to.and_then(|node| device_code(reader, node)),
        queue: match object.get("queue") {
            Some(node) => queue(reader, node),
            None => Some(OwnQueue::default()),
        },
    })
}

fn queue(reader: &mut Reader<'_>, node: &Node) -> Option<OwnQueue> {
    let object = reader.object(node, QUEUE, QUEUE_EXAMPLE)?;
    let max_messages = value(reader, &object, "max_messages", |node| {
        let digits = text_of(node).filter(|_| matches!(node.value, Value::Number(_)));
        quantities::count(digits, MAX_MESSAGES)
    });
    let max_bytes = value(reader, &object, "max_bytes", |node| quantities::size(text_of(node), MAX_BYTES));
    let max_age = value(reader, &object, "max_age", |node| quantities::duration(text_of(node), MAX_AGE));
    let when_full = value(reader, &object, "when_full", |node| quantities::choice(text_of(node), &WHEN_FULL));
    Some(OwnQueue {
        max_messages: max_messages?,
        max_bytes: max_bytes?,
        max_age: max_age?,
        when_full: when_full?,
    })
}

/// An optional key's value; `None` if it was refused, which is noted.
fn value<T>(
    reader: &mut Reader<'_>,
    object: &Object<'_>,
    key: &str,
    read: impl Fn(&Node) -> Result<T, Refused>,
) -> Option<Option<T>> {
    let Some(node) = object.get(key) else { return Some(None) };
    read(node).map(Some).map_err(|refused| reader.refused(node, refused)).ok()
}

/// A text's or number's characters.
fn text_of(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Text(text) | Value::Number(text) => Some(text),
        _ => None,
    }
}

fn device_code(reader: &mut Reader<'_>, node: &Node) -> Option<Spanned<DeviceCode>> {
    match DeviceCode::from_node(node) {
        Ok(value) => Some(Spanned { value, span: node.span.clone() }),
        Err(error) => {
            reader.problem(&node.span, error.message, error.hint);
            None
        }
    }
}

fn user(reader: &mut Reader<'_>, object: &Object<'_>) -> Option<String> {
    let Some(node) = object.get("user") else { return Some(DEFAULT_USER.to_owned()) };
    let user = reader.text(node, "\"user\": \"default\"")?;
    if let Err(error) = check("a user", &user.value, super::MAX_NAME) {
        reader.problem(&user.span, error.message, error.hint);
        return None;
    }
    if RESERVED_USERS.contains(&user.value.as_str()) {
        reader.problem(
            &user.span,
            format!("the user {:?} is the bridge's own", user.value),
            "choose another name for this user",
        );
        return None;
    }
    Some(user.value)
}

/// A name or type: shown to people, so anything that a terminal can show.
fn label(reader: &mut Reader<'_>, node: &Node, example: &str) -> Option<Spanned<String>> {
    let text = reader.text(node, &format!("a text such as {example:?}"))?;
    let problem = match text.value.chars().count() {
        _ if text.value.trim().is_empty() => "this cannot be empty".to_owned(),
        length if length > MAX_LABEL => format!("this cannot be longer than {MAX_LABEL} characters"),
        _ => match text.value.chars().find(|c| is_unseen(*c)) {
            Some(unseen) => format!("this cannot contain the control character {unseen:?}"),
            None => return Some(text),
        },
    };
    reader.problem(&text.span, problem, format!("write something such as {example:?}"));
    None
}

fn secret_version(reader: &mut Reader<'_>, node: &Node) -> Option<u32> {
    let number = match &node.value {
        Value::Number(digits) => digits.parse().ok().filter(|version| *version > 0),
        _ => None,
    };
    if number.is_none() {
        let hint = format!(
            "write a whole number from 1 to {}; raise it to give the device a new password",
            u32::MAX
        );
        reader.problem(&node.span, "this is not a secret version", hint);
    }
    number
}

fn connection_id(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let id = reader.text(node, "\"id\": \"connection-1\"")?;
    match check("a connection id", &id.value, super::MAX_ID) {
        Ok(()) => Some(id.value),
        Err(error) => {
            reader.problem(&id.span, error.message, error.hint);
            None
        }
    }
}

fn id_from_name(reader: &mut Reader<'_>, name: &Spanned<String>) -> Option<String> {
    if let Some(id) = super::name::id_from_name(&name.value) {
        return Some(id);
    }
    let problem = format!("no id can be made from this name: {}", super::why_no_id(&name.value));
    reader.problem(&name.span, problem, "add an id of A-Z a-z 0-9 _ -, such as \"id\": \"connection-1\"");
    None
}
