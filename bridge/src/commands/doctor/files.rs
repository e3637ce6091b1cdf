//! What the bridge keeps: who may read it, until when certificates hold, and whether the store is whole.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::finding::Finding;
use crate::{
    backup::kept_before_restores,
    commands::{data_dir::rounded, store_stats},
    credentials::CREDENTIALS_DIR,
    registry::{CONNECTIONS_FILE, DEVICES_FILE},
    report::Status,
    secrets::KEY_FILE,
    settings::{Durability, Settings},
    tls::{self, CA_DIR},
    web::auth::{
        password::{ADMIN_FILE, INITIAL_FILE},
        tokens::TOKENS_FILE,
    },
};

/// Restores that may be wanted back.
const KEPT: usize = 2;
/// Files that are named, if more are wrong.
const SHOWN: usize = 5;

/// Are secrets secret, and do they belong to whom the directory does?
pub(super) fn permissions(dir: &Path, settings: &Settings) -> Vec<Finding> {
    const CHECK: &str = "permissions";
    let data_dir = &settings.data_dir;
    let owner = match fs::metadata(data_dir) {
        Ok(metadata) => metadata.uid(),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return vec![Finding::ok(CHECK, format!("{} is made at the first start", data_dir.display()))];
        }
        Err(_) => return vec![Finding::not_allowed(CHECK)],
    };
    let mut files = vec![data_dir.clone()];
    let looked = [
        KEY_FILE,
        ADMIN_FILE,
        INITIAL_FILE,
        TOKENS_FILE,
        CA_DIR,
        CREDENTIALS_DIR,
        crate::settings::STORE_DIR,
    ]
    .iter()
    .try_for_each(|name| add(&data_dir.join(name), &mut files));
    if looked.is_err() {
        return vec![Finding::not_allowed(CHECK)];
    }
    let (mut open, mut foreign) = (Vec::new(), Vec::new());
    for path in files {
        let Ok(metadata) = fs::metadata(&path) else { continue };
        // What is kept within is private by its directory; the CA's certificate is for everybody.
        let is_secret = !path.ends_with("ca.crt") && !path.starts_with(settings.store_dir());
        if is_secret && metadata.permissions().mode() & 0o077 != 0 {
            open.push(path.clone());
        }
        if metadata.uid() != owner {
            foreign.push(path);
        }
    }
    let mut findings = Vec::new();
    if !open.is_empty() {
        let todo = format!("`sudo chmod -R go= {}`", data_dir.display());
        findings.push(Finding::problem(CHECK, format!("others may read {}", some(&open)), todo));
    }
    if !foreign.is_empty() {
        let what = format!("{} do not belong to the owner of {}", some(&foreign), data_dir.display());
        let todo = format!(
            "`sudo chown -R --reference={0} {0}`: else the bridge cannot use them",
            data_dir.display()
        );
        findings.push(Finding::problem(CHECK, what, todo));
    }
    let is_open = |metadata: fs::Metadata| metadata.permissions().mode() & 0o002 != 0;
    if fs::metadata(dir).is_ok_and(is_open) {
        let what = format!("everybody may change {}", dir.display());
        findings.push(Finding::problem(CHECK, what, format!("`sudo chmod o-w {}`", dir.display())));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, format!("{} is private", data_dir.display())));
    }
    findings
}

/// Can devices and connections be changed on the page? No fault if not: commands can.
pub(super) fn page(dir: &Path, settings: &Settings) -> Option<Finding> {
    settings.web.listen?;
    let bridge = fs::metadata(&settings.data_dir).ok()?;
    let may_write = |place: &fs::Metadata| {
        let right = match (bridge.uid(), bridge.gid()) {
            (0, _) => return true,
            (user, _) if user == place.uid() => 0o200,
            (_, group) if group == place.gid() => 0o020,
            _ => 0o002,
        };
        place.permissions().mode() & right != 0
    };
    let closed = [DEVICES_FILE, CONNECTIONS_FILE].iter().find_map(|name| {
        let place = fs::canonicalize(dir.join(name)).ok()?.parent()?.to_owned();
        fs::metadata(&place).is_ok_and(|metadata| !may_write(&metadata)).then_some(place)
    })?;
    let what = format!(
        "devices and connections cannot be changed on it, only with commands: the user of the bridge ({}) may not write into {}",
        bridge.uid(),
        closed.display()
    );
    Some(Finding::ok("page", what))
}

