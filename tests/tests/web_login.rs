//! Who may ask: the administrator's password, sessions, tokens, and what keeps others out.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    process::Command,
    time::{Duration, Instant},
};

use ior_tests::{
    Bridge, End, World, binary,
    http::{Answer, Http, password},
};
use serde_json::{Value, json};

/// Passwords are hashed slowly, on a busy machine very slowly.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn whoever_knows_the_password_logs_in_and_out() {
    let bridge = Bridge::start();
    let http = Http::of(&bridge);
    http.get("/api/v1/session").expect(401);
    http.try_log_in("wrong").expect(401);
    let answer = http.try_log_in(&password(&bridge)).expect(201);
    let cookie = answer.header("set-cookie").unwrap();
    assert!(cookie.starts_with("ior_session="), "{cookie}");
    assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict; Max-Age=43200"), "{cookie}");
    let session = http.get("/api/v1/session").expect(200).json();
    assert_eq!(session, answer.json());
    assert_eq!((&session["name"], &session["password_is_initial"]), (&"admin".into(), &true.into()));
    let before = Http::of(&bridge);
    before.set_cookie("ior_session", &http.cookie("ior_session").unwrap());
    before.get("/api/v1/session").expect(200);
    http.delete("/api/v1/session").expect(204);
    assert_eq!(http.cookie("ior_session"), None, "the browser forgets it");
    before.get("/api/v1/session").expect(401);
}

#[test]
fn the_first_password_stands_in_a_file_and_not_in_the_log() {
    let bridge = Bridge::start();
    let file = bridge.world().data().join("admin-password");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    bridge.says(&["INFO", "the administrator's password", "admin-password"]);
    let first = password(&bridge);
    assert!(first.len() == 23 && !bridge.log().contains(&first));
    Http::log_in(&bridge);
    let admin = bridge.world().data().join("admin.json");
    assert_eq!(fs::metadata(&admin).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!fs::read_to_string(&admin).unwrap().contains(&first));
    // It stays what it is.
    let bridge = bridge.restart();
    assert_eq!(password(&bridge), first);
    assert!(!bridge.log().contains("administrator"), "{}", bridge.log());
    Http::log_in(&bridge);
}

#[test]
fn a_terminal_shows_the_password() {
    let world = World::empty();
    let program = binary().display();
    let config = world.config();
    // Ends by itself, whatever becomes of this test.
    let run = format!("timeout --foreground 60 {program} --config {} run", config.display());
    let mut on_terminal = Command::new("script");
    on_terminal.args(["-qec", &run, "/dev/null"]).current_dir(config.parent().unwrap());
    for (name, value) in world.command(&[]).get_envs() {
        on_terminal.env(name, value.unwrap());
    }
    let mut process = ior_tests::process::Process::start(&mut on_terminal);
    let shown = process.wait_for("password", PATIENCE, |line| {
        Some(line.split_once("password for the page: ")?.1.trim().to_owned())
    });
    assert_eq!(fs::read_to_string(world.data().join("admin-password")).unwrap(), format!("{shown}\n"));
    let id = process.wait_for("a process", PATIENCE, |_| {
        fs::read_to_string(world.data().join("lock")).ok()?.trim().parse::<u32>().ok()
    });
    assert!(Command::new("kill").arg(id.to_string()).status().unwrap().success());
    process.wait(PATIENCE);
    assert_eq!(process.log().matches(&shown).count(), 1, "{}", process.log());
}

