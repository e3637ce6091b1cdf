//! A disk in memory that keeps only what was synced. It can be stopped at any operation, lose what was not synced in
//! many ways, run full, fail and be slow.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
    path::PathBuf,
    sync::{Arc, LazyLock, OnceLock, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use sqlite_vfs::{DatabaseHandle, LockKind, OpenAccess, OpenOptions, Vfs, WalDisabled};

use super::super::place::Place;

const VFS: &str = "simulated disk";
const SECTOR: usize = 512;

/// Disks by number: SQLite knows them by the first part of a path.
static DISKS: LazyLock<Mutex<BTreeMap<u64, Weak<Mutex<State>>>>> = LazyLock::new(Mutex::default);

/// A disk. Clones are the same one.
#[derive(Clone)]
pub struct Disk {
    number: u64,
    state: Arc<Mutex<State>>,
}

/// What a power cut does to what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// All of it is lost.
    All,
    /// Nothing is lost.
    Nothing,
    /// What was written last is lost.
    Tail,
    /// Any writes are lost.
    Some,
    /// What was written last is lost, and of the last write that is not some sectors are.
    TornTail,
    /// Any sectors are lost.
    Sectors,
}

impl Loss {
    pub const KINDS: [Self; 6] =
        [Self::All, Self::Nothing, Self::Tail, Self::Some, Self::TornTail, Self::Sectors];
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Writes that make files larger than this together find no space; a part of them is written.
    pub capacity: Option<usize>,
    /// Writes fail.
    pub writes: bool,
    /// Syncs fail. What they should have synced is shown and never gets to the disk unless it is written again.
    pub syncs: bool,
    /// The sync with this number fails, counted from 1 and from when this was set.
    pub nth_sync: Option<u64>,
    /// The thread that recovers from any of it panics.
    pub recovery_panics: bool,
    /// What a sync takes.
    pub sync_time: Duration,
}

#[derive(Clone, Default)]
struct State {
    /// What the operating system shows.
    names: BTreeMap<String, usize>,
    files: Vec<Vec<u8>>,
    /// What is on the disk.
    kept_names: BTreeMap<String, usize>,
    kept_files: Vec<Vec<u8>>,
    /// What was not synced, in order.
    pending: Vec<Operation>,
    operations: u64,
    syncs: u64,
    failed_at: u64,
    stop_at: Option<u64>,
    written: u64,
    faults: Faults,
}

#[derive(Clone)]
enum Operation {
    Write { file: usize, at: usize, bytes: Vec<u8> },
    SetLength { file: usize, length: usize },
    Name { name: String, file: Option<usize> },
}

impl Disk {
    pub fn new() -> Self {
        Self::with(State::default())
    }

    fn with(state: State) -> Self {
        static REGISTERED: OnceLock<()> = OnceLock::new();
        REGISTERED.get_or_init(|| sqlite_vfs::register(VFS, Driver, false).unwrap());
        let state = Arc::new(Mutex::new(state));
        let mut disks = DISKS.lock();
        disks.retain(|_, disk| disk.strong_count() > 0);
        let number = disks.keys().last().map_or(1, |last| last + 1);
        disks.insert(number, Arc::downgrade(&state));
        Self { number, state }
    }

    /// Another disk with the same on it.
    pub fn copy(&self) -> Self {
        Self::with(self.state.lock().clone())
    }

    /// The power goes at this operation, counted from 1 and from now; every later one fails.
    pub fn stop_at(&self, operation: u64) {
        let mut state = self.state.lock();
        state.operations = 0;
        state.stop_at = Some(operation);
    }

    /// Operations since the last [`Disk::stop_at`] or [`Disk::cut`].
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// Operations before the first sync that failed.
    pub fn operations_before_failure(&self) -> u64 {
        self.state.lock().failed_at
    }

    /// Whether the power is gone.
    pub fn is_off(&self) -> bool {
        self.state.lock().is_off()
    }

    pub fn set_faults(&self, faults: Faults) {
        let mut state = self.state.lock();
        state.syncs = 0;
        state.faults = faults;
    }

    /// Bytes written and syncs since the last [`Disk::set_faults`].
    pub fn syncs(&self) -> u64 {
        self.state.lock().syncs
    }

    pub fn written(&self) -> u64 {
        self.state.lock().written
    }

    pub fn used(&self) -> usize {
        self.state.lock().used()
    }

    /// The disk after the power was gone and came back. What is left to chance depends on `seed` only.
    pub fn cut(&self, loss: Loss, seed: u64) -> Self {
        let mut state = self.state.lock().clone();
        let mut chance = Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let pending = std::mem::take(&mut state.pending);
        let tail = chance.below(pending.len() + 1);
        for (index, operation) in pending.iter().enumerate() {
            let torn = match loss {
                Loss::All => continue,
                Loss::Nothing => false,
                Loss::Tail if index >= tail => continue,
                Loss::Tail => false,
                Loss::Some if chance.below(2) == 0 => continue,
                Loss::Some => false,
                Loss::TornTail if index >= tail => continue,
                Loss::TornTail => index + 1 == tail,
                Loss::Sectors => true,
            };
            state.keep(operation, torn.then_some(&mut chance));
        }
        state.names = state.kept_names.clone();
        state.files = state.kept_files.clone();
        (state.operations, state.stop_at, state.syncs, state.written) = (0, None, 0, 0);
        state.faults = Faults::default();
        Self::with(state)
    }
}

