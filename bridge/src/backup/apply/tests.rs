#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use super::*;

/// What was there, and what is to come: names and contents, in `config` and `data`.
const OLD: [(&str, &str); 7] = [
    ("config/devices.json", "old devices"),
    ("config/connections.json", "old connections"),
    ("config/server.json", "old server"),
    ("data/secret.key", "old key"),
    ("data/ca/ca.crt", "old ca"),
    ("data/store/store.db", "old store"),
    ("data/rotation.json", "old rotation"),
];
const NEW: [(&str, &str); 7] = [
    ("config/devices.json", "new devices"),
    ("config/connections.json", "new connections"),
    ("config/schema/devices.schema.json", "new schema"),
    ("data/secret.key", "new key"),
    ("data/store/store.db", "new store"),
    ("data/pairs.json", "new pairs"),
    ("data/tls/own.pem", "new pem"),
];

struct World(tempfile::TempDir);

impl World {
    /// With a restore that is committed, of which nothing is done.
    fn pending() -> Self {
        let world = Self(tempfile::tempdir().unwrap());
        world.put("", &OLD);
        world.put("data/restore/", &NEW);
        let [config_dir, pending] = ["config", "data/restore"].map(|name| world.path(name));
        let gone = gone(&names(&pending.join(DATA)).unwrap());
        let plan = Plan { config_dir, keep: "before".to_owned(), gone };
        fs::write(pending.join(PLAN), serde_json::to_vec(&plan).unwrap()).unwrap();
        world.put("data/restore/before/", &[("devices.json", "old devices"), ("server.json", "old server")]);
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, below: &str, files: &[(&str, &str)]) {
        for (name, contents) in files {
            let path = self.path(&format!("{below}{name}"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, contents).unwrap();
        }
    }

    fn files(&self) -> BTreeMap<String, String> {
        let files = files_below(self.0.path(), Path::new("")).unwrap();
        let read = |path: PathBuf| {
            (path.display().to_string(), fs::read_to_string(self.0.path().join(path)).unwrap())
        };
        files.into_iter().map(read).collect()
    }
}

fn all_new() -> BTreeMap<String, String> {
    let kept = [
        ("data/before/config/devices.json", "old devices"),
        ("data/before/config/server.json", "old server"),
        ("data/before/secret.key", "old key"),
        ("data/before/ca/ca.crt", "old ca"),
        ("data/before/store/store.db", "old store"),
        ("data/before/rotation.json", "old rotation"),
    ];
    NEW.into_iter().chain(kept).map(|(name, contents)| (name.to_owned(), contents.to_owned())).collect()
}

#[test]
fn what_is_cut_short_after_any_step_is_finished() {
    let mut steps = names(&World::pending().path("data/restore/data")).unwrap();
    steps.extend(["ca".to_owned(), "rotation.json".to_owned()]);
    // Before and after the configuration, then after every name, and in the middle of every name.
    for done in 0..=2 * steps.len() + 1 {
        let world = World::pending();
        let [data, staged, keep] = ["data", "data/restore/data", "data/before"].map(|name| world.path(name));
        if done > 0 {
            create_private_dir(&keep).unwrap();
            put_configuration(&world.path("data/restore/config"), &world.path("config")).unwrap();
        }
        for (number, name) in steps.iter().enumerate() {
            if done > 2 * number + 2 {
                replace(&staged, &data, &keep, name).unwrap();
            } else if done == 2 * number + 2 {
                put_aside(&data.join(name), &keep.join(name)).unwrap();
            }
        }
        finish(&world.path("config"), &data).unwrap();
        assert_eq!(world.files(), all_new(), "after {done} steps");
    }
}

#[test]
fn what_was_made_in_the_middle_gives_way() {
    let world = World::pending();
    let [data, keep] = ["data", "data/before"].map(|name| world.path(name));
    create_private_dir(&keep).unwrap();
    for name in ["secret.key", "store"] {
        fs::rename(data.join(name), keep.join(name)).unwrap();
    }
    world.put("data/", &[("secret.key", "another key"), ("store/store.db", "another store")]);
    finish(&world.path("config"), &data).unwrap();
    assert_eq!(world.files(), all_new());
}

#[test]
fn a_start_finishes_what_was_cut_short_and_once_only() {
    let world = World::pending();
    fs::remove_file(world.path("config/server.json")).unwrap();
    let environment = Environment::new();
    assert!(finish_pending(&world.path("config"), &environment).unwrap());
    assert!(!finish_pending(&world.path("config"), &environment).unwrap());
    assert_eq!(fs::read_to_string(world.path("data/secret.key")).unwrap(), "new key");
}

#[test]
fn what_lies_in_the_data_directory_cannot_have_root_write_or_read_elsewhere() {
    let refuses = |world: &World| {
        let refused = finish(&world.path("config"), &world.path("data")).unwrap_err().to_string();
        for (name, contents) in OLD {
            assert_eq!(fs::read_to_string(world.path(name)).unwrap(), contents, "{refused}");
        }
        refused
    };
    let elsewhere = tempfile::tempdir().unwrap();
    let [here, there] = [|world: &World| world.path("config"), |world: &World| world.path("data/ca")];
    for (config_dir, keep, gone) in
        [(there, "before", "ca"), (here, "../before", "ca"), (here, "before", "../config"), (here, "", "ca")]
    {
        let world = World::pending();
        let plan =
            Plan { config_dir: config_dir(&world), keep: keep.to_owned(), gone: vec![gone.to_owned()] };
        fs::write(world.path("data/restore/plan.json"), serde_json::to_vec(&plan).unwrap()).unwrap();
        let refused = refuses(&world);
        assert!(refused.contains("--config") || refused.contains("leads elsewhere"), "{refused}");
    }
    for link in ["data/restore/config", "data/restore/data", "data/before"] {
        let world = World::pending();
        remove(&world.path(link)).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), world.path(link)).unwrap();
        assert!(refuses(&world).contains("is a link"));
    }
    let world = World::pending();
    let secret = elsewhere.path().join("secret");
    fs::write(&secret, "root's").unwrap();
    std::os::unix::fs::symlink(&secret, world.path("data/restore/config/secret.json")).unwrap();
    assert!(refuses(&world).contains("is a link"));
    assert!(!world.path("config/secret.json").exists());
}

