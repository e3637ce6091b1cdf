//! The document of the API says what the real binary answers, and who may ask.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{cell::RefCell, collections::BTreeSet, time::Duration};

use ior_tests::{
    Bridge, End, World,
    http::{Answer, Http, password},
    python,
    raw::Version::V5,
};
use serde_json::{Value, json};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];
const STREAM: &str = "text/event-stream";

/// Answers that are compared with the document.
struct Record<'b> {
    bridge: &'b Bridge,
    document: Value,
    answers: RefCell<Vec<Value>>,
}

/// A request: where it is in the document, and what stands in the place of the path's parameters.
struct Ask<'r> {
    record: &'r Record<'r>,
    http: &'r Http,
    method: &'static str,
    path: &'static str,
    place: String,
    headers: Vec<(&'static str, String)>,
}

#[test]
fn answers_are_as_the_document_says() {
    let bridge = World::durable().start();
    let record = Record::of(&bridge);
    let http = Http::log_in(&bridge);
    let ask = |method, path, place: &str| record.ask(&http, method, path, place);
    let get = |path| ask("GET", path, path).expect(200, None);

    // Who asks.
    let right = json!({ "password": password(&bridge) });
    let stranger = Http::of(&bridge);
    record.ask(&stranger, "POST", "/api/v1/session", "/api/v1/session").expect(201, Some(&right));
    record
        .ask(&Http::of(&bridge), "POST", "/api/v1/session", "/api/v1/session")
        .expect(401, Some(&json!({ "password": "x" })));
    record
        .ask(&Http::of(&bridge), "POST", "/api/v1/session", "/api/v1/session")
        .expect(422, Some(&json!({ "pass": "x" })));
    get("/api/v1/session");
    let token = json!({ "name": "watch", "scope": "metrics" });
    let made = ask("POST", "/api/v1/tokens", "/api/v1/tokens").expect(201, Some(&token)).json();
    ask("POST", "/api/v1/tokens", "/api/v1/tokens").expect(422, Some(&token));
    ask("POST", "/api/v1/tokens", "/api/v1/tokens")
        .expect(422, Some(&json!({ "name": "x", "scope": "all" })));
    get("/api/v1/tokens");
    let place = format!("/api/v1/tokens/{}", made["id"].as_str().unwrap());
    ask("DELETE", "/api/v1/tokens/{id}", &place).expect(204, None);
    ask("DELETE", "/api/v1/tokens/{id}", &place).expect(404, None);

    // What is, with a device that is connected.
    let from = bridge.credentials("connection-1", End::From);
    let mut client = bridge.connect(V5, &from);
    client.publish(&from.publish, b"hello", 0);
    for path in [
        "/api/v1/status",
        "/api/v1/history",
        "/api/v1/events",
        "/api/v1/devices",
        "/api/v1/connections",
        "/api/v1/openapi.json",
        "/healthz",
        "/readyz",
        "/metrics",
    ] {
        get(path);
    }
    ask("GET", "/api/v1/events", "/api/v1/events?device=4569&kind=connected&limit=1").expect(200, None);
    ask("GET", "/api/v1/events", "/api/v1/events?device=nobody").expect(404, None);
    ask("GET", "/api/v1/events", "/api/v1/events?kind=none").expect(422, None);
    record.stream(&http, "/api/v1/live", "/api/v1/live", "state");

    devices(&ask);
    connections(&record, &http, &ask);

    // Files that are invalid at the moment.
    ask("POST", "/api/v1/reload", "/api/v1/reload").expect(200, None);
    let valid = std::fs::read_to_string(bridge.world().config().join("devices.json")).unwrap();
    bridge.after("configuration not reloaded", || bridge.world().write("devices.json", "{"));
    ask("POST", "/api/v1/reload", "/api/v1/reload").expect(409, None);
    ask("POST", "/api/v1/devices", "/api/v1/devices").expect(409, Some(&json!({ "code": 9 })));
    bridge.after("configuration reloaded", || bridge.world().write("devices.json", &valid));

    let change = json!({ "current": password(&bridge), "new": "correct horse battery" });
    ask("PUT", "/api/v1/password", "/api/v1/password")
        .expect(422, Some(&json!({ "current": "x", "new": "short" })));
    ask("PUT", "/api/v1/password", "/api/v1/password").expect(204, Some(&change));
    ask("DELETE", "/api/v1/session", "/api/v1/session").expect(204, None);
    ask("GET", "/api/v1/session", "/api/v1/session").expect(401, None);
    record.check();
}