impl Place for Disk {
    fn vfs(&self) -> Option<&str> {
        Some(VFS)
    }

    fn path(&self, name: &str) -> PathBuf {
        format!("{}/{name}", self.number).into()
    }

    fn size(&self, name: &str) -> io::Result<Option<u64>> {
        let state = self.state.lock();
        Ok(state.names.get(name).map(|file| state.files[*file].len() as u64))
    }

    fn read_start(&self, name: &str, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.state.lock();
        let bytes = &state.files[state.file(name)?];
        let read = bytes.len().min(buffer.len());
        buffer[..read].copy_from_slice(&bytes[..read]);
        Ok(read)
    }

    fn read_at(&self, name: &str, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.state.lock();
        let bytes = state.files[state.file(name)?].get(at as usize..).unwrap_or_default();
        let read = bytes.len().min(buffer.len());
        buffer[..read].copy_from_slice(&bytes[..read]);
        Ok(read)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        let file = state.file(from)?;
        state.sync(file)?;
        state.name(to, Some(file))?;
        state.name(from, None)?;
        state.sync_names()
    }

    fn rewrite(&self, name: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        assert!(!state.faults.recovery_panics, "on purpose");
        let file = state.file(name)?;
        let bytes = state.files[file].clone();
        state.write(file, 0, &bytes)?;
        state.sync(file)
    }

    fn fill(&self, name: &str, size: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        let file = state.file(name)?;
        let length = state.files[file].len();
        state.write(file, length, &vec![0; (size as usize).saturating_sub(length)])?;
        state.sync(file)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.names.contains_key(name) { state.name(name, None) } else { Ok(()) }
    }
}

impl State {
    fn file(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn used(&self) -> usize {
        self.names.values().map(|file| self.files[*file].len()).sum()
    }

    /// Counts an operation. With the power goes everything after it; it may still get to the disk itself.
    fn begin(&mut self, operation: Option<Operation>) -> io::Result<()> {
        self.operations += 1;
        if self.stop_at.is_some_and(|at| self.operations > at) {
            return Err(no_power());
        }
        self.pending.extend(operation);
        if self.stop_at == Some(self.operations) { Err(no_power()) } else { Ok(()) }
    }

    fn is_off(&self) -> bool {
        self.stop_at.is_some_and(|at| self.operations >= at)
    }

    fn create(&mut self, name: &str) -> io::Result<usize> {
        self.files.push(Vec::new());
        self.kept_files.push(Vec::new());
        let file = self.files.len() - 1;
        self.name(name, Some(file))?;
        Ok(file)
    }

    fn name(&mut self, name: &str, file: Option<usize>) -> io::Result<()> {
        self.begin(Some(Operation::Name { name: name.to_owned(), file }))?;
        match file {
            Some(file) => self.names.insert(name.to_owned(), file),
            None => self.names.remove(name),
        };
        Ok(())
    }

    fn write(&mut self, file: usize, at: usize, bytes: &[u8]) -> io::Result<()> {
        if self.faults.writes {
            return Err(device_error());
        }
        let growth = (at + bytes.len()).saturating_sub(self.files[file].len());
        let fits = match self.faults.capacity {
            Some(capacity) if self.used() + growth > capacity => bytes.len().saturating_sub(growth),
            _ => bytes.len(),
        };
        self.begin(Some(Operation::Write { file, at, bytes: bytes[..fits].to_vec() }))?;
        self.written += fits as u64;
        write(&mut self.files[file], at, &bytes[..fits]);
        if fits < bytes.len() { Err(ErrorKind::WriteZero.into()) } else { Ok(()) }
    }

    fn set_length(&mut self, file: usize, length: usize) -> io::Result<()> {
        self.begin(Some(Operation::SetLength { file, length }))?;
        self.files[file].resize(length, 0);
        Ok(())
    }

    /// Also the file's name, as SQLite syncs the directory of a log that it makes.
    fn sync(&mut self, file: usize) -> io::Result<()> {
        self.begin(None)?;
        self.syncs += 1;
        let fails = self.faults.syncs || self.faults.nth_sync == Some(self.syncs);
        let (synced, pending): (Vec<_>, _) =
            std::mem::take(&mut self.pending).into_iter().partition(|operation| match operation {
                Operation::Write { file: of, .. } | Operation::SetLength { file: of, .. } => *of == file,
                Operation::Name { file: of, .. } => *of == Some(file),
            });
        self.pending = pending;
        if fails {
            if self.failed_at == 0 {
                self.failed_at = self.operations;
            }
            // Names are the directory's: its sync was not reached.
            let names = synced.into_iter().filter(|synced| matches!(synced, Operation::Name { .. }));
            self.pending.splice(0..0, names);
            return Err(device_error());
        }
        synced.iter().for_each(|operation| self.keep(operation, None));
        Ok(())
    }

    fn sync_names(&mut self) -> io::Result<()> {
        self.begin(None)?;
        let (names, pending): (Vec<_>, _) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|operation| matches!(operation, Operation::Name { .. }));
        self.pending = pending;
        names.iter().for_each(|operation| self.keep(operation, None));
        Ok(())
    }

