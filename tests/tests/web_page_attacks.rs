//! What somebody could try on the page and through it. Whoever visits fails the test if the browser was told to run, show or
//! fetch anything that is not the page's.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use ior_tests::{
    Bridge, End, World,
    raw::{Connect, Kind, Publish, Version::V5},
    visitor::{Browser, LOG_IN, first_password},
};
use serde_json::json;

/// Text that is markup, script or an address wherever it is taken for more than text.
const MARKUP: &str = "<img src=x onerror=alert(1)>";
const SCRIPT: &str = "\"'><script>alert(2)</script>";
const ADDRESS: &str = "javascript:alert(3)";

#[test]
fn a_wrong_password_lets_nobody_in() {
    let bridge = World::empty().answering_at_once().start();
    let browser = Browser::open();
    let visitor = browser.visit(&bridge);
    visitor.fills("Password", "wrong");
    visitor.clicks(LOG_IN);
    visitor.sees("text=This is not the password.");
    assert_eq!((visitor.path().as_str(), visitor.cookies()), ("/login", json!([])));
    for path in
        ["/", "/devices", "/devices/default.4569", "/connections/default/connection-1", "/live", "/account"]
    {
        visitor.goes_to(path);
        visitor.sees(LOG_IN);
    }
    visitor.logs_in(bridge.world());
    // Where he wanted to go last.
    assert_eq!(visitor.path(), "/account");
    let cookies = visitor.cookies();
    for cookie in cookies.as_array().unwrap() {
        assert_eq!((&cookie["httpOnly"], &cookie["sameSite"]), (&json!(true), &json!("Strict")), "{cookie}");
    }
    assert!(!cookies.as_array().unwrap().is_empty());
}

#[test]
fn an_expired_session_leads_to_the_login_and_back() {
    let bridge = World::empty().env("IOR_BRIDGE__WEB__SESSION_MAX_AGE", "8s").start();
    let browser = Browser::open();
    let visitor = browser.visit(&bridge);
    visitor.logs_in(bridge.world());
    visitor.goes_by_the_menu("Connections");
    // By itself, when it is over.
    visitor.sees(LOG_IN);
    visitor.logs_in(bridge.world());
    visitor.sees("role=heading[name=\"Connections\"]");
    visitor.forgets_cookies();
    visitor.goes_to("/devices");
    visitor.sees(LOG_IN);
}

#[test]
fn names_topics_and_payloads_are_shown_and_never_obeyed() {
    let world = World::empty().answering_at_once();
    world.configure(
        &json!([
            { "code": 1, "name": MARKUP, "type": SCRIPT },
            { "code": 2, "name": SCRIPT, "type": MARKUP },
            { "code": 3, "name": ADDRESS, "type": "{{7*7}} ${7*7}" },
        ]),
        &json!([
            { "id": "a", "name": MARKUP, "from": 1, "to": 2 },
            { "id": "b", "name": SCRIPT, "from": 1, "to": 3 },
        ]),
    );
    let bridge = world.start();
    let browser = Browser::open();
    let visitor = browser.visit(&bridge);
    visitor.logs_in(bridge.world());
    visitor.goes_to("/connections/default/a");
    visitor.clicks("role=button[name=\"Show messages …\"]");
    visitor.clicks("role=dialog >> role=button[name=\"Show messages\"]");
    visitor.sees("role=group[name=\"Message view\"]");

    let [one, two] = [End::From, End::To].map(|end| bridge.credentials("a", end));
    let (mut speaker, _) = bridge.connect_with(V5, &one, Connect::new(MARKUP));
    let (mut listener, _) = bridge.connect_with(V5, &two, Connect::new(SCRIPT));
    listener.subscribe(&two.subscribe, 1);
    let topic = format!("{}/{MARKUP}", one.publish);
    for payload in [MARKUP, SCRIPT, ADDRESS, "{\"<b>\": \"<img src=x onerror=alert(4)>\"}", "\u{202e}gnp.exe"]
    {
        speaker.publish(&topic, payload, 1);
        assert_eq!(listener.expect_message().text(), payload);
    }
    speaker.send(Publish::new(MARKUP, SCRIPT).qos(1, 9));
    assert_eq!(speaker.expect_ack(Kind::PubAck, 9).reason, 0x87);
    let mut stranger = bridge.open(V5);
    stranger.send(Connect::new(SCRIPT).user_name(MARKUP).password("x"));
    stranger.expect_connack();

    visitor.sees(&format!(".message >> text={topic}"));
    visitor.sees(&format!(".message pre:has-text(\"{MARKUP}\")"));
    visitor.sees(".message pre:has-text(\"<script>alert(2)</script>\")");
    visitor.sees(".message pre:has-text(\"U+202E\")");
    for path in ["/", "/devices", "/devices/default.1", "/devices/default.2", "/connections", "/live"] {
        visitor.goes_to(path);
        visitor.sees(&format!("text={MARKUP}"));
        assert_eq!(
            visitor.counts("img[src=x], script:has-text(\"alert\"), a[href^=javascript]"),
            0,
            "{path}"
        );
    }
    visitor.sees("role=log >> text=Denied");
    visitor.sees("role=log >> text=Refused");
    visitor.goes_to("/devices");
    visitor.clicks("role=button[name=\"Add device\"]");
    visitor.fills("Code", "4");
    visitor.fills("Name (optional)", MARKUP);
    visitor.clicks("role=dialog >> role=button[name=\"Add device\"]");
    visitor.sees("role=dialog >> text=is added");
    visitor.clicks("role=button[name=\"Connect it\"]");
    visitor.fills("To", "java");
    visitor.clicks(&format!("role=option >> text={ADDRESS}"));
    visitor.clicks("role=dialog >> role=button[name=\"Create\"]");
    visitor.sees("text=The connection is ready.");
    visitor.clicks("role=button[name=\"Delete …\"]");
    visitor.sees("role=dialog >> text=can no longer exchange messages");
}

#[test]
fn an_address_that_names_another_place_leads_nowhere_else() {
    let bridge = Bridge::start();
    let browser = Browser::open();
    let visitor = browser.visit(&bridge);
    for next in ["https://example.org/", "//example.org/", "/\\example.org", "javascript:alert(1)", "/login"]
    {
        visitor.forgets_cookies();
        visitor.goes_to(&format!("/login?next={}", next.replace(':', "%3A").replace('\\', "%5C")));
        visitor.fills("Password", &first_password(bridge.world()));
        visitor.clicks(LOG_IN);
        visitor.sees("role=heading[name=\"Overview\"]");
        assert_eq!(visitor.path(), "/", "{next}");
    }
    for path in ["/devices/default.0000", "/connections/default/none", "/connections/..%2f..%2fetc/passwd"] {
        visitor.goes_to(path);
        visitor.sees("h1");
    }
}
