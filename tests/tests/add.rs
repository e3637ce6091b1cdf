//! `add`: devices and connections come from the command line, whether a bridge runs or not.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use ior_tests::{
    Bridge, End, World, binary,
    clients::{Subscription, Tool},
    raw::Version::V5,
};
use serde_json::Value;

/// As people write files.
const DEVICES: &str = "{\r\n\t\"devices\": [\r\n\t\t{ \"code\": 1,  \"name\": \"One\", \"type\": \"Pi\" },\r\n\t\t\
                       { \"code\": \"two\", \"name\": \"Two\", \"type\": \"Pi\" }\r\n\t]\r\n}\r\n";
const CONNECTIONS: &str = "\u{feff}{\"connections\":[]}";

#[test]
fn a_device_and_its_connection_come_while_others_talk() {
    let bridge = Bridge::start();
    let world = bridge.world();
    let before = ["devices.json", "connections.json"].map(|name| read(world, name));
    let done = AtomicBool::new(false);
    let said = thread::scope(|scope| {
        let talking = scope.spawn(|| talk(&bridge, &done));
        let said = [
            world.succeed(&["add", "device", "77", "--name", "Boiler", "--type", "ESP32"]),
            world.succeed(&["add", "connection", "Boiler", "4569", "--name", "Heating"]),
        ];
        done.store(true, Ordering::Relaxed);
        assert!(talking.join().unwrap() > 0);
        said
    });
    let process = format!("the running bridge (process {}) has taken it up:\n", bridge.process().id());
    for (said, words) in said.iter().zip([
        [
            "Boiler (77) was added to ",
            "ior-bridge add connection default.77 DEVICE\n",
            "device added: Boiler (77).\n",
        ],
        [
            "Boiler (77) and Master 1 (4569) can talk",
            "credentials/default/heating/from.json\n",
            "connection added: default/heating.\n",
        ],
    ]) {
        assert!(said.contains(&process), "{said}");
        words.iter().for_each(|words| assert!(said.contains(words), "{said}"));
    }
    let after = ["devices.json", "connections.json"].map(|name| read(world, name));
    let new = [
        ",\n    { \"code\": 77, \"name\": \"Boiler\", \"type\": \"ESP32\" }",
        ",\n    { \"name\": \"Heating\", \"from\": 77, \"to\": 4569 }",
    ];
    for ((before, after), new) in before.iter().zip(&after).zip(new) {
        assert_eq!(after.replace(new, ""), *before);
        assert_eq!(after.len(), before.len() + new.len());
    }

    // With nothing but the files that were written.
    let [boiler, master] = [End::From, End::To].map(|end| bridge.credentials("heating", end));
    let tool = Tool::Mosquitto(V5);
    let wanted = Subscription { filter: &master.subscribe, qos: 1, persistent: false };
    let mut hears = tool.subscribe(&master.login, wanted);
    tool.publish(&boiler.login, &boiler.publish, 1, &[b"warm".to_vec()]);
    assert_eq!(hears.expect("warm").topic, "default/heating/77");
}

#[test]
fn without_a_running_bridge_the_files_are_written_and_hold_at_the_next_start() {
    let world = world();
    let said = world.succeed(&["add", "device", "three", "--name", "Dritter „ü\"", "--user", "eva"]);
    assert!(said.contains("No bridge is running: this holds when one is started."), "{said}");
    world.succeed(&["add", "device", "3", "--json"]);
    let report: Value =
        serde_json::from_str(&world.succeed(&["add", "connection", "two", "default.3", "--json"])).unwrap();
    assert_eq!(report["connection"]["id"], "two-3");
    assert_eq!((&report["running"], &report["pid"]), (&Value::Bool(false), &Value::Null));
    let file = |end: &str| report["connection"][end]["file"].as_str().unwrap().to_owned();
    assert!([file("from"), file("to")].iter().all(|file| fs::exists(file).unwrap()), "{report}");

    let new = "\r\n\t\t{ \"code\": \"three\", \"name\": \"Dritter „ü\\\"\", \"type\": \"Device\", \"user\": \"eva\" },\r\n\t\t\
               { \"code\": 3, \"name\": \"3\", \"type\": \"Device\" }";
    assert_eq!(
        read(&world, "devices.json"),
        DEVICES.replace("Pi\" }\r\n\t]", &format!("Pi\" }},{new}\r\n\t]"))
    );
    let connection = "[ { \"name\": \"Two - 3\", \"from\": \"two\", \"to\": 3 } ]";
    assert_eq!(read(&world, "connections.json"), CONNECTIONS.replace("[]", connection));

    let bridge = world.start();
    let [two, three] = [End::From, End::To].map(|end| bridge.credentials("two-3", end));
    let mut hears = bridge.connect(V5, &two);
    hears.subscribe(&two.subscribe, 1);
    bridge.connect(V5, &three).publish(&three.publish, "x", 1);
    hears.expect_payload("x");
}

