#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use ior_broker::{
    access::{Access, Permit},
    codec::Version,
    transport::Channel,
};
use proptest::prelude::*;

use super::*;
use crate::{
    document::Source,
    rotation::Rotations,
    settings::{Environment, Settings},
};

const SECRET: [u8; 32] = [7; 32];

#[test]
fn who_may_do_what() {
    let all = Rights::of_all(&registry(1));
    let a = &all[0];
    for (topic, allowed) in [
        ("u/c/a", true),
        ("u/c/a/", true),
        ("u/c/a/x/y", true),
        ("u/c/b", false),
        ("u/c/ab", false),
        ("u/c/a+", false),
        ("u/c/a/#", false),
        ("u/c", false),
        ("u/c/", false),
        ("/u/c/a", false),
        ("u//c/a", false),
        ("u/d/a", false),
        ("v/c/a", false),
        ("u/c/presence/a", false),
        ("u/c/presence/b", false),
        ("$SYS/x", false),
        ("", false),
    ] {
        assert_eq!(a.may_publish(topic), allowed, "{topic}");
    }
    for (filter, allowed) in [
        ("u/c/b", true),
        ("u/c/b/#", true),
        ("u/c/b/+/x", true),
        ("u/c/b/+", true),
        ("u/c/b//#", true),
        ("u/c/presence/b", true),
        ("u/c/presence/+", false),
        ("u/c/presence/#", false),
        ("u/c/presence/b/#", false),
        ("u/c/presence/a", false),
        ("u/c/presence", false),
        ("u/c/#", false),
        ("u/c/+/#", false),
        ("u/+/b", false),
        ("+/c/b", false),
        ("#", false),
        ("u/c/a", false),
        ("u/c/bb", false),
        ("u/c/b#", false),
        ("u/c/b/#/x", false),
        ("u/c/b/x+", false),
        ("u/d/b", false),
        ("$share/g/u/c/b", false),
        ("$SYS/#", false),
        ("", false),
    ] {
        assert_eq!(a.may_subscribe(filter), allowed, "{filter}");
    }
}

#[test]
fn every_decision_says_why() {
    let all = Rights::of_all(&registry(1));
    let why = |action, topic| all[0].decide(action, topic).reason(&all[0]);
    for (action, topic, words) in [
        (Action::Publish, "u/c/a/x", "its own topic u/c/a and below it"),
        (Action::Publish, "u/c/b", "the third level must be a, its own code"),
        (Action::Publish, "u/c/#", "not a topic to publish to"),
        (Action::Publish, "u/x/a", "not a connection of u.a"),
        (Action::Publish, "x/c/a", "not \"u\", the device's user"),
        (Action::Subscribe, "u/c/b/#", "what its peer in the connection c publishes"),
        (Action::Subscribe, "u/c/presence/b", "the presence of its peer in the connection c"),
        (Action::Subscribe, "u/c/#", "first three levels must be without"),
        (Action::Subscribe, "u/c/x", "only what b publishes and its presence"),
        (Action::Subscribe, "u/c/b/#/x", "not a topic filter"),
    ] {
        assert!(why(action, topic).contains(words), "{topic}: {}", why(action, topic));
    }
    assert_eq!(all[0].allowed(Action::Publish), ["u/c/a", "u/c/a/…", "u/e/a", "u/e/a/…"]);
    assert_eq!(all[0].allowed(Action::Subscribe), ["u/c/b/#", "u/c/presence/b", "u/e/d/#", "u/e/presence/d"]);
}

