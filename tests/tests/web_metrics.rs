//! `/metrics` as Prometheus reads it, what is made of it in `deploy/`, and health.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use ior_tests::{
    Bridge, DEADLINE, End, World,
    documents::read,
    faults::Faults,
    http::Http,
    python,
    raw::{Kind, Publish, Version::V5},
};
use serde_json::{Value, json};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A scrape as Prometheus's own parser has read it.
struct Scrape {
    text: String,
    families: Vec<Value>,
}

#[test]
fn numbers_follow_what_devices_do() {
    let bridge = World::durable().start();
    let http = Http::log_in(&bridge);
    let before = Scrape::of(&http);
    let from = [("device", "default.4569")];
    let to = [("device", "default.5412")];
    let direction = [("connection", "default/connection-1"), ("direction", "from_to")];
    assert_eq!(before.value("ior_bridge_devices", &[]), 4.0);
    assert_eq!(before.value("ior_bridge_connections", &[]), 2.0);
    assert_eq!(before.value("ior_bridge_devices_online", &[]), 0.0);
    assert_eq!(before.value("ior_bridge_device_online", &from), 0.0);
    assert!(!before.has("ior_bridge_device_last_seen_timestamp_seconds", &from), "it was never seen");

    let ends = [End::From, End::To].map(|end| bridge.credentials("connection-1", end));
    let (mut away, _) = bridge.connect_persistent(V5, &ends[1]);
    away.subscribe(&ends[1].subscribe, 1);
    away.disconnect();
    let mut client = bridge.connect(V5, &ends[0]);
    for number in 1..=3 {
        client.send(Publish::new(&ends[0].publish, b"12345").qos(1, number));
        client.expect_success(Kind::PubAck, number);
    }
    client.send(Publish::new("default/connection-1/5412", b"").qos(1, 4));
    assert_eq!(client.expect_ack(Kind::PubAck, 4).reason, 0x87);

    let after = Scrape::of(&http);
    assert_eq!(after.value("ior_bridge_devices_online", &[]), 1.0);
    assert_eq!(after.value("ior_bridge_clients", &[]), 1.0);
    assert_eq!(after.value("ior_bridge_sessions", &[]), 2.0);
    assert_eq!(after.value("ior_bridge_device_online", &from), 1.0);
    assert_eq!(after.value("ior_bridge_device_online", &to), 0.0);
    assert_eq!(after.value("ior_bridge_device_received_messages_total", &from), 3.0);
    assert_eq!(after.value("ior_bridge_device_received_bytes_total", &from), 15.0);
    assert_eq!(after.value("ior_bridge_device_denied_total", &from), 1.0);
    assert_eq!(after.value("ior_bridge_device_queued_messages", &to), 3.0);
    assert_eq!(after.value("ior_bridge_queued_messages", &[]), 3.0);
    assert_eq!(after.value("ior_bridge_connection_messages_total", &direction), 3.0);
    assert_eq!(after.value("ior_bridge_connection_bytes_total", &direction), 15.0);
    assert_eq!(after.value("ior_bridge_connection_waiting_messages", &direction), 3.0);
    assert_eq!(after.value("ior_bridge_store_failing", &[]), 0.0);
    for (name, labels) in [
        ("ior_bridge_received_messages_total", &[][..]),
        ("ior_bridge_denied_total", &[]),
        ("ior_bridge_store_commits_total", &[]),
        ("process_cpu_seconds_total", &[]),
    ] {
        assert!(after.value(name, labels) > before.value(name, labels), "{name}");
    }
    let started = after.value("process_start_time_seconds", &[]);
    let seen = after.value("ior_bridge_device_last_seen_timestamp_seconds", &from);
    let expires = after.value("ior_bridge_certificate_expiry_timestamp_seconds", &[]);
    assert!(started <= seen && seen < expires, "{started} {seen} {expires}");
    assert!(!after.has("ior_bridge_connection_latency_mean_seconds", &direction), "nothing has arrived yet");
    assert!(after.value("ior_bridge_data_dir_free_bytes", &[]) > 0.0);
    assert!(after.value("ior_bridge_store_size_bytes", &[]) > 0.0);
    assert!(after.value("process_resident_memory_bytes", &[]) > 1e6);
    assert!(after.value("process_open_fds", &[]) > 3.0);

    // What had waited says nothing of how fast the bridge is.
    let (mut back, _) = bridge.connect_persistent(V5, &ends[1]);
    for _ in 1..=3 {
        back.expect_payload("12345");
    }
    client.publish(&ends[0].publish, b"x", 1);
    back.expect_payload("x");
    let last =
        http_until(&http, |scrape| scrape.has("ior_bridge_connection_latency_mean_seconds", &direction));
    let [mean, max] = ["mean", "max"]
        .map(|which| last.value(&format!("ior_bridge_connection_latency_{which}_seconds"), &direction));
    assert!(0.0 < mean && mean <= max, "{mean} {max}");
}

