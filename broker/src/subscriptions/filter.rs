//! What a Topic Filter matches, and which other filters it contains: decided level by level (section 4.7).
//!
//! Everything here takes valid Topic Names and Topic Filters, as the codec hands them out. Of a Shared Subscription
//! only what follows its ShareName is a Topic Filter.

/// Whether the Topic Filter matches the Topic Name.
///
/// A filter that starts with a wildcard does not match topics that start with `$` `[MQTT-4.7.2-1]`; `sport/#` matches
/// `sport` as well; an empty level is a level.
pub fn matches(filter: &str, topic: &str) -> bool {
    is_reserved(filter) == is_reserved(topic) && covers(Some(filter), Some(topic))
}

/// Whether `outer` matches every Topic Name that `inner` can match.
///
/// Exact, not only safe: `#` and `+/#` contain each other, since every topic has a first level, and so do `/#` and
/// `/+/#`, since no topic is empty `[MQTT-4.7.3-1]`. The limit on a topic's length is not considered.
pub fn contains(outer: &str, inner: &str) -> bool {
    // The parent level that these two `#` would match is no Topic Name.
    let inner = match inner {
        "#" => "+/#",
        "/#" => "/+/#",
        other => other,
    };
    is_reserved(outer) == is_reserved(inner) && covers(Some(outer), Some(inner))
}

/// Whether a name starts with `$`. A filter that does matches only topics that do, any other filter only topics that
/// do not: the two sides have nothing in common.
pub(super) fn is_reserved(name: &str) -> bool {
    name.starts_with('$')
}

/// Whether the levels of `outer` match whatever the levels of `inner` match; `None` is the end behind the last level.
pub(super) fn covers(mut outer: Option<&str>, mut inner: Option<&str>) -> bool {
    if begin_differently(outer, inner) {
        return false;
    }
    loop {
        match (next_level(&mut outer), next_level(&mut inner)) {
            // Also at the end of `inner`, which is then the parent level.
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(level)) if level != "#" => {}
            (Some(level), Some(same)) if level == same => {}
            _ => return false,
        }
    }
}

/// Whether one look tells that the first levels do not match: what most comparisons of a lookup come to.
fn begin_differently(outer: Option<&str>, inner: Option<&str>) -> bool {
    let first_byte = |rest: Option<&str>| rest.and_then(|rest| rest.as_bytes().first().copied());
    match (first_byte(outer), first_byte(inner)) {
        (Some(b'+' | b'#' | b'/'), _) | (_, Some(b'/')) => false,
        (Some(outer), Some(inner)) => outer != inner,
        _ => false,
    }
}

/// The first level and what follows it.
pub(super) fn split_level(name: &str) -> (&str, Option<&str>) {
    // Twice as fast as `split_once` for levels of a few bytes, and lookups spend most of their time here.
    match name.bytes().position(|byte| byte == b'/') {
        Some(at) => (&name[..at], Some(&name[at + 1..])),
        None => (name, None),
    }
}