#[test]
fn whoever_guesses_waits_longer_and_longer_and_nobody_else_does() {
    let bridge = Bridge::start();
    let guesser = Http::of(&bridge);
    let waits = until_told_to_wait(&guesser);
    let seconds: u64 = waits.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds));
    assert!(waits.json()["detail"].as_str().unwrap().contains("try again in"), "{}", waits.text());
    // Somebody else is not concerned, and what he does helps the guesser in nothing.
    let other = Http::of(&bridge).from_address([127, 0, 0, 2].into());
    other.try_log_in(&password(&bridge)).expect(201);
    until_told_to_wait(&guesser);
    assert_eq!(guesser.try_log_in(&password(&bridge)).status, 429, "even the right one is not looked at");
    let until = Instant::now() + PATIENCE;
    while guesser.try_log_in(&password(&bridge)).status != 201 {
        assert!(Instant::now() < until, "locked out for good");
    }
    let log = bridge.log();
    let complaints: Vec<_> = log.lines().filter(|line| line.contains("wrong password")).collect();
    assert!((1..=4).contains(&complaints.len()) && complaints[0].contains("127.0.0.1"), "{complaints:?}");
}

#[test]
fn a_session_ends_when_it_is_too_old() {
    let bridge = World::empty().env("IOR_BRIDGE__WEB__SESSION_MAX_AGE", "1s").start();
    let http = Http::of(&bridge);
    let answer = http.try_log_in(&password(&bridge)).expect(201);
    assert!(answer.header("set-cookie").unwrap().contains("; Max-Age=1"));
    let until = Instant::now() + PATIENCE;
    while http.get("/api/v1/session").status != 401 {
        assert!(Instant::now() < until, "it goes on");
    }
}

#[test]
fn what_changes_something_comes_from_the_page_itself() {
    let bridge = Bridge::start();
    let http = Http::log_in(&bridge);
    let token = http.get("/api/v1/session").json()["csrf_token"].as_str().unwrap().to_owned();
    let new = json!({ "name": "any", "scope": "read" });
    let post = |headers: &[(&str, &str)]| http.send("POST", "/api/v1/tokens", headers, Some(&new));
    let other = Http::log_in(&bridge);
    let of_another = other.get("/api/v1/session").json()["csrf_token"].as_str().unwrap().to_owned();
    for wrong in [None, Some(""), Some("x"), Some(&token[1..]), Some(of_another.as_str())] {
        http.set_csrf_token(wrong);
        let refused = post(&[]).expect(403);
        assert!(refused.json()["detail"].as_str().unwrap().contains("X-CSRF-Token"), "{wrong:?}");
        http.delete("/api/v1/session").expect(403);
    }
    http.set_csrf_token(Some(&token));
    for header in [
        ("Origin", "https://evil.example"),
        ("Origin", "null"),
        ("Origin", "http://127.0.0.1:1"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
    ] {
        post(&[header]).expect(403);
        let login = json!({ "password": password(&bridge) });
        http.send("POST", "/api/v1/session", &[header], Some(&login)).expect(403);
        http.send("GET", "/api/v1/session", &[header], None).expect(200);
    }
    // A form, which any page could send.
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""] {
        let body = json!({ "password": password(&bridge) }).to_string();
        let request = format!(
            "POST /api/v1/session HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: {content_type}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        assert_eq!(http.raw(request.as_bytes()).status, 415, "{content_type}");
    }
    assert_eq!(http.get("/api/v1/tokens").json()["tokens"], json!([]), "nothing was changed");
    let origin = format!("http://{}", bridge.web.unwrap());
    post(&[("Origin", &origin), ("Sec-Fetch-Site", "same-origin")]).expect(201);
}

#[test]
fn over_tls_the_cookie_is_for_tls_only_and_plain_http_is_led_there() {
    let bridge = World::empty().env("IOR_BRIDGE__WEB__LISTEN", "0.0.0.0:0").start();
    let http = Http::over_tls(&bridge);
    let cookie = http.try_log_in(&password(&bridge)).expect(201).header("set-cookie").unwrap().to_owned();
    assert!(cookie.starts_with("__Host-ior_session="), "{cookie}");
    assert!(cookie.contains("; Secure") && cookie.contains("; Path=/;") && !cookie.contains("Domain"));
    http.get("/api/v1/session").expect(200);
    let id = http.cookie("__Host-ior_session").unwrap();
    let other = Http::over_tls(&bridge);
    other.set_cookie("ior_session", &id);
    other.get("/api/v1/session").expect(401);

    let plain = Http::of(&bridge);
    plain.set_cookie("__Host-ior_session", &id);
    for path in ["/", "/api/v1/session", "/devices?sort=name"] {
        let moved = plain.get(path).expect(307);
        assert_eq!(moved.header("cache-control"), Some("no-store"));
        let place = format!("https://127.0.0.1:{}{path}", bridge.web.unwrap().port());
        assert_eq!(moved.header("location"), Some(place.as_str()));
    }
    plain.try_log_in(&password(&bridge)).expect(307);
    for host in ["a@b", "a b", "a/b", "a?b", "a\"b", ""] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(plain.raw(request.as_bytes()).expect(400).header("location"), None, "{host}");
    }
}