#[test]
fn names_units_and_help_are_as_prometheus_wants_them() {
    let bridge = Bridge::start();
    let http = Http::log_in(&bridge);
    assert_eq!(http.get("/metrics").header("content-type"), Some(OPEN_METRICS));
    let scrape = Scrape::of(&http);
    assert!(scrape.text.ends_with("# EOF\n"));
    assert!(scrape.families.len() > 40);
    for family in &scrape.families {
        let text = |member: &str| family[member].as_str().unwrap();
        let name = text("name");
        assert!(name.starts_with("ior_bridge_") || name.starts_with("process_"), "{name}");
        assert!(text("help").ends_with('.'), "{name}: {}", text("help"));
        assert!(matches!(text("type"), "gauge" | "counter" | "info"), "{name}: {}", text("type"));
        for unit in ["bytes", "seconds"] {
            assert_eq!(name.ends_with(&format!("_{unit}")), text("unit") == unit, "{name}");
        }
    }
    let info = [("version", env!("CARGO_PKG_VERSION"))];
    assert_eq!(scrape.value("ior_bridge_build_info", &info), 1.0);
    let name = [("device", "default.4569"), ("name", "Master 1"), ("type", "Raspberry Pi")];
    assert_eq!(scrape.value("ior_bridge_device_info", &name), 1.0);
    let limits = scrape.labels("ior_bridge_limit_reached_total", "limit");
    assert!(limits.contains("max_packet_size") && limits.contains("queue_messages"), "{limits:?}");
}

#[test]
fn no_more_series_than_the_settings_allow() {
    let bridge = World::empty().env("IOR_BRIDGE__WEB__METRICS_SERIES", "1").start();
    let scrape = Scrape::of(&Http::log_in(&bridge));
    for name in ["ior_bridge_device_info", "ior_bridge_device_online", "ior_bridge_device_queued_messages"] {
        assert_eq!(scrape.labels(name, "device"), BTreeSet::from(["default.4569".to_owned()]), "{name}");
    }
    for name in ["ior_bridge_connection_info", "ior_bridge_connection_messages_total"] {
        let first = BTreeSet::from(["default/connection-1".to_owned()]);
        assert_eq!(scrape.labels(name, "connection"), first, "{name}");
    }
    assert_eq!(scrape.value("ior_bridge_devices", &[]), 4.0);
    assert_eq!(scrape.value("ior_bridge_devices_without_series", &[]), 3.0);
    assert_eq!(scrape.value("ior_bridge_connections_without_series", &[]), 1.0);

    let bridge = World::empty().env("IOR_BRIDGE__WEB__METRICS_SERIES", "0").start();
    let scrape = Scrape::of(&Http::log_in(&bridge));
    assert!(!scrape.text.contains("default.4569"), "{}", scrape.text);
    assert_eq!(scrape.value("ior_bridge_devices_without_series", &[]), 4.0);
}