#[test]
fn nothing_begins_that_cannot_be_finished() {
    let world = World(tempfile::tempdir().unwrap());
    world.put("", &OLD);
    world.put("", &[("config/schema", "not a directory")]);
    let before = world.files();
    let [config, data] = ["config", "data"].map(|name| world.path(name));
    let dir = tempfile::Builder::new().prefix("restore.new-").tempdir_in(&data).unwrap();
    let name = dir.path().strip_prefix(world.0.path()).unwrap().display().to_string();
    world.put(&format!("{name}/"), &NEW);
    let error = Staged { dir, _lock: File::open(&data).unwrap() }
        .put_in_place(&config, &data, || true)
        .unwrap_err()
        .to_string();
    assert!(error.contains("config/schema") && error.ends_with("nothing was changed"), "{error}");
    assert_eq!(world.files(), before);
}

#[test]
fn nothing_begins_when_the_bridge_has_started_again_meanwhile() {
    let world = World(tempfile::tempdir().unwrap());
    world.put("", &OLD);
    let before = world.files();
    let [config, data] = ["config", "data"].map(|name| world.path(name));
    let dir = tempfile::Builder::new().prefix("restore.new-").tempdir_in(&data).unwrap();
    let name = dir.path().strip_prefix(world.0.path()).unwrap().display().to_string();
    world.put(&format!("{name}/"), &NEW);
    let staged = Staged { dir, _lock: File::open(&data).unwrap() };
    let error = staged.put_in_place(&config, &data, || false).unwrap_err().to_string();
    assert!(error.ends_with("has started again: try again; nothing was changed"), "{error}");
    assert_eq!(world.files(), before);
}

#[test]
fn configuration_files_keep_their_mode_and_stay_links() {
    let world = World::pending();
    let [devices, elsewhere] = ["config/devices.json", "elsewhere.json"].map(|name| world.path(name));
    fs::rename(&devices, &elsewhere).unwrap();
    fs::set_permissions(&elsewhere, Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &devices).unwrap();
    finish(&world.path("config"), &world.path("data")).unwrap();
    assert!(devices.is_symlink());
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "new devices");
    assert_eq!(fs::metadata(&elsewhere).unwrap().permissions().mode() & 0o777, 0o640);
}
