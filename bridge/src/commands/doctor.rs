//! `doctor`: looks for what is wrong, or is about to be, and says what to do about it.

mod bridge;
mod files;
mod finding;
mod machine;

use std::path::Path;

use serde_json::json;

use super::{CommandError, print, print_json, words::Style};
use crate::{
    configuration::Configuration,
    settings::{Environment, Settings},
};
use finding::{Finding, Verdict};

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Report in JSON.
    #[arg(long)]
    pub json: bool,
}

/// Looks at everything. Changes nothing.
///
/// # Errors
/// There is a problem (status 1).
pub async fn run(args: &Args, dir: &Path, environment: &Environment) -> Result<(), CommandError> {
    let findings = examine(dir, environment).await;
    let problems = findings.iter().filter(|finding| finding.verdict == Verdict::Problem).count();
    if args.json {
        print_json(&json!({ "ok": problems == 0, "problems": problems, "checks": findings }))?;
    } else {
        print(&to_text(&findings, Style::of_stdout()))?;
    }
    if problems == 0 { Ok(()) } else { Err(CommandError::reported(1)) }
}

/// All that there is to say.
pub(super) async fn examine(dir: &Path, environment: &Environment) -> Vec<Finding> {
    let mut findings = vec![bridge::configuration(dir, environment)];
    // Wrong devices are no reason not to look at the rest.
    let Ok(settings) = Settings::load(dir, environment) else {
        findings.extend(machine::clock());
        findings.push(machine::memory());
        return findings;
    };
    let (running, status) = bridge::running(&settings, &mut findings).await;
    findings.push(bridge::host_name(&settings).await);
    findings.extend(bridge::ports(&settings, running, status.as_ref()));
    findings.extend(machine::clock());
    findings.extend(machine::disk(&settings.data_dir));
    findings.push(machine::file_system(&settings.data_dir));
    findings.extend(machine::wear(&settings.data_dir, running.pid()));
    findings.push(machine::memory());
    findings.push(bridge::open_files(&settings.limits, running));
    findings.extend(files::permissions(dir, &settings));
    findings.extend(files::page(dir, &settings));
    findings.extend(files::certificates(&settings));
    findings.push(files::store(&settings, status.as_ref()).await);
    findings.extend(files::old_data(&settings.data_dir));
    findings.extend(machine::service_manager(dir));
    findings
}

/// For people.
pub(super) fn to_text(findings: &[Finding], style: Style) -> String {
    let mut text: String = findings.iter().map(|finding| finding.to_text(style)).collect();
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let unknown = match count(Verdict::Unknown) {
        0 => String::new(),
        count => format!(", {count} that could not be looked at"),
    };
    text.push_str(&format!(
        "\n{}, {}{unknown}.\n",
        plural(count(Verdict::Problem), "problem"),
        plural(count(Verdict::Warning), "warning")
    ));
    text
}

/// The configuration as a whole, if it is valid.
fn load(dir: &Path, environment: &Environment) -> Result<Configuration, String> {
    Configuration::load(dir, environment).map_err(|problems| problems.render(false))
}
