//! The machine: its clock, disk, memory card, memory and service manager.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::fs::{major, minor, statfs, statvfs};

use super::finding::{Finding, Verdict};
use crate::{commands::data_dir::rounded, settings::SYSTEM_CONFIG_DIR, storage::advice};

/// No clock that is right is before this: 2026-01-01, in seconds since 1970.
const EARLIEST: u64 = 1_767_225_600;
/// Free bytes below which it is time to act.
const LITTLE_SPACE: u64 = 200 << 20;
/// Free bytes that are enough, however large the disk is.
const ENOUGH_SPACE: u64 = 2 << 30;
/// Memory that should be left, in bytes.
const LITTLE_MEMORY: u64 = 64 << 20;
/// Where systemd is at work.
const SYSTEMD: &str = "/run/systemd/system";

/// Without a right clock certificates are refused, and messages expire at the wrong time.
pub(super) fn clock() -> Vec<Finding> {
    const CHECK: &str = "clock";
    let now = SystemTime::now();
    let shown = humantime::format_rfc3339_seconds(now).to_string();
    if now.duration_since(UNIX_EPOCH).unwrap_or_default() < Duration::from_secs(EARLIEST) {
        return vec![Finding::problem(
            CHECK,
            format!("it says {shown}, which is long ago"),
            "a Raspberry Pi has no clock of its own: let it reach a time server (`timedatectl` tells), or fit a clock module",
        )];
    }
    let is_synchronized = Path::new("/run/systemd/timesync/synchronized").exists()
        || asked("timedatectl", &["show", "--property=NTPSynchronized", "--value"]).as_deref() == Some("yes");
    vec![match (is_synchronized, Path::new(SYSTEMD).is_dir()) {
        (true, _) => Finding::ok(CHECK, format!("{shown}, synchronised")),
        (false, true) => Finding::warning(
            CHECK,
            format!("{shown}, not synchronised"),
            "`sudo timedatectl set-ntp true` has it follow a time server; look at `timedatectl` for whether it does",
        ),
        (false, false) => Finding::unknown(
            CHECK,
            format!("{shown}; whether it is synchronised cannot be told without systemd"),
        ),
    }]
}

/// Room for what waits.
pub(super) fn disk(data_dir: &Path) -> Vec<Finding> {
    const CHECK: &str = "disk space";
    let system = match statvfs(existing(data_dir)) {
        Ok(system) => system,
        Err(error) => {
            let error = error.into();
            return vec![Finding::problem(CHECK, format!("{}: {error}", data_dir.display()), advice(&error))];
        }
    };
    let free = system.f_bavail.saturating_mul(system.f_frsize);
    let all = system.f_blocks.saturating_mul(system.f_frsize).max(1);
    let what = format!("{} free for {}, {} %", rounded(free), data_dir.display(), percent(free, all));
    let todo = "remove what is not needed there, or move data_dir to a larger disk: when nothing is free, messages of QoS 1 \
                and 2 are refused";
    let mut findings = vec![match space(free, all) {
        Verdict::Problem => Finding::problem(CHECK, what, todo),
        Verdict::Warning => Finding::warning(CHECK, what, todo),
        Verdict::Ok | Verdict::Unknown => Finding::ok(CHECK, what),
    }];
    // Some file systems have no fixed number of files.
    if system.f_files > 0 && system.f_favail < system.f_files / 20 {
        let what = format!("only {} more files can be made there", system.f_favail);
        findings.push(Finding::warning(CHECK, what, "remove many small files from that file system"));
    }
    findings
}

/// Whether so many bytes are enough, of all that the disk has.
fn space(free: u64, all: u64) -> Verdict {
    match free {
        ..LITTLE_SPACE => Verdict::Problem,
        ..ENOUGH_SPACE if percent(free, all) < 10 => Verdict::Warning,
        _ => Verdict::Ok,
    }
}

fn percent(free: u64, all: u64) -> u64 {
    free.saturating_mul(100) / all
}

