//! The page, as whoever looks after a bridge uses it: a real browser, the real binary, real devices.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;

use ior_tests::{
    Bridge, Credentials, End, World,
    clients::{Subscription, Tool},
    raw::{Kind, Publish, Version::V5},
    visitor::{Browser, Download, LOG_IN, Visitor, first_password},
};

#[test]
fn a_device_comes_and_goes_while_one_looks() {
    let bridge = Bridge::start();
    let browser = Browser::open();
    let visitor = browser.visit(&bridge);
    visitor.sees(LOG_IN);
    assert_eq!(visitor.path(), "/login");
    visitor.logs_in(bridge.world());
    visitor.sees("role=heading[name=\"Overview\"]");
    visitor.goes_by_the_menu("Devices");
    visitor.sees("tr:has-text(\"Master 1\") >> text=Offline");

    let device = bridge.connect(V5, &bridge.credentials("connection-1", End::From));
    visitor.sees("tr:has-text(\"Master 1\") >> text=Online");
    visitor.sees("tr:has-text(\"Master 1\"):has-text(\"127.0.0.1\")");
    visitor.sees("tr:has-text(\"Slave 1\") >> text=Offline");
    visitor.clicks("role=link[name=\"Master 1\"]");
    visitor.sees("role=heading[name=\"Master 1\"]");
    assert_eq!(visitor.path(), "/devices/default.4569");
    visitor.sees(".view-head >> text=Online");
    visitor.sees("role=log >> text=Connected");

    device.disconnect();
    visitor.sees(".view-head >> text=Offline");
    visitor.sees("role=log >> text=Disconnected");
    visitor.clicks("role=link[name=\"Connection 1\"]");
    visitor.sees("role=heading[name=\"Connection 1\"]");
    visitor.goes_by_the_menu("Live");
    visitor.sees("role=log >> text=Disconnected");
    visitor.goes_by_the_menu("Account");
    visitor.sees("text=The first password is still in use");
    visitor.clicks("role=button[name=\"Log out\"]");
    visitor.sees(LOG_IN);
    visitor.goes_to("/devices");
    visitor.sees(LOG_IN);
}

