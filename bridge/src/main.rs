//! The daemon and its commands.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use ior_bridge::{
    cli::{Cli, Command},
    commands::{
        CommandError, add, backup, check, completions, connections, credentials, devices, diag, disable,
        doctor, explain, latency, password, publish, reload, remove, restore, rotate, run, status, store,
        subscribe, token, watch,
    },
    configuration, logging,
    settings::Environment,
};

/// Messages are made on one thread and freed on another: the system's allocator has its threads wait for each other then.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let result = execute(Cli::parse());
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.message().is_empty() {
                logging::last_words(error.message());
            }
            ExitCode::from(error.status())
        }
    }
}

fn execute(cli: Cli) -> Result<(), CommandError> {
    let dir = configuration::directory(cli.config);
    let environment = environment();
    match cli.command.unwrap_or(Command::Run(run::Args::default())) {
        Command::Run(args) => block_on(run::run(&args, &dir, &environment)),
        Command::Status(args) => block_on(status::run(&args, &dir, &environment)),
        Command::Watch(args) => block_on(watch::run(args, &dir, &environment)),
        Command::Devices(args) => block_on(devices::run(&args, &dir, &environment)),
        Command::Connections(args) => block_on(connections::run(&args, &dir, &environment)),
        Command::Check(args) => check::run(&args, &dir, &environment),
        Command::Credentials(args) => credentials::run(&args, &dir, &environment),
        Command::Add(args) => block_on(add::run(&args, &dir, &environment)),
        Command::Remove(args) => block_on(remove::run(&args, &dir, &environment)),
        Command::Disable(args) => block_on(disable::run(&args, true, &dir, &environment)),
        Command::Enable(args) => block_on(disable::run(&args, false, &dir, &environment)),
        Command::Rotate(args) => block_on(rotate::run(&args, &dir, &environment)),
        Command::Reload(args) => block_on(reload::run(&args, &dir, &environment)),
        Command::Backup(args) => block_on(backup::run(&args, &dir, &environment)),
        Command::Restore(args) => block_on(restore::run(&args, &dir, &environment)),
        Command::Token(args) => token::run(&args, &dir, &environment),
        Command::Password(args) => password::run(&args, &dir, &environment),
        Command::Store(args) => block_on(store::run(&args, &dir, &environment)),
        Command::Diag(args) => block_on(diag::run(&args, &dir, &environment)),
        Command::Doctor(args) => block_on(doctor::run(&args, &dir, &environment)),
        Command::Explain(args) => explain::run(&args, &dir, &environment),
        Command::Pub(args) => block_on(publish::run(args)),
        Command::Sub(args) => block_on(subscribe::run(args)),
        Command::Latency(args) => block_on(latency::run(args)),
        Command::Completions(args) => completions::run(&args),
    }
}

fn block_on(command: impl Future<Output = Result<(), CommandError>>) -> Result<(), CommandError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| CommandError::failed(format!("cannot start: {error}")))?.block_on(command)
}

/// What is not Unicode is no setting of ours, or shows up as a wrong value of one.
fn environment() -> Environment {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect()
}