#[test]
fn everything_is_kept_by_its_guard() {
    let bridge = Bridge::start();
    let session = Http::log_in(&bridge);
    let stranger = Http::of(&bridge);
    let scopes = ["metrics", "read", "write"];
    let tokens = scopes.map(|scope| {
        let made =
            session.post("/api/v1/tokens", &json!({ "name": scope, "scope": scope })).expect(201).json();
        Http::of(&bridge).with_token(made["token"].as_str().unwrap())
    });
    let lost = Http::log_in(&bridge);
    lost.set_csrf_token(None);
    let credentials = "/api/v1/connections/default/connection-1/from/credentials";
    let none = "/api/v1/connections/default/none";
    // Nobody, metrics, read, write, a session without its CSRF token, a session.
    for (method, path, expected) in [
        ("GET", "/", [200, 200, 200, 200, 200, 200]),
        ("GET", "/login", [200, 200, 200, 200, 200, 200]),
        ("GET", "/healthz", [200, 200, 200, 200, 200, 200]),
        ("GET", "/metrics", [401, 200, 200, 200, 200, 200]),
        ("GET", "/api/v1/status", [401, 403, 200, 200, 200, 200]),
        ("GET", "/api/v1/session", [401, 403, 404, 404, 200, 200]),
        ("GET", credentials, [401, 403, 403, 200, 200, 200]),
        ("POST", "/api/v1/reload", [401, 403, 403, 200, 403, 200]),
        ("DELETE", none, [401, 403, 403, 404, 403, 404]),
        ("GET", "/api/v1/tokens", [401, 403, 403, 403, 200, 200]),
        ("DELETE", "/api/v1/tokens/none", [401, 403, 403, 403, 403, 404]),
        ("PUT", "/api/v1/password", [401, 403, 403, 403, 403, 415]),
    ] {
        let [metrics, read, write] = &tokens;
        let answers = [&stranger, metrics, read, write, &lost, &session]
            .map(|http| http.send(method, path, &[], None).status);
        assert_eq!(answers, expected, "{method} {path}");
    }
    for http in [&stranger, &Http::of(&bridge).with_token("ior_none")] {
        let refused = http.get("/api/v1/status").expect(401);
        assert!(refused.header("www-authenticate").unwrap().starts_with("Bearer"));
        assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    }
}

#[test]
fn without_a_login_nothing_of_the_api_is_to_be_had() {
    const OPEN: [(&str, &str); 4] = [
        ("post", "/api/v1/session"),
        ("get", "/api/v1/openapi.json"),
        ("get", "/healthz"),
        ("get", "/readyz"),
    ];
    let bridge = Bridge::start();
    let session = Http::log_in(&bridge);
    let document = session.get("/api/v1/openapi.json").expect(200).json();
    let made = session.post("/api/v1/tokens", &json!({ "name": "m", "scope": "metrics" })).expect(201).json();
    let metrics = Http::of(&bridge).with_token(made["token"].as_str().unwrap());
    let stranger = Http::of(&bridge);
    let mut tried = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        let place =
            path.replace("{user}", "default").replace("{id}", "connection-1").replace("{end}", "from");
        let place = place.replace("{username}", "default.4569");
        assert!(!place.contains('{'), "{place}");
        for method in operations.as_object().unwrap().keys() {
            if OPEN.contains(&(method.as_str(), path)) || method == "parameters" {
                continue;
            }
            tried += 1;
            let ask = |http: &Http| http.send(&method.to_uppercase(), &place, &[], Some(&json!({}))).status;
            assert_eq!(ask(&stranger), 401, "{method} {place}");
            let expected = if path == "/metrics" { 200 } else { 403 };
            assert_eq!(ask(&metrics), expected, "{method} {place}");
        }
    }
    assert!(tried >= 20, "{tried}");
}

