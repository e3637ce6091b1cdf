//! What goes wrong with disks and clocks, for the real binary: a small file system that fills up, a preloaded library under
//! which writes and syncs of the store fail or are slow, and a wall clock that jumps.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::World;

/// A file system in memory, mounted for a test. Unmounted when dropped.
pub struct SmallDisk {
    place: PathBuf,
}

impl SmallDisk {
    /// Mounts it; see [`may_mount`].
    #[track_caller]
    pub(crate) fn mount(place: &Path, bytes: u64) -> Self {
        let options = format!("size={bytes},mode=0700");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(place).status();
        assert!(done.is_ok_and(|status| status.success()), "cannot mount a file system: {HOW_TO_ALLOW}");
        Self { place: place.into() }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the bridge may still have files open.
        let _ = Command::new("umount").arg("-l").arg(&self.place).status();
    }
}

const HOW_TO_ALLOW: &str =
    "run the tests as root, or allow user namespaces (sysctl kernel.unprivileged_userns_clone=1)";

/// Whether this process may mount file systems. If not, this runs the named test of this test binary again where it may,
/// and that is all: the caller returns.
#[track_caller]
pub fn may_mount(test: &str) -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    let program = std::env::current_exe().unwrap();
    let mut again = Command::new("unshare");
    again.arg("--map-root-user").arg("--mount").arg(program).args(["--exact", test, "--nocapture"]);
    let status = again.status().unwrap_or_else(|error| panic!("cannot run unshare: {error}; {HOW_TO_ALLOW}"));
    assert!(
        status.success(),
        "{test} failed in a user namespace of its own. If none could be made: {HOW_TO_ALLOW}"
    );
    false
}

/// Has the file system that is mounted there refuse to be written to, as Linux does after an error of the disk. Nobody may have
/// a file open for writing there.
#[track_caller]
pub fn make_read_only(place: &Path) {
    let done = Command::new("mount").args(["-o", "remount,ro"]).arg(place).status();
    assert!(done.is_ok_and(|status| status.success()), "{} stays writable", place.display());
}

/// Uses up space of the file system that a directory is on, until dropped.
pub struct Filler {
    file: PathBuf,
}

impl Filler {
    /// Uses up so many bytes.
    pub fn take(directory: &Path, bytes: usize) -> Self {
        let file = directory.join("taken");
        std::fs::write(&file, vec![0; bytes]).unwrap();
        Self { file }
    }

    /// Uses up all that is left.
    pub fn fill(directory: &Path) -> Self {
        use std::io::Write;
        let file = directory.join("filled");
        let mut out = std::fs::File::create(&file).unwrap();
        for size in [1 << 16, 1 << 10, 1] {
            while out.write_all(&vec![0; size]).is_ok() {}
        }
        Self { file }
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

/// A switch for faults of the store's files, and a count of what is done to them.
pub struct Faults {
    directory: TempDir,
}

/// What was done to the store's files since the process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Done {
    /// Calls that write.
    pub writes: u64,
    /// Bytes that they wrote.
    pub bytes: u64,
    /// Syncs.
    pub syncs: u64,
}

impl Faults {
    /// Prepares a world for it. No fault at first.
    pub fn of(world: World) -> (World, Self) {
        let faults = Self { directory: TempDir::new().unwrap() };
        let path = |name: &str| faults.directory.path().join(name).display().to_string();
        compile(&path("faults.so"));
        let world = world
            .env("LD_PRELOAD", &path("faults.so"))
            .env("IOR_FAULTS", &path("faults"))
            .env("IOR_FAULTS_COUNT", &path("count"));
        (world, faults)
    }

    /// From now on these faults happen: lines as `tests/faults/faults.c` describes them.
    pub fn set(&self, lines: &str) {
        // Renamed, so that nobody reads half of it.
        let new = self.directory.path().join("new");
        std::fs::write(&new, lines).unwrap();
        std::fs::rename(new, self.directory.path().join("faults")).unwrap();
    }

    /// No faults any more.
    pub fn clear(&self) {
        self.set("");
    }

    /// What was done so far.
    pub fn done(&self) -> Done {
        let text = std::fs::read_to_string(self.directory.path().join("count")).unwrap_or_default();
        let mut numbers = text.split_whitespace().map(|number| number.parse().unwrap());
        let mut next = || numbers.next().unwrap_or(0);
        Done { writes: next(), bytes: next(), syncs: next() }
    }
}

fn compile(library: &str) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("faults/faults.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-o", library]).arg(source).arg("-ldl");
    let status =
        compiler.status().unwrap_or_else(|error| panic!("cannot run cc: {error}; see tests/install"));
    assert!(status.success(), "cc cannot compile the library of faults");
}

/// Makes the wall clock of whatever starts next in this world differ from the real one by so many seconds. Timers, which use
/// the monotonic clock, do not notice.
pub fn set_clock(world: &mut World, seconds: i64) {
    world.set_env("LD_PRELOAD", &clock_library().display().to_string());
    world.set_env("FAKETIME", &format!("{seconds:+}"));
    world.set_env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    world.set_env("DONT_FAKE_MONOTONIC", "1");
}

fn clock_library() -> PathBuf {
    let of = |directory: std::fs::DirEntry| directory.path().join("faketime/libfaketimeMT.so.1");
    let found = std::fs::read_dir("/usr/lib").unwrap().flatten().map(of).find(|path| path.exists());
    found.expect("the Debian package faketime is installed (tests/install does it)")
}