/// Do devices accept what they are shown, and for how long?
pub(super) fn certificates(settings: &Settings) -> Vec<Finding> {
    const CHECK: &str = "certificate";
    if fs::read_dir(settings.data_dir.join(CA_DIR))
        .is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
    {
        return vec![Finding::not_allowed(CHECK)];
    }
    match tls::examine(settings, SystemTime::now()) {
        Err(error) => vec![Finding::problem(CHECK, "there is none to be shown", error.to_string())],
        Ok(tls::Report { what, notices, fault: None }) if notices.is_empty() => {
            vec![Finding::ok(CHECK, what)]
        }
        Ok(tls::Report { what, notices, fault }) => {
            let faults = fault.into_iter().map(|fault| Finding::problem(CHECK, what.clone(), fault));
            let notices = notices.into_iter().map(|notice| Finding::warning(CHECK, what.clone(), notice));
            faults.chain(notices).collect()
        }
    }
}

/// Can what waits be kept, and read?
pub(super) async fn store(settings: &Settings, status: Option<&Status>) -> Finding {
    const CHECK: &str = "store";
    if let Some(error) = status.and_then(|status| status.store.disk.as_ref()?.failing.as_ref()) {
        return Finding::problem(
            CHECK,
            format!("messages of QoS 1 and 2 are refused now: {error}"),
            "make room on that disk, or replace it if `dmesg` tells of errors; the bridge goes on by itself then",
        );
    }
    if settings.durability == Durability::Memory {
        return Finding::ok(CHECK, "durability is \"memory\": nothing is kept on disk");
    }
    match fs::read_dir(settings.store_dir()) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Finding::not_allowed(CHECK),
        Err(_) => return Finding::ok(CHECK, "there is none yet"),
    }
    match store_stats::contents(settings).await {
        Ok((contents, _)) => {
            let flows = contents.sessions.iter().flat_map(|session| session.flows.values());
            let messages: u64 = flows.map(|waiting| waiting.messages).sum();
            let sessions = contents.sessions.len();
            Finding::ok(
                CHECK,
                format!(
                    "it can be read: {messages} messages for {sessions} sessions; `ior-bridge store verify` reads all of it"
                ),
            )
        }
        Err(error) => Finding::problem(
            CHECK,
            "it cannot be read",
            format!("{error}. `ior-bridge store verify` tells what is whole while the bridge does not run"),
        ),
    }
}

/// Is there more than anybody needs of what restores have kept?
pub(super) fn old_data(data_dir: &Path) -> Option<Finding> {
    let kept = kept_before_restores(data_dir);
    let mut files = Vec::new();
    if kept.len() <= KEPT || kept.iter().any(|path| add(path, &mut files).is_err()) {
        return None;
    }
    let sizes = files.iter().filter_map(|path| fs::symlink_metadata(path).ok());
    let bytes = sizes.filter(fs::Metadata::is_file).map(|file| file.len()).sum();
    Some(Finding::warning(
        "old data",
        format!("{}: what {} restores have kept, {} in all", some(&kept), kept.len(), rounded(bytes)),
        "each holds a secret key and messages: `sudo rm -r` those that nobody wants to go back to",
    ))
}

fn add(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        metadata => metadata?,
    };
    files.push(path.to_owned());
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            add(&entry?.path(), files)?;
        }
    }
    Ok(())
}

fn some(paths: &[PathBuf]) -> String {
    let shown: Vec<_> = paths.iter().take(SHOWN).map(|path| path.display().to_string()).collect();
    match paths.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
