//! The configuration, and the bridge that runs with it.

use std::{
    io::ErrorKind,
    net::{IpAddr, TcpListener},
    path::Path,
    time::Duration,
};

use tokio::time::timeout;

use super::finding::Finding;
use crate::{
    control::{Client, ControlError, Hello, Request, socket_path},
    instance::Instance,
    report::Status,
    settings::{Environment, Limits, Settings},
};

/// How long a name server or the bridge may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// File descriptors that are needed beside those of connections.
const OTHER_FILES: u64 = 64;

/// Is it valid?
pub(super) fn configuration(dir: &Path, environment: &Environment) -> Finding {
    const CHECK: &str = "config";
    match super::load(dir, environment) {
        Ok(configuration) => Finding::ok(
            CHECK,
            format!(
                "{}: {} devices, {} connections",
                dir.display(),
                configuration.registry.devices().len(),
                configuration.registry.connections().len()
            ),
        ),
        Err(problems) => Finding::problem(
            CHECK,
            format!("it is not valid\n{}", problems.trim_end()),
            "correct it; `ior-bridge check` tells when it is right. A bridge that runs stays as it is until then",
        ),
    }
}

/// Whether a bridge works on the data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Running {
    No,
    /// This process, if that can be told.
    Yes(Option<u32>),
    Unknown,
}

impl Running {
    /// The process, if it is known.
    pub(super) fn pid(self) -> Option<u32> {
        match self {
            Self::Yes(pid) => pid,
            Self::No | Self::Unknown => None,
        }
    }
}

/// Does it run, and is it the version that is installed? What it tells of itself, if it does.
pub(super) async fn running(settings: &Settings, findings: &mut Vec<Finding>) -> (Running, Option<Status>) {
    const CHECK: &str = "bridge";
    let socket = socket_path(settings);
    let asked = async {
        match Client::connect(&socket).await? {
            Some(mut client) => client.ask::<Hello>(&Request::Hello).await.map(Some),
            None => Ok(None),
        }
    };
    // The group may ask it, but not look at the lock.
    let answer = timeout(PATIENCE, asked).await;
    if let Ok(Ok(Some(hello))) = answer {
        findings.push(of_version(&hello));
        let status = timeout(PATIENCE, status(&socket)).await.ok().flatten();
        return (Running::Yes(Some(hello.pid)), status);
    }
    let (running, finding) = match (Instance::holder(&settings.data_dir), answer) {
        (Ok(None), _) => (Running::No, Finding::ok(CHECK, "none is running")),
        (Ok(Some(holder)), Ok(Err(ControlError::NotAllowed(_)))) => {
            (Running::Yes(holder.pid), Finding::not_allowed(CHECK))
        }
        (Ok(Some(holder)), Ok(Err(error))) => {
            let todo = "look at its log; restart it if that tells nothing";
            (Running::Yes(holder.pid), Finding::problem(CHECK, error.to_string(), todo))
        }
        (Ok(Some(holder)), _) => {
            let what = format!("{holder} works on {} and does not answer", settings.data_dir.display());
            let todo = "wait if it is just starting or stopping; else look at its log, and restart it";
            (Running::Yes(holder.pid), Finding::problem(CHECK, what, todo))
        }
        (Err(error), _) if error.kind() == ErrorKind::PermissionDenied => {
            (Running::Unknown, Finding::not_allowed(CHECK))
        }
        (Err(error), _) => {
            let what = format!("whether one runs cannot be told: {error}");
            (Running::Unknown, Finding::unknown(CHECK, what))
        }
    };
    findings.push(finding);
    (running, None)
}

async fn status(socket: &Path) -> Option<Status> {
    Client::connect(socket).await.ok()??.ask(&Request::Status).await.ok()
}

fn of_version(hello: &Hello) -> Finding {
    const CHECK: &str = "bridge";
    let own = env!("CARGO_PKG_VERSION");
    let what = format!("version {} runs as process {}", hello.version, hello.pid);
    match hello.version == own {
        true => Finding::ok(CHECK, what),
        false => Finding::warning(
            CHECK,
            format!("{what}, and this is version {own}"),
            "restart it, so that the installed version runs",
        ),
    }
}

