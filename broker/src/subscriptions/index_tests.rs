use proptest::{collection::vec, prelude::*};

use super::*;
use crate::subscriptions::filter::matches;

const PLAIN: SubscriptionOptions = SubscriptionOptions {
    qos: QoS::AtMostOnce,
    no_local: false,
    since: 0,
    retain_as_published: false,
    subscription_id: None,
};

#[test]
fn finds_the_subscriber_of_a_filter() {
    let subscriptions = Subscriptions::new();
    assert!(!subscriptions.insert("default/connection-1/5412/#", 1, &"one", PLAIN));
    assert!(!subscriptions.insert("default/connection-1/4569/#", 2, &"two", PLAIN));
    assert_eq!(handles(&subscriptions, "default/connection-1/5412"), ["one"]);
    assert_eq!(handles(&subscriptions, "default/connection-1/4569/speed"), ["two"]);
    assert!(handles(&subscriptions, "default/connection-1/456").is_empty());
    assert!(handles(&subscriptions, "default/connection-1").is_empty());
    assert_eq!(subscriptions.trie.read().len, 2);
}

#[test]
fn one_entry_per_session_with_the_highest_qos_and_all_identifiers() {
    let subscriptions = Subscriptions::new();
    let with = |qos, id| SubscriptionOptions { qos, subscription_id: id, ..PLAIN };
    subscriptions.insert("a/#", 7, &(), with(QoS::AtMostOnce, Some(3)));
    subscriptions.insert("a/+", 7, &(), with(QoS::ExactlyOnce, None));
    subscriptions.insert(
        "a/b",
        7,
        &(),
        SubscriptionOptions { retain_as_published: true, ..with(QoS::AtLeastOnce, Some(3)) },
    );
    subscriptions.insert("+/b", 5, &(), with(QoS::AtLeastOnce, Some(9)));

    let found = matching(&subscriptions, "a/b", 0);
    let five = Match {
        session: 5,
        handle: (),
        qos: QoS::AtLeastOnce,
        retain_as_published: false,
        subscription_ids: vec![9],
        since: 0,
    };
    let seven = Match {
        session: 7,
        handle: (),
        qos: QoS::ExactlyOnce,
        retain_as_published: true,
        subscription_ids: vec![3, 3],
        since: 0,
    };
    assert_eq!(found, [five, seven]);
}

#[test]
fn no_local_does_not_count_for_its_own_session_only() {
    let subscriptions = Subscriptions::new();
    let no_local = SubscriptionOptions { no_local: true, qos: QoS::ExactlyOnce, ..PLAIN };
    subscriptions.insert("a", 1, &(), no_local);
    subscriptions.insert("a", 2, &(), no_local);
    assert_eq!(sessions(&subscriptions, "a", 1), [2]);
    assert_eq!(sessions(&subscriptions, "a", 0), [1, 2]);

    // Another subscription of the session without No Local counts, with its own options.
    subscriptions.insert("+", 1, &(), PLAIN);
    let found = matching(&subscriptions, "a", 1);
    assert_eq!((found[0].session, found[0].qos), (1, QoS::AtMostOnce));
}

#[test]
fn subscribing_again_replaces_options_and_handle() {
    let subscriptions = Subscriptions::new();
    assert!(!subscriptions.insert(
        "a/b",
        1,
        &"old",
        SubscriptionOptions { subscription_id: Some(1), ..PLAIN }
    ));
    assert!(subscriptions.insert("a/b", 1, &"new", SubscriptionOptions { qos: QoS::AtLeastOnce, ..PLAIN }));
    assert_eq!(subscriptions.trie.read().len, 1);
    let found = matching(&subscriptions, "a/b", 0);
    assert_eq!((found.len(), found[0].handle, found[0].qos), (1, "new", QoS::AtLeastOnce));
    assert!(found[0].subscription_ids.is_empty());
}

