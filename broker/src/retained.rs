//! Retained messages: the last one of each topic that was published with RETAIN.

use std::{
    borrow::Borrow,
    cmp::Ordering,
    collections::{BTreeSet, HashMap},
    fmt,
    ops::Bound::{Included, Unbounded},
    sync::Arc,
};

use parking_lot::RwLock;

use crate::{
    limits::{Limit, Limits},
    message::Message,
    subscriptions::filter::matches,
};

/// How much may be retained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetainedLimits {
    /// Messages, that is topics.
    pub max_messages: usize,
    /// Bytes of all messages together, each counted as [`Message::size`].
    pub max_bytes: usize,
    /// Messages of one owner.
    pub max_messages_per_owner: usize,
}

impl From<&Limits> for RetainedLimits {
    fn from(limits: &Limits) -> Self {
        Self {
            max_messages: limits.retained.messages,
            max_bytes: limits.retained.bytes,
            max_messages_per_owner: limits.retained_per_name,
        }
    }
}

/// The message was not retained, and what was retained before still is: no room within this one of the
/// [`RetainedLimits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetainedFull(pub Limit);

impl fmt::Display for RetainedFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "no room for another retained message: clear some topics with an empty retained message, or raise the limits",
        )
    }
}

impl std::error::Error for RetainedFull {}

/// The retained messages of all topics.
pub struct Retained {
    kept: RwLock<Kept>,
}

impl Retained {
    /// Without messages.
    pub fn new(limits: RetainedLimits) -> Self {
        Self {
            kept: RwLock::new(Kept {
                limits,
                messages: BTreeSet::new(),
                bytes: 0,
                per_owner: HashMap::new(),
                next_expiry: u64::MAX,
            }),
        }
    }

    /// Other limits hold for messages that are retained from now on; those that are stay.
    pub fn set_limits(&self, limits: RetainedLimits) {
        self.kept.write().limits = limits;
    }

    /// Retains a message that was published with RETAIN, instead of the one that its topic had `[MQTT-3.3.1-5]`. An
    /// empty payload removes that one and is not retained itself `[MQTT-3.3.1-6, -7]`; so does a message that has
    /// expired on arrival.
    ///
    /// The owner is the authenticated name of the publisher; without one the message is the server's own, which always
    /// finds room. If there is no room, messages that have expired when this one arrived are removed first: their topics
    /// are given to `expired`.
    ///
    /// # Errors
    /// [`RetainedFull`]; nothing has changed then but for messages that have expired.
    pub fn store(
        &self,
        message: &Message,
        owner: Option<&Arc<str>>,
        mut expired: impl FnMut(&str),
    ) -> Result<(), RetainedFull> {
        let mut kept = self.kept.write();
        if is_removal(message) {
            kept.remove(message.topic());
            return Ok(());
        }
        if let Some(owner) = owner
            && kept.check_room(message, owner).is_err()
        {
            kept.remove_expired(message.received_at(), &mut expired);
            kept.check_room(message, owner)?;
        }
        kept.replace(message.clone(), owner.map(Arc::clone));
        Ok(())
    }

    /// Removes the messages of owners that may not have them any more; gives their topics. The server's own stay.
    pub fn revoke(&self, mut is_revoked: impl FnMut(&Arc<str>, &str) -> bool) -> Vec<Box<str>> {
        let mut kept = self.kept.write();
        let revoked: Vec<Box<str>> = kept
            .messages
            .iter()
            .filter(|kept| kept.owner.as_ref().is_some_and(|owner| is_revoked(owner, kept.message.topic())))
            .map(|kept| kept.message.topic().into())
            .collect();
        for topic in &revoked {
            kept.remove(topic);
        }
        revoked
    }

    /// The messages that a new subscription to the Topic Filter gets at `now` (milliseconds since the Unix epoch), in
    /// the order of their topics' bytes. Expired ones are left out.
    ///
    /// Looks only at topics that share the levels before the filter's first wildcard.
    pub fn matching(&self, filter: &str, now: u64) -> Vec<Message> {
        self.kept
            .read()
            .candidates(filter)
            .filter(|message| matches(filter, message.topic()) && message.remaining_expiry(now).is_ok())
            .cloned()
            .collect()
    }