#[test]
fn where_tls_is_required_nobody_logs_in_without() {
    let settings = Settings { tls: TlsUse::Required, ..settings(0) };
    let policy = Policy::new(&registry(1), Secrets::from_key(SECRET), &Rotation::default(), &settings);
    let right = policy.secrets.password("u", "a", 1);
    for (channel, password) in
        [(Channel::Tcp, right.as_bytes()), (Channel::WebSocket, right.as_bytes()), (Channel::Tcp, b"wrong")]
    {
        let refusal = login_over(channel, &policy, Some("u.a"), Some(password)).err().unwrap();
        assert_eq!(refusal.reason, ReasonCode::NotAuthorized, "{channel}");
        assert!(
            refusal.detail.contains("without TLS") && refusal.detail.contains("credential file"),
            "{refusal:?}"
        );
    }
    for channel in [Channel::Tls, Channel::WebSocketTls] {
        assert!(login_over(channel, &policy, Some("u.a"), Some(right.as_bytes())).is_ok());
        let refusal = login_over(channel, &policy, Some("u.a"), Some(b"wrong")).err().unwrap();
        assert_eq!(refusal.reason, ReasonCode::BadUserNameOrPassword);
    }
}

#[test]
fn logins() {
    let secrets = Secrets::from_key(SECRET);
    let policy = Policy::new(&registry(1), secrets, &Rotation::default(), &settings(0));
    let right = policy.secrets.password("u", "a", 1);
    assert_eq!(login(&policy, Some("u.a"), Some(right.as_bytes())).unwrap(), "u.a");
    let other = policy.secrets.password("u", "b", 1);
    for (user, password, reason, detail) in [
        (None, None, ReasonCode::BadUserNameOrPassword, "no user name"),
        (None, Some(right.as_bytes()), ReasonCode::BadUserNameOrPassword, "no user name"),
        (Some("u.a"), None, ReasonCode::BadUserNameOrPassword, "wrong password for u.a"),
        (Some("u.a"), Some(&b""[..]), ReasonCode::BadUserNameOrPassword, "wrong password for u.a"),
        (Some("u.a"), Some(other.as_bytes()), ReasonCode::BadUserNameOrPassword, "wrong password for u.a"),
        (Some("u.a"), Some(&right.as_bytes()[..42]), ReasonCode::BadUserNameOrPassword, "wrong password"),
        (
            Some("u.A"),
            Some(right.as_bytes()),
            ReasonCode::BadUserNameOrPassword,
            "no device has the user name",
        ),
        (Some("x\n"), Some(right.as_bytes()), ReasonCode::BadUserNameOrPassword, "the user name \"x\\n\""),
        (Some(&**right), Some(b"u.a"), ReasonCode::BadUserNameOrPassword, "the wrong way round"),
        (Some("u.off"), Some(b"wrong"), ReasonCode::BadUserNameOrPassword, "wrong password for u.off"),
    ] {
        let refusal = login(&policy, user, password).err().unwrap();
        assert_eq!(refusal.reason, reason, "{user:?}");
        assert!(refusal.detail.contains(detail) && !refusal.detail.contains(&**right), "{}", refusal.detail);
    }
    // Nobody gets in with what is derived for an unknown name.
    let guess = policy.secrets.password("nobody", "", 0);
    assert!(login(&policy, Some("nobody"), Some(guess.as_bytes())).is_err());
    let off = policy.secrets.password("u", "off", 1);
    let refusal = login(&policy, Some("u.off"), Some(off.as_bytes())).err().unwrap();
    assert_eq!(refusal.reason, ReasonCode::NotAuthorized);
    assert!(refusal.detail.starts_with("u.off is disabled in devices.json: "), "{}", refusal.detail);
}

#[test]
fn a_user_name_that_is_nearly_right_is_told() {
    let policy = Policy::new(&registry(1), Secrets::from_key(SECRET), &Rotation::default(), &settings(0));
    for (wrong, words) in [
        ("a", "did you mean \"u.a\"?"),
        ("U.A", "did you mean \"u.a\"?"),
        ("off", "did you mean \"u.off\"?"),
        ("v.a", "devices log in with the username of their credential file"),
        ("", "devices log in with the username of their credential file"),
    ] {
        let refusal = login(&policy, Some(wrong), Some(b"x")).err().unwrap();
        assert!(refusal.detail.ends_with(words), "{}", refusal.detail);
    }
}

