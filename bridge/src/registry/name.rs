use std::{fmt, sync::Arc};

use crate::document::{Node, Value};

/// Longest device code and user name.
pub const MAX_NAME: usize = 32;
/// Longest connection id.
pub const MAX_ID: usize = 64;
/// Largest code that may be written as a number: every JSON parser reads it exactly.
pub const MAX_NUMBER: u64 = (1 << 53) - 1;

/// Tells a user's devices apart: 1 to 32 characters of `A-Z a-z 0-9 _ -`, written as a text or as a number. 4569 and
/// "4569" are the same code, "04569" is another one.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceCode(Arc<str>);

impl DeviceCode {
    /// A code from its text.
    ///
    /// # Errors
    /// What is wrong with it, and what to write instead.
    pub fn new(text: &str) -> Result<Self, NameError> {
        check("a device code", text, MAX_NAME)?;
        match text {
            // `u/c/presence` holds the presence messages, so it cannot be a device's topic.
            "presence" => Err(NameError {
                message: "\"presence\" cannot be a device code: presence messages have this topic".to_owned(),
                hint: "choose another code".to_owned(),
            }),
            _ => Ok(Self(text.into())),
        }
    }

    /// The code, as in topics and user names.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As credential files carry it: a number if it can be one, however it was configured.
    pub fn to_json(&self) -> serde_json::Value {
        let number = self.0.parse().ok().filter(|number: &u64| *number <= MAX_NUMBER);
        match number.filter(|number| number.to_string() == *self.0) {
            Some(number) => number.into(),
            None => self.as_str().into(),
        }
    }

    /// A code as it stands in a file.
    pub(super) fn from_node(node: &Node) -> Result<Self, NameError> {
        match &node.value {
            Value::Text(text) => Self::new(text),
            Value::Number(digits) => match digits.parse::<u64>() {
                Ok(number) if number <= MAX_NUMBER => Self::new(digits),
                _ => Err(NameError {
                    message: format!("{digits} cannot be a device code"),
                    hint: format!("write a whole number from 0 to {MAX_NUMBER}, or a text in double quotes"),
                }),
            },
            _ => Err(NameError {
                message: format!("this is {}, but should be a device code", node.kind()),
                hint: "write a number or a text, such as 4569 or \"robot-1\"".to_owned(),
            }),
        }
    }
}

impl fmt::Display for DeviceCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for DeviceCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Why a code, user or id was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameError {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: String,
}

/// Checks what becomes a topic level, a folder's name and a part of a user name: 1 to `most` characters of
/// `A-Z a-z 0-9 _ -`.
pub(super) fn check(what: &str, text: &str, most: usize) -> Result<(), NameError> {
    let error = |message: String, hint: String| Err(NameError { message, hint });
    let rule = format!("write 1 to {most} characters of A-Z a-z 0-9 _ -");
    if text.is_empty() {
        return error(format!("{what} cannot be empty"), rule);
    }
    if let Some(bad) = text.chars().find(|&c| !(c.is_ascii_alphanumeric() || c == '_' || c == '-')) {
        return error(format!("{what} cannot contain {bad:?}"), rule);
    }
    if text.len() > most {
        return error(
            format!("{what} cannot be longer than {most} characters, this has {}", text.len()),
            rule,
        );
    }
    Ok(())
}

/// A connection's id made from its name: lower case, everything else than letters and digits becomes one `-`. `None` if
/// that is empty or longer than [`MAX_ID`].
pub fn id_from_name(name: &str) -> Option<String> {
    let mut slug = String::new();
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.truncate(slug.trim_end_matches('-').len());
    check("the id", &slug, MAX_ID).is_ok().then_some(slug)
}

/// Why [`id_from_name`] makes none, for people.
pub fn why_no_id(name: &str) -> String {
    if name.contains(|c: char| c.is_ascii_alphanumeric()) {
        format!("it would be longer than {MAX_ID} characters")
    } else {
        "the name has none of A-Z a-z 0-9".to_owned()
    }
}