/// Do devices find this machine under the name that their credential files tell?
pub(super) async fn host_name(settings: &Settings) -> Finding {
    const CHECK: &str = "host name";
    let host = &settings.host;
    let set = "set `host` in server.json to a name or address that devices know, then write the credential files again";
    let found = timeout(PATIENCE, tokio::net::lookup_host((host.as_str(), 0))).await;
    let found: Vec<IpAddr> = match found {
        Ok(Ok(found)) => found.map(|addr| addr.ip()).collect(),
        Ok(Err(_)) | Err(_) => {
            return Finding::warning(
                CHECK,
                format!("{host:?}, which credential files name, is unknown here"),
                format!("if devices do not know it either, {set}"),
            );
        }
    };
    let Ok(own) = if_addrs::get_if_addrs() else {
        return Finding::unknown(CHECK, "the addresses of this machine cannot be told");
    };
    let shown: Vec<_> = found.iter().map(ToString::to_string).collect();
    let what = format!("{host:?}, which credential files name, is {}", shown.join(", "));
    match found.iter().any(|ip| ip.is_loopback() || own.iter().any(|own| own.ip() == *ip)) {
        true => Finding::ok(CHECK, what),
        false => Finding::warning(CHECK, format!("{what}: no address of this machine"), set),
    }
}

/// Can devices connect, or could they? A bridge that runs is asked: a connection would be one that it refuses, and counts.
pub(super) fn ports(settings: &Settings, running: Running, status: Option<&Status>) -> Vec<Finding> {
    const CHECK: &str = "ports";
    let Settings { mqtt, mqtts, websocket, web, .. } = settings;
    let wanted = [
        ("mqtt", mqtt.listen),
        ("mqtts", mqtts.listen),
        ("websocket", websocket.listen),
        ("web", web.listen),
    ];
    if let (Running::Yes(_), None) = (running, status) {
        return vec![Finding::unknown(CHECK, "the bridge has them, and could not be asked")];
    }
    let mut fine = Vec::new();
    let mut findings = Vec::new();
    for (name, listen) in wanted {
        let Some(listen) = listen.filter(|listen| listen.port() != 0) else { continue };
        let has = |status: &Status| {
            status.listeners.iter().any(|open| (open.name.as_str(), open.address) == (name, listen))
        };
        match status.map(has) {
            Some(true) => fine.push(format!("{listen} is open")),
            Some(false) => findings.push(Finding::problem(
                CHECK,
                format!("the running bridge does not listen on {listen} ({name}.listen)"),
                "have it take the configuration up: `sudo ior-bridge reload` tells what stands in the way",
            )),
            None => match TcpListener::bind(listen) {
                Ok(_) => fine.push(format!("{listen} is free")),
                Err(error) if running == Running::Unknown && error.kind() == ErrorKind::AddrInUse => {
                    findings.push(Finding::unknown(
                        CHECK,
                        format!("{listen} is in use; whether by the bridge cannot be told: run this with sudo"),
                    ));
                }
                Err(error) => findings.push(Finding::problem(
                    CHECK,
                    format!("{listen} ({name}.listen) cannot be listened on: {error}"),
                    match error.kind() {
                        ErrorKind::AddrInUse => format!(
                            "another program has it (`sudo ss -ltnp 'sport = :{}'` tells which, mosquitto perhaps): stop \
                             that, or choose another port",
                            listen.port()
                        ),
                        _ => format!("name an address of this machine and a port above 1023 in {name}.listen"),
                    },
                )),
            },
        }
    }
    if !fine.is_empty() {
        findings.push(Finding::ok(CHECK, fine.join(", ")));
    }
    findings
}

/// Are there enough file descriptors for all connections?
pub(super) fn open_files(limits: &Limits, running: Running) -> Finding {
    const CHECK: &str = "open files";
    let wanted = (limits.connections + limits.logins) as u64 + OTHER_FILES;
    let allowed = match running.pid() {
        Some(pid) => match std::fs::read_to_string(format!("/proc/{pid}/limits")) {
            Ok(text) => limit(&text),
            Err(_) => return Finding::not_allowed(CHECK),
        },
        // A bridge raises its limit as far as it may.
        None => rlimit::Resource::NOFILE.get().ok().map(|(_, hard)| hard),
    };
    match allowed {
        None => Finding::unknown(CHECK, "the limit cannot be told"),
        Some(allowed) if allowed >= wanted => {
            Finding::ok(CHECK, format!("{allowed} allowed, {wanted} needed at most"))
        }
        Some(allowed) => Finding::warning(
            CHECK,
            format!("{allowed} allowed, but limits.connections and limits.logins may need {wanted}"),
            "raise LimitNOFILE in the unit (`sudo systemctl edit ior-bridge`), or lower the limits",
        ),
    }
}

/// The soft limit of open files in a `/proc/…/limits`.
fn limit(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_open_files_is_read() {
        let text = "Max file locks   unlimited  unlimited  locks\nMax open files   1024   4096   files\n";
        assert_eq!(limit(text), Some(1024));
        assert_eq!(limit("Max open files   unlimited unlimited files"), Some(u64::MAX));
        assert_eq!(limit(""), None);
    }
}