    /// The operation gets to the disk; torn, of a write any of its sectors.
    fn keep(&mut self, operation: &Operation, torn: Option<&mut Chance>) {
        match operation {
            Operation::Write { file, at, bytes } => match torn {
                None => write(&mut self.kept_files[*file], *at, bytes),
                Some(chance) => {
                    let mut done = 0;
                    while done < bytes.len() {
                        let sector = (SECTOR - (at + done) % SECTOR).min(bytes.len() - done);
                        if chance.below(2) == 0 {
                            write(&mut self.kept_files[*file], at + done, &bytes[done..done + sector]);
                        }
                        done += sector;
                    }
                }
            },
            Operation::SetLength { file, length } => self.kept_files[*file].resize(*length, 0),
            Operation::Name { name, file: Some(file) } => drop(self.kept_names.insert(name.clone(), *file)),
            Operation::Name { name, file: None } => drop(self.kept_names.remove(name)),
        }
    }
}

fn write(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if file.len() < at + bytes.len() {
        file.resize(at + bytes.len(), 0);
    }
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

fn no_power() -> io::Error {
    io::Error::other("the power is off")
}

fn device_error() -> io::Error {
    io::Error::other("the device failed")
}

/// Numbers that look random (xorshift).
pub struct Chance(pub u64);

impl Chance {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }
}

/// SQLite's way to the disks.
struct Driver;

/// An open file.
struct Handle {
    state: Arc<Mutex<State>>,
    file: usize,
    lock: LockKind,
}

fn find(path: &str) -> io::Result<(Arc<Mutex<State>>, &str)> {
    let (number, name) = path.split_once('/').ok_or(ErrorKind::NotFound)?;
    let number: u64 = number.parse().map_err(|_| ErrorKind::NotFound)?;
    let state = DISKS.lock().get(&number).and_then(Weak::upgrade).ok_or(ErrorKind::NotFound)?;
    Ok((state, name))
}

impl Vfs for Driver {
    type Handle = Handle;

    fn open(&self, path: &str, options: OpenOptions) -> io::Result<Handle> {
        let (disk, name) = find(path)?;
        let mut state = disk.lock();
        if state.is_off() {
            return Err(no_power());
        }
        let file = match state.file(name) {
            Ok(file) => file,
            Err(_) if matches!(options.access, OpenAccess::Create | OpenAccess::CreateNew) => {
                state.create(name)?
            }
            Err(error) => return Err(error),
        };
        drop(state);
        Ok(Handle { state: disk, file, lock: LockKind::None })
    }

    fn delete(&self, path: &str) -> io::Result<()> {
        let (disk, name) = find(path)?;
        disk.lock().name(name, None)
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        let (disk, name) = find(path)?;
        Ok(disk.lock().names.contains_key(name))
    }

    fn temporary_name(&self) -> String {
        panic!("a temporary file on the disk")
    }

    fn random(&self, buffer: &mut [i8]) {
        // The same in every run, or a run could not be repeated.
        buffer.fill(7);
    }

    fn sleep(&self, duration: Duration) -> Duration {
        duration
    }
}

impl DatabaseHandle for Handle {
    type WalIndex = WalDisabled;

    fn size(&self) -> io::Result<u64> {
        Ok(self.state.lock().files[self.file].len() as u64)
    }

    fn read_exact_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.state.lock();
        if state.is_off() {
            return Err(no_power());
        }
        let bytes = state.files[self.file].get(offset as usize..).unwrap_or_default();
        let read = bytes.len().min(buffer.len());
        buffer[..read].copy_from_slice(&bytes[..read]);
        buffer[read..].fill(0);
        if read < buffer.len() { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.state.lock().write(self.file, offset as usize, bytes)
    }

    fn sync(&mut self, _data_only: bool) -> io::Result<()> {
        let mut state = self.state.lock();
        let pause = state.faults.sync_time;
        if !pause.is_zero() {
            drop(state);
            std::thread::park_timeout(pause);
            state = self.state.lock();
        }
        state.sync(self.file)
    }

    fn set_len(&mut self, size: u64) -> io::Result<()> {
        self.state.lock().set_length(self.file, size as usize)
    }

    fn lock(&mut self, lock: LockKind) -> io::Result<bool> {
        self.lock = lock;
        Ok(true)
    }

    fn reserved(&mut self) -> io::Result<bool> {
        Ok(false)
    }

    fn current_lock(&self) -> io::Result<LockKind> {
        Ok(self.lock)
    }

    fn wal_index(&self, _readonly: bool) -> io::Result<WalDisabled> {
        Ok(WalDisabled)
    }
}