#[test]
fn no_name_breaks_out_of_its_label() {
    const NAMES: [&str; 4] = [r#"a"} 1\n# EOF"#, r#"\"#, r#"",device="default.2"#, "ü 🤖 <b>{}=,# HELP"];
    let devices: Vec<_> = NAMES
        .iter()
        .enumerate()
        .map(|(code, name)| json!({ "code": code + 1, "name": name, "type": name }))
        .collect();
    let connection = json!([{ "id": "c", "name": NAMES[0], "from": 1, "to": 2 }]);
    let bridge = World::with(json!(devices), connection).start();
    let scrape = Scrape::of(&Http::log_in(&bridge));
    for (code, name) in NAMES.iter().enumerate() {
        let device = format!("default.{}", code + 1);
        let labels = [("device", &*device), ("name", name), ("type", name)];
        assert_eq!(scrape.value("ior_bridge_device_info", &labels), 1.0);
    }
    assert_eq!(scrape.labels("ior_bridge_device_online", "device").len(), NAMES.len());
    assert!(scrape.labels("ior_bridge_connection_info", "name").contains(NAMES[0]));
}

#[test]
fn a_token_of_any_scope_fetches_metrics_and_one_for_metrics_nothing_else() {
    let bridge = Bridge::start();
    let stranger = Http::of(&bridge);
    assert_eq!(stranger.get("/metrics").expect(401).header("content-type"), Some("application/problem+json"));
    for scope in ["read", "write", "metrics"] {
        let made = bridge.world().succeed(&["token", "new", "--json", "--name", scope, "--scope", scope]);
        let made: Value = serde_json::from_str(&made).unwrap();
        let program = Http::of(&bridge).with_token(made["token"].as_str().unwrap());
        program.get("/metrics").expect(200);
        program.get("/api/v1/status").expect(if scope == "metrics" { 403 } else { 200 });
    }
    Http::of(&bridge).with_token("nonsense").get("/metrics").expect(401);
}

#[test]
fn whoever_watches_needs_no_login_and_is_told_nothing_secret() {
    let bridge = Bridge::start();
    let http = Http::of(&bridge);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(http.get(path).expect(200).json(), json!({ "status": "ok" }));
        http.send("HEAD", path, &[], None).expect(200);
        http.post(path, &json!({})).expect(405);
    }
}

#[test]
fn a_store_that_fails_makes_the_bridge_unready_but_not_unhealthy() {
    let (world, faults) = Faults::of(World::durable());
    let bridge = world.start();
    let http = Http::of(&bridge);
    let to = bridge.credentials("connection-1", End::To);
    bridge.connect_persistent(V5, &to).0.subscribe(&to.subscribe, 1);
    faults.set("write ENOSPC");
    let from = bridge.credentials("connection-1", End::From);
    let mut client = bridge.connect(V5, &from);
    client.send(Publish::new(&from.publish, b"x").qos(1, 1));
    assert_eq!(client.expect_ack(Kind::PubAck, 1).reason, 0x97);
    let problem = http.get("/readyz").expect(503);
    assert_eq!(problem.header("content-type"), Some("application/problem+json"));
    assert_eq!(
        problem.json()["reasons"],
        json!(["the store cannot keep messages; see ior-bridge status for the reason"])
    );
    assert!(!problem.text().contains(bridge.world().data().to_str().unwrap()), "{}", problem.text());
    http.get("/healthz").expect(200);
    let administrator = Http::log_in(&bridge);
    assert_eq!(Scrape::of(&administrator).value("ior_bridge_store_failing", &[]), 1.0);
    faults.clear();
    bridge
        .process()
        .wait_for("recovery", DEADLINE * 4, |line| line.contains("messages are kept again").then_some(()));
    http.get("/readyz").expect(200);
}

#[test]
fn what_dashboard_and_alerts_ask_for_is_there() {
    let bridge = World::durable().start();
    let scrape = Scrape::of(&Http::log_in(&bridge));
    let known = scrape.names();
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/ior-bridge.json")).unwrap();
    let alerts = python("yaml_to_json.py", read("deploy/prometheus/alerts.yml").as_bytes());
    let scraped = python("yaml_to_json.py", read("deploy/prometheus/scrape.yml").as_bytes());
    let job = &scraped["scrape_configs"][0];
    assert_eq!(job["authorization"]["credentials_file"], "/etc/prometheus/ior-bridge.token");
    assert_eq!(job["tls_config"]["ca_file"], "/etc/prometheus/ior-bridge-ca.crt");

    let mut asked = Vec::new();
    strings(&dashboard, "expr", &mut asked);
    let panels = dashboard["panels"].as_array().unwrap();
    let titles: Vec<_> =
        panels.iter().filter(|panel| panel["type"] == "row").map(|row| &row["title"]).collect();
    assert_eq!(titles, ["Overview", "Traffic", "Devices", "Connections", "Store", "Process"]);
    assert!(asked.len() > 40);
    strings(&alerts, "expr", &mut asked);
    let rules = alerts["groups"][0]["rules"].as_array().unwrap();
    for rule in rules {
        let annotations = &rule["annotations"];
        assert!(annotations["summary"].is_string() && annotations["runbook"].is_string(), "{rule}");
        assert!(["info", "warning", "critical"].contains(&rule["labels"]["severity"].as_str().unwrap()));
    }
    // Of devices that are known, and connections that were used; `numbers_follow_what_devices_do` sees them.
    let no_series = [
        "ior_bridge_device_last_seen_timestamp_seconds",
        "ior_bridge_connection_latency_mean_seconds",
        "ior_bridge_connection_latency_max_seconds",
    ];
    for expression in asked {
        let names = words(&expression).into_iter().filter(|word| is_metric(word));
        let names: BTreeSet<_> = names.collect();
        assert!(!names.is_empty() || expression.starts_with("up{"), "{expression}");
        for name in names {
            assert!(known.contains_key(&name) || no_series.contains(&&*name), "{name}: {expression}");
            for label in labels_asked(&expression) {
                let of_any = known.values().any(|labels| labels.contains(&label));
                assert!(of_any || ["job", "instance"].contains(&&*label), "{label}: {expression}");
            }
        }
    }
}

