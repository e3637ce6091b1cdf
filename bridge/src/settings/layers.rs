//! The three layers of settings, and for every value the place where it was written.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    ops::RangeInclusive,
    sync::Arc,
    time::Duration,
};

use config::{Config, FileFormat, ValueKind};

use super::Environment;
use crate::{
    document::{Node, Problem, Problems, Reader, Source, Span, Value, nearest, parse},
    quantities::{self, Refused},
};

/// Every key with its default; `null` where there is none.
pub(super) const DEFAULTS: &str = include_str!("defaults.json");

const PREFIX: &str = "IOR_BRIDGE__";

/// Reads values one by one, and notes every problem with its place.
pub(super) struct Layers {
    config: Config,
    source: Arc<Source>,
    /// Where the file holds a key's value.
    places: HashMap<String, Span>,
    /// Which variable holds a key's value.
    variables: HashMap<String, String>,
    of_file: Problems,
    of_environment: Problems,
}

/// A value as text.
struct Written {
    text: String,
    /// The file held it without quotes: a number, true or false.
    bare: bool,
    from_variable: bool,
}

impl Layers {
    /// # Errors
    /// The file is not JSON.
    pub(super) fn new(source: Arc<Source>, environment: &Environment) -> Result<Self, Problems> {
        let known = keys();
        let root = parse(&source, "{}")?;
        let mut layers = Self {
            config: Config::default(),
            source,
            places: HashMap::new(),
            variables: HashMap::new(),
            of_file: Problems::default(),
            of_environment: Problems::default(),
        };
        // What is wrong in form is noted here and left out, so that the rest can still be judged.
        let file = layers.section(&root, "", &known);
        let variables = layers.take_variables(environment, &known);
        let environment = config::Environment::with_prefix("IOR_BRIDGE")
            .prefix_separator("__")
            .separator("__")
            .source(Some(variables.into_iter().collect()));
        layers.config = Config::builder()
            .add_source(config::File::from_str(DEFAULTS, FileFormat::Json))
            .add_source(config::File::from_str(&file.to_string(), FileFormat::Json))
            .add_source(environment)
            .build()
            .map_err(|error| Problem::of_file(layers.source.path(), error.to_string()))?;
        Ok(layers)
    }

    /// A text or nothing.
    pub(super) fn optional_text(&mut self, key: &str, example: &str) -> Option<Option<String>> {
        let Some(written) = self.written(key)? else { return Some(None) };
        let control = written.text.chars().any(char::is_control);
        if written.bare || written.text.trim().is_empty() || control {
            self.note(key, "this should be a text that is not empty", &format!("write {example}"));
            return None;
        }
        Some(Some(written.text))
    }

    /// Address and port; `Some(None)` for null, which turns the listener off.
    pub(super) fn listen(&mut self, key: &str, example: &str) -> Option<Option<SocketAddr>> {
        let written = self.written(key)?.filter(|written| !(written.from_variable && written.text == "null"));
        let Some(written) = written else { return Some(None) };
        let parsed = written.text.parse().ok();
        if parsed.is_none() {
            let hint = format!("write an address and a port, such as {example:?}, or null to turn it off");
            self.note(key, "this is not an address with a port", &hint);
        }
        Some(Some(parsed?))
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        let written = self.written(key)?;
        let text = written.as_ref().map(|written| &*written.text);
        self.taken(key, quantities::choice(text, choices))
    }

    /// A whole number.
    pub(super) fn count(&mut self, key: &str, range: RangeInclusive<usize>) -> Option<usize> {
        let written = self.written(key)?.filter(|written| written.bare || written.from_variable);
        let text = written.as_ref().map(|written| &*written.text);
        self.taken(key, quantities::count(text, range))
    }

    /// A size in bytes.
    pub(super) fn bytes(&mut self, key: &str, range: RangeInclusive<usize>) -> Option<usize> {
        let written = self.written(key)?;
        let text = written.as_ref().map(|written| &*written.text);
        self.taken(key, quantities::size(text, range))
    }

    /// A duration in whole seconds.
    pub(super) fn duration(&mut self, key: &str, range: RangeInclusive<u64>) -> Option<Duration> {
        let written = self.written(key)?;
        let text = written.as_ref().map(|written| &*written.text);
        self.taken(key, quantities::duration(text, range))
    }