#[test]
fn names_that_make_no_free_id_give_way_to_codes() {
    let world = world();
    for code in ["10", "11", "12", "13"] {
        world.succeed(&["add", "device", code, "--name", if code < "12" { "接続" } else { "Gate" }]);
    }
    let id = |arguments: &[&str]| {
        let report = world.succeed(&[&["add", "connection", "--json"], arguments].concat());
        serde_json::from_str::<Value>(&report).unwrap()["connection"]["id"].as_str().unwrap().to_owned()
    };
    assert_eq!(id(&["10", "11"]), "10-11");
    assert_eq!(id(&["1", "12"]), "one-gate");
    assert_eq!(id(&["1", "13"]), "1-13");
    assert_eq!(id(&["12", "13", "--id", "The_Gates"]), "The_Gates");
}

#[test]
fn what_would_be_wrong_changes_nothing() {
    let world = world();
    world.write("connections.json", r#"{ "connections": [ { "name": "C", "from": 1, "to": "two" } ] }"#);
    let before = [read(&world, "devices.json"), read(&world, "connections.json")];
    let long = "x".repeat(101);
    for (arguments, words) in [
        (&["device", "1"][..], "the user \"default\" has two devices with the code 1\n"),
        (&["device", "two"], "devices with the code \"two\""),
        (&["device", "a.b"], "a device code cannot contain '.'"),
        (&["device", "presence"], "presence messages have this topic"),
        (&["device", "7", "--user", "admin"], "the user \"admin\" is the bridge's own"),
        (&["device", "7", "--name", &long], "this cannot be longer than 100 characters"),
        (&["device", "7", "--name", ""], "this cannot be empty"),
        (&["connection", "1", "1"], "a device cannot be connected with itself"),
        (&["connection", "two", "1"], "two and 1 are connected already"),
        (&["connection", "1", "tow"], "no device \"tow\" of the user \"default\": did you mean \"two\"?"),
        (&["connection", "1", "two", "--id", "a/b"], "a connection id cannot contain '/'"),
        (
            &["connection", "1", "two", "--name", "🤖"],
            "has none of A-Z a-z 0-9; give one with --id, such as --id",
        ),
        (&["connection", "1", "two", "--name", &long[..70]], "longer than 64 characters; give one with --id"),
        (&["connection", "1"], "required arguments were not provided"),
        (&["devcie", "1"], "a similar subcommand exists: 'device'"),
    ] {
        let said = world.fail(2, &[&["add"], arguments].concat());
        assert!(said.contains(words), "{arguments:?}: {said}");
        let is_told = said.contains("nothing was changed: this is what would stand in the file");
        assert_eq!(is_told, said.contains(" in the configuration\n"), "{said}");
        assert_eq!([read(&world, "devices.json"), read(&world, "connections.json")], before, "{arguments:?}");
    }
    let said = world.fail(2, &["add", "device", "1"]);
    assert!(said.contains("devices.json:5:13\n") && said.contains("first here"), "in the new text: {said}");

    world.write("server.json", "{ \"hots\": 1 }");
    let said = world.fail(2, &["add", "device", "7"]);
    assert!(said.contains("did you mean \"host\"?") && !said.contains("nothing was changed"), "{said}");
    assert_eq!([read(&world, "devices.json"), read(&world, "connections.json")], before);
    assert!(!world.data().exists(), "not even a data directory");
}

#[test]
fn many_at_once_all_succeed() {
    const MANY: usize = 20;
    let world = world();
    let all = |world: &World, arguments: &dyn Fn(usize) -> Vec<String>| {
        let start = |number| {
            let mut command = world.command(&["add"]);
            command.args(arguments(number)).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let started: Vec<_> = (0..MANY).map(start).collect();
        for child in started {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    };
    all(&world, &|number| vec!["device".to_owned(), format!("many-{number}")]);
    let bridge = world.start();
    all(bridge.world(), &|number| vec!["connection".to_owned(), "1".to_owned(), format!("many-{number}")]);
    for number in 0..MANY {
        let who = bridge.credentials(&format!("one-many-{number}"), End::To);
        bridge.connect(V5, &who).subscribe(&who.subscribe, 1);
    }
}

#[test]
fn a_link_stays_a_link() {
    let world = world();
    let file = world.config().join("devices.json");
    let elsewhere = world.config().join("real.json");
    fs::rename(&file, &elsewhere).unwrap();
    symlink("real.json", &file).unwrap();
    world.succeed(&["add", "device", "3"]);
    assert!(fs::symlink_metadata(&file).unwrap().is_symlink());
    assert!(fs::read_to_string(&elsewhere).unwrap().contains("\"code\": 3"));
}

/// Whoever may write into the directory, as the bridge's user may for the page, must not lead root elsewhere.
#[test]
fn root_follows_no_link_of_somebody_else() {
    const SOMEBODY: u32 = 65_534;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let world = world();
    let [file, elsewhere] = ["devices.json", "elsewhere.json"].map(|name| world.config().join(name));
    fs::rename(&file, &elsewhere).unwrap();
    symlink("elsewhere.json", &file).unwrap();
    lchown(&file, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    let said = world.fail(1, &["add", "device", "3"]);
    for words in ["devices.json is a link that the user 65534 made", "chown -h root", "; nothing was changed"]
    {
        assert!(said.contains(words), "{said}");
    }
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), DEVICES);
    lchown(&file, Some(0), Some(0)).unwrap();
    world.succeed(&["add", "device", "3"]);
}

#[test]
fn who_may_not_write_is_told_how() {
    let world = world();
    let before = read(&world, "devices.json");
    // Root may write anywhere, so it is somebody else who tries.
    let mut command = if rustix::process::geteuid().is_root() {
        let here = world.config().parent().unwrap().to_owned();
        let copy = here.join("ior-bridge");
        fs::copy(binary(), &copy).unwrap();
        for path in [&here, &copy] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(copy);
        command.arg("--config").arg(world.config()).args(["add", "device", "3"]).current_dir(here);
        command
    } else {
        fs::set_permissions(world.config(), fs::Permissions::from_mode(0o555)).unwrap();
        world.command(&["add", "device", "3"])
    };
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("devices.json cannot be replaced: Permission denied"), "{said}");
    assert!(said.contains("run this with sudo") && said.ends_with("; nothing was changed\n"), "{said}");
    assert_eq!(read(&world, "devices.json"), before);
    assert!(!world.data().exists());
    fs::set_permissions(world.config(), fs::Permissions::from_mode(0o755)).unwrap();
}

/// Regression: the CA that root made before the first start could not be read by the bridge.
#[test]
fn what_root_makes_before_the_first_start_belongs_to_the_bridge() {
    const SOMEBODY: u32 = 65_534;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let world = world();
    fs::create_dir(world.data()).unwrap();
    chown(world.data(), Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    world.succeed(&["add", "connection", "1", "two"]);
    world.succeed(&["remove", "connection", "one-two", "--yes"]);
    world.succeed(&["add", "connection", "1", "two"]);
    let mut left = vec![world.data()];
    while let Some(path) = left.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (SOMEBODY, SOMEBODY), "{}", path.display());
        if metadata.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    assert_eq!(fs::metadata(world.config().join("devices.json")).unwrap().uid(), 0);
}

#[test]
fn a_bridge_that_runs_with_other_directories_is_noticed() {
    let bridge = world().start();
    let data = bridge.world().data();
    let other = world().env("IOR_BRIDGE__DATA_DIR", data.to_str().unwrap());
    let said = other.fail(2, &["add", "device", "3"]);
    let config = bridge.world().config().canonicalize().unwrap();
    assert!(said.contains(&format!("was started with --config {}, not with ", config.display())), "{said}");
    assert!(said.ends_with("nothing was changed\n"), "{said}");
    assert_eq!(read(&other, "devices.json"), DEVICES);

    // The socket is in the same place, and the data is not.
    let mut command = bridge.world().command(&["add", "connection", "1", "two", "--json"]);
    command.env("RUNTIME_DIRECTORY", &data).env("IOR_BRIDGE__DATA_DIR", other.data());
    let report: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
    assert_eq!(report["data_dir"], data.canonicalize().unwrap().to_str().unwrap());
    assert!(fs::exists(report["connection"]["to"]["file"].as_str().unwrap()).unwrap());
    let mut command = bridge.world().command(&["add", "device", "3"]);
    command.env("RUNTIME_DIRECTORY", &data).env("IOR_BRIDGE__DATA_DIR", other.data());
    let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert!(said.contains("not on the one named here"), "{said}");
}

#[test]
fn a_bridge_that_refuses_is_told_with_what_stands_in_the_file() {
    let bridge = world().start();
    // Where a directory has to be made.
    let obstacle = bridge.world().data().join("credentials");
    fs::remove_dir_all(&obstacle).unwrap_or_default();
    fs::write(&obstacle, "").unwrap();
    let said = bridge.world().fail(1, &["add", "connection", "1", "two"]);
    let process = format!(
        "connections.json holds the change, but the running bridge (process {}) refuses: ",
        bridge.process().id()
    );
    assert!(said.contains(&process) && said.contains("data/credentials"), "{said}");
    assert!(said.ends_with("the bridge takes the change up by itself\n"), "{said}");
    assert!(read(bridge.world(), "connections.json").contains("One - Two"));
    fs::remove_file(&obstacle).unwrap();
    bridge.after("configuration reloaded: connection added: default/one-two", || bridge.reload());
    bridge.credentials("one-two", End::From);
}

#[test]
fn a_bridge_that_does_not_answer_is_told_and_nothing_is_changed() {
    let bridge = world().start();
    bridge.process().pause();
    let said = bridge.world().fail(1, &["add", "device", "3"]);
    bridge.process().resume();
    assert!(said.contains("the running bridge does not answer through "), "{said}");
    assert!(said.ends_with("nothing was changed\n"), "{said}");
    assert_eq!(read(bridge.world(), "devices.json"), DEVICES);
}

fn world() -> World {
    let world = World::empty();
    world.write("devices.json", DEVICES);
    world.write("connections.json", CONNECTIONS);
    world
}

fn read(world: &World, name: &str) -> String {
    fs::read_to_string(world.config().join(name)).unwrap()
}

/// Each message of connection 1 arrives, once and in its place, until somebody says so; gives how many.
fn talk(bridge: &Bridge, done: &AtomicBool) -> usize {
    let [from, to] = [End::From, End::To].map(|end| bridge.credentials("connection-1", end));
    let (mut sender, mut receiver) = (bridge.connect(V5, &from), bridge.connect(V5, &to));
    receiver.subscribe(&to.subscribe, 1);
    for number in 0.. {
        sender.publish(&from.publish, number.to_string(), 1);
        receiver.expect_payload(&number.to_string());
        if done.load(Ordering::Relaxed) {
            return number;
        }
    }
    unreachable!("numbers do not end")
}
