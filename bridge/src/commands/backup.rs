//! `backup`: all that an instance is, in one file, whether it runs or not.

use std::{
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{CommandError, output::Output, print, print_json};
use crate::{
    archive::Manifest,
    backup::{self, Parts, StoreFile},
    configuration::Configuration,
    control::{self, Client, ControlError, MAX_PIECE, Request, socket_path},
    instance::{Holder, Instance, InstanceError},
    settings::{Environment, Settings},
    storage::advice,
};

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
    warn_of_faults(dir, environment);
    if is_stdout {
        let (report, _) = make(dir, &settings, io::stdout().lock()).await?;
        return tell(&report);
    }
    let mut out = Output::create(&args.file, args.force)?;
    let (report, _) = make(dir, &settings, out.file()).await?;
    out.persist()?;
    if args.json { print_json(&report.to_json(&args.file)) } else { print(&report.to_text(&args.file)) }
}

/// A running bridge goes on with what it read before, so nothing else may tell.
fn warn_of_faults(dir: &Path, environment: &Environment) {
    if let Err(problems) = Configuration::load(dir, environment) {
        eprintln!(
            "{}\nwarning: the configuration is not valid, so this backup cannot be restored as it is: put it right, and back up \
             again",
            problems.render_for_stderr()
        );
    }
}

/// By the running bridge if there is one, else from the files.
async fn make<W: Write>(dir: &Path, settings: &Settings, out: W) -> Result<(Report, W), CommandError> {
    let data_dir = &settings.data_dir;
    if !data_dir.is_dir() {
        let why = "nothing has run there yet (is this the right --config and data_dir?)";
        return Err(CommandError::failed(format!("there is no {}: {why}", data_dir.display())));
    }
    match Instance::claim_to_read(data_dir) {
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
    let progress = progress(Some(total));
    let mut bytes = 0;
    let counted = Counted { inner: out, bytes: &mut bytes };
    let made = backup::write(counted, &settings.host, &parts, store, |read| progress.set_position(read));
    let (manifest, Counted { inner: out, .. }) = made.map_err(unwritten)?;
    progress.finish_and_clear();
    Ok((Report { manifest, bytes, elsewhere: parts.elsewhere().to_vec(), running: None }, out))
}

async fn from_bridge<W: Write>(
    settings: &Settings,
    holder: Holder,
    mut out: W,
) -> Result<(Report, W), CommandError> {
    let socket = socket_path(settings);
    let not_made = |error: ControlError| CommandError::failed(format!("{error}. No backup was written"));
    let client = Client::connect(&socket).await.map_err(not_made)?;
    let mut client = client.ok_or_else(|| not_reached(holder, &socket))?;
    let control::Backup { elsewhere } = client.ask(&Request::Backup).await.map_err(not_made)?;
    let progress = progress(None);
    let mut buffer = Box::new([0; MAX_PIECE]);
    let mut bytes = 0;
    loop {
        let piece = client.piece(&mut buffer).await.map_err(not_made)?;
        if piece.is_empty() {
            break;
        }
        out.write_all(piece).map_err(unwritten)?;
        bytes += piece.len() as u64;
        progress.set_position(bytes);
    }
    out.flush().map_err(unwritten)?;
    let manifest = client.line().await.map_err(not_made)?;
    let manifest = manifest.ok_or_else(|| not_made(ControlError::Ended(socket)))?;
    progress.finish_and_clear();
    Ok((Report { manifest, bytes, elsewhere, running: Some(holder) }, out))
}

fn unwritten(error: io::Error) -> CommandError {
    CommandError::failed(format!("the backup cannot be written: {error}"))
}

/// Somebody has the data directory, but does not answer.
pub(super) fn not_reached(holder: Holder, socket: &Path) -> CommandError {
    CommandError::failed(format!(
        "{holder} works on the data directory and does not answer at {}: is it starting or stopping? Then try again",
        socket.display()
    ))
}

/// For the eyes, on a terminal; of so many bytes in all, if that is known.
fn progress(bytes: Option<u64>) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (progress, template) = match bytes {
        Some(bytes) => (ProgressBar::new(bytes), "{wide_bar} {bytes} of {total_bytes}"),
        None => (ProgressBar::no_length(), "{spinner} {bytes}"),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
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