#[test]
fn nobody_but_the_watchdog_within_the_process_has_its_rights() {
    let policy = Policy::new(&registry(1), Secrets::from_key(SECRET), &Rotation::default(), &settings(0));
    let rotations = Rotations::new(Path::new("/nowhere"), Rotation::default());
    let live = LivePolicy::new(policy, std::sync::Arc::new(rotations));
    for channel in [Channel::Tcp, Channel::Tls, Channel::WebSocket, Channel::WebSocketTls] {
        assert!(live.login(&Login { channel, ..request("watchdog", Some(WATCHDOG), Some(b"")) }).is_err());
    }
    let inside = Login { channel: Channel::Inside, ..request("watchdog", Some(WATCHDOG), None) };
    let watchdog = live.login(&inside).unwrap();
    assert!(
        watchdog.is_inside() && watchdog.may_publish("$watchdog/x") && watchdog.may_subscribe("$watchdog/#")
    );
    for topic in ["$watchdog", "$watchdogs/x", "u/c/a", "u/c/b/#", "#", "+/x", "$SYS/x"] {
        assert!(!watchdog.may_publish(topic) && !watchdog.may_subscribe(topic), "{topic}");
    }
    for device in Rights::of_all(&registry(1)) {
        assert!(!device.may_publish("$watchdog/live/0") && !device.may_subscribe("$watchdog/#"));
    }
}

#[test]
fn the_previous_password_is_accepted_for_a_while() {
    let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
    let dir = tempfile::tempdir().unwrap();
    let load = |version, now| Rotation::load_and_update(dir.path(), &registry(version), now).unwrap();
    load(1, at(5));
    load(2, at(10));
    assert_eq!(load(2, at(50)), load(2, at(90)), "the first start counts");
    let rotation = load(2, at(90));
    let accepts = |clock: fn() -> SystemTime, version| {
        let secrets = Secrets::from_key(SECRET);
        let mut policy = Policy::new(&registry(2), secrets, &rotation, &settings(100));
        policy.clock = clock;
        let password = policy.secrets.password("u", "a", version);
        login(&policy, Some("u.a"), Some(password.as_bytes())).is_ok()
    };
    let inside = || UNIX_EPOCH + Duration::from_secs(109);
    let outside = || UNIX_EPOCH + Duration::from_secs(110);
    assert_eq!([0, 1, 2, 3].map(|version| accepts(inside, version)), [false, true, true, false]);
    assert_eq!([0, 1, 2, 3].map(|version| accepts(outside, version)), [false, false, true, false]);
    std::fs::write(dir.path().join("rotation.json"), "{").unwrap();
    let error = Rotation::load_and_update(dir.path(), &registry(2), at(1)).unwrap_err().to_string();
    assert!(error.contains("rotation.json") && error.contains("repair or remove"), "{error}");
}

#[test]
fn removing_the_rotation_file_does_not_bring_old_passwords_back() {
    let dir = tempfile::tempdir().unwrap();
    for version in 1..=5 {
        Rotation::load_and_update(dir.path(), &registry(version), UNIX_EPOCH).unwrap();
    }
    std::fs::remove_file(dir.path().join("rotation.json")).unwrap();
    let rotation = Rotation::load_and_update(dir.path(), &registry(5), UNIX_EPOCH).unwrap();
    let mut policy = Policy::new(&registry(5), Secrets::from_key(SECRET), &rotation, &settings(100));
    policy.clock = || UNIX_EPOCH;
    let accepted = [1, 2, 3, 4, 5].map(|version| {
        let password = policy.secrets.password("u", "a", version);
        login(&policy, Some("u.a"), Some(password.as_bytes())).is_ok()
    });
    assert_eq!(accepted, [false, false, false, false, true]);
}