    /// How many messages are retained, expired ones that were not removed yet included.
    pub fn len(&self) -> usize {
        self.kept.read().messages.len()
    }
}

/// Whether a message that is published with RETAIN only removes the one that its topic has.
pub fn is_removal(message: &Message) -> bool {
    message.payload().is_empty() || message.expires_at() <= message.received_at()
}

struct Kept {
    limits: RetainedLimits,
    messages: BTreeSet<ByTopic>,
    bytes: usize,
    per_owner: HashMap<Arc<str>, usize>,
    /// No message expires before, in milliseconds since the Unix epoch: spares a full store the search for expired
    /// messages at every attempt to store another.
    next_expiry: u64,
}

impl Kept {
    fn check_room(&self, message: &Message, owner: &Arc<str>) -> Result<(), RetainedFull> {
        let limits = &self.limits;
        let present = self.messages.get(message.topic());
        let is_owners = present.is_some_and(|present| present.owner.as_ref() == Some(owner));
        let owned = self.per_owner.get(owner).copied().unwrap_or(0);
        let others = self.bytes - present.map_or(0, |present| present.message.size());
        if !is_owners && owned >= limits.max_messages_per_owner {
            Err(RetainedFull(Limit::RetainedPerName))
        } else if present.is_none() && self.messages.len() >= limits.max_messages {
            Err(RetainedFull(Limit::RetainedMessages))
        } else if others.saturating_add(message.size()) > limits.max_bytes {
            Err(RetainedFull(Limit::RetainedBytes))
        } else {
            Ok(())
        }
    }

    fn replace(&mut self, message: Message, owner: Option<Arc<str>>) {
        self.remove(message.topic());
        self.next_expiry = self.next_expiry.min(message.expires_at());
        self.bytes += message.size();
        if let Some(owner) = &owner {
            *self.per_owner.entry(Arc::clone(owner)).or_default() += 1;
        }
        self.messages.insert(ByTopic { message, owner });
    }

    fn remove(&mut self, topic: &str) {
        if let Some(removed) = self.messages.take(topic) {
            self.forget(&removed);
        }
    }

    fn remove_expired(&mut self, now: u64, told: &mut impl FnMut(&str)) {
        if now < self.next_expiry {
            return;
        }
        let (expired, kept) = std::mem::take(&mut self.messages)
            .into_iter()
            .partition(|kept: &ByTopic| kept.message.expires_at() <= now);
        self.messages = kept;
        let expired: BTreeSet<_> = expired;
        for expired in &expired {
            told(expired.message.topic());
            self.forget(expired);
        }
        self.next_expiry =
            self.messages.iter().map(|kept| kept.message.expires_at()).min().unwrap_or(u64::MAX);
    }

    fn forget(&mut self, removed: &ByTopic) {
        self.bytes -= removed.message.size();
        if let Some(owner) = &removed.owner
            && let Some(owned) = self.per_owner.get_mut(owner)
        {
            *owned -= 1;
            if *owned == 0 {
                self.per_owner.remove(owner);
            }
        }
    }

    /// In the order of their topics: all that the filter matches, and few that it does not.
    fn candidates<'a>(&'a self, filter: &'a str) -> impl Iterator<Item = &'a Message> {
        let (prefix, wildcards) = filter.split_at(filter.find(['+', '#']).unwrap_or(filter.len()));
        // The one topic before the wildcards that is not among those that start with `prefix`: without wildcards the
        // filter itself, and for `a/b/#` the parent level `a/b`, which sorts before all of `a/b/`.
        let (one, below) = match wildcards {
            "" => (Some(prefix), None),
            "#" => (prefix.strip_suffix('/'), Some(prefix)),
            _ => (None, Some(prefix)),
        };
        let one = one.and_then(|topic| self.messages.get(topic));
        let below = below.into_iter().flat_map(|prefix| {
            self.messages
                .range::<str, _>((Included(prefix), Unbounded))
                .take_while(move |kept| kept.message.topic().starts_with(prefix))
        });
        one.into_iter().chain(below).map(|kept| &kept.message)
    }
}

/// A message that is found by its topic, which is therefore not kept a second time.
struct ByTopic {
    message: Message,
    owner: Option<Arc<str>>,
}

impl Borrow<str> for ByTopic {
    fn borrow(&self) -> &str {
        self.message.topic()
    }
}

