//! Changes made on the page are the same changes as in the files.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{fs, thread};

use ior_tests::{
    Bridge, Credentials, End, World,
    clients::{Subscription, Tool},
    faults::{Filler, make_read_only, may_mount},
    http::{Answer, Http},
    raw::Version::V5,
};
use serde_json::{Value, json};

/// As people write files.
const DEVICES: &str = "{\r\n\t\"devices\": [\r\n\t\t{ \"code\": 1,  \"name\": \"One\", \"type\": \"Pi\" },\r\n\t\t\
                       { \"code\": \"two\", \"name\": \"Two\", \"type\": \"Pi\" }\r\n\t]\r\n}\r\n";
const CONNECTIONS: &str = "\u{feff}{\"connections\":[{\"name\":\"A\",  \"from\":1,\n\n\"to\":\"two\"}]}";

#[test]
fn devices_and_a_connection_that_are_made_on_the_page_stand_in_the_files_and_talk() {
    let (bridge, http) = start(world());
    let before = files(&bridge);
    let device = json!({ "code": 77, "name": "Boiler", "type": "ESP32" });
    http.post("/api/v1/devices?dry_run=true", &device).expect(204);
    assert_eq!(files(&bridge), before);
    let answer = http.post("/api/v1/devices", &device).expect(201);
    assert_eq!(answer.header("location"), Some("/api/v1/devices/default.77"));
    let told = answer.json();
    assert_eq!(
        (&told["username"], &told["code"], &told["type"]),
        (&json!("default.77"), &json!(77), &json!("ESP32"))
    );
    let new = ",\r\n\t\t{ \"code\": 77, \"name\": \"Boiler\", \"type\": \"ESP32\" }";
    assert_eq!(files(&bridge)[0], DEVICES.replace("\r\n\t]", &format!("{new}\r\n\t]")));

    let connection = json!({ "from": "77", "to": 1, "name": "Heating" });
    http.post("/api/v1/connections?dry_run=true", &connection).expect(204);
    let answer = http.post("/api/v1/connections", &connection).expect(201);
    assert_eq!(answer.header("location"), Some("/api/v1/connections/default/heating"));
    assert_eq!(answer.json()["key"], "default/heating");
    let entry = ", {\"name\":\"Heating\",\n\n\"from\":77,\n\n\"to\":1}";
    assert_eq!(files(&bridge)[1].replace(entry, ""), before[1], "{}", files(&bridge)[1]);

    let [boiler, one] = ["from", "to"].map(|end| downloaded(&bridge, &http, "heating", end));
    let tool = Tool::Mosquitto(V5);
    let mut hears =
        tool.subscribe(&one.login, Subscription { filter: &one.subscribe, qos: 1, persistent: false });
    tool.publish(&boiler.login, &boiler.publish, 1, &[b"warm".to_vec()]);
    assert_eq!(hears.expect("warm").topic, "default/heating/77");
    for words in [
        "device Boiler (77) was added by the administrator at 127.0.0.1",
        "connection default/heating was added between Boiler (77) and One (1) by the administrator",
        "credentials of Boiler (77) for default/heating were fetched by the administrator at 127.0.0.1",
    ] {
        bridge.says(&[words]);
    }
    let secret = &boiler.login.password;
    assert!(!bridge.log().contains(secret.as_str()), "no secret in the log");
}

#[test]
fn credentials_are_shown_in_every_form() {
    let (bridge, http) = start(world());
    let place = "/api/v1/connections/default/a/from";
    let password = bridge.credentials("a", End::From).login.password;
    let qr = http.get(&format!("{place}/qr")).expect(200);
    assert_eq!(qr.header("content-type"), Some("image/svg+xml"));
    assert!(qr.text().contains("<svg") && qr.text().contains("<title>Credentials of One</title>"));
    assert!(!qr.text().contains("has no room"), "the bridge's own CA has room");
    let snippets = http.get(&format!("{place}/snippets")).expect(200).json();
    let snippets = snippets["snippets"].as_array().unwrap();
    let formats: Vec<_> = snippets.iter().map(|snippet| snippet["format"].as_str().unwrap()).collect();
    assert_eq!(formats, ["mosquitto", "paho", "arduino", "esp-idf", "env"]);
    for snippet in snippets {
        assert!(snippet["text"].as_str().unwrap().contains(&password) && snippet["title"].is_string());
    }
    for what in ["credentials", "qr", "snippets"] {
        Http::of(&bridge).get(&format!("{place}/{what}")).expect(401);
        for other in ["default/a/middle", "default/gone/from", "other/a/from"] {
            http.get(&format!("/api/v1/connections/{other}/{what}")).expect(404);
        }
    }
}

