//! What is of use to whoever looks for a fault.

use std::{fs, path::Path, process::Command};

use crate::{
    commands::{doctor, store_stats, words::Style},
    control::{Client, Request, socket_path},
    instance::Instance,
    settings::{Environment, Settings},
};

/// Most lines of the log.
const LOG_LINES: &str = "2000";

/// Names and texts. What there is not says why.
pub(super) async fn gather(dir: &Path, environment: &Environment) -> Vec<(String, String)> {
    let mut sources =
        vec![("versions.txt".to_owned(), versions()), ("environment.txt".to_owned(), variables(environment))];
    let findings = doctor::examine(dir, environment).await;
    sources.push(("doctor.txt".to_owned(), doctor::to_text(&findings, Style::plain())));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".json") {
            sources.push((format!("config/{name}"), text_of(&entry.path())));
        }
    }
    sources.push(("log.txt".to_owned(), log()));
    if let Ok(settings) = Settings::load(dir, environment) {
        let values = settings.values.iter().map(|(key, value)| format!("{key} = {value}\n"));
        sources.push(("settings.txt".to_owned(), values.collect()));
        let store = match store_stats::contents(&settings).await {
            Ok((contents, _)) => serde_json::to_string_pretty(&contents).unwrap_or_default(),
            Err(error) => error,
        };
        sources.push(("store.json".to_owned(), store));
        sources.push(("status.json".to_owned(), status(&settings).await));
        let holder = Instance::holder(&settings.data_dir).ok().flatten();
        if let Some(pid) = holder.and_then(|holder| holder.pid) {
            for name in ["status", "limits", "io"] {
                sources.push((
                    format!("process/{name}.txt"),
                    text_of(Path::new(&format!("/proc/{pid}/{name}"))),
                ));
            }
        }
    }
    sources.sort();
    sources
}

async fn status(settings: &Settings) -> String {
    let asked = async {
        match Client::connect(&socket_path(settings)).await? {
            Some(mut client) => client.ask::<serde_json::Value>(&Request::Status).await.map(Some),
            None => Ok(None),
        }
    };
    match asked.await {
        Ok(Some(status)) => format!("{status:#}"),
        Ok(None) => "no bridge is running".to_owned(),
        Err(error) => error.to_string(),
    }
}

fn versions() -> String {
    let system = rustix::system::uname();
    let part = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    let mut text = format!(
        "ior-bridge {}\nkernel {} {} {}\n\n",
        env!("CARGO_PKG_VERSION"),
        part(system.release()),
        part(system.version()),
        part(system.machine())
    );
    for (name, lines) in [("/etc/os-release", 100), ("/proc/device-tree/model", 1), ("/proc/meminfo", 5)] {
        let found = text_of(Path::new(name));
        text.push_str(&format!("{name}\n"));
        text.extend(found.lines().take(lines).map(|line| format!("  {}\n", line.trim_end_matches('\0'))));
    }
    text
}

/// Only what the bridge reads.
fn variables(environment: &Environment) -> String {
    let is_ours = |name: &str| {
        name.starts_with("IOR_BRIDGE__")
            || ["RUST_LOG", "NO_COLOR", "STATE_DIRECTORY", "RUNTIME_DIRECTORY"].contains(&name)
    };
    let mut lines: Vec<_> = environment
        .iter()
        .filter(|(name, _)| is_ours(name))
        .map(|(name, value)| format!("{name}={value}\n"))
        .collect();
    lines.sort();
    lines.concat()
}

fn log() -> String {
    let mut command = Command::new("journalctl");
    command.args(["--unit", "ior-bridge", "--lines", LOG_LINES, "--no-pager", "--output", "short-iso"]);
    match command.output() {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        Ok(output) => format!("journalctl: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => {
            format!("journalctl cannot be run: {error}; if the log goes elsewhere, add its last lines")
        }
    }
}

fn text_of(path: &Path) -> String {
    match fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => format!("{}: {error}", path.display()),
    }
}
