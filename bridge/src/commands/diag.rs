//! `diag`: what a bug report needs, in one file, without secrets.

mod redact;
mod sources;

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{CommandError, output::Output, print, print_json};
use crate::{
    archive::{Kind, Manifest, Writer},
    settings::{Environment, host_name},
};
use redact::Redactor;

/// Arguments of `diag`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to write it, such as diag.tar.gz.
    pub file: PathBuf,
    /// Replace a file that is there.
    #[arg(long)]
    pub force: bool,
    /// Report in JSON.
    #[arg(long)]
    pub json: bool,
}

/// Gathers what there is, takes every secret out, and writes the archive.
///
/// # Errors
/// The file is there already or cannot be written, or the secrets that have to be taken out cannot be read (status 1).
pub async fn run(args: &Args, dir: &Path, environment: &Environment) -> Result<(), CommandError> {
    let mut out = Output::create(&args.file, args.force)?;
    let redactor = Redactor::new(dir, environment).map_err(CommandError::failed)?;
    let sources = sources::gather(dir, environment).await;
    let unwritten =
        |error| CommandError::failed(format!("{} cannot be written: {error}", args.file.display()));
    let mut writer = Writer::new(out.file(), Kind::Diagnosis, &redactor.redact(&host_name()));
    let mut taken_out = 0;
    for (name, text) in sources {
        let redacted = redactor.redact(&text);
        taken_out += redacted.matches(redact::MARK).count() - text.matches(redact::MARK).count();
        writer.add(&name, redacted.len() as u64, redacted.as_bytes()).map_err(unwritten)?;
    }
    let (manifest, _) = writer.finish().map_err(unwritten)?;
    out.persist()?;
    if args.json {
        return print_json(&json!({
            "ok": true,
            "file": args.file.display().to_string(),
            "taken_out": taken_out,
            "manifest": manifest,
        }));
    }
    print(&to_text(&args.file, &manifest, taken_out))
}

fn to_text(file: &Path, manifest: &Manifest, taken_out: usize) -> String {
    let mut text = format!("{} holds:\n", file.display());
    for listed in &manifest.files {
        text.push_str(&format!("  {:<24} {:>9} bytes\n", listed.path, listed.bytes));
    }
    text.push_str(&format!("Secrets that were found in it and taken out: {taken_out}\n"));
    text.push_str(&format!(
        "It holds no password, key or message, but names of devices and users, topics and\n\
         addresses. Look at it before you send it: tar xzf {}\n",
        file.display()
    ));
    text
}