#[test]
fn what_would_be_wrong_is_told_by_field_and_changes_nothing() {
    let (bridge, http) = start(world());
    let before = files(&bridge);
    let (long, taken) = ("x".repeat(1000), json!({ "from": 1, "to": "two" }));
    let device = |code: &str, name: &str| json!({ "code": code, "name": name });
    let connection = |name: &str| json!({ "from": 1, "to": "three", "name": name });
    http.post("/api/v1/devices", &device("three", "Three")).expect(201);
    let with_three = files(&bridge);
    for (place, body, field, words) in [
        ("devices", device("1", "x"), "code", "two devices with the code 1"),
        ("devices", json!({ "code": 1 }), "code", "two devices with the code 1"),
        ("devices", device("a.b", "x"), "code", "a device code cannot contain '.'"),
        ("devices", device("../x", "x"), "code", "a device code cannot contain '.'"),
        ("devices", json!({ "code": "" }), "code", "a device code cannot be empty"),
        ("devices", json!({ "code": 1.5 }), "code", "1.5 cannot be a device code"),
        ("devices", json!({ "code": [1] }), "code", "this is a list"),
        ("devices", device("9", &long), "name", "cannot be longer than 100 characters"),
        ("devices", device("9", "a\u{1b}[2J"), "name", "control character '\\u{1b}'"),
        ("devices", device("9", "  "), "name", "cannot be empty"),
        ("devices", json!({ "code": 9, "name": 5 }), "name", "this is a number"),
        ("devices", json!({ "code": 9, "type": "" }), "type", "cannot be empty"),
        ("devices", json!({ "code": 9, "user": "admin" }), "user", "is the bridge's own"),
        ("connections", json!({ "from": 1, "to": 1, "name": "x" }), "to", "connected with itself"),
        ("connections", json!({ "from": "gone", "to": 1 }), "from", "no device \"gone\""),
        ("connections", json!({ "from": 1, "to": "thre" }), "to", "did you mean \"three\"?"),
        ("connections", taken, "from", "are connected already"),
        ("connections", connection("a"), "name", "two connections with the id \"a\""),
        ("connections", connection("🤖"), "name", "no id can be made from this name"),
        ("connections", json!({ "from": 1, "to": "three", "id": "a/b" }), "id", "cannot contain '/'"),
    ] {
        for query in ["?dry_run=true", ""] {
            let answer = http.post(&format!("/api/v1/{place}{query}"), &body).expect(422);
            assert_eq!(answer.header("content-type"), Some("application/problem+json"));
            let problems = answer.json()["problems"].clone();
            assert_eq!(problems[0]["field"], field, "{body}: {problems}");
            assert!(problems[0]["what"].as_str().unwrap().contains(words), "{body}: {problems}");
            assert_eq!(problems.as_array().unwrap().len(), 1, "{problems}");
        }
    }
    http.post("/api/v1/devices", &json!({ "code": 9, "nmae": "x" })).expect(422);
    http.post("/api/v1/devices?dryrun=true", &json!({ "code": 9 })).expect(422);
    http.patch("/api/v1/devices/default.1", &json!({ "disabled": "yes" })).expect(422);
    http.patch("/api/v1/devices/default.gone", &json!({ "disabled": true })).expect(404);
    assert_eq!(files(&bridge), with_three);
    assert_eq!(files(&bridge)[1], before[1]);
}

#[test]
fn hostile_names_stay_names() {
    let (bridge, http) = start(world());
    let names =
        ["\"}], \"x\": [{\"", "<script>alert(1)</script>", "a\\u0022\\", "'; --", "</title><svg onload=x>"];
    for (number, name) in names.iter().enumerate() {
        let code = format!("h{number}");
        http.post("/api/v1/devices", &json!({ "code": code, "name": name, "type": name })).expect(201);
        http.post("/api/v1/connections", &json!({ "from": code, "to": 1, "name": name, "id": code }))
            .expect(201);
        let place = format!("/api/v1/connections/default/{code}/from");
        let svg = http.get(&format!("{place}/qr")).expect(200).text();
        assert!(!svg.contains("<script") && !svg.contains("onload=x>"), "{svg}");
        let file = http.get(&format!("{place}/credentials")).expect(200);
        let safe = format!("attachment; filename=\"{code}-from.json\"");
        assert_eq!(file.header("content-disposition"), Some(safe.as_str()));
        assert_eq!(file.json()["name"], *name);
    }
    let devices: Value = serde_json::from_str(&files(&bridge)[0]).unwrap();
    let told: Vec<_> =
        devices["devices"].as_array().unwrap()[2..].iter().map(|device| &device["name"]).collect();
    assert_eq!(told, names);
    bridge.world().succeed(&["check"]);
}

