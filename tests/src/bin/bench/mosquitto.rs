//! mosquitto, set up to be at its best with a password file and an access control list.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::relay::{Keeping, generated_pairs};

/// Where `name` is: in `$PATH`, else in the directories for daemons, which a user's `$PATH` may lack.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

/// Writes the password file and the access control list.
pub(crate) fn configure(directory: &Path, pairs: usize) -> Result<()> {
    let (mut passwords, mut access) = (String::new(), String::new());
    for pair in generated_pairs(pairs) {
        for device in [&pair.from, &pair.to] {
            let user = &device.login.username;
            writeln!(passwords, "{user}:{}", device.login.password)?;
            writeln!(
                access,
                "user {user}\ntopic write {}/#\ntopic read {}",
                device.publish, device.subscribe
            )?;
        }
    }
    fs::write(directory.join("access"), access)?;
    let file = directory.join("passwords");
    fs::write(&file, passwords)?;
    let hash = find("mosquitto_passwd").ok_or("cannot find mosquitto_passwd: install mosquitto")?;
    let output = Command::new(&hash).arg("-U").arg(&file).output()?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{} failed: {error}", hash.display()).into());
    }
    Ok(())
}

/// The command that runs it on `address`, with its configuration in `directory`. No log, no `$SYS` messages, no Nagle:
/// nothing but relaying, all of it in memory, unless its database in `data` is to be written at every change.
pub(crate) fn command(
    binary: &Path,
    (directory, data): (&Path, &Path),
    address: SocketAddr,
    keeping: Keeping,
) -> Result<Command> {
    let file = directory.join("mosquitto.conf");
    let most_queued = if keeping == Keeping::Shipped { "100000" } else { "0" };
    let persistence = if keeping == Keeping::Written {
        format!(
            "persistence true\n\
             persistence_location {}/\n\
             autosave_on_changes true\n\
             autosave_interval 1\n",
            data.display()
        )
    } else {
        "persistence false\n".into()
    };
    let configuration = format!(
        "listener {port} {host}\n\
         allow_anonymous false\n\
         password_file {directory}/passwords\n\
         acl_file {directory}/access\n\
         {persistence}\
         set_tcp_nodelay true\n\
         sys_interval 0\n\
         max_inflight_messages 100\n\
         max_queued_messages {most_queued}\n\
         log_dest none\n\
         user root\n",
        port = address.port(),
        host = address.ip(),
        directory = directory.display(),
    );
    fs::write(&file, configuration)?;
    let mut command = Command::new(binary);
    command.arg("-c").arg(file);
    Ok(command)
}
