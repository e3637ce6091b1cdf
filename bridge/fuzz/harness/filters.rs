//! What must hold for any Topic Filter: `contains` and `matches` against an oracle that tries all topics of a small
//! alphabet, and the promise of the access rules: an allowed filter hears the peer and its presence, nothing else. Shared by
//! the fuzz target and by `tests/fuzz_filters.rs`.
//!
//! An input is up to three lines, each of which is taken for a filter and for a topic.
#![allow(clippy::expect_used)]

use std::{collections::BTreeSet, sync::LazyLock};

use ior_bridge::{
    document::Source,
    policy::{Action, Rights},
    registry::Registry,
};
use ior_broker::{
    codec::{is_valid_topic_filter, is_valid_topic_name},
    filter::{contains, matches},
};
use serde_json::json;

/// User, connection, its two ends.
const PAIRS: [(&str, &str, [&str; 2]); 4] =
    [("u", "c", ["a", "b"]), ("u", "d", ["a", "e"]), ("u", "b", ["e", "b"]), ("v", "c", ["a", "b"])];

/// So many topics are tried at most: a filter that has more is not compared.
const MOST_TOPICS: usize = 10_000;

/// The empty level, and two that stand for whatever no filter names, since none may contain U+0000.
const OTHER_LEVELS: [&str; 3] = ["", "\0", "$\0"];

/// Panics if a decision about the lines of `input` is wrong.
pub(crate) fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let lines: Vec<&str> = text.split('\n').take(3).collect();
    for line in &lines {
        check_rights(line);
    }
    for outer in lines.iter().filter(|line| is_valid_topic_filter(line)) {
        for inner in lines.iter().filter(|line| is_valid_topic_filter(line)) {
            check_containment(outer, inner);
        }
    }
}

fn check_containment(outer: &str, inner: &str) {
    let Some(topics) = topics_of(inner, &[outer, inner]) else { return };
    for topic in &topics {
        assert!(matches(inner, topic), "{inner:?} does not match {topic:?}");
        assert_eq!(matches(outer, topic), oracle(outer, topic), "{outer:?} matches {topic:?}");
    }
    let expected = topics.iter().all(|topic| oracle(outer, topic));
    assert_eq!(contains(outer, inner), expected, "{outer:?} contains {inner:?}");
}

fn check_rights(text: &str) {
    static RIGHTS: LazyLock<Vec<Rights>> = LazyLock::new(|| Rights::of_all(&registry()));
    for rights in RIGHTS.iter() {
        let (user, code) = rights.name().split_once('.').expect("user.code");
        let publishes = rights.decide(Action::Publish, text).is_allowed();
        assert_eq!(publishes, may_publish(user, code, text), "{user}.{code} publishes to {text:?}");
        let subscribes = rights.decide(Action::Subscribe, text).is_allowed();
        if let Some(expected) = may_subscribe(user, code, text) {
            assert_eq!(subscribes, expected, "{user}.{code} subscribes to {text:?}");
        }
    }
}

/// To exactly the own topics and what is below them.
fn may_publish(user: &str, code: &str, topic: &str) -> bool {
    let of_own = |(connection, _)| is_at_or_below(topic, &format!("{user}/{connection}/{code}"));
    is_valid_topic_name(topic) && connections(user, code).any(of_own)
}

/// To exactly the filters with three literal levels that match nothing but what is the peer's; `None` if they match too
/// many topics to try them.
fn may_subscribe(user: &str, code: &str, filter: &str) -> Option<bool> {
    let is_literal = !filter.split('/').take(3).any(|level| level == "+" || level == "#");
    if !is_valid_topic_filter(filter) || !is_literal {
        return Some(false);
    }
    let of_peer = |topic: &String| {
        connections(user, code).any(|(connection, peer)| {
            is_at_or_below(topic, &format!("{user}/{connection}/{peer}"))
                || *topic == format!("{user}/{connection}/presence/{peer}")
        })
    };
    Some(topics_of(filter, &[filter, "a/b/e"])?.iter().all(of_peer))
}

/// The ids of a device's connections with its peers.
fn connections(user: &str, code: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    PAIRS.into_iter().filter(move |(owner, ..)| *owner == user).filter_map(move |(_, id, [from, to])| {
        match code {
            _ if code == from => Some((id, to)),
            _ if code == to => Some((id, from)),
            _ => None,
        }
    })
}

fn is_at_or_below(topic: &str, base: &str) -> bool {
    topic.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The topics that the filter matches, with the levels of `names`, and others, in place of its wildcards, and up to two of
/// them in place of `#`. `None` if there are too many.
fn topics_of(filter: &str, names: &[&str]) -> Option<Vec<String>> {
    let mut levels: Vec<&str> = names.iter().flat_map(|name| name.split('/')).chain(OTHER_LEVELS).collect();
    levels.retain(|level| !level.contains(['+', '#']));
    levels.sort_unstable();
    levels.dedup();
    let mut topics = vec![Vec::new()];
    for level in filter.split('/') {
        topics = match level {
            "+" => longer(&topics, &levels)?,
            "#" => {
                let one = longer(&topics, &levels)?;
                let two = longer(&one, &levels)?;
                [topics, one, two].concat()
            }
            literal => longer(&topics, &[literal])?,
        };
    }
    let is_wild = filter.starts_with(['+', '#']);
    let topics = topics.iter().map(|levels| levels.join("/"));
    let is_matched = |topic: &String| !topic.is_empty() && (!is_wild || !topic.starts_with('$'));
    Some(topics.filter(is_matched).collect())
}

/// Each of the topics with each of the levels behind it.
fn longer<'a>(topics: &[Vec<&'a str>], levels: &[&'a str]) -> Option<Vec<Vec<&'a str>>> {
    if topics.len() * levels.len() > MOST_TOPICS {
        return None;
    }
    let with_each = |topic: &Vec<&'a str>| -> Vec<_> {
        levels.iter().map(|level| [topic.as_slice(), &[*level]].concat()).collect()
    };
    Some(topics.iter().flat_map(with_each).collect())
}

/// Matching by the words of the standard, level by level.
fn oracle(filter: &str, topic: &str) -> bool {
    fn walk(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            ([], []) | (["#"], _) => true,
            ([first, filter @ ..], [level, topic @ ..]) => {
                (*first == "+" || first == level) && walk(filter, topic)
            }
            _ => false,
        }
    }
    let is_hidden = topic.starts_with('$') && filter.starts_with(['+', '#']);
    let [filter, topic] = [filter, topic].map(|name| name.split('/').collect::<Vec<_>>());
    !is_hidden && walk(&filter, &topic)
}

/// The devices and connections of [`PAIRS`].
fn registry() -> Registry {
    let ends = PAIRS.iter().flat_map(|(user, _, ends)| ends.map(|code| (*user, code)));
    let devices: BTreeSet<_> = ends.collect();
    let device = |(user, code)| json!({ "user": user, "code": code, "name": "n", "type": "t" });
    let connection = |(user, id, [from, to]): (&str, &str, [&str; 2])| json!({ "user": user, "id": id, "name": "n", "from": from, "to": to });
    let devices = json!({ "devices": devices.into_iter().map(device).collect::<Vec<_>>() });
    let connections = json!({ "connections": PAIRS.map(connection) });
    let [devices, connections] =
        [devices, connections].map(|document| Source::new("pairs", document.to_string()));
    Registry::parse(&devices, &connections).expect("a registry")
}
