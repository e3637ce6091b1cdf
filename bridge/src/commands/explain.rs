//! `explain`: may a device do this, and which rule decides?

use std::path::Path;

use serde_json::json;

use super::{CommandError, print, print_json};
use crate::{
    configuration::Configuration,
    policy::{Action, Rights},
    registry::{Device, find_device},
    settings::Environment,
};

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The device: its code, `<user>.<code>`, or its name if no other has it.
    pub device: String,
    /// What it wants to do.
    pub action: ActionArg,
    /// The topic, or the topic filter if it subscribes.
    pub topic: String,
    /// Report in JSON.
    #[arg(long)]
    pub json: bool,
}

/// What a device wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ActionArg {
    /// Publish, retained messages and its will included.
    Publish,
    /// Subscribe.
    Subscribe,
}

/// Prints whether it is allowed, and why.
///
/// # Errors
/// The device is unknown or the configuration invalid (status 2). That it is refused is an answer, not an error.
pub fn run(args: &Args, dir: &Path, environment: &Environment) -> Result<(), CommandError> {
    let registry = Configuration::load(dir, environment)?.registry;
    let device = find_device(&registry, &args.device)?;
    let action = match args.action {
        ActionArg::Publish => Action::Publish,
        ActionArg::Subscribe => Action::Subscribe,
    };
    let user_name = device.user_name();
    let all = Rights::of_all(&registry);
    let rights = all.iter().find(|rights| rights.name() == user_name);
    let rights = rights.ok_or_else(|| CommandError::failed(format!("{user_name} has no rights")))?;
    if args.json {
        print_json(&report(device, rights, action, &args.topic))
    } else {
        print(&text(device, rights, action, &args.topic))
    }
}

fn text(device: &Device, rights: &Rights, action: Action, topic: &str) -> String {
    let verdict = rights.decide(action, topic);
    let verb = match action {
        Action::Publish => "publish",
        Action::Subscribe => "subscribe",
    };
    let answer = if verdict.is_allowed() { "allowed" } else { "refused" };
    let mut text = format!(
        "{answer}: {} ({}), {verb} {topic}\nbecause: {}\n",
        rights.name(),
        device.name,
        verdict.reason(rights)
    );
    if !verdict.is_allowed() {
        let allowed = rights.allowed(action);
        let first = if allowed.is_empty() { "nothing: it has no connection" } else { "" };
        text.push_str(&format!("it may {verb}: {first}\n"));
        for allowed in allowed {
            text.push_str(&format!("  {allowed}\n"));
        }
    }
    if device.disabled {
        text.push_str("but it is disabled in devices.json: it may not log in\n");
    }
    text.replace(": \n", ":\n")
}

fn report(device: &Device, rights: &Rights, action: Action, topic: &str) -> serde_json::Value {
    let verdict = rights.decide(action, topic);
    json!({
        "device": rights.name(),
        "disabled": device.disabled,
        "topic": topic,
        "allowed": verdict.is_allowed(),
        "reason": verdict.reason(rights),
        "may": rights.allowed(action),
    })
}
