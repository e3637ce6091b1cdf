//! `docs/web.md`: every command does what it says.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use ior_tests::{
    Bridge, World, binary,
    documents::{blocks, read},
    http::Http,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Commands that end with Ctrl-C only, and who tries what they do.
const ENDLESS: [(&str, &str); 2] = [
    ("ssh -N -L 8080:127.0.0.1:8080 ", "there is no other machine here"),
    ("curl -sSN ", "tests/tests/web_live.rs reads the stream"),
];

#[test]
fn commands_of_the_document_do_what_it_says() {
    let bridge = World::empty().env("IOR_BRIDGE__HOST", "localhost").start();
    let directory = TempDir::new().unwrap();
    let lines = blocks("docs/web.md", "sh").concat();
    for (endless, _) in ENDLESS {
        assert!(lines.lines().any(|line| line.starts_with(endless)), "{endless}");
    }
    let is_endless = |line: &&str| ENDLESS.iter().any(|(endless, _)| line.starts_with(endless));
    let lines: Vec<_> = lines.lines().filter(|line| !is_endless(line)).collect();
    let script = lines.join("\n");
    assert!(script.matches("http://127.0.0.1:8080").count() > 8, "{script}");
    let prometheus = directory.path().join("prometheus");
    fs::create_dir(&prometheus).unwrap();
    let script = script
        .replace("http://127.0.0.1:8080", &format!("http://{}", bridge.web.unwrap()))
        .replace("/var/lib/ior-bridge", bridge.world().data().to_str().unwrap())
        .replace("/etc/prometheus", prometheus.to_str().unwrap());
    let said = shell(&bridge, directory.path(), &script);
    for words in ["\"default.7001\"", "\"removed\":", "ior_bridge_devices 4", "# EOF", "{\"status\":\"ok\"}"]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
    let file: Value =
        serde_json::from_slice(&fs::read(directory.path().join("greenhouse.json")).unwrap()).unwrap();
    assert_eq!((&file["deviceCode"], &file["peer"]["deviceCode"]), (&json!(7001), &json!(5412)));
    assert_private(&directory.path().join("greenhouse.json"));
    assert_private(&prometheus.join("ior-bridge.token"));
    let token = fs::read_to_string(prometheus.join("ior-bridge.token")).unwrap();
    let http = Http::of(&bridge).with_token(token.trim_end());
    http.get("/metrics").expect(200);
    http.get("/api/v1/status").expect(403);
    let ca = fs::read_to_string(prometheus.join("ior-bridge-ca.crt")).unwrap();
    assert!(ca.starts_with("-----BEGIN CERTIFICATE-----"), "{ca}");
    Http::log_in(&bridge).get("/api/v1/devices/default.7001").expect(404);
}

#[test]
fn over_the_network_it_speaks_tls_with_the_bridges_ca() {
    let settings: Value = serde_json::from_str(&blocks("docs/web.md", "json")[0]).unwrap();
    assert_eq!(settings["web"]["listen"], "0.0.0.0:8080");
    let bridge = World::empty()
        .env("IOR_BRIDGE__HOST", "localhost")
        .env("IOR_BRIDGE__WEB__LISTEN", "0.0.0.0:0")
        .start();
    let port = bridge.web.unwrap().port();
    let directory = TempDir::new().unwrap();
    let ca = bridge.world().data().join("ca/ca.crt");
    let script =
        format!("curl -sS --fail-with-body --cacert {} https://localhost:{port}/readyz", ca.display());
    assert_eq!(shell(&bridge, directory.path(), &script), r#"{"status":"ok"}"#);
    let script =
        format!("curl -sS -o nothing -w '%{{http_code}} %{{redirect_url}}' http://localhost:{port}/devices");
    assert_eq!(shell(&bridge, directory.path(), &script), format!("307 https://localhost:{port}/devices"));
}

#[test]
fn settings_of_the_document_are_settings() {
    let world = World::empty();
    for settings in blocks("docs/web.md", "json") {
        world.configure(&json!([]), &json!([]));
        world.write("server.json", &settings);
        let output = world.run(&["check"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let schema: Value = serde_json::from_str(&read("config/schema/server.schema.json")).unwrap();
    let known = schema["properties"]["web"]["properties"].as_object().unwrap();
    let text = read("docs/web.md");
    let named = text.split('`').skip(1).step_by(2).filter_map(|word| word.strip_prefix("web."));
    for key in named {
        assert!(known.contains_key(key), "web.{key}");
    }
}

/// Runs a script in which `sudo ior-bridge` is the binary with the configuration of this bridge, and which ends with the
/// first command that fails; gives what it says.
#[track_caller]
fn shell(bridge: &Bridge, directory: &Path, script: &str) -> String {
    let program = |name: &str, text: &str| {
        let path = directory.join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    program("sudo", "exec \"$@\"");
    let config = bridge.world().config();
    program("ior-bridge", &format!("exec {} --config {} \"$@\"", binary().display(), config.display()));
    let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("bash");
    command.args(["-e", "-o", "pipefail", "-c", script]).current_dir(directory).env("PATH", path);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[track_caller]
fn assert_private(file: &Path) {
    let mode = fs::metadata(file).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{}: {mode:o}", file.display());
}