    /// Everything that was wrong.
    pub(super) fn finish(self) -> Result<(), Problems> {
        let mut problems = Problems::default();
        problems.append(self.of_file);
        problems.append(self.of_environment);
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// A key's value; `Some(None)` for null. One that cannot be read is noted.
    fn written(&mut self, key: &str) -> Option<Option<Written>> {
        let from_variable = self.variables.contains_key(key);
        let read = self.config.get(key).and_then(|value: config::Value| match value.kind {
            ValueKind::Nil => Ok(None),
            ValueKind::String(text) => Ok(Some(Written { text, bare: false, from_variable })),
            _ => Ok(Some(Written { text: value.into_string()?, bare: true, from_variable })),
        });
        read.map_err(|error| self.note(key, &error.to_string(), "write a text or a number")).ok()
    }

    /// A value, unless it was refused, which is noted.
    fn taken<T>(&mut self, key: &str, value: Result<T, Refused>) -> Option<T> {
        value.map_err(|refused| self.note(key, refused.message, &refused.hint)).ok()
    }

    /// Notes a problem where the key's value was written.
    pub(super) fn note(&mut self, key: &str, message: &str, hint: &str) {
        if let Some(name) = self.variables.get(key) {
            self.of_environment.push(Problem::of_variable(name, message).hint(hint));
        } else if let Some(span) = self.places.get(key) {
            self.of_file.push(Problem::at(&self.source, span.clone(), message).hint(hint));
        } else {
            self.of_file.push(Problem::of_file(self.source.path(), format!("{key}: {message}")).hint(hint));
        }
    }

    /// What is right in form of an object in the file.
    fn section(&mut self, node: &Node, section: &str, known: &BTreeMap<String, bool>) -> serde_json::Value {
        let keys: Vec<_> = known.keys().filter_map(|key| key_in(section, key)).collect();
        let source = Arc::clone(&self.source);
        let example = "{ … }, the settings of this section";
        let object = Reader::new(&source, &mut self.of_file).object(node, &keys, example);
        let mut kept = serde_json::Map::new();
        let Some(object) = object else { return kept.into() };
        for key in keys {
            let Some(node) = object.get(key) else { continue };
            let path = if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
            if key == "$schema" {
                Reader::new(&source, &mut self.of_file).text(node, "\"./schema/server.schema.json\"");
            } else if known.get(&path) == Some(&true) {
                kept.insert(key.to_owned(), self.section(node, &path, known));
            } else if matches!(node.value, Value::List(_) | Value::Object(_)) {
                Reader::new(&source, &mut self.of_file).wrong_kind(
                    node,
                    "a single value",
                    "a text or a number",
                );
            } else if let Some(value) = source.text().get(node.span.clone()) {
                kept.insert(key.to_owned(), serde_json::from_str(value).unwrap_or_default());
                self.places.insert(path, node.span.clone());
            }
        }
        kept.into()
    }

    /// The variables that set a key. An empty one counts as absent.
    fn take_variables(&mut self, environment: &Environment, known: &BTreeMap<String, bool>) -> Environment {
        let ours = environment.iter().filter(|(name, value)| name.starts_with(PREFIX) && !value.is_empty());
        let mut ours: Vec<_> = ours.collect();
        ours.sort();
        let mut taken = Environment::new();
        let names: Vec<_> =
            known.iter().filter(|(_, section)| !**section).map(|(key, _)| variable(key)).collect();
        for (name, value) in ours {
            let key = name.trim_start_matches(PREFIX).to_lowercase().replace("__", ".");
            if names.contains(name) && key != "$schema" {
                taken.insert(name.clone(), value.clone());
                self.variables.insert(key, name.clone());
                continue;
            }
            let hint = match nearest(name, names.iter().map(String::as_str)) {
                Some(meant) => format!("did you mean {meant}?"),
                None => "unset it; the names are IOR_BRIDGE__SECTION__KEY, with the keys of server.json"
                    .to_owned(),
            };
            self.of_environment.push(Problem::of_variable(name, "there is no such setting").hint(hint));
        }
        taken
    }
}

/// Every key with its path, and whether it is a section.
pub(super) fn keys() -> BTreeMap<String, bool> {
    fn walk(value: &serde_json::Value, path: &str, keys: &mut BTreeMap<String, bool>) {
        for (key, value) in value.as_object().into_iter().flatten() {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            walk(value, &path, keys);
            keys.insert(path, value.is_object());
        }
    }
    let mut keys = BTreeMap::new();
    walk(&serde_json::from_str(DEFAULTS).unwrap_or_default(), "", &mut keys);
    keys
}

/// The key's name if it stands directly in the section.
fn key_in<'k>(section: &str, key: &'k str) -> Option<&'k str> {
    let rest = match section {
        "" => key,
        _ => key.strip_prefix(section)?.strip_prefix('.')?,
    };
    (!rest.contains('.')).then_some(rest)
}

fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}