impl Ord for ByTopic {
    fn cmp(&self, other: &Self) -> Ordering {
        self.message.topic().cmp(other.message.topic())
    }
}

impl PartialOrd for ByTopic {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for ByTopic {}

impl PartialEq for ByTopic {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::collections::BTreeMap;

    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::{
        codec::{ForwardedProperties, QoS},
        message::MessageParts,
    };

    const PLENTY: RetainedLimits =
        RetainedLimits { max_messages: 1_000, max_bytes: 1_000_000, max_messages_per_owner: usize::MAX };

    fn owner() -> Arc<str> {
        "owner".into()
    }

    #[test]
    fn one_owner_cannot_take_the_room_of_the_others() {
        let retained = Retained::new(RetainedLimits { max_messages: 3, max_messages_per_owner: 2, ..PLENTY });
        let (greedy, other) = (owner(), Arc::from("other"));
        retained.store(&message("a", "1"), Some(&greedy), |_| ()).unwrap();
        retained.store(&message("b", "1"), Some(&greedy), |_| ()).unwrap();
        assert_eq!(
            retained.store(&message("c", "1"), Some(&greedy), |_| ()),
            Err(RetainedFull(Limit::RetainedPerName))
        );
        retained.store(&message("b", "2"), Some(&greedy), |_| ()).unwrap();
        retained.store(&message("c", "1"), Some(&other), |_| ()).unwrap();
        assert_eq!(
            retained.store(&message("d", "1"), Some(&other), |_| ()),
            Err(RetainedFull(Limit::RetainedMessages)),
            "all places are taken"
        );
        retained.store(&message("d", "1"), None, |_| ()).unwrap();
        retained.store(&message("a", ""), Some(&greedy), |_| ()).unwrap();
        retained.store(&message("d", ""), None, |_| ()).unwrap();
        retained.store(&message("e", "1"), Some(&greedy), |_| ()).unwrap();
    }

    #[test]
    fn the_last_message_of_a_topic_is_retained() {
        let retained = Retained::new(PLENTY);
        retained.store(&message("a/b", "old, longer"), Some(&owner()), |_| ()).unwrap();
        retained.store(&message("a/b", "new"), Some(&owner()), |_| ()).unwrap();
        assert_eq!(retained.matching("a/b", 0), [message("a/b", "new")]);
        assert_eq!((retained.len(), retained.kept.read().bytes), (1, message("a/b", "new").size()));
    }

    #[test]
    fn an_empty_payload_removes_and_is_not_retained() {
        let retained = Retained::new(PLENTY);
        retained.store(&message("a", "1"), Some(&owner()), |_| ()).unwrap();
        retained.store(&message("a", ""), Some(&owner()), |_| ()).unwrap();
        retained.store(&message("b", ""), Some(&owner()), |_| ()).unwrap();
        assert!(
            (retained.len() == 0) && retained.kept.read().bytes == 0 && retained.matching("#", 0).is_empty()
        );
    }

    #[test]
    fn a_multi_level_wildcard_finds_its_parent_and_passes_what_sorts_between() {
        let retained =
            of_topics(&["a", "a b", "a-b", "a!", "a/", "a/b", "a//", "a/b/c", "a0", "ab", "b", "A"]);
        assert_eq!(topics(&retained, "a/#"), ["a", "a/", "a//", "a/b", "a/b/c"]);
        assert_eq!(topics(&retained, "a/+"), ["a/", "a/b"]);
        assert_eq!(topics(&retained, "a"), ["a"]);
        assert_eq!(topics(&retained, "a/b/#"), ["a/b", "a/b/c"]);
        assert_eq!(topics(&retained, "+/b"), ["a/b"]);
        assert!(topics(&retained, "a/c").is_empty() && topics(&retained, "c/#").is_empty());
    }

    #[test]
    fn empty_levels_and_dollar_topics() {
        let retained = of_topics(&["/", "/a", "//", "a", "$SYS/a", "$SYS"]);
        assert_eq!(topics(&retained, "/#"), ["/", "//", "/a"]);
        assert_eq!(topics(&retained, "#"), ["/", "//", "/a", "a"]);
        assert_eq!(topics(&retained, "+/a"), ["/a"]);
        assert_eq!(topics(&retained, "$SYS/#"), ["$SYS", "$SYS/a"]);
    }

