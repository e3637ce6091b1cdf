//! What storage costs: the time of a sync, and the bytes that reach the device.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Result;

/// The unit of `/sys/block/*/stat`, whatever the device's own is.
const SECTOR: u64 = 512;

/// A new ext4 file system on a loop device of its own, unmounted when dropped: the device counts what is written, the
/// journal and all else that the file system adds included.
pub(crate) struct Volume {
    /// Holds the image; removed after it is unmounted.
    _directory: TempDir,
    mount_point: PathBuf,
    /// `/sys/block/loopN/stat`.
    counters: PathBuf,
}

impl Volume {
    /// Needs the right to mount, loop devices and `mkfs.ext4`; an error says what is missing.
    pub(crate) fn new() -> Result<Self> {
        const SIZE: u64 = 2 << 30;
        let directory = tempfile::Builder::new().prefix("ior-bench-volume-").tempdir()?;
        let (image, mount_point) = (directory.path().join("image"), directory.path().join("mounted"));
        File::create(&image)?.set_len(SIZE)?;
        fs::create_dir(&mount_point)?;
        // Its defaults, but for tables that the kernel would otherwise write while something is measured.
        let at_once = "lazy_itable_init=0,lazy_journal_init=0";
        run(Command::new("mkfs.ext4").args(["-q", "-E", at_once]).arg(&image))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&mount_point))?;
        let mut volume = Self { _directory: directory, mount_point, counters: PathBuf::new() };
        volume.counters = counters(&volume.mount_point)?;
        Ok(volume)
    }

    /// Its root.
    pub(crate) fn path(&self) -> &Path {
        &self.mount_point
    }

    /// Bytes written to the device so far.
    pub(crate) fn written(&self) -> Result<u64> {
        const SECTORS_WRITTEN: usize = 6;
        let stat = fs::read_to_string(&self.counters)?;
        let sectors =
            stat.split_whitespace().nth(SECTORS_WRITTEN).ok_or("no sectors in the device's stat")?;
        Ok(sectors.parse::<u64>()? * SECTOR)
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if let Err(error) = run(Command::new("umount").arg(&self.mount_point)) {
            eprintln!("bench: {} stays mounted: {error}", self.mount_point.display());
        }
    }
}

/// Goes on in a mount namespace of its own where that is possible, so that a bench that is interrupted leaves no
/// [`Volume`] mounted: this program begins again from `main`. Returns where it is in one already, or cannot be.
pub(crate) fn enter_own_namespace() {
    const INSIDE: &str = "IOR_BENCH_HAS_OWN_MOUNTS";
    let unshare = || {
        let mut command = Command::new("unshare");
        command.arg("--mount");
        command
    };
    if std::env::var_os(INSIDE).is_some() || run(unshare().arg("true")).is_err() {
        return;
    }
    if let Ok(program) = std::env::current_exe() {
        let error = unshare().arg(program).args(std::env::args_os().skip(1)).env(INSIDE, "1").exec();
        eprintln!("bench: cannot run unshare: {error}");
    }
}

/// Writes everything that is cached of the file system of `directory` to its device.
pub(crate) fn sync_all(directory: &Path) -> Result<()> {
    Ok(rustix::fs::syncfs(File::open(directory)?)?)
}

/// The median time of one `fdatasync` after 4 KB were written over in place, in `directory`.
pub(crate) fn sync_time(directory: &Path) -> Result<Duration> {
    const BLOCK: [u8; 4096] = [b'.'; 4096];
    const MOST: usize = 200;
    const LONGEST: Duration = Duration::from_secs(1);
    let mut file = tempfile::tempfile_in(directory)?;
    file.write_all(&BLOCK)?;
    file.sync_all()?;
    let (started, mut times) = (Instant::now(), Vec::with_capacity(MOST));
    while times.is_empty() || (times.len() < MOST && started.elapsed() < LONGEST) {
        file.write_all_at(&BLOCK, 0)?;
        let began = Instant::now();
        file.sync_data()?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

/// Where the kernel counts what is written to the device that is mounted at `mount_point`.
fn counters(mount_point: &Path) -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mut mounts = mounts.lines().filter_map(|line| line.split_once(' '));
    let device = mounts.find_map(|(device, rest)| {
        let at = rest.split(' ').next()?;
        (Path::new(at) == mount_point).then(|| device.strip_prefix("/dev/")).flatten()
    });
    let device = device.ok_or_else(|| format!("no device is mounted at {}", mount_point.display()))?;
    Ok(Path::new("/sys/block").join(device).join("stat"))
}

fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("cannot run {name}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{name} failed: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn what_reaches_the_device_is_counted_with_the_file_system_s_share() {
        const SIZE: u64 = 1 << 20;
        let Ok(volume) = Volume::new() else { return };
        sync_all(volume.path()).unwrap();
        let before = volume.written().unwrap();
        fs::write(volume.path().join("file"), vec![b'.'; SIZE as usize]).unwrap();
        assert!(volume.written().unwrap() - before < SIZE, "it is cached");
        sync_all(volume.path()).unwrap();
        let written = volume.written().unwrap() - before;
        assert!((SIZE + 1..2 * SIZE).contains(&written), "{written}");
        let mount_point = volume.path().to_owned();
        drop(volume);
        assert!(!mount_point.exists());
    }

    #[test]
    fn a_sync_takes_time() {
        let directory = tempfile::tempdir().unwrap();
        assert!(sync_time(directory.path()).unwrap() > Duration::ZERO);
    }
}
