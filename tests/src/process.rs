//! A child process whose output is kept, and that never outlives its test.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

/// A running child. Killed when dropped.
pub struct Process {
    child: Child,
    output: Arc<Output>,
    command: String,
}

#[derive(Default)]
struct Output {
    lines: Mutex<Lines>,
    changed: Condvar,
}

#[derive(Default)]
struct Lines {
    text: Vec<String>,
    closed: usize,
}

impl Process {
    /// Starts it with both outputs captured, line by line.
    pub fn start(command: &mut Command) -> Self {
        let name = format!("{command:?}");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let output = Arc::new(Output::default());
        capture(child.stdout.take().unwrap(), &output);
        capture(child.stderr.take().unwrap(), &output);
        Self { child, output, command: name }
    }

    /// Waits for a line for which `find` gives something, from the first line on.
    #[track_caller]
    pub fn wait_for<T>(&self, what: &str, deadline: Duration, find: impl Fn(&str) -> Option<T>) -> T {
        self.wait_until(what, deadline, |lines| lines.iter().find_map(|line| find(line)))
    }

    /// Waits until `find` gives something for all lines so far.
    #[track_caller]
    pub fn wait_until<T>(&self, what: &str, deadline: Duration, find: impl Fn(&[String]) -> Option<T>) -> T {
        let until = Instant::now() + deadline;
        let mut lines = self.output.lines.lock().unwrap();
        loop {
            if let Some(found) = find(&lines.text) {
                return found;
            }
            let left = until.saturating_duration_since(Instant::now());
            if lines.closed == 2 || left.is_zero() {
                // Not while the lines are locked: whoever cleans up reads them.
                drop(lines);
                panic!("no {what} from {}", self.command);
            }
            lines = self.output.changed.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// All that it said so far on both outputs.
    pub fn log(&self) -> String {
        self.output.lines.lock().unwrap().text.join("\n")
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end (SIGTERM).
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Asks it to read its configuration again (SIGHUP).
    pub fn hang_up(&self) {
        self.signal("HUP");
    }

    /// Has it stand still (SIGSTOP) until it is told to go on.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on (SIGCONT).
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let done = Command::new("kill").args(["-s", name, &id]).status().unwrap();
        assert!(done.success(), "{} was gone already", self.command);
    }

    /// Ends it at once (SIGKILL).
    pub fn kill(&mut self) {
        // An error means that it ended by itself, which is what is wanted.
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// Waits until it ends, and until all its output is here.
    #[track_caller]
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let until = Instant::now() + deadline;
        let mut lines = self.output.lines.lock().unwrap();
        while lines.closed < 2 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(lines);
                panic!("{} still runs", self.command);
            }
            lines = self.output.changed.wait_timeout(lines, left).unwrap().0;
        }
        drop(lines);
        self.child.wait().unwrap()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most memory that was ever resident, in bytes.
    pub fn peak(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// How many file descriptors it has open.
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    fn memory(&self, key: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(key)).expect("a running process has memory");
        let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kilobytes * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- {} said:\n{}", self.command, self.log());
        }
    }
}

fn capture(stream: impl Read + Send + 'static, output: &Arc<Output>) {
    let output = Arc::clone(output);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            output.lines.lock().unwrap().text.push(line);
            output.changed.notify_all();
        }
        output.lines.lock().unwrap().closed += 1;
        output.changed.notify_all();
    });
}
