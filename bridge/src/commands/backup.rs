//! `backup`: all that an instance is, in one file, whether it runs or not.

use std::{
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::io::AsyncReadExt;

use super::{CommandError, output::Output, print, print_json};
use crate::{
    archive::Manifest,
    backup::{self, Parts, StoreFile},
    control::{self, Client, Request, socket_path},
    instance::{Holder, Instance, InstanceError},
    settings::{Environment, Settings},
    storage::advice,
};

/// What comes over the socket at once, in bytes.
const PIECE: usize = 64 << 10;

/// Arguments of `backup`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to write it, such as ior-bridge.tar.gz; `-` for standard output.
    pub file: PathBuf,
    /// Replace a file that is there.
    #[arg(long)]
    pub force: bool,
    /// Report in JSON.
    #[arg(long)]
    pub json: bool,
}

/// What was done.
struct Report {
    manifest: Manifest,
    bytes: u64,
    elsewhere: Vec<PathBuf>,
    running: Option<Holder>,
}

/// Writes a backup: configuration, secret key, certificates, and what waits for devices.
///
/// # Errors
/// The settings are invalid, or both the backup and a report shall go to standard output (status 2); the file is there
/// already, something cannot be read or written, or the running bridge cannot be asked (status 1).
pub async fn run(args: &Args, dir: &Path, environment: &Environment) -> Result<(), CommandError> {
    let is_stdout = args.file == Path::new("-");
    if is_stdout && args.json {
        return Err(CommandError::usage("the backup itself goes to standard output: leave --json away"));
    }
    if is_stdout && io::stdout().is_terminal() {
        return Err(CommandError::usage("a terminal cannot show a backup: name a file"));
    }
    let settings = Settings::load(dir, environment)?;
    if is_stdout {
        let (report, _) = make(dir, &settings, io::stdout().lock()).await?;
        return tell(&report);
    }
    let mut out = Output::create(&args.file, args.force)?;
    let (report, _) = make(dir, &settings, out.file()).await?;
    out.persist()?;
    if args.json { print_json(&report.to_json(&args.file)) } else { print(&report.to_text(&args.file)) }
}

/// By the running bridge if there is one, else from the files.
async fn make<W: Write>(dir: &Path, settings: &Settings, out: W) -> Result<(Report, W), CommandError> {
    let data_dir = &settings.data_dir;
    if !data_dir.is_dir() {
        let why = "nothing has run there yet (is this the right --config and data_dir?)";
        return Err(CommandError::failed(format!("there is no {}: {why}", data_dir.display())));
    }
    match Instance::claim(data_dir) {
        Ok(_instance) => from_files(dir, settings, out),
        Err(InstanceError::Taken { holder, .. }) => from_bridge(settings, holder, out).await,
        Err(error) => Err(CommandError::failed(error)),
    }
}

fn from_files<W: Write>(dir: &Path, settings: &Settings, out: W) -> Result<(Report, W), CommandError> {
    let failed = |error: io::Error| CommandError::failed(format!("{error}; {}", advice(&error)));
    let parts = Parts::gather(dir, settings).map_err(failed)?;
    let store = StoreFile::of_directory(&settings.store_dir()).map_err(failed)?;
    let total = parts.length() + store.iter().map(StoreFile::length).sum::<u64>();
    let progress = progress(total);
    let mut bytes = 0;
    let counted = Counted { inner: out, bytes: &mut bytes };
    let made = backup::write(counted, &settings.host, &parts, store, |read| progress.set_position(read));
    let (manifest, Counted { inner: out, .. }) =
        made.map_err(|error| CommandError::failed(format!("the backup cannot be written: {error}")))?;
    progress.finish_and_clear();
    Ok((Report { manifest, bytes, elsewhere: parts.elsewhere().to_vec(), running: None }, out))
}

async fn from_bridge<W: Write>(
    settings: &Settings,
    holder: Holder,
    mut out: W,
) -> Result<(Report, W), CommandError> {
    let socket = socket_path(settings);
    let mut client = Client::connect(&socket).await?.ok_or_else(|| not_reached(holder, &socket))?;
    let made: control::Backup = client.ask(&Request::Backup).await?;
    let progress = progress(made.bytes);
    let mut rest = client.rest().take(made.bytes);
    let mut piece = vec![0; PIECE];
    let mut bytes = 0;
    loop {
        let read = rest.read(&mut piece).await;
        let read =
            read.map_err(|error| CommandError::failed(format!("the running bridge is gone: {error}")))?;
        if read == 0 {
            break;
        }
        let written = out.write_all(&piece[..read]);
        written.map_err(|error| CommandError::failed(format!("the backup cannot be written: {error}")))?;
        bytes += read as u64;
        progress.set_position(bytes);
    }
    if bytes < made.bytes {
        return Err(CommandError::failed(
            "the running bridge ended before the backup was complete: try again",
        ));
    }
    out.flush().map_err(|error| CommandError::failed(format!("the backup cannot be written: {error}")))?;
    progress.finish_and_clear();
    let control::Backup { manifest, elsewhere, .. } = made;
    Ok((Report { manifest, bytes, elsewhere, running: Some(holder) }, out))
}

/// Somebody has the data directory, but does not answer.
pub(super) fn not_reached(holder: Holder, socket: &Path) -> CommandError {
    CommandError::failed(format!(
        "{holder} works on the data directory and does not answer at {}: is it starting or stopping? Then try again",
        socket.display()
    ))
}

/// For the eyes, on a terminal.
fn progress(bytes: u64) -> ProgressBar {
    let progress = if io::stderr().is_terminal() { ProgressBar::new(bytes) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {bytes} of {total_bytes}") {
        progress.set_style(style);
    }
    progress.enable_steady_tick(Duration::from_millis(200));
    progress
}

/// Standard output has the backup.
fn tell(report: &Report) -> Result<(), CommandError> {
    for path in &report.elsewhere {
        eprintln!("{}", left_out(path));
    }
    Ok(())
}

fn left_out(path: &Path) -> String {
    format!("Not in it: {}, which server.json names. Keep a copy of that file yourself.", path.display())
}

impl Report {
    fn to_text(&self, file: &Path) -> String {
        let mut text = format!(
            "{}: {} files, {} bytes{}.\n",
            file.display(),
            self.manifest.files.len(),
            self.bytes,
            if self.running.is_some() { ", made by the running bridge" } else { "" }
        );
        for path in &self.elsewhere {
            text.push_str(&left_out(path));
            text.push('\n');
        }
        text.push_str("It holds the secret key, and so every device's password: keep it where nobody else can read it.\n");
        text
    }

    fn to_json(&self, file: &Path) -> serde_json::Value {
        json!({
            "ok": true,
            "file": file.display().to_string(),
            "bytes": self.bytes,
            "running": self.running.is_some(),
            "manifest": self.manifest,
            "elsewhere": self.elsewhere,
        })
    }
}

struct Counted<'a, W> {
    inner: W,
    bytes: &'a mut u64,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        *self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