#[test]
fn no_path_leads_elsewhere() {
    let (bridge, http) = start(world());
    for place in [
        "connections/..%2f..%2fdata/secret.key/from/credentials",
        "connections/default/..%2f..%2f..%2fsecret/from/credentials",
        "connections/default/a/..%2ffrom/credentials",
        "connections/default/a%00/from/credentials",
        "connections/default/%ff/from/credentials",
        "connections/default/a%0d%0aSet-Cookie:%20x=1/from/credentials",
        "connections/../default/a/from/credentials",
    ] {
        let answer = http.get(&format!("/api/v1/{place}")).expect(404);
        assert_eq!(answer.header("set-cookie"), None);
    }
    for username in ["..%2f..", "default.1%00", "%ff", "default.%2e%2e", "*"] {
        http.delete(&format!("/api/v1/devices/{username}")).expect(404);
        http.send("POST", &format!("/api/v1/devices/{username}/rotate"), &[], None).expect(404);
    }
    assert_eq!(files(&bridge), [DEVICES, CONNECTIONS]);
}

#[test]
fn a_device_changes_and_goes() {
    let (bridge, http) = start(world());
    let one = bridge.credentials("a", End::From);
    let mut client = bridge.connect(V5, &one);
    let answer = http.patch("/api/v1/devices/default.1", &json!({ "name": "Uno", "type": "Pi" })).expect(200);
    assert_eq!(answer.json()["name"], "Uno");
    assert_eq!(files(&bridge)[0], DEVICES.replace("\"One\"", "\"Uno\""));
    bridge.says(&["device One (1) was renamed to Uno by the administrator"]);
    client.publish(&one.publish, "goes on", 1);

    let rotated = http.send("POST", "/api/v1/devices/default.1/rotate", &[], None).expect(200).json();
    assert_eq!((&rotated["secret_version"], &rotated["previous"][0]["version"]), (&json!(2), &json!(1)));
    assert!(rotated["previous"][0]["accepted_until"].is_string(), "{rotated}");
    let renewed = downloaded(&bridge, &http, "a", "from");
    assert_ne!(renewed.login.password, one.login.password);

    http.patch("/api/v1/devices/default.1", &json!({ "disabled": true })).expect(200);
    client.expect_ended(0x98);
    http.patch("/api/v1/devices/default.1", &json!({ "disabled": false })).expect(200);
    let mut client = bridge.connect(V5, &renewed);

    let refused = http.delete("/api/v1/devices/default.1").expect(409).json();
    assert_eq!(refused["connections"], json!(["default/a"]));
    let before = files(&bridge);
    let removed = http.delete("/api/v1/devices/default.1?with_connections=true").expect(200).json();
    assert_eq!(removed["removed"], json!({ "device": "default.1", "connections": ["default/a"] }));
    client.expect_ended(0x98);
    http.delete("/api/v1/devices/default.1").expect(404);
    http.delete("/api/v1/devices/default.two").expect(200);
    assert_ne!(files(&bridge), before);
    assert_eq!(files(&bridge), ["{\r\n\t\"devices\": []\r\n}\r\n", "\u{feff}{\"connections\":[]}"]);
    bridge.says(&["device Uno (1) and its connections (default/a) were removed by the administrator"]);
}

#[test]
fn a_connection_goes_and_its_clients_lose_it() {
    let (bridge, http) = start(world());
    let [one, two] = [End::From, End::To].map(|end| bridge.credentials("a", end));
    let (mut sends, mut hears) = (bridge.connect(V5, &one), bridge.connect(V5, &two));
    hears.subscribe(&two.subscribe, 1);
    sends.publish(&one.publish, "before", 1);
    hears.expect_payload("before");
    let answer = http.delete("/api/v1/connections/default/a").expect(200).json();
    assert_eq!(answer["removed"]["connections"], json!(["default/a"]));
    sends.send(ior_tests::raw::Publish::new(&one.publish, "after").qos(1, 9));
    assert_eq!(sends.expect_ack(ior_tests::raw::Kind::PubAck, 9).reason, 0x87);
    hears.expect_silence();
    assert!(!one.file.exists() && !two.file.exists());
    http.get("/api/v1/connections/default/a/from/credentials").expect(404);
    http.delete("/api/v1/connections/default/a").expect(404);
}