#[test]
fn a_token_is_good_until_it_is_revoked_by_whatever_way() {
    let bridge = Bridge::start();
    let session = Http::log_in(&bridge);
    let world = bridge.world();
    let made = world.succeed(&["token", "new", "--name", "by command", "--scope", "read", "--json"]);
    let made: Value = serde_json::from_str(&made).unwrap();
    let client = Http::of(&bridge).with_token(made["token"].as_str().unwrap());
    client.get("/api/v1/status").expect(200);
    let listed = session.get("/api/v1/tokens").expect(200).json();
    assert_eq!(
        (&listed["tokens"][0]["id"], &listed["tokens"][0]["name"], &listed["tokens"][0]["scope"]),
        (&made["id"], &"by command".into(), &"read".into())
    );
    assert!(listed["tokens"][0]["last_used"].is_string() && listed["tokens"][0].get("token").is_none());
    let text = world.succeed(&["token", "list"]);
    assert!(text.contains("by command") && !text.contains("ior_"), "{text}");
    let id = made["id"].as_str().unwrap();
    session.delete(&format!("/api/v1/tokens/{id}")).expect(204);
    client.get("/api/v1/status").expect(401);

    let other = session.post("/api/v1/tokens", &json!({ "name": "by page", "scope": "read" })).expect(201);
    assert_eq!(
        other.header("location").unwrap(),
        format!("/api/v1/tokens/{}", other.json()["id"].as_str().unwrap())
    );
    let client = Http::of(&bridge).with_token(other.json()["token"].as_str().unwrap());
    client.get("/api/v1/status").expect(200);
    world.succeed(&["token", "revoke", other.json()["id"].as_str().unwrap()]);
    client.get("/api/v1/status").expect(401);

    for (bad, status) in [
        (json!({ "name": "", "scope": "read" }), 422),
        (json!({ "name": "a\r\nSet-Cookie: a=b", "scope": "read" }), 422),
        (json!({ "name": "x", "scope": "all" }), 422),
        (json!({ "name": "x" }), 422),
        (json!({ "name": "x", "scope": "read", "more": 1 }), 422),
    ] {
        session.post("/api/v1/tokens", &bad).expect(status);
    }
    world.fail(2, &["token", "revoke", "none"]);
    world.fail(2, &["token", "new", "--name", "\n", "--scope", "read"]);
    let said = World::empty().fail(1, &["token", "list"]);
    assert!(said.contains("nothing has run there yet"), "{said}");
}

#[test]
fn a_password_is_changed_on_the_page() {
    let bridge = Bridge::start();
    let [http, other] = [(); 2].map(|()| Http::log_in(&bridge));
    let first = password(&bridge);
    let change =
        |current: &str, new: &str| http.put("/api/v1/password", &json!({ "current": current, "new": new }));
    for (current, new, field) in [
        (first.as_str(), "too short", "new"),
        (&first, &first, "new"),
        (&first, &"x".repeat(257), "new"),
        ("not the one of now", "correct horse battery", "current"),
    ] {
        let refused = change(current, new).expect(422).json();
        assert_eq!(refused["problems"][0]["field"], field, "{refused}");
    }
    change(&first, "correct horse battery").expect(204);
    http.get("/api/v1/session").expect(200);
    assert_eq!(http.get("/api/v1/session").json()["password_is_initial"], false);
    other.get("/api/v1/session").expect(401);
    assert!(!bridge.world().data().join("admin-password").exists());
    assert!(!bridge.log().contains("correct horse"));
    let bridge = bridge.restart();
    Http::of(&bridge).try_log_in(&first).expect(401);
    Http::of(&bridge).try_log_in("correct horse battery").expect(201);
    assert!(!bridge.world().data().join("admin-password").exists());
}