fn next_level<'a>(rest: &mut Option<&'a str>) -> Option<&'a str> {
    let (level, following) = split_level((*rest)?);
    *rest = following;
    Some(level)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_without_wildcards_matches_only_its_topic() {
        assert!(matches("a/b", "a/b"));
        for topic in ["a", "a/b/", "/a/b", "a/B", "a/bc", "a/b/c", "a//b"] {
            assert!(!matches("a/b", topic), "{topic}");
        }
    }

    #[test]
    fn multi_level_wildcard_matches_its_parent_level_and_all_below() {
        for topic in ["sport", "sport/", "sport/tennis", "sport/tennis/player1"] {
            assert!(matches("sport/#", topic), "{topic}");
        }
        for topic in ["sports", "spor", "/sport", "sports/tennis"] {
            assert!(!matches("sport/#", topic), "{topic}");
        }
        assert!(matches("+/#", "a"));
        assert!(matches("a/+/#", "a/b") && !matches("a/+/#", "a"));
    }

    #[test]
    fn single_level_wildcard_matches_exactly_one_level() {
        assert!(matches("sport/+", "sport/tennis") && matches("sport/+", "sport/"));
        assert!(!matches("sport/+", "sport") && !matches("sport/+", "sport/tennis/player1"));
        assert!(matches("+/b/+", "a/b/c") && !matches("+/b/+", "a/c/b"));
    }

    #[test]
    fn an_empty_level_is_a_level() {
        assert!(matches("+/+", "/finance") && matches("/+", "/finance") && !matches("+", "/finance"));
        assert!(matches("a//b", "a//b") && matches("a/+/b", "a//b") && !matches("a/b", "a//b"));
        assert!(matches("/", "/") && matches("+/+", "/") && matches("/#", "/") && matches("#", "/"));
        assert!(matches("a/", "a/") && !matches("a/", "a") && !matches("a", "a/"));
    }

    #[test]
    fn a_leading_wildcard_does_not_match_dollar_topics() {
        for filter in ["#", "+", "+/#", "+/monitor", "+/+", "/#"] {
            assert!(!matches(filter, "$SYS/monitor") && !matches(filter, "$SYS"), "{filter}");
        }
        assert!(matches("$SYS/#", "$SYS/monitor") && matches("$SYS/#", "$SYS"));
        assert!(matches("$SYS/+", "$SYS/monitor"));
        // Only the first character of the topic counts.
        assert!(
            matches("a/+", "a/$b") && matches("a/#", "a/$b") && matches("#", "a/$b") && matches("+/+", "/$b")
        );
    }

    #[test]
    fn a_filter_contains_itself_and_the_topics_that_it_matches() {
        for filter in ["a", "a/b", "a/+", "a/#", "#", "+", "/", "/#", "$SYS/#", "+/a/#"] {
            assert!(contains(filter, filter), "{filter}");
        }
        assert!(contains("a/+", "a/b") && contains("a/#", "a") && contains("a/#", "a/b/c"));
    }

    #[test]
    fn containment_goes_by_levels_not_by_prefix() {
        assert!(!contains("u/c/54", "u/c/5412") && !contains("u/c/54/#", "u/c/5412/#"));
        assert!(!contains("u/c/54/#", "u/c/54x") && !contains("u/c/54/#", "u/c/5"));
        assert!(!contains("u/c/54/#", "u/c//54") && !contains("u/c/54/#", "/u/c/54"));
    }

    #[test]
    fn a_literal_level_contains_no_wildcard() {
        assert!(!contains("u/c/54/#", "u/c/+") && !contains("u/c/54/#", "u/c/#"));
        assert!(
            !contains("u/c/54/#", "u/+/54")
                && !contains("u/c/54/#", "+/c/54/#")
                && !contains("u/c/54/#", "#")
        );
        assert!(!contains("a/b", "a/+") && !contains("a/b", "a/#"));
    }

    #[test]
    fn a_single_level_contains_no_multi_level_wildcard() {
        assert!(!contains("a/+", "a/#") && !contains("+", "#") && !contains("a/+", "a/+/#"));
        assert!(contains("a/#", "a/+") && contains("a/#", "a/+/b") && contains("a/#", "a/+/#"));
    }

    #[test]
    fn the_parent_level_of_a_multi_level_wildcard_counts() {
        assert!(!contains("a/+/#", "a/#"), "a itself");
        assert!(!contains("a/b", "a/b/#") && contains("a/b/#", "a/b"));
        assert!(!contains("a/b/+", "a/b/#") && !contains("a/b/#", "a/#"));
    }

    #[test]
    fn every_topic_has_a_first_level() {
        assert!(contains("#", "+/#") && contains("+/#", "#"));
        assert!(!contains("+/+/#", "#") && contains("+/#", "/#"));
    }

    #[test]
    fn no_topic_is_empty() {
        assert!(contains("/#", "/+/#") && contains("/+/#", "/#"));
        assert!(contains("+/+/#", "/#") && !contains("/+/+/#", "/#"));
    }

    #[test]
    fn dollar_filters_and_leading_wildcards_have_nothing_in_common() {
        assert!(!contains("#", "$SYS/#") && !contains("+/#", "$SYS/a") && !contains("+", "$SYS"));
        assert!(!contains("$SYS/#", "#") && !contains("$SYS/#", "+/a"));
        assert!(contains("$SYS/#", "$SYS/+") && contains("$SYS/+/#", "$SYS/a"));
        assert!(contains("a/+", "a/$SYS"));
    }

    /// Every valid filter of up to four levels, against every topic of up to five levels of an alphabet with one level
    /// (`c`) that no filter names.
    #[test]
    fn agrees_with_an_oracle_on_all_small_filters_and_topics() {
        let filters: Vec<String> =
            names(&["a", "b", "", "+", "#", "$x"], 4).filter(|filter| !filter.contains("#/")).collect();
        let topics: Vec<String> = names(&["a", "b", "c", "", "$x"], 5).collect();
        let split_topics: Vec<Vec<&str>> = topics.iter().map(|topic| topic.split('/').collect()).collect();

        let matched: Vec<Vec<u64>> = filters
            .iter()
            .map(|filter| {
                let levels: Vec<&str> = filter.split('/').collect();
                let mut set = vec![0; topics.len().div_ceil(64)];
                for (at, (topic, topic_levels)) in topics.iter().zip(&split_topics).enumerate() {
                    let expected = oracle(&levels, topic_levels);
                    assert_eq!(matches(filter, topic), expected, "{filter} matches {topic}");
                    set[at / 64] |= u64::from(expected) << (at % 64);
                }
                set
            })
            .collect();

        for (outer, outer_set) in filters.iter().zip(&matched) {
            for (inner, inner_set) in filters.iter().zip(&matched) {
                let expected = outer_set.iter().zip(inner_set).all(|(outer, inner)| inner & !outer == 0);
                assert_eq!(contains(outer, inner), expected, "{outer} contains {inner}");
            }
        }
    }

    fn oracle(filter: &[&str], topic: &[&str]) -> bool {
        let wildcard = filter[0] == "+" || filter[0] == "#";
        !(wildcard && topic[0].starts_with('$')) && oracle_levels(filter, topic)
    }

    fn oracle_levels(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            ([], []) | (["#"], _) => true,
            ([first, filter @ ..], [level, topic @ ..]) => {
                (*first == "+" || first == level) && oracle_levels(filter, topic)
            }
            _ => false,
        }
    }

    /// All names of one to `depth` levels out of `levels` but the empty one.
    fn names<'a>(levels: &'a [&'a str], depth: u32) -> impl Iterator<Item = String> + 'a {
        (1..=depth)
            .flat_map(move |depth| {
                (0..levels.len().pow(depth)).map(move |number| {
                    let digits = (0..depth).map(|at| number / levels.len().pow(at) % levels.len());
                    digits.map(|digit| levels[digit]).collect::<Vec<_>>().join("/")
                })
            })
            .filter(|name| !name.is_empty())
    }
}