#[test]
fn whoever_has_not_seen_the_latest_changes_nothing() {
    let (bridge, http) = start(world());
    let other = Http::log_in(&bridge);
    let device = |code: &str| json!({ "code": code });
    let first = http.post("/api/v1/devices", &device("a")).expect(201).json()["revision"].clone();
    let second = seen(&other, &first, "POST", "/api/v1/devices", &device("b")).expect(201).json();
    let before = files(&bridge);
    let refused = seen(&http, &first, "POST", "/api/v1/devices", &device("c")).expect(412).json();
    assert_eq!(refused["revision"], second["revision"]);
    seen(&http, &first, "POST", "/api/v1/devices?dry_run=true", &device("c")).expect(412);
    seen(&http, &first, "DELETE", "/api/v1/connections/default/a", &json!(null)).expect(412);
    assert_eq!(files(&bridge), before);

    // By hand, and it means the same.
    bridge.world().write("devices.json", &format!("{}\n", before[0]));
    let refused = seen(&http, &second["revision"], "POST", "/api/v1/devices", &device("c")).expect(412);
    let latest = refused.json()["revision"].clone();
    assert_ne!(latest, second["revision"]);
    seen(&http, &latest, "POST", "/api/v1/devices", &device("c")).expect(201);
    http.send("POST", "/api/v1/devices", &[("If-Match", "unquoted")], Some(&device("d"))).expect(400);
    http.send("POST", "/api/v1/devices", &[("If-Match", "*")], Some(&device("d"))).expect(201);
    http.post("/api/v1/devices", &device("e")).expect(201);
}

#[test]
fn files_that_are_wrong_at_the_moment_are_told_and_left_alone() {
    let (bridge, http) = start(world());
    let wrong = DEVICES.replace("\"code\": 1,", "\"cod\": 1,");
    bridge.after("configuration not reloaded", || bridge.world().write("devices.json", &wrong));
    for answer in [
        http.post("/api/v1/devices", &json!({ "code": 7 })),
        http.post("/api/v1/devices?dry_run=true", &json!({ "code": 7 })),
        http.delete("/api/v1/connections/default/a"),
        http.send("POST", "/api/v1/reload", &[], None),
    ] {
        let problems = answer.expect(409).json()["problems"].clone();
        let problem = problems.as_array().unwrap().iter().find(|problem| problem["line"] == 3).unwrap();
        assert!(problem["file"].as_str().unwrap().ends_with("/devices.json"), "{problem}");
        assert!(problem["column"].is_number() && problem["what"].is_string(), "{problem}");
    }
    assert_eq!(files(&bridge), [&wrong, CONNECTIONS]);
    bridge.world().write("devices.json", &DEVICES.replace("One", "Uno"));
    let reloaded = http.send("POST", "/api/v1/reload", &[], None).expect(200).json();
    assert!(reloaded["changes"].is_string(), "{reloaded}");
    http.post("/api/v1/devices", &json!({ "code": 7 })).expect(201);
}

#[test]
fn a_directory_that_cannot_be_written_is_told_with_what_to_do() {
    if !may_mount("a_directory_that_cannot_be_written_is_told_with_what_to_do") {
        return;
    }
    let (bridge, http) = start(configured(World::empty().configured_on_small_disk(1 << 20)));
    let config = bridge.world().config();
    let filler = Filler::fill(&config);
    let full = http.post("/api/v1/devices", &json!({ "code": 7 })).expect(507);
    assert!(full.json()["detail"].as_str().unwrap().contains("the disk is full"), "{}", full.text());
    drop(filler);
    http.post("/api/v1/devices", &json!({ "code": 7 })).expect(201);
    let before = files(&bridge);
    make_read_only(&config);
    let detail = http.post("/api/v1/devices", &json!({ "code": 8 })).expect(409).json()["detail"].clone();
    let detail = detail.as_str().unwrap();
    for words in ["the bridge may not write ", "/devices.json: ", "deploy/README.md", "nothing was changed"] {
        assert!(detail.contains(words), "{detail}");
    }
    http.post("/api/v1/devices?dry_run=true", &json!({ "code": 8 })).expect(204);
    assert_eq!(files(&bridge), before);
}