#[test]
fn each_direction_of_a_connection_is_a_flow() {
    let mut settings = settings(0);
    settings.limits.queue_bytes = 4096;
    let policy = Policy::new(&registry(1), Secrets::from_key(SECRET), &Rotation::default(), &settings);
    let name = |topic: &str| policy.flow(topic).map(|flow| flow.name.to_string());
    for (topic, flow) in [
        ("u/c/a", Some("u/c/a")),
        ("u/c/a/", Some("u/c/a")),
        ("u/c/a/x/y", Some("u/c/a")),
        ("u/c/b/x", Some("u/c/b")),
        ("u/e/a/x", Some("u/e/a")),
        ("u/c/d/x", Some("u/c/d")),
        ("u/c/presence/a", Some("u/c/presence")),
        ("u/c/presence", Some("u/c/presence")),
        ("u/c/ab", Some("u/c/ab")),
        ("u/c", Some("u/c")),
        ("u/c/", Some("u/c/")),
        ("", None),
        ("$SYS/x/y", Some("$SYS/x/y")),
        ("ü/ä/ö/…", Some("ü/ä/ö")),
    ] {
        assert_eq!(name(topic).as_deref(), flow, "{topic}");
    }
    let [own, other] = ["u/e/d/x", "u/c/a/x"].map(|topic| policy.flow(topic).unwrap().limits);
    assert_eq!((own.queue.messages, own.queue.bytes, own.max_age), (5, 4096, Some(Duration::from_secs(60))));
    assert_eq!((other.queue.messages, other.queue.bytes, other.max_age), (100_000, 4096, None));
    let presence = policy.flow("u/c/presence/a").unwrap().limits;
    assert_eq!((presence.queue.messages, presence.when_full), (16, WhenFull::DropOldest));
    let all = Rights::of_all(&registry(1));
    for (flow, heard) in [
        ("u/c/b", true),
        ("u/e/d", true),
        ("u/c/presence", true),
        ("u/c/a", false),
        ("u/c/d", false),
        ("u/x/b", false),
        ("v/c/b", false),
        ("u/c/b/x", false),
        ("u/c/presence/b", false),
        ("u/c", false),
        ("", false),
    ] {
        assert_eq!(all[0].may_hear(flow), heard, "{flow}");
    }
    assert!(Arc::ptr_eq(&policy.flow("u/c/a/x").unwrap().name, &policy.flow("u/c/a/y").unwrap().name));
}

/// Else a message would wait in one flow and count in another.
#[test]
fn a_permit_names_the_flow_that_its_topic_counts_for() {
    let secrets = Secrets::from_key(SECRET);
    let policy = Policy::new(&registry(1), secrets, &Rotation::default(), &settings(0));
    let rotations = Rotations::new(Path::new("/nowhere"), Rotation::default());
    let live = LivePolicy::new(policy, Arc::new(rotations));
    live.set_self_test(Some("secret".to_owned()));
    for device in ["a", "b", "d"] {
        let (grant, tested) = (
            live.grant(&format!("u.{device}")).unwrap(),
            live.grant(&format!("self-test/u.{device}")).unwrap(),
        );
        for connection in ["c", "d", "e", "x"] {
            for own in ["a", "b", "d", "presence/a"] {
                let topic = format!("u/{connection}/{own}/x");
                let flow = live.flow(&topic).unwrap();
                let (permit, of_test) = (grant.permit(&topic), tested.permit(&topic));
                if !grant.may_publish(&topic) {
                    assert_eq!((permit, of_test), (Permit::Refused, Permit::Refused), "{device}: {topic}");
                    continue;
                }
                assert!(live.has_flow(&flow.name), "{device}: {topic}");
                match of_test {
                    Permit::InFlow(flow) => assert!(!live.has_flow(&flow.name), "{device}: {topic}"),
                    other => panic!("{device}: {topic}: {other:?}"),
                }
                assert_eq!(permit, Permit::InFlow(flow), "{device}: {topic}");
            }
        }
    }
    assert!(!live.has_flow("u/x/a") && live.has_flow("u/c/presence"));
}