fn devices<'r>(ask: &dyn Fn(&'static str, &'static str, &str) -> Ask<'r>) {
    const DEVICES: &str = "/api/v1/devices";
    const DEVICE: &str = "/api/v1/devices/{username}";
    let device = json!({ "code": 77, "name": "New", "type": "ESP32" });
    ask("POST", DEVICES, "/api/v1/devices?dry_run=true").expect(204, Some(&device));
    let made = ask("POST", DEVICES, DEVICES).expect(201, Some(&device));
    let place = made.header("location").unwrap().to_owned();
    ask("POST", DEVICES, DEVICES).expect(422, Some(&device));
    ask("POST", DEVICES, DEVICES).expect(422, Some(&json!({ "code": 78, "colour": "red" })));
    ask("POST", DEVICES, DEVICES)
        .with("If-Match", "\"0123456789abcdef\"")
        .expect(412, Some(&json!({ "code": 78 })));
    ask("GET", DEVICE, &place).expect(200, None);
    ask("GET", DEVICE, "/api/v1/devices/nobody.1").expect(404, None);
    ask("PATCH", DEVICE, &place).expect(200, Some(&json!({ "name": "Newer", "disabled": true })));
    ask("PATCH", DEVICE, &place).expect(422, Some(&json!({ "name": 7 })));
    ask("PATCH", DEVICE, "/api/v1/devices/nobody.1").expect(404, Some(&json!({ "name": "x" })));
    let history = format!("{DEVICE}/history").replace("{username}", "default.4569");
    ask("GET", "/api/v1/devices/{username}/history", &history).expect(200, None);
    ask("GET", "/api/v1/devices/{username}/history", "/api/v1/devices/nobody.1/history").expect(404, None);
    ask("POST", "/api/v1/devices/{username}/rotate", &format!("{place}/rotate")).expect(200, None);
    ask("POST", "/api/v1/devices/{username}/rotate", "/api/v1/devices/nobody.1/rotate").expect(404, None);
    ask("DELETE", DEVICE, "/api/v1/devices/default.4569").expect(409, None);
    ask("DELETE", DEVICE, &place).expect(200, None);
    ask("DELETE", DEVICE, &place).expect(404, None);
    ask("DELETE", DEVICE, "/api/v1/devices/default.9036?with_connections=true").expect(200, None);
}