/// Scrapes until this is true of what comes.
#[track_caller]
fn http_until(http: &Http, is_true: impl Fn(&Scrape) -> bool) -> Scrape {
    let until = Instant::now() + DEADLINE;
    loop {
        let scrape = Scrape::of(http);
        if is_true(&scrape) {
            return scrape;
        }
        assert!(Instant::now() < until, "{}", scrape.text);
    }
}

impl Scrape {
    #[track_caller]
    fn of(http: &Http) -> Self {
        let answer = http.get("/metrics").expect(200);
        let families = python("metrics.py", &answer.body);
        Self { text: answer.text(), families: families.as_array().unwrap().clone() }
    }

    fn samples(&self) -> impl Iterator<Item = (&str, BTreeMap<String, String>, f64)> {
        let samples = self.families.iter().flat_map(|family| family["samples"].as_array().unwrap());
        samples.map(|sample| {
            let labels = serde_json::from_value(sample[1].clone()).unwrap();
            (sample[0].as_str().unwrap(), labels, sample[2].as_f64().unwrap())
        })
    }

    fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels: BTreeMap<_, _> =
            labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut found = self.samples().filter(|(known, of, _)| *known == name && *of == labels);
        found.next().map(|(.., value)| value)
    }

    fn has(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        self.find(name, labels).is_some()
    }

    #[track_caller]
    fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.find(name, labels).unwrap_or_else(|| panic!("no {name} {labels:?} in {}", self.text))
    }

    /// All values that a label of these series has.
    fn labels(&self, name: &str, label: &str) -> BTreeSet<String> {
        let samples = self.samples().filter(|(known, ..)| *known == name);
        samples.map(|(_, labels, _)| labels[label].clone()).collect()
    }

    /// All names of series, and their labels.
    fn names(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut names: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for (name, labels, _) in self.samples() {
            names.entry(name.to_owned()).or_default().extend(labels.into_keys());
        }
        names
    }
}

/// All texts of members with this name.
fn strings(value: &Value, name: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get(name).and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|member| strings(member, name, found));
        }
        Value::Array(items) => items.iter().for_each(|item| strings(item, name, found)),
        _ => {}
    }
}

fn words(expression: &str) -> Vec<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    expression.split(|c| !is_word(c)).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn is_metric(word: &str) -> bool {
    word.starts_with("ior_bridge_") || word.starts_with("process_")
}

/// What stands in front of `=` in braces, and behind `by`, `on` and `group_left`.
fn labels_asked(expression: &str) -> BTreeSet<String> {
    let mut labels = BTreeSet::new();
    for selector in expression.split('{').skip(1).filter_map(|rest| rest.split_once('}')) {
        let matchers = selector.0.split(',').filter_map(|matcher| matcher.split_once('='));
        labels.extend(matchers.map(|(label, _)| label.trim().to_owned()));
    }
    for word in ["by (", "on (", "group_left ("] {
        let lists = expression.split(word).skip(1).filter_map(|rest| rest.split_once(')'));
        labels.extend(lists.flat_map(|(list, _)| words(list)));
    }
    labels
}