    #[test]
    fn expired_messages_are_left_out_then_removed() {
        let retained = Retained::new(PLENTY);
        retained.store(&expiring("a", "1", 5_000, 10), Some(&owner()), |_| ()).unwrap();
        retained.store(&expiring("b", "1", 5_000, 20), Some(&owner()), |_| ()).unwrap();
        retained.store(&message("c", "1"), Some(&owner()), |_| ()).unwrap();
        assert_eq!(retained.matching("+", 14_999).len(), 3);
        assert_eq!(topics_at(&retained, "+", 15_000), ["b", "c"]);

        retained.kept.write().remove_expired(14_999, &mut |_| ());
        assert_eq!(retained.len(), 3);
        retained.kept.write().remove_expired(15_000, &mut |_| ());
        assert_eq!(retained.len(), 2);
        retained.kept.write().remove_expired(25_000, &mut |_| ());
        assert_eq!((retained.len(), retained.kept.read().bytes), (1, message("c", "1").size()));
    }

    #[test]
    fn a_message_that_expires_at_once_only_removes() {
        let retained = of_topics(&["a"]);
        retained.store(&expiring("a", "1", 0, 0), Some(&owner()), |_| ()).unwrap();
        assert_eq!(retained.len(), 0);
    }

    #[test]
    fn a_full_store_refuses_new_topics_and_replaces_old_ones() {
        let retained = Retained::new(RetainedLimits { max_messages: 2, ..PLENTY });
        retained.store(&message("a", "1"), Some(&owner()), |_| ()).unwrap();
        retained.store(&message("b", "1"), Some(&owner()), |_| ()).unwrap();
        assert_eq!(
            retained.store(&message("c", "1"), Some(&owner()), |_| ()),
            Err(RetainedFull(Limit::RetainedMessages))
        );
        retained.store(&message("b", "2"), Some(&owner()), |_| ()).unwrap();
        retained.store(&message("a", ""), Some(&owner()), |_| ()).unwrap();
        retained.store(&message("c", "1"), Some(&owner()), |_| ()).unwrap();
        assert_eq!(topics(&retained, "#"), ["b", "c"]);
    }

    #[test]
    fn the_byte_limit_holds_for_replacements_and_keeps_the_old_message() {
        let size = message("a", "12345").size();
        let retained = Retained::new(RetainedLimits { max_bytes: 2 * size, ..PLENTY });
        retained.store(&message("a", "12345"), Some(&owner()), |_| ()).unwrap();
        retained.store(&message("b", "12345"), Some(&owner()), |_| ()).unwrap();
        assert_eq!(
            retained.store(&message("a", "123456"), Some(&owner()), |_| ()),
            Err(RetainedFull(Limit::RetainedBytes))
        );
        assert_eq!(retained.matching("a", 0), [message("a", "12345")]);
        retained.store(&message("b", "1234"), Some(&owner()), |_| ()).unwrap();
        retained.store(&message("a", "123456"), Some(&owner()), |_| ()).unwrap();
        assert_eq!(retained.kept.read().bytes, 2 * size);
    }