fn connections<'r>(
    record: &Record<'_>,
    http: &Http,
    ask: &dyn Fn(&'static str, &'static str, &str) -> Ask<'r>,
) {
    const CONNECTIONS: &str = "/api/v1/connections";
    const CONNECTION: &str = "/api/v1/connections/{user}/{id}";
    const MESSAGES: &str = "/api/v1/connections/{user}/{id}/messages";
    let connection = json!({ "from": 4569, "to": "Master 2", "name": "Masters" });
    ask("POST", CONNECTIONS, "/api/v1/connections?dry_run=true").expect(204, Some(&connection));
    let made = ask("POST", CONNECTIONS, CONNECTIONS).expect(201, Some(&connection));
    let place = made.header("location").unwrap().to_owned();
    ask("POST", CONNECTIONS, CONNECTIONS).expect(422, Some(&connection));
    ask("POST", CONNECTIONS, CONNECTIONS).expect(422, Some(&json!({ "from": 1, "to": 4569 })));
    ask("GET", CONNECTION, &place).expect(200, None);
    ask("GET", CONNECTION, "/api/v1/connections/default/none").expect(404, None);
    ask("GET", "/api/v1/connections/{user}/{id}/history", &format!("{place}/history")).expect(200, None);
    ask("GET", "/api/v1/connections/{user}/{id}/history", "/api/v1/connections/a/b/history")
        .expect(404, None);
    for (path, end) in [
        ("/api/v1/connections/{user}/{id}/{end}/credentials", "credentials"),
        ("/api/v1/connections/{user}/{id}/{end}/qr", "qr"),
        ("/api/v1/connections/{user}/{id}/{end}/snippets", "snippets"),
    ] {
        ask("GET", path, &format!("{place}/from/{end}")).expect(200, None);
        ask("GET", path, &format!("{place}/both/{end}")).expect(404, None);
    }
    let messages = format!("{place}/messages");
    ask("GET", MESSAGES, &messages).expect(409, None);
    ask("POST", MESSAGES, &messages).expect(422, Some(&json!({ "minutes": 31 })));
    ask("POST", MESSAGES, "/api/v1/connections/a/b/messages").expect(404, Some(&json!({ "minutes": 1 })));
    ask("POST", MESSAGES, &messages).expect(201, Some(&json!({ "minutes": 1 })));
    ask("GET", CONNECTION, &place).expect(200, None);
    record.stream(http, MESSAGES, &messages, "");
    ask("DELETE", MESSAGES, &messages).expect(204, None);
    ask("DELETE", CONNECTION, &place).expect(200, None);
    ask("DELETE", CONNECTION, &place).expect(404, None);
}

#[test]
fn whoever_may_not_ask_is_refused_as_the_document_says() {
    let bridge = Bridge::start();
    let document = Record::of(&bridge).document;
    let session = Http::log_in(&bridge);
    session.set_csrf_token(None);
    let with_token = |scope: &str| {
        let made = bridge.world().succeed(&["token", "new", "--json", "--name", scope, "--scope", scope]);
        let made: Value = serde_json::from_str(&made).unwrap();
        Http::of(&bridge).with_token(made["token"].as_str().unwrap())
    };
    let tokens = ["read", "write", "metrics"].map(|scope| (scope, with_token(scope)));
    let mut asked = 0;
    for (method, path, operation) in operations(&document) {
        let security = operation.get("security").unwrap_or(&document["security"]).as_array().unwrap();
        // Logging in has no guard, and is slow on purpose.
        if security.is_empty() {
            continue;
        }
        let what = format!("{method} {path}");
        let place = path
            .replace("{username}", "nobody.1")
            .replace("{user}", "nobody")
            .replace("{id}", "nothing")
            .replace("{end}", "from");
        let has_body = operation.get("requestBody").is_some();
        let body = has_body.then(|| json!({ "nonsense": true }));
        let ask = |http: &Http| http.send(&method.to_uppercase(), &place, &[], body.as_ref()).status;
        assert_eq!(ask(&Http::of(&bridge)), 401, "nobody: {what}");
        let needs_csrf = security.iter().any(|scheme| scheme.get("csrf").is_some());
        assert_eq!(needs_csrf, method != "get", "{what}");
        if needs_csrf {
            assert_eq!(ask(&session), 403, "without its CSRF token: {what}");
        }
        let scope = security.iter().find_map(|scheme| scheme.get("token")?[0].as_str());
        for (held, http) in &tokens {
            let may = match scope {
                None => false,
                Some("metrics") => true,
                Some("read") => *held != "metrics",
                Some(_) => *held == "write",
            };
            let streams = operation["responses"]["200"]["$ref"] == "#/components/responses/Stream";
            // One that may reload does.
            if may && (streams || path == "/api/v1/reload") {
                continue;
            }
            let status = ask(http);
            assert_eq!(status == 403, !may, "a token with the scope {held}: {what}: {status}");
            assert_ne!(status, 401, "{what}");
            asked += 1;
        }
    }
    assert!(asked > 60, "{asked}");
}