#[test]
fn a_change_that_cannot_be_taken_up_is_told_with_what_stands_in_the_file() {
    let (bridge, http) = start(world());
    http.post("/api/v1/devices", &json!({ "code": 3 })).expect(201);
    // Where a directory has to be made.
    let obstacle = bridge.world().data().join("credentials");
    fs::remove_dir_all(&obstacle).unwrap();
    fs::write(&obstacle, "").unwrap();
    let refused = http.post("/api/v1/connections", &json!({ "from": 1, "to": 3 })).expect(500).json();
    assert!(refused["written"][0].as_str().unwrap().ends_with("/connections.json"), "{refused}");
    assert!(
        refused["detail"].as_str().unwrap().contains("holds the change, but the running bridge"),
        "{refused}"
    );
    bridge.says(&["a change was tried by the administrator at 127.0.0.1: ", "holds the change"]);
    assert!(files(&bridge)[1].contains("\"One - 3\""));
    fs::remove_file(&obstacle).unwrap();
    bridge.after("configuration reloaded: connection added: default/one-3", || bridge.reload());
    downloaded(&bridge, &http, "one-3", "to");
}

#[test]
fn many_changes_at_once_are_made_one_after_the_other() {
    const MANY: usize = 20;
    let (bridge, http) = start(world());
    let add = |number: usize| {
        let body = json!({ "code": format!("many-{number}") });
        (number, http.post("/api/v1/devices", &body).status)
    };
    let answers: Vec<_> = thread::scope(|scope| {
        let started: Vec<_> = (0..MANY).map(|number| scope.spawn(move || add(number))).collect();
        // And a command beside them.
        bridge.world().succeed(&["add", "device", "of-a-command"]);
        started.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let devices: Value = serde_json::from_str(&files(&bridge)[0]).unwrap();
    let devices = devices["devices"].as_array().unwrap();
    let has = |code: &str| devices.iter().any(|device| device["code"] == code);
    assert!(has("of-a-command"));
    for (number, status) in answers {
        assert!([201, 503].contains(&status), "{status}");
        assert_eq!(has(&format!("many-{number}")), status == 201, "{number}");
    }
    bridge.world().succeed(&["check"]);
}

#[test]
fn whoever_is_not_logged_in_changes_and_fetches_nothing() {
    let (bridge, _) = start(world());
    let stranger = Http::of(&bridge);
    for (method, place) in [
        ("POST", "devices"),
        ("POST", "devices?dry_run=true"),
        ("PATCH", "devices/default.1"),
        ("DELETE", "devices/default.1?with_connections=true"),
        ("POST", "devices/default.1/rotate"),
        ("POST", "connections"),
        ("DELETE", "connections/default/a"),
        ("POST", "reload"),
        ("GET", "connections/default/a/from/credentials"),
    ] {
        stranger.send(method, &format!("/api/v1/{place}"), &[], Some(&json!({ "code": 7 }))).expect(401);
    }
    assert_eq!(files(&bridge), [DEVICES, CONNECTIONS]);
}

fn world() -> World {
    configured(World::empty())
}

fn configured(world: World) -> World {
    world.write("devices.json", DEVICES);
    world.write("connections.json", CONNECTIONS);
    world
}

#[track_caller]
fn start(world: World) -> (Bridge, Http) {
    let bridge = world.start();
    let http = Http::log_in(&bridge);
    (bridge, http)
}

fn files(bridge: &Bridge) -> [String; 2] {
    ["devices.json", "connections.json"]
        .map(|name| fs::read_to_string(bridge.world().config().join(name)).unwrap())
}

/// The credential file as a person gets it: it is the one that lies in the data directory.
#[track_caller]
fn downloaded(bridge: &Bridge, http: &Http, connection: &str, end: &str) -> Credentials {
    let place = format!("/api/v1/connections/default/{connection}/{end}/credentials");
    let answer = http.get(&place).expect(200);
    let name = format!("attachment; filename=\"{connection}-{end}.json\"");
    assert_eq!(answer.header("content-disposition"), Some(name.as_str()));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let kept = bridge.world().data().join(format!("credentials/default/{connection}/{end}.json"));
    assert_eq!(answer.body, fs::read(kept).unwrap());
    let file = bridge.world().data().join(format!("{connection}-{end}.json"));
    fs::write(&file, &answer.body).unwrap();
    Credentials::read(&file, bridge.addr)
}

#[track_caller]
fn seen(http: &Http, revision: &Value, method: &str, place: &str, body: &Value) -> Answer {
    let tag = format!("\"{}\"", revision.as_str().unwrap());
    http.send(method, place, &[("If-Match", &tag)], Some(body).filter(|body| !body.is_null()))
}
