//! Topic Names and Topic Filters (section 4.7) and the form of Shared Subscriptions (section 4.8.2).

/// Whether this is a Topic Name: 1 to 65,535 bytes without wildcards and U+0000 `[MQTT-3.3.2-2, MQTT-4.7.1-1,
/// MQTT-4.7.3-1, -2, -3]`.
pub fn is_valid_topic_name(name: &str) -> bool {
    // Without an early exit the compiler makes a few vector instructions of this.
    let forbidden =
        name.bytes().fold(false, |found, byte| found | (byte == 0) | (byte == b'+') | (byte == b'#'));
    has_valid_length(name) && !forbidden
}

/// Whether this is a Topic Filter: 1 to 65,535 bytes without U+0000, `+` only as a whole level, `#` only as the whole
/// last level `[MQTT-4.7.1-1, -2, MQTT-4.7.3-1, -2, -3]`.
///
/// What follows `$share/` is not looked into.
pub fn is_valid_topic_filter(filter: &str) -> bool {
    if !has_valid_length(filter) || has_null(filter) {
        return false;
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let valid = match level {
            "+" => true,
            "#" => levels.peek().is_none(),
            literal => !literal.contains(['+', '#']),
        };
        if !valid {
            return false;
        }
    }
    true
}

/// Whether this Topic Filter asks for a Shared Subscription.
pub(super) fn is_shared(filter: &str) -> bool {
    filter.starts_with(SHARE)
}

/// Whether a Shared Subscription has a ShareName and a Topic Filter: `$share/{ShareName}/{filter}`, the ShareName not
/// empty and without wildcards, the filter not empty `[MQTT-4.8.2-1, -2]`. Other filters are none of its business.
pub(super) fn is_well_formed_if_shared(filter: &str) -> bool {
    let Some(shared) = filter.strip_prefix(SHARE) else {
        return true;
    };
    shared
        .split_once('/')
        .is_some_and(|(name, filter)| !name.is_empty() && !name.contains(['+', '#']) && !filter.is_empty())
}

pub(super) fn has_null(text: &str) -> bool {
    text.as_bytes().contains(&0)
}

fn has_valid_length(text: &str) -> bool {
    (1..=usize::from(u16::MAX)).contains(&text.len())
}

const SHARE: &str = "$share/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_names_4_7() {
        let longest = "a".repeat(65_535);
        for name in ["a", "/", "//", "a b", "$SYS/x", "é/ü", "\u{FEFF}", &longest] {
            assert!(is_valid_topic_name(name), "{name}");
        }
        for name in ["", "+", "#", "a/+/b", "a#", "a\0", &"a".repeat(65_536)] {
            assert!(!is_valid_topic_name(name), "{name}");
        }
    }

    #[test]
    fn topic_filters_4_7_1() {
        for filter in ["a", "/", "#", "+", "+/+", "/+", "+/a/#", "a/#", "/#", "a/+/b", "$share/g/a"] {
            assert!(is_valid_topic_filter(filter), "{filter}");
        }
        for filter in ["", "a#", "a/#/b", "#/", "##", "a+", "+a", "a/b+/c", "++", "a\0", &"a".repeat(65_536)]
        {
            assert!(!is_valid_topic_filter(filter), "{filter}");
        }
    }

    #[test]
    fn shared_subscriptions_4_8_2() {
        for filter in ["a", "$share", "$shared/a", "$share/g/a", "$share/g/#", "$share/g//"] {
            assert!(is_well_formed_if_shared(filter), "{filter}");
        }
        for filter in ["$share/", "$share/g", "$share/g/", "$share//a", "$share/+/a", "$share/#"] {
            assert!(!is_well_formed_if_shared(filter), "{filter}");
        }
    }
}