#[test]
fn every_grant_answers_by_the_policy_of_the_moment() {
    let secrets = Secrets::from_key(SECRET);
    let policy =
        |registry: &Registry| Policy::new(registry, secrets.clone(), &Rotation::default(), &settings(0));
    let rotations = Rotations::new(Path::new("/nowhere"), Rotation::default());
    let live = LivePolicy::new(policy(&registry(1)), Arc::new(rotations));
    let password = secrets.password("u", "a", 1);
    let log_in = |client_id| live.login(&request(client_id, Some("u.a"), Some(password.as_bytes())));
    live.set_self_test(Some("secret".to_owned()));
    let named = |name| live.grant(name).unwrap();
    let grants = [log_in("x").unwrap(), log_in("secret").unwrap(), named("u.a"), named("self-test/u.a")];
    assert_eq!(grants.each_ref().map(|grant| grant.name()), ["u.a", "self-test/u.a", "u.a", "self-test/u.a"]);
    let may = || {
        let all =
            grants.each_ref().map(|grant| [grant.may_publish("u/c/a/x"), grant.may_subscribe("u/c/b/#")]);
        assert!(all.iter().all(|other| *other == all[0]), "{all:?}");
        all[0]
    };
    assert_eq!(may(), [true, true]);
    live.replace(policy(&Registry::default()));
    assert_eq!(may(), [false, false]);
    assert!(log_in("x").is_err() && log_in("secret").is_err() && live.grant("u.a").is_none());
    assert_eq!(&*live.flow("u/c/a/x").unwrap().name, "u/c/a", "one that nobody may hear now");
    assert!(!grants[0].may_hear("u/c/a"));
    live.replace(policy(&registry(2)));
    assert_eq!(may(), [true, true], "another password does not take back what was granted");
    assert!(log_in("x").is_err());
    let required = Settings { tls: TlsUse::Required, ..settings(0) };
    live.replace(Policy::new(&registry(1), secrets.clone(), &Rotation::default(), &required));
    assert!(log_in("x").is_err() && log_in("secret").is_ok(), "the self-test needs no TLS");
    live.replace(policy(&registry(1)));
    live.set_self_test(None);
    assert!(live.grant("self-test/u.a").is_none());
    assert_eq!(log_in("secret").unwrap().name(), "u.a");
}

proptest! {
    #[test]
    fn a_publication_is_allowed_exactly_below_the_own_topics(topic in levels()) {
        let all = Rights::of_all(&registry(1));
        for (device, rights) in ["a", "b", "d"].iter().zip(&all) {
            let own = connections(device).iter().any(|(id, _)| {
                let base = format!("u/{id}/{device}");
                topic == base || topic.starts_with(&format!("{base}/"))
            });
            let name = !topic.contains(['+', '#']);
            prop_assert_eq!(rights.may_publish(&topic), own && name, "{} {}", device, topic);
        }
    }

    /// The oracle knows nothing of rules: whatever a filter that is allowed matches must be the peer's.
    #[test]
    fn an_allowed_filter_never_matches_anything_else(filter in levels(), topic in levels()) {
        prop_assume!(!topic.contains(['+', '#']));
        let all = Rights::of_all(&registry(1));
        for (device, rights) in ["a", "b", "d"].iter().zip(&all) {
            if !rights.may_subscribe(&filter) || !matches(&filter, &topic) {
                continue;
            }
            let of_peer = connections(device).iter().any(|(id, peer)| {
                let base = format!("u/{id}/{peer}");
                topic == base || topic.starts_with(&format!("{base}/")) || topic == format!("u/{id}/presence/{peer}")
            });
            prop_assert!(of_peer, "{} hears {} by {}", device, topic, filter);
        }
    }

    #[test]
    fn whatever_is_below_the_peers_topic_may_be_heard(rest in levels()) {
        let all = Rights::of_all(&registry(1));
        for filter in [format!("u/c/b/{rest}"), format!("u/e/d/{rest}")] {
            prop_assert_eq!(all[0].may_subscribe(&filter), valid_filter(&filter), "{}", filter);
        }
    }

    #[test]
    fn no_text_makes_it_panic(topic in ".*") {
        let all = Rights::of_all(&registry(1));
        prop_assert!(!all[0].may_publish(&topic) && !all[0].may_subscribe(&topic));
    }
}