/// Whether what is written there stays.
pub(super) fn file_system(data_dir: &Path) -> Finding {
    const CHECK: &str = "file system";
    let Ok(system) = statfs(existing(data_dir)) else {
        return Finding::unknown(CHECK, "it cannot be told");
    };
    let to_disk = "set data_dir in server.json to a directory on a disk or memory card of this machine";
    let in_memory = |name| {
        let what = format!("{} is in memory ({name}): all of it is gone after a restart", data_dir.display());
        Finding::warning(CHECK, what, to_disk)
    };
    let remote = |name| {
        let what = format!(
            "{} is on another machine ({name}): locks and syncs cannot be relied on",
            data_dir.display()
        );
        Finding::warning(CHECK, what, to_disk)
    };
    match system.f_type as u32 {
        0x0102_1994 => in_memory("tmpfs"),
        0x8584_58F6 => in_memory("ramfs"),
        0x6969 => remote("NFS"),
        0xFF53_4D42 | 0xFE53_4D42 | 0x517B => remote("SMB"),
        0x0102_1997 => remote("9p"),
        0x6573_5546 => Finding::warning(
            CHECK,
            format!("{} is on a FUSE file system, which may not sync what it is told to", data_dir.display()),
            to_disk,
        ),
        0x4D44 | 0x2011_BAB0 => Finding::warning(
            CHECK,
            format!(
                "{} is on a FAT file system, which knows no owners: others may read the keys",
                data_dir.display()
            ),
            "set data_dir in server.json to a directory on an ext4 file system",
        ),
        _ => Finding::ok(CHECK, format!("{} is on a file system of this machine", data_dir.display())),
    }
}

/// Memory cards wear out by being written to.
pub(super) fn wear(data_dir: &Path, running: Option<u32>) -> Vec<Finding> {
    const CHECK: &str = "wear";
    let mut findings = Vec::new();
    let life = device(data_dir).and_then(|device| {
        let read = |name| fs::read_to_string(device.join(name)).ok();
        Some((read("life_time")?, read("pre_eol_info").unwrap_or_default()))
    });
    findings.push(match life {
        Some((life, end)) => worn(&life, &end),
        None => Finding::unknown(
            CHECK,
            "this disk or memory card does not tell how worn it is (only eMMC does so): replace a card in heavy use every \
             few years, and make backups",
        ),
    });
    if let Some(pid) = running {
        findings.push(match written(pid) {
            Some((bytes, time)) => Finding::ok(
                CHECK,
                format!(
                    "the bridge has written {} in {}",
                    rounded(bytes),
                    humantime::format_duration(Duration::from_secs(time.as_secs()))
                ),
            ),
            None => Finding::not_allowed(CHECK),
        });
    }
    findings
}

/// What an eMMC says of itself: tenths of its life that are over, for two kinds of memory; 1 to 3 for how its spare blocks are.
fn worn(life: &str, end: &str) -> Finding {
    const CHECK: &str = "wear";
    let number = |text: &str| u8::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok();
    let most = life.split_whitespace().filter_map(number).max().unwrap_or(0);
    let spare = number(end).unwrap_or(0);
    let what = format!("{} % of the card's life may be over", u32::from(most.min(10)) * 10);
    let todo = "make a backup (`ior-bridge backup FILE`), and replace the card";
    match (most, spare) {
        (0, _) => Finding::unknown(CHECK, "the card does not tell how worn it is"),
        (11.., _) | (_, 3..) => Finding::problem(CHECK, format!("{what}: it may fail at any time"), todo),
        (9.., _) | (_, 2) => Finding::warning(CHECK, what, todo),
        _ => Finding::ok(CHECK, what),
    }
}

/// What the kernel says of the device that a directory is on: `/sys/block/mmcblk0/device`.
fn device(dir: &Path) -> Option<PathBuf> {
    let device = fs::metadata(existing(dir)).ok()?.dev();
    let block = fs::canonicalize(format!("/sys/dev/block/{}:{}", major(device), minor(device))).ok()?;
    // A partition is below its device.
    [Some(block.as_path()), block.parent()]
        .into_iter()
        .flatten()
        .map(|block| block.join("device"))
        .find(|d| d.is_dir())
}