#[test]
fn a_password_is_made_anew_by_a_command() {
    let bridge = Bridge::start();
    let http = Http::log_in(&bridge);
    let first = password(&bridge);
    let said = bridge.world().succeed(&["password"]);
    let new = password(&bridge);
    assert!(said.contains("admin-password") && !said.contains(&new) && new != first, "{said}");
    http.get("/api/v1/session").expect(401);
    http.try_log_in(&first).expect(401);
    http.try_log_in(&new).expect(201);

    // Nobody can log in by a damaged file, and devices do not care.
    let admin = bridge.world().data().join("admin.json");
    fs::write(&admin, "{").unwrap();
    http.get("/api/v1/session").expect(401);
    let told = http.try_log_in(&new).expect(503).json();
    assert!(told["detail"].as_str().unwrap().contains("run `ior-bridge password`"), "{told}");
    let bridge = bridge.restart();
    bridge.says(&["ERROR", "nobody can log in to the page", "admin.json is damaged"]);
    bridge.assert_unharmed(&bridge.credentials("connection-1", End::From));
    let said = bridge.world().succeed(&["password", "--json"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert!(said["file"].as_str().unwrap().ends_with("admin-password"), "{said}");
    Http::log_in(&bridge);
}

#[test]
fn nothing_leads_out_of_the_page_or_into_its_answers() {
    let bridge = Bridge::start();
    let http = Http::log_in(&bridge);
    for path in [
        "/../../../../etc/passwd",
        "/js/../../../../../../etc/passwd",
        "/js/..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/js/%00",
        "/js/app.js%00.css",
        "/js//etc/passwd",
        "//etc/passwd",
        "/js/....//....//etc/passwd",
        "/..\\..\\data\\secret.key",
        "/data/secret.key",
        "/api/v1/connections/..%2f..%2fdata/secret.key/from/credentials",
        "/api/v1/connections/default/..%2f..%2f..%2fadmin-password/from/credentials",
        "/api/v1/connections/default/connection-1/..%2f..%2f..%2f..%2fsecret/credentials",
        "/api/v1/connections/default/x%0d%0aSet-Cookie:%20a=b/from/credentials",
        "/api/v1/devices/x%0d%0aSet-Cookie:%20a=b",
        "/api/v1/devices/%FF",
    ] {
        let answer = http.get(path);
        assert!((400..500).contains(&answer.status), "{path}: {} {}", answer.status, answer.text());
        assert_eq!(answer.header("set-cookie"), None, "{path}");
        assert!(!answer.text().contains("root:"), "{path}");
    }
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "POST /api/v1/session HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        "\u{16}\u{3}\u{1}",
    ] {
        let mut stream = http.open();
        stream.write_all(request.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        // An error means that it was closed at once.
        let _ = std::io::Read::read_to_end(&mut stream, &mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{request:?}: {answer}");
    }
    bridge.assert_unharmed(&bridge.credentials("connection-1", End::From));
}

#[test]
fn a_browser_loads_again_only_what_has_changed() {
    let bridge = Bridge::start();
    let http = Http::of(&bridge);
    for path in ["/", "/devices", "/style.css", "/js/app.js"] {
        let first = http.get(path).expect(200);
        assert_eq!(first.header("cache-control"), Some("no-cache"), "{path}");
        let tag = first.header("etag").expect("a tag");
        let again = http.send("GET", path, &[("If-None-Match", tag)], None).expect(304);
        assert!(again.body.is_empty(), "{path}");
        assert_eq!(
            (again.header("etag"), again.header("cache-control")),
            (Some(tag), Some("no-cache")),
            "{path}"
        );
        assert!(again.header("content-security-policy").is_some(), "{path}");
        http.send("GET", path, &[("If-None-Match", "\"of another version\"")], None).expect(200);
    }
}

#[test]
fn what_is_too_large_or_too_slow_costs_nobody_else_anything() {
    let bridge = Bridge::start();
    let http = Http::of(&bridge);
    let login = |length: usize| http.post("/api/v1/session", &json!({ "password": "x".repeat(length) }));
    assert_eq!(login(70_000).status, 413);
    let long = "x".repeat(40_000);
    assert_eq!(http.send("GET", "/", &[("X-Long", &long)], None).status, 431);
    assert!((400..500).contains(&http.get(&format!("/{long}")).status));

    let slow: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = http.open();
            stream.write_all(b"G").unwrap();
            stream
        })
        .collect();
    // A body that does not come.
    let mut announced = http.open();
    announced
        .write_all(b"POST /api/v1/session HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 30\r\n\r\n{")
        .unwrap();
    Http::log_in(&bridge).get("/api/v1/session").expect(200);
    let mut refused = Vec::new();
    announced.read_to_end(&mut refused).unwrap();
    assert!(refused.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&refused));
    drop(slow);
    bridge.assert_unharmed(&bridge.credentials("connection-1", End::From));
}