#[test]
fn removing_takes_exactly_the_filter_of_the_session() {
    let subscriptions = Subscriptions::new();
    subscriptions.insert("a/+", 1, &(), PLAIN);
    subscriptions.insert("a/+", 2, &(), PLAIN);
    assert!(
        !subscriptions.remove("a/b", 1) && !subscriptions.remove("a/#", 1) && !subscriptions.remove("a/+", 3)
    );
    assert!(subscriptions.remove("a/+", 1) && !subscriptions.remove("a/+", 1));
    assert_eq!(sessions(&subscriptions, "a/b", 0), [2]);
}

#[test]
fn ten_thousand_filters_come_and_go_without_a_trace() {
    let filters: Vec<String> = (0..10_000)
        .map(|number| match number % 4 {
            0 => format!("default/connection-{number}/5412/#"),
            1 => format!("default/+/{number}/presence"),
            2 => format!("$x/{}/{number}", number % 100),
            _ => format!("{}/{}/{}/+/{number}", number % 3, number % 5, number % 7),
        })
        .collect();
    let subscriptions = Subscriptions::new();
    for filter in &filters {
        assert!(!subscriptions.insert(filter, 1, &(), PLAIN));
    }
    assert_eq!(subscriptions.trie.read().len, filters.len());
    for filter in filters.iter().rev() {
        assert_eq!(sessions(&subscriptions, &filter.replace(['+', '#'], "x"), 0), [1], "{filter}");
        assert!(subscriptions.remove(filter, 1));
    }
    let trie = subscriptions.trie.read();
    assert!(trie.open.is_empty() && trie.reserved.is_empty());
    assert_eq!((trie.open.leaves.capacity(), trie.reserved.leaves.capacity(), trie.len), (0, 0, 0));
}

#[test]
fn a_level_with_many_children_is_divided() {
    let subscriptions = Subscriptions::new();
    for number in 0..1_000 {
        subscriptions.insert(&format!("default/connection-{number}/5412/#"), number, &(), PLAIN);
    }
    assert!(largest_node(&subscriptions.trie.read().open) <= MAX_LEAVES);
    assert_eq!(sessions(&subscriptions, "default/connection-77/5412/x", 0), [77]);
}

#[test]
fn filters_of_the_greatest_length_are_found_and_cost_few_nodes() {
    let subscriptions = Subscriptions::new();
    let deep = "/".repeat(65_000);
    for number in 0..20 {
        subscriptions.insert(&format!("{deep}{number}/+"), number, &(), PLAIN);
    }
    assert_eq!(sessions(&subscriptions, &format!("{deep}11/"), 0), [11]);
    assert!(count_nodes(&subscriptions.trie.read().open) <= 2 * (MAX_DEPTH + 1));
    for number in 0..20 {
        assert!(subscriptions.remove(&format!("{deep}{number}/+"), number));
    }
    assert!(subscriptions.trie.read().open.is_empty());
}

#[derive(Debug, Clone)]
enum Step {
    Insert(String, u64, SubscriptionOptions),
    Remove(String, u64),
    RemoveOneOfThose(prop::sample::Index),
    Lookup(String, u64),
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_a_list_of_filters(steps in vec(step(), 1..300)) {
        let subscriptions = Subscriptions::new();
        let mut model: Vec<(String, u64, SubscriptionOptions)> = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Insert(filter, session, options) => {
                    let before = model.len();
                    model.retain(|(present, by, _)| (present, *by) != (&filter, session));
                    prop_assert_eq!(subscriptions.insert(&filter, session, &session, options), model.len() < before);
                    model.push((filter, session, options));
                }
                Step::Remove(filter, session) => {
                    let before = model.len();
                    model.retain(|(present, by, _)| (present, *by) != (&filter, session));
                    prop_assert_eq!(subscriptions.remove(&filter, session), model.len() < before);
                }
                Step::RemoveOneOfThose(index) if !model.is_empty() => {
                    let (filter, session, _) = model.swap_remove(index.index(model.len()));
                    prop_assert!(subscriptions.remove(&filter, session), "{} {}", number, filter);
                }
                Step::RemoveOneOfThose(_) => {}
                Step::Lookup(topic, publisher) => {
                    let mut found = matching(&subscriptions, &topic, publisher);
                    found.iter_mut().for_each(|found| found.subscription_ids.sort_unstable());
                    prop_assert_eq!(found, expected(&model, &topic, publisher), "{} {}", number, topic);
                }
            }
            prop_assert_eq!(subscriptions.trie.read().len, model.len());
        }
        for (filter, session, _) in model {
            prop_assert!(subscriptions.remove(&filter, session));
        }
        let trie = subscriptions.trie.read();
        prop_assert!(trie.open.is_empty() && trie.reserved.is_empty());
    }
}

