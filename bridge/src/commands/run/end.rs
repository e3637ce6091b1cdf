//! How a running bridge ends: for good, or to be the one that a backup holds.

use std::{fmt, io, os::unix::process::CommandExt, path::PathBuf, process::Command};

use tokio::signal::unix::{SignalKind, signal};

use crate::{commands::CommandError, control::Pause, service_manager::ServiceManager};

/// Why the bridge stops.
pub(super) enum End {
    Signal(&'static str),
    Pause(Pause),
}

impl End {
    /// Tells the service manager.
    pub(super) fn tell(&self, manager: &ServiceManager) {
        match self {
            Self::Signal(_) => manager.stopping(),
            // The process stays, and is ready again.
            Self::Pause(_) => manager.pausing(),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signal(signal) => signal,
            Self::Pause(_) => "a backup is restored",
        })
    }
}

/// The signals that end the bridge.
pub(super) struct Stop {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Stop {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    pub(super) async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "Ctrl-C",
        }
    }
}

/// Stands still until that is over, then becomes a bridge that has just been started: the process stays the same, for
/// whoever looks after it.
pub(super) async fn start_again(pause: Pause, stop: &mut Stop) -> Result<(), CommandError> {
    // Whoever asked may be gone.
    let _ = pause.stopped.send(());
    tokio::select! {
        biased;
        _ = stop.wait() => return Ok(()),
        _ = pause.go_on => {}
    }
    tracing::info!("starting again");
    let program = own_program().map_err(CommandError::failed)?;
    let mut args = std::env::args_os();
    let mut command = Command::new(&program);
    if let Some(name) = args.next() {
        command.arg0(name);
    }
    let error = command.args(args).exec();
    Err(CommandError::failed(format!("{} cannot be started again: {error}", program.display())))
}

/// Where an update has replaced or removed the file, what runs is found by the process only.
fn own_program() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(if program.exists() { program } else { PathBuf::from("/proc/self/exe") })
}
