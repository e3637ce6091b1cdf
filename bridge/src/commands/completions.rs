//! `completions`: what a shell needs to complete the command line.

use clap::CommandFactory;
use clap_complete::aot::{Generator, Shell};

use super::{CommandError, print};
use crate::cli::Cli;

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell.
    pub shell: ShellArg,
}

/// A shell that completions are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ShellArg {
    /// For ~/.local/share/bash-completion/completions/ior-bridge.
    Bash,
    /// For a file _ior-bridge in a directory of $fpath.
    Zsh,
    /// For ~/.config/fish/completions/ior-bridge.fish.
    Fish,
}

/// Prints the completions.
///
/// # Errors
/// Standard output cannot be written to.
pub fn run(args: &Args) -> Result<(), CommandError> {
    print(&script(args.shell))
}

/// The completions for a shell, made of the same definitions as `--help`.
pub fn script(shell: ShellArg) -> String {
    match shell {
        // clap_complete loses the commands below a name with a dash: it gets one without, and bash the real one.
        ShellArg::Bash => generate(Shell::Bash, "ior_bridge").replace(" ior_bridge\n", " ior-bridge\n"),
        ShellArg::Zsh => generate(Shell::Zsh, "ior-bridge"),
        ShellArg::Fish => generate(Shell::Fish, "ior-bridge"),
    }
}

fn generate(shell: Shell, name: &str) -> String {
    let mut command = Cli::command();
    command.set_bin_name(name);
    command.build();
    let mut script = Vec::new();
    shell.generate(&command, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_is_told_every_command_and_its_options() {
        for shell in [ShellArg::Bash, ShellArg::Zsh, ShellArg::Fish] {
            let script = script(shell);
            for command in Cli::command().get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell:?}: {}", command.get_name());
            }
            for option in ["config", "json", "mosquitto"] {
                assert!(script.contains(option), "{shell:?}: {option}");
            }
        }
    }
}
