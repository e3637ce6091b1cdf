//! Writes the man pages and shell completions into a directory, for packaging: `pages DIR`. They come from the same
//! definitions as `--help`. Not a command of the bridge, since a machine that packages for another cannot run that.
#![forbid(unsafe_code)]

use std::{env, fs, io, path::Path, process::ExitCode};

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use ior_bridge::{
    cli::Cli,
    commands::completions::{ShellArg, script},
};

fn main() -> ExitCode {
    let Some(dir) = env::args_os().nth(1) else {
        eprintln!("error: no directory; usage: pages DIR");
        return ExitCode::from(2);
    };
    match write(Path::new(&dir)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}: {error}", Path::new(&dir).display());
            ExitCode::FAILURE
        }
    }
}

fn write(dir: &Path) -> io::Result<()> {
    let man = dir.join("man");
    fs::create_dir_all(&man)?;
    let mut cli = Cli::command().disable_help_subcommand(true);
    cli.build();
    write_page(&man, &cli, "ior-bridge")?;

    let completions = dir.join("completions");
    fs::create_dir_all(&completions)?;
    fs::write(completions.join("ior-bridge"), script(ShellArg::Bash))?;
    fs::write(completions.join("_ior-bridge"), script(ShellArg::Zsh))?;
    fs::write(completions.join("ior-bridge.fish"), script(ShellArg::Fish))
}

/// The page of a command and those of the commands below it: ior-bridge-store.1, ior-bridge-store-verify.1.
fn write_page(dir: &Path, command: &Command, name: &str) -> io::Result<()> {
    let page = Man::new(command.clone()).title(name).source("IOR Bridge").manual("IOR Bridge");
    let mut text = Vec::new();
    page.render(&mut text)?;
    fs::write(dir.join(format!("{name}.1")), text)?;
    for below in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        write_page(dir, below, &format!("{name}-{}", below.get_name()))?;
    }
    Ok(())
}