/// Topics and filters of the levels that matter, right and wrong.
fn levels() -> impl Strategy<Value = String> {
    let level = prop::sample::select(vec![
        "u", "c", "e", "a", "b", "d", "presence", "+", "#", "", "x", "a+", "$share",
    ]);
    let near = prop::sample::select(vec!["u/c/a", "u/c/b", "u/e/a", "u/e/d", "u/c/presence", "u/c", "u/+"]);
    let free = prop::collection::vec(level.clone(), 1..6).prop_map(|levels| levels.join("/"));
    let below = (near, prop::collection::vec(level, 0..3))
        .prop_map(|(base, rest)| [vec![base], rest].concat().join("/"));
    prop_oneof![free, below]
}

fn connections(device: &str) -> &'static [(&'static str, &'static str)] {
    match device {
        "a" => &[("c", "b"), ("e", "d")],
        "b" => &[("c", "a")],
        _ => &[("e", "a")],
    }
}

/// Matching by the words of the standard, level by level.
fn matches(filter: &str, topic: &str) -> bool {
    fn walk(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) => true,
            ([], []) => true,
            (["+", filter @ ..], [_, topic @ ..]) => walk(filter, topic),
            ([level, filter @ ..], [other, topic @ ..]) => level == other && walk(filter, topic),
            _ => false,
        }
    }
    walk(&filter.split('/').collect::<Vec<_>>(), &topic.split('/').collect::<Vec<_>>())
}

/// `a` with `b` in the connection `c` and with `d` in `e`; `off` is disabled.
fn registry(version: u32) -> Registry {
    let device = |code: &str, more: &str| {
        format!(r#"{{ "user": "u", "code": "{code}", "name": "n", "type": "t"{more} }}"#)
    };
    let devices = [
        device("a", &format!(r#", "secret_version": {version}"#)),
        device("b", ""),
        device("d", ""),
        device("off", r#", "disabled": true"#),
    ];
    Registry::parse(
        &Source::new("d", format!(r#"{{ "devices": [ {} ] }}"#, devices.join(","))),
        &Source::new(
            "c",
            r#"{ "connections": [ { "user": "u", "name": "e", "from": "d", "to": "a",
                                    "queue": { "max_messages": 5, "max_age": "60s" } },
                                  { "user": "u", "name": "c", "from": "a", "to": "b" } ] }"#,
        ),
    )
    .unwrap()
}

/// The default settings, but for the rotation window in seconds.
fn settings(window: u64) -> Settings {
    let mut settings = Settings::load(Path::new("/nowhere/config"), &Environment::new()).unwrap();
    settings.limits.rotation_window = Duration::from_secs(window);
    settings
}

/// The name of who is let in.
fn login(policy: &Policy, user_name: Option<&str>, password: Option<&[u8]>) -> Result<String, Refusal> {
    login_over(Channel::Tcp, policy, user_name, password)
}

fn login_over(
    channel: Channel,
    policy: &Policy,
    user_name: Option<&str>,
    password: Option<&[u8]>,
) -> Result<String, Refusal> {
    let admitted = policy.login(&Login { channel, ..request("x", user_name, password) })?;
    Ok(admitted.account.rights.name().to_owned())
}

fn request<'a>(client_id: &'a str, user_name: Option<&'a str>, password: Option<&'a [u8]>) -> Login<'a> {
    let peer = ([127, 0, 0, 1], 1).into();
    Login { peer, channel: Channel::Tcp, version: Version::V5, client_id, user_name, password }
}
