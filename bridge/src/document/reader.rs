use std::{collections::HashMap, sync::Arc};

use super::{Node, Problem, Problems, Source, Span, Value};
use crate::quantities::Refused;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spanned<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

/// Takes plain data out of a parsed file and notes everything that has the wrong form.
pub(crate) struct Reader<'a> {
    source: &'a Arc<Source>,
    problems: &'a mut Problems,
}

/// An object with known keys only, each once.
pub(crate) struct Object<'n> {
    pub(crate) span: Span,
    members: Vec<(&'n str, &'n Node)>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(source: &'a Arc<Source>, problems: &'a mut Problems) -> Self {
        Self { source, problems }
    }

    /// Notes a problem.
    pub(crate) fn problem(&mut self, span: &Span, message: impl Into<String>, hint: impl Into<String>) {
        self.problems.push(Problem::at(self.source, span.clone(), message).hint(hint));
    }

    /// An object of these keys; `None` if it is something else. `example` is what to write.
    pub(crate) fn object<'n>(&mut self, node: &'n Node, known: &[&str], example: &str) -> Option<Object<'n>> {
        let Value::Object(members) = &node.value else {
            self.wrong_kind(node, "an object", example);
            return None;
        };
        let mut object = Object { span: node.span.start..node.span.start + 1, members: Vec::new() };
        let mut first = HashMap::with_capacity(members.len());
        for member in members {
            let first = first.entry(member.key.as_str()).or_insert(&member.key_span);
            if **first != member.key_span {
                self.problems.push_with(|| {
                    Problem::at(
                        self.source,
                        member.key_span.clone(),
                        format!("{:?} is written twice", member.key),
                    )
                    .related((*first).clone(), "first here")
                    .hint("remove one of the two")
                });
            } else if known.contains(&member.key.as_str()) {
                object.members.push((&member.key, &member.value));
            } else {
                self.problems.push_with(|| {
                    let hint = match nearest(&member.key, known.iter().copied()) {
                        Some(meant) => format!("did you mean {meant:?}?"),
                        None => format!("the keys here are {}", listing(known)),
                    };
                    let message = format!("unknown key {:?}", member.key);
                    Problem::at(self.source, member.key_span.clone(), message).hint(hint)
                });
            }
        }
        Some(object)
    }

    /// The value of a key that must be there.
    pub(crate) fn required<'n>(&mut self, object: &Object<'n>, key: &str, example: &str) -> Option<&'n Node> {
        let found = object.get(key);
        if found.is_none() {
            self.problem(&object.span, format!("the key {key:?} is missing"), format!("add {example}"));
        }
        found
    }

    /// The items of a list.
    pub(crate) fn list<'n>(&mut self, node: &'n Node, example: &str) -> Option<&'n [Node]> {
        match &node.value {
            Value::List(items) => Some(items),
            _ => {
                self.wrong_kind(node, "a list", example);
                None
            }
        }
    }

    /// A text.
    pub(crate) fn text(&mut self, node: &Node, example: &str) -> Option<Spanned<String>> {
        match &node.value {
            Value::Text(text) => Some(Spanned { value: text.clone(), span: node.span.clone() }),
            _ => {
                self.wrong_kind(node, "a text", example);
                None
            }
        }
    }

    /// `true` or `false`.
    pub(crate) fn flag(&mut self, node: &Node, example: &str) -> Option<bool> {
        match node.value {
            Value::Bool(flag) => Some(flag),
            _ => {
                self.wrong_kind(node, "true or false", example);
                None
            }
        }
    }

    /// Notes that something else should be here.
    pub(crate) fn wrong_kind(&mut self, node: &Node, wanted: &str, example: &str) {
        let found = node.kind();
        let message = format!("this is {found}, but should be {wanted}");
        self.problem(&beginning(node), message, format!("write {example}"));
    }

    /// Notes why a value was refused.
    pub(crate) fn refused(&mut self, node: &Node, refused: Refused) {
        self.problem(&beginning(node), refused.message, refused.hint);
    }
}

impl<'n> Object<'n> {
    /// The value of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&'n Node> {
        self.members.iter().find(|(name, _)| *name == key).map(|(_, node)| *node)
    }
}

/// A value's place, of which only the bracket is shown if it may be long.
fn beginning(node: &Node) -> Span {
    match node.value {
        Value::List(_) | Value::Object(_) => node.span.start..node.span.start + 1,
        _ => node.span.clone(),
    }
}

/// The one of `known` that was probably meant, if any is near.
pub(crate) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let plain = |word: &str| word.to_lowercase().replace(['-', '_', ' '], "");
    let most = (word.chars().count() / 3).max(1);
    known
        .map(|known| (strsim::damerau_levenshtein(&plain(word), &plain(known)), known))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

fn listing(keys: &[&str]) -> String {
    keys.iter().filter(|key| **key != "$schema").map(|key| format!("{key:?}")).collect::<Vec<_>>().join(", ")
}