#[test]
fn the_document_is_there_without_a_login_and_every_operation_with_one() {
    let bridge = Bridge::start();
    let answer = Http::of(&bridge).get("/api/v1/openapi.json").expect(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.json()["openapi"], "3.1.0");
    let stranger = Http::of(&bridge);
    for (method, path, _) in operations(&answer.json()) {
        let status = stranger.send(&method.to_uppercase(), &path, &[], None).status;
        assert!(![404, 405].contains(&status), "{method} {path}: {status}");
    }
    stranger.get("/api/v1/nothing").expect(404);
}

/// Method, path, and the operation.
fn operations(document: &Value) -> Vec<(&'static str, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of = |(path, item): (&String, &Value)| {
        METHODS
            .into_iter()
            .filter_map(|method| Some((method, path.clone(), item.get(method)?.clone())))
            .collect::<Vec<_>>()
    };
    paths.iter().flat_map(of).collect()
}

impl<'b> Record<'b> {
    fn of(bridge: &'b Bridge) -> Self {
        let document = Http::of(bridge).get("/api/v1/openapi.json").expect(200).json();
        Self { bridge, document, answers: RefCell::default() }
    }

    fn ask<'r>(&'r self, http: &'r Http, method: &'static str, path: &'static str, place: &str) -> Ask<'r> {
        Ask { record: self, http, method, path, place: place.to_owned(), headers: Vec::new() }
    }

    /// Opens a stream, and waits for its first event of this name, if there is one.
    #[track_caller]
    fn stream(&self, http: &Http, path: &'static str, place: &str, first: &str) {
        let mut events = http.events(place);
        if !first.is_empty() {
            let data = events.wait_for(first, Duration::from_secs(30), |event| {
                (event.name == first).then(|| event.data.clone())
            });
            // It is what the status is.
            self.note("GET", "/api/v1/status", 200, "application/json", data.to_string());
        }
        self.note("GET", path, 200, STREAM, String::new());
    }

    fn note(&self, method: &str, path: &str, status: u16, content_type: &str, body: String) {
        self.answers.borrow_mut().push(json!({
            "method": method,
            "path": path,
            "status": status,
            "content_type": content_type,
            "body": body,
        }));
    }

    /// Fails unless all answers were as the document says, and every operation was answered well once.
    #[track_caller]
    fn check(&self) {
        let answers = self.answers.borrow();
        let input = json!({ "document": self.document, "answers": *answers });
        let faults = python("conforms.py", input.to_string().as_bytes());
        assert_eq!(faults, json!([]), "{faults:#}");
        let good: BTreeSet<_> = answers
            .iter()
            .filter(|answer| answer["status"].as_u64().unwrap() < 300)
            .map(|answer| {
                format!(
                    "{} {}",
                    answer["method"].as_str().unwrap().to_lowercase(),
                    answer["path"].as_str().unwrap()
                )
            })
            .collect();
        let all = operations(&self.document).into_iter().map(|(method, path, _)| format!("{method} {path}"));
        let missing: Vec<_> = all.filter(|operation| !good.contains(operation)).collect();
        assert!(missing.is_empty(), "not tried: {missing:?}");
        let log = self.bridge.log();
        assert!(!log.contains("panicked"), "{log}");
    }
}

impl Ask<'_> {
    fn with(mut self, header: &'static str, value: &str) -> Self {
        self.headers.push((header, value.to_owned()));
        self
    }

    #[track_caller]
    fn expect(self, status: u16, body: Option<&Value>) -> Answer {
        let Self { record, http, method, path, place, headers } = self;
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = if path == "/api/v1/session" && method == "POST" {
            let answer = http.send(method, &place, &headers, body);
            http.set_csrf_token(answer.json()["csrf_token"].as_str());
            answer
        } else {
            http.send(method, &place, &headers, body)
        };
        assert_eq!(answer.status, status, "{method} {place}: {}", answer.text());
        let content_type = answer.header("content-type").unwrap_or_default();
        record.note(method, path, status, content_type, answer.text());
        answer
    }
}
