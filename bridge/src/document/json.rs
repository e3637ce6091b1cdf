//! JSON with the position of every key and value, on top of `serde_json`'s own parser.

use std::{fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{Problem, Source, Span};

/// Deepest nesting: a configuration file needs four levels.
const MAX_DEPTH: usize = 16;

/// A JSON value and where it stands.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) value: Value,
}

/// What a [`Node`] is. Keys keep their order and may be repeated.
#[derive(Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// As written.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Object(Vec<Member>),
}

/// A key of an object with its value.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) key: String,
    pub(crate) key_span: Span,
    pub(crate) value: Node,
}

impl Node {
    /// What to call it in a message.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "null",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Object(_) => "an object",
        }
    }
}

/// Parses a whole file; `least` is what to write into an empty one.
pub(crate) fn parse(source: &Arc<Source>, least: &str) -> Result<Node, Problem> {
    if source.text().trim().is_empty() {
        return Err(Problem::at(source, 0..0, "the file is empty").hint(format!("write at least {least}")));
    }
    // The first pass sees the whole text, so every syntax error is found here, with its place.
    let raw: &RawValue =
        serde_json::from_str(source.text()).map_err(|error| syntax_problem(source, &error))?;
    node(source, raw, 0)
}

fn node(source: &Arc<Source>, raw: &RawValue, depth: usize) -> Result<Node, Problem> {
    let text = raw.get();
    let span = span_of(source, text);
    let fail = |error: serde_json::Error| {
        let message = error.to_string();
        Problem::at(source, span.clone(), bare_message(&message))
            .hint("correct or remove the escape (\\u…) in this text")
    };
    let value = match text.as_bytes().first() {
        Some(b'{' | b'[') if depth == MAX_DEPTH => {
            return Err(Problem::at(source, span.start..span.start + 1, "this is nested too deeply")
                .hint("nothing here needs so many brackets"));
        }
        Some(b'{') => {
            let members: RawMembers<'_> = serde_json::from_str(text).map_err(fail)?;
            let member = |(key, value): (&RawValue, &RawValue)| {
                Ok(Member {
                    key: serde_json::from_str(key.get()).map_err(fail)?,
                    key_span: span_of(source, key.get()),
                    value: node(source, value, depth + 1)?,
                })
            };
            Value::Object(members.0.into_iter().map(member).collect::<Result<_, Problem>>()?)
        }
        Some(b'[') => {
            let items: RawItems<'_> = serde_json::from_str(text).map_err(fail)?;
            Value::List(
                items.0.into_iter().map(|item| node(source, item, depth + 1)).collect::<Result<_, _>>()?,
            )
        }
        Some(b'"') => Value::Text(serde_json::from_str(text).map_err(fail)?),
        Some(b't') => Value::Bool(true),
        Some(b'f') => Value::Bool(false),
        Some(b'n') => Value::Null,
        _ => Value::Number(text.to_owned()),
    };
    Ok(Node { span, value })
}

/// Where `part`, which borrows from the source's text, stands in it.
fn span_of(source: &Source, part: &str) -> Span {
    let start = (part.as_ptr() as usize).saturating_sub(source.text().as_ptr() as usize);
    start..start + part.len()
}

fn syntax_problem(source: &Arc<Source>, error: &serde_json::Error) -> Problem {
    let text = source.text();
    let offset = if error.is_eof() {
        text.trim_end().len()
    } else {
        let line_start: usize = text.split_inclusive('\n').take(error.line().max(1) - 1).map(str::len).sum();
        // serde_json counts the bytes of the line up to and with the offending one.
        (line_start + error.column()).saturating_sub(1).min(text.len())
    };
    let start = (0..=offset).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    let found = text.get(start..).and_then(|rest| rest.chars().next());
    let end = start + found.filter(|found| !found.is_control()).map_or(0, char::len_utf8);
    let full = error.to_string();
    let before = text.get(..start).unwrap_or_default().trim_end();
    let message = match bare_message(&full) {
        "expected value" if matches!(found, Some(']' | '}')) && before.ends_with(',') => "trailing comma",
        message => message,
    };
    let hint = match message {
        _ if error.is_eof() => "the file ends too early: close every quote, bracket and brace",
        "trailing comma" => "remove the comma before this",
        "key must be a string" => "write the key in double quotes, or remove the comma before this",
        "expected `,` or `}`" | "expected `,` or `]`" => {
            "a comma is missing before this, or a quote or bracket"
        }
        "expected `:`" => "write a colon between the key and its value",
        "invalid number" => {
            "a number cannot start with 0 or +: a code such as \"042\" is written in double quotes"
        }
        "trailing characters" => "the file should end here: is there a bracket too many?",
        _ if found == Some('/') || found == Some('#') => "JSON has no comments: remove it",
        _ if message.starts_with("control character") => "close the quote before the end of the line",
        _ => "write a text in double quotes, a number, true, false, null, [ or {",
    };
    Problem::at(source, start..end, message).hint(hint)
}

/// serde_json's message without its position.
fn bare_message(full: &str) -> &str {
    full.rsplit_once(" at line ").map_or(full, |(message, _)| message)
}

struct RawMembers<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de> Deserialize<'de> for RawMembers<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = RawMembers<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(RawMembers(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

struct RawItems<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for RawItems<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items;
        impl<'de> Visitor<'de> for Items {
            type Value = RawItems<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(RawItems(items))
            }
        }
        deserializer.deserialize_seq(Items)
    }
}