#[test]
fn no_address_has_all_connections() {
    let bridge = Bridge::start();
    let greedy = Http::of(&bridge).from_address([127, 0, 0, 2].into());
    let held: Vec<_> = (0..256).map(|_| greedy.open()).collect();
    let began = Instant::now();
    Http::of(&bridge).get("/healthz").expect(200);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    drop(held);
}

#[test]
fn nothing_secret_is_in_the_log_and_what_was_done_is() {
    let bridge = World::empty().env("IOR_BRIDGE__LOG__LEVEL", "trace").start();
    let http = Http::of(&bridge);
    http.try_log_in("typed by mistake").expect(401);
    http.try_log_in(&password(&bridge)).expect(201);
    let made =
        http.post("/api/v1/tokens", &json!({ "name": "grafana", "scope": "metrics" })).expect(201).json();
    let csrf_token = http.get("/api/v1/session").json()["csrf_token"].as_str().unwrap().to_owned();
    for words in [
        &["WARN", "127.0.0.1 tried to log in with a wrong password"][..],
        &["INFO", "the administrator at 127.0.0.1 logged in"],
        &["INFO", "grafana", "metrics", "the administrator at 127.0.0.1"],
    ] {
        bridge.says(words);
    }
    let secrets = [
        "typed by mistake".to_owned(),
        password(&bridge),
        made["token"].as_str().unwrap().to_owned(),
        http.cookie("ior_session").unwrap(),
        csrf_token,
    ];
    let log = bridge.end();
    for secret in secrets {
        assert!(!log.contains(&secret), "{secret}");
    }
}

#[test]
fn what_a_page_follows_ends_with_its_session() {
    let bridge = Bridge::start();
    let [http, other] = [(); 2].map(|()| Http::log_in(&bridge));
    let mut followed = http.events("/api/v1/live");
    followed.wait_for("the state", PATIENCE, |event| (event.name == "state").then_some(()));
    other.delete("/api/v1/session").expect(204);
    http.delete("/api/v1/session").expect(204);
    followed.wait_for_end(PATIENCE);

    let token = bridge.world().succeed(&["token", "new", "--name", "any", "--scope", "read", "--json"]);
    let token: Value = serde_json::from_str(&token).unwrap();
    let client = Http::of(&bridge).with_token(token["token"].as_str().unwrap());
    let mut followed = client.events("/api/v1/live");
    bridge.world().succeed(&["token", "revoke", token["id"].as_str().unwrap()]);
    followed.wait_for_end(PATIENCE);
}

/// Tries wrong passwords until none is looked at any more.
#[track_caller]
fn until_told_to_wait(http: &Http) -> Answer {
    for _ in 0..20 {
        let answer = http.try_log_in("wrong");
        if answer.status == 429 {
            return answer;
        }
        answer.expect(401);
    }
    panic!("twenty wrong passwords, and no wait");
}