/// Bytes that a process had written to disks, and since when it runs.
fn written(pid: u32) -> Option<(u64, Duration)> {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    let bytes = io.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.trim().parse().ok()?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Behind the name, which may hold anything; the 22nd field of all.
    let began: u64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    let began = began as f64 / rustix::param::clock_ticks_per_second() as f64;
    Some((bytes, Duration::try_from_secs_f64(uptime - began).ok()?))
}

pub(super) fn memory() -> Finding {
    const CHECK: &str = "memory";
    let available = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    });
    match available.map(|kilobytes| kilobytes * 1024) {
        None => Finding::unknown(CHECK, "how much is left cannot be told"),
        Some(left) if left < LITTLE_MEMORY => Finding::warning(
            CHECK,
            format!("only {} are left", rounded(left)),
            "end what is not needed (`ps aux --sort -rss` tells what takes most), or lower limits.connections",
        ),
        Some(left) => Finding::ok(CHECK, format!("{} are left", rounded(left))),
    }
}

/// Does the bridge start with the machine?
pub(super) fn service_manager(dir: &Path) -> Option<Finding> {
    const CHECK: &str = "systemd";
    if dir != Path::new(SYSTEM_CONFIG_DIR) || !Path::new(SYSTEMD).is_dir() {
        return None;
    }
    let unit = "ior-bridge.service";
    let is_enabled = asked("systemctl", &["is-enabled", unit]).unwrap_or_default();
    let is_active = asked("systemctl", &["is-active", unit]).unwrap_or_default();
    Some(match (is_enabled.as_str(), is_active.as_str()) {
        ("enabled", "active") => Finding::ok(CHECK, "the bridge runs, and starts with the machine"),
        ("enabled", state) => Finding::problem(
            CHECK,
            format!("the unit is {state}"),
            "`sudo systemctl start ior-bridge` starts it; `journalctl -u ior-bridge` tells why it ended",
        ),
        (state, _) => Finding::warning(
            CHECK,
            format!(
                "the unit is {}: the bridge does not start with the machine",
                if state.is_empty() { "not there" } else { state }
            ),
            "`sudo systemctl enable --now ior-bridge`",
        ),
    })
}

/// The first line of what a program says, whether it succeeds or not.
fn asked(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().next().map(|line| line.trim().to_owned())
}

/// The directory, or the nearest one above that is there.
fn existing(dir: &Path) -> &Path {
    dir.ancestors()
        .find(|dir| dir.exists())
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_disk_that_is_nearly_full_has_room_enough() {
        let gib = 1 << 30;
        assert_eq!(space(19 * gib, 270 * gib), Verdict::Ok);
        assert_eq!(space(gib, 270 * gib), Verdict::Warning);
        assert_eq!(space(gib, 4 * gib), Verdict::Ok);
        assert_eq!(space((200 << 20) - 1, gib), Verdict::Problem);
    }

    #[test]
    fn a_worn_card_is_told() {
        for (life, end, verdict) in [
            ("0x01 0x02\n", "0x01\n", Verdict::Ok),
            ("0x09 0x01", "0x01", Verdict::Warning),
            ("0x02 0x01", "0x02", Verdict::Warning),
            ("0x0b 0x01", "0x01", Verdict::Problem),
            ("0x01 0x01", "0x03", Verdict::Problem),
            ("0x00 0x00", "0x00", Verdict::Unknown),
            ("", "", Verdict::Unknown),
        ] {
            assert_eq!(worn(life, end).verdict, verdict, "{life} {end}");
        }
    }

    #[test]
    fn what_this_process_has_written_can_be_told() {
        let (_, time) = written(std::process::id()).unwrap_or_default();
        assert!(time < Duration::from_secs(24 * 60 * 60));
        assert_eq!(existing(Path::new("/tmp/nowhere/at/all")), Path::new("/tmp"));
        assert_eq!(existing(Path::new("nowhere")), Path::new("."));
    }
}