    #[test]
    fn a_full_store_makes_room_of_expired_messages() {
        let retained = Retained::new(RetainedLimits { max_messages: 2, ..PLENTY });
        retained.store(&expiring("a", "1", 0, 1), Some(&owner()), |_| ()).unwrap();
        retained.store(&message("b", "1"), Some(&owner()), |_| ()).unwrap();
        assert_eq!(
            retained.store(&expiring("c", "1", 999, 60), Some(&owner()), |_| ()),
            Err(RetainedFull(Limit::RetainedMessages))
        );
        retained.store(&expiring("c", "1", 1_000, 60), Some(&owner()), |_| ()).unwrap();
        assert_eq!(topics(&retained, "#"), ["b", "c"]);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Store { topic: String, payload: String, expiry: Option<u32> },
        Pass(u64),
        RemoveExpired,
        Lookup(String),
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn agrees_with_a_plain_map(steps in vec(step(), 1..200), max_messages in 1..40_usize, max_bytes in 30..1_500_usize) {
            let retained = Retained::new(RetainedLimits { max_messages, max_bytes, ..PLENTY });
            let mut model: BTreeMap<String, Message> = BTreeMap::new();
            let bytes = |model: &BTreeMap<String, Message>| model.values().map(Message::size).sum::<usize>();
            let mut now = 1_000_000;
            for step in steps {
                match step {
                    Step::Store { topic, payload, expiry } => {
                        let message = make(&topic, &payload, now, expiry);
                        let mut after = model.clone();
                        after.remove(&topic);
                        if !payload.is_empty() && expiry != Some(0) {
                            after.insert(topic, message.clone());
                        }
                        let fits = |after: &BTreeMap<_, _>| after.len() <= max_messages && bytes(after) <= max_bytes;
                        if !fits(&after) && after.len() >= model.len() {
                            after.retain(|_, message| message.remaining_expiry(now).is_ok());
                            model.retain(|_, message| message.remaining_expiry(now).is_ok());
                        }
                        let expected = fits(&after);
                        if expected {
                            model = after;
                        }
                        prop_assert_eq!(retained.store(&message, Some(&owner()), |_| ()).is_ok(), expected);
                    }
                    Step::Pass(milliseconds) => now += milliseconds,
                    Step::RemoveExpired => {
                        retained.kept.write().remove_expired(now, &mut |_| ());
                        model.retain(|_, message| message.remaining_expiry(now).is_ok());
                    }
                    Step::Lookup(filter) => {
                        let expected: Vec<Message> = model
                            .iter()
                            .filter(|(topic, message)| matches(&filter, topic) && message.remaining_expiry(now).is_ok())
                            .map(|(_, message)| message.clone())
                            .collect();
                        prop_assert_eq!(retained.matching(&filter, now), expected, "{}", filter);
                    }
                }
                prop_assert_eq!((retained.len(), retained.kept.read().bytes), (model.len(), bytes(&model)));
            }
        }
    }

    fn step() -> impl Strategy<Value = Step> {
        let expiry = prop::option::of(0..4_u32);
        prop_oneof![
            6 => (topic(), "[xy]{0,20}", expiry).prop_map(|(topic, payload, expiry)| Step::Store { topic, payload, expiry }),
            1 => (0..2_000_u64).prop_map(Step::Pass),
            1 => Just(Step::RemoveExpired),
            4 => filter().prop_map(Step::Lookup),
        ]
    }

    /// `-` sorts before the separator and `0` directly behind it.
    fn topic() -> impl Strategy<Value = String> {
        let level = prop::sample::select(vec!["a", "a-", "a0", "é", "", "$x"]);
        vec(level, 1..4)
            .prop_map(|levels| levels.join("/"))
            .prop_filter("a topic is not empty", |topic| !topic.is_empty())
    }

    fn filter() -> impl Strategy<Value = String> {
        let level = prop::sample::select(vec!["a", "a-", "a0", "é", "", "$x", "+"]);
        (vec(level, 0..4), any::<bool>())
            .prop_map(|(mut levels, open)| {
                levels.extend(open.then_some("#"));
                levels.join("/")
            })
            .prop_filter("a filter is not empty", |filter| !filter.is_empty())
    }

    fn of_topics(topics: &[&str]) -> Retained {
        let retained = Retained::new(PLENTY);
        for topic in topics {
            retained.store(&message(topic, "1"), Some(&owner()), |_| ()).unwrap();
        }
        retained
    }

    fn topics(retained: &Retained, filter: &str) -> Vec<String> {
        topics_at(retained, filter, 0)
    }

    fn topics_at(retained: &Retained, filter: &str, now: u64) -> Vec<String> {
        retained.matching(filter, now).iter().map(|message| message.topic().to_owned()).collect()
    }

    fn message(topic: &str, payload: &str) -> Message {
        make(topic, payload, 0, None)
    }

    fn expiring(topic: &str, payload: &str, received_at: u64, seconds: u32) -> Message {
        make(topic, payload, received_at, Some(seconds))
    }

    fn make(topic: &str, payload: &str, received_at: u64, expiry: Option<u32>) -> Message {
        Message::new(&MessageParts {
            publisher: 1,
            topic,
            qos: QoS::AtLeastOnce,
            retain: true,
            received_at,
            expiry,
            forwarded: ForwardedProperties::default(),
            payload: payload.as_bytes(),
        })
    }
}