#[test]
fn what_is_made_on_the_page_works_until_it_is_deleted_there() {
    let bridge = Bridge::start();
    let browser = Browser::open();
    let visitor = browser.visit(&bridge);
    visitor.logs_in(bridge.world());
    visitor.goes_by_the_menu("Devices");
    add_device(&visitor, "77", "Lamp");
    add_device(&visitor, "78", "Switch");
    visitor.goes_by_the_menu("Connections");
    visitor.clicks("role=button[name=\"Create connection\"]");
    choose_device(&visitor, "From", "Lamp");
    choose_device(&visitor, "To", "Switch");
    visitor.fills("Name", "Kitchen");
    visitor.sees("role=dialog >> text=default/kitchen/77");
    visitor.clicks("role=dialog >> role=button[name=\"Create\"]");
    visitor.sees("text=The connection is ready.");
    assert_eq!(visitor.path(), "/connections/default/kitchen");

    let from = downloaded(&bridge, "from", visitor.downloads(&file_of("Lamp")));
    let to = downloaded(&bridge, "to", visitor.downloads(&file_of("Switch")));
    visitor.clicks("role=button[name=\"Show messages …\"]");
    visitor.clicks("role=dialog >> role=button[name=\"Show messages\"]");
    visitor.sees("role=group[name=\"Message view\"]");
    visitor.sees("header >> text=Messages shown");
    let tool = Tool::Mosquitto(V5);
    let mut listener =
        tool.subscribe(&to.login, Subscription { filter: &to.subscribe, qos: 1, persistent: false });
    visitor.sees("role=region[name=\"Devices\"] >> text=Online");
    tool.publish(&from.login, &format!("{}/light", from.publish), 1, &[br#"{"on":true}"#.to_vec()]);
    listener.expect(r#"{"on":true}"#);
    visitor.sees(".message:has-text(\"default/kitchen/77/light\"):has-text(\"\\\"on\\\": true\")");
    visitor.sees("role=region[name=\"Lamp to Switch\"] >> text=1 message");
    visitor.sees("role=region[name=\"Switch to Lamp\"] >> text=none");
    visitor.clicks("role=button[name=\"Stop showing\"]");
    visitor.sees("role=button[name=\"Show messages …\"]");
    visitor.clicks("role=region[name=\"Credentials of Lamp\"] >> role=button[name=\"QR code\"]");
    visitor.sees("role=dialog >> role=img[name=\"QR code with the credentials of Lamp\"]");
    visitor.presses("Escape");
    visitor.clicks("role=region[name=\"Credentials of Lamp\"] >> role=button[name=\"Snippets\"]");
    visitor.sees("role=tabpanel >> text=mosquitto_pub");

    let mut speaker = bridge.connect(V5, &from);
    speaker.publish(&from.publish, "still there", 1);
    listener.expect("still there");
    visitor.clicks("role=button[name=\"Delete …\"]");
    visitor.sees("role=dialog >> text=can no longer exchange messages");
    visitor.clicks("role=dialog >> role=button[name=\"Delete\"]");
    visitor.sees("role=heading[name=\"Connections\"]");
    visitor.misses("article:has-text(\"Kitchen\")");
    speaker.send(Publish::new(&from.publish, "gone").qos(1, 9));
    assert_eq!(speaker.expect_ack(Kind::PubAck, 9).reason, 0x87);
    assert!(!from.file.exists() && !read(bridge.world(), "connections.json").contains("Kitchen"));
    bridge.says(&["connection removed: default/kitchen"]);
}

#[test]
fn whoever_edits_at_the_same_time_is_told_and_overwrites_nothing() {
    let bridge = Bridge::start();
    let browser = Browser::open();
    let [one, other] = [(), ()].map(|()| browser.visit(&bridge));
    for visitor in [&one, &other] {
        visitor.logs_in(bridge.world());
        visitor.goes_by_the_menu("Devices");
    }
    one.clicks("role=button[name=\"Add device\"]");
    one.fills("Code", "71");
    add_device(&other, "72", "Faster");
    one.clicks("role=dialog >> role=button[name=\"Add device\"]");
    one.sees("role=dialog >> text=Somebody changed the configuration");
    one.sees("role=dialog >> text=The device Faster (72)");
    one.clicks("role=button[name=\"Back\"]");
    assert!(!read(bridge.world(), "devices.json").contains("71"));

    // What was typed is still there, and now it is meant.
    one.clicks("role=dialog >> role=button[name=\"Add device\"]");
    one.clicks("role=button[name=\"Make my change all the same\"]");
    one.sees("role=dialog >> text=71 is added");
    one.presses("Escape");
    let devices = read(bridge.world(), "devices.json");
    assert!(
        devices.contains("71") && devices.contains("Faster") && devices.contains("Master 1"),
        "{devices}"
    );

    // The file itself, with an editor.
    other.sees("tr:has-text(\"71\")");
    other.clicks("role=button[name=\"Add device\"]");
    other.fills("Code", "73");
    bridge.world().write("devices.json", &devices.replace("Master 1", "Edited by hand"));
    other.clicks("role=dialog >> role=button[name=\"Add device\"]");
    other.sees("role=dialog >> text=is now: The device Edited by hand");
    let devices = read(bridge.world(), "devices.json");
    assert!(devices.contains("Edited by hand") && !devices.contains("73"), "{devices}");
    one.sees("role=link[name=\"Edited by hand\"]");
}

#[test]
fn a_change_of_the_password_ends_other_pages_and_is_asked_for_from_then_on() {
    let bridge = Bridge::start();
    let first = first_password(bridge.world());
    let browser = Browser::open();
    let [one, other] = [(), ()].map(|()| browser.visit(&bridge));
    one.logs_in(bridge.world());
    other.logs_in(bridge.world());
    one.goes_by_the_menu("Account");
    one.fills("Current password", &first);
    one.fills("New password", "four unrelated plain words");
    one.fills("New password, again", "four unrelated plain words");
    one.clicks("role=button[name=\"Change password\"]");
    one.sees("text=The password is changed.");
    one.misses("text=The first password is still in use");
    other.sees(LOG_IN);
    assert!(!bridge.world().data().join("admin-password").exists());
    other.fills("Password", &first);
    other.clicks(LOG_IN);
    other.sees("text=This is not the password.");
    other.fills("Password", "four unrelated plain words");
    other.clicks(LOG_IN);
    other.sees("role=navigation");

    one.clicks("role=button[name=\"New token\"]");
    one.fills("Name", "collector");
    one.clicks("role=dialog >> role=button[name=\"Make token\"]");
    let token = one.reads("role=dialog >> .secret code");
    assert!(!bridge.log().contains(&token) && !bridge.log().contains("four unrelated"), "{}", bridge.log());
    one.clicks("role=button[name=\"Done\"]");
    one.clicks("role=button[name=\"Revoke collector\"]");
    one.clicks("role=dialog >> role=button[name=\"Revoke\"]");
    one.sees("text=No tokens");
}

#[test]
fn a_page_knows_when_its_bridge_is_away_and_back() {
    let bridge = Bridge::start();
    let world_of = |bridge: Bridge| {
        let (status, world) = bridge.stop();
        assert!(status.success());
        world
    };
    let browser = Browser::open();
    let visitor = browser.visit(&bridge);
    visitor.logs_in(bridge.world());
    visitor.goes_by_the_menu("Devices");
    visitor.sees("header >> text=Live");
    let web = bridge.web.unwrap().to_string();
    let world = world_of(bridge).env("IOR_BRIDGE__WEB__LISTEN", &web);
    visitor.sees("text=The connection to the bridge is lost");
    visitor.forgives("ERR_CONNECTION_REFUSED");
    let bridge = world.start();
    // Sessions are kept in memory: whoever was logged in logs in again, and is where he was.
    visitor.sees(LOG_IN);
    visitor.forgives("ERR_");
    visitor.fills("Password", &first_password(bridge.world()));
    visitor.clicks(LOG_IN);
    visitor.sees("tr:has-text(\"Master 1\")");
    assert_eq!(visitor.path(), "/devices");
}

fn add_device(visitor: &Visitor, code: &str, name: &str) {
    visitor.clicks("role=button[name=\"Add device\"]");
    visitor.fills("Code", "not a code");
    visitor.sees("role=dialog >> .field.is-wrong");
    visitor.fills("Code", code);
    visitor.misses("role=dialog >> .field.is-wrong");
    visitor.fills("Name (optional)", name);
    visitor.clicks("role=dialog >> role=button[name=\"Add device\"]");
    visitor.sees(&format!("role=dialog >> text={name} is added"));
    visitor.presses("Escape");
    visitor.sees(&format!("role=link[name=\"{name}\"]"));
}

fn choose_device(visitor: &Visitor, end: &str, name: &str) {
    visitor.fills(end, name);
    visitor.clicks(&format!("role=option >> text={name}"));
}

fn file_of(device: &str) -> String {
    format!("role=region[name=\"Credentials of {device}\"] >> text=Download file")
}

/// What was downloaded is what the bridge wrote beside its store.
fn downloaded(bridge: &Bridge, end: &str, download: Download) -> Credentials {
    assert_eq!(download.name, format!("kitchen-{end}.json"));
    let file = bridge.world().data().join("credentials/default/kitchen").join(format!("{end}.json"));
    assert_eq!(fs::read_to_string(&file).unwrap(), download.text);
    Credentials::read(&file, bridge.addr)
}

fn read(world: &World, file: &str) -> String {
    fs::read_to_string(world.config().join(file)).unwrap()
}