fn expected(model: &[(String, u64, SubscriptionOptions)], topic: &str, publisher: u64) -> Vec<Match<u64>> {
    let mut expected = Vec::new();
    for session in 1..=4 {
        let wanting: Vec<&SubscriptionOptions> = model
            .iter()
            .filter(|(filter, by, _)| *by == session && matches(filter, topic))
            .map(|(_, _, options)| options)
            .filter(|options| !(options.no_local && session == publisher))
            .collect();
        let Some(qos) = wanting.iter().map(|options| options.qos).max() else { continue };
        let mut subscription_ids: Vec<u32> =
            wanting.iter().filter_map(|options| options.subscription_id).collect();
        subscription_ids.sort_unstable();
        let retain_as_published = wanting.iter().any(|options| options.retain_as_published);
        let since = wanting.iter().map(|options| options.since).min().unwrap();
        expected.push(Match { session, handle: session, qos, retain_as_published, subscription_ids, since });
    }
    expected
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (filter(), 1..=4_u64, options()).prop_map(|(filter, session, options)| Step::Insert(filter, session, options)),
        1 => (filter(), 1..=4_u64).prop_map(|(filter, session)| Step::Remove(filter, session)),
        2 => any::<prop::sample::Index>().prop_map(Step::RemoveOneOfThose),
        4 => (topic(), 0..=4_u64).prop_map(|(topic, publisher)| Step::Lookup(topic, publisher)),
    ]
}

fn options() -> impl Strategy<Value = SubscriptionOptions> {
    let qos = prop::sample::select(vec![QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]);
    (qos, any::<bool>(), any::<bool>(), prop::option::of(1..4_u32), 0..4_u64).prop_map(
        |(qos, no_local, retain_as_published, subscription_id, since)| SubscriptionOptions {
            qos,
            no_local,
            retain_as_published,
            subscription_id,
            since,
        },
    )
}

fn filter() -> impl Strategy<Value = String> {
    let level = prop::sample::select(vec!["a", "b", "c", "", "+", "$x"]);
    (vec(level, 0..5), any::<bool>())
        .prop_map(|(mut levels, open)| {
            levels.extend(open.then_some("#"));
            levels.join("/")
        })
        .prop_filter("a filter is not empty", |filter| !filter.is_empty())
}

fn topic() -> impl Strategy<Value = String> {
    let level = prop::sample::select(vec!["a", "b", "c", "", "$x"]);
    vec(level, 1..6)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("a topic is not empty", |topic| !topic.is_empty())
}

fn matching<S: Clone>(subscriptions: &Subscriptions<S>, topic: &str, publisher: u64) -> Vec<Match<S>> {
    let mut out = Vec::new();
    subscriptions.matching(topic, publisher, &mut out);
    out
}

fn handles(subscriptions: &Subscriptions<&'static str>, topic: &str) -> Vec<&'static str> {
    matching(subscriptions, topic, 0).into_iter().map(|found| found.handle).collect()
}

fn sessions(subscriptions: &Subscriptions<()>, topic: &str, publisher: u64) -> Vec<u64> {
    matching(subscriptions, topic, publisher).into_iter().map(|found| found.session).collect()
}

fn largest_node<S>(node: &Node<S>) -> usize {
    children(node).map(largest_node).fold(node.leaves.len(), usize::max)
}

fn count_nodes<S>(node: &Node<S>) -> usize {
    1 + children(node).map(count_nodes).sum::<usize>()
}

fn children<S>(node: &Node<S>) -> impl Iterator<Item = &Node<S>> {
    node.children.iter().flat_map(|children| children.literal.values().chain([&children.any]))
}
