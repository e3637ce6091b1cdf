//! `password`: makes a new password of the administrator.

use std::{
    io::{self, IsTerminal},
    path::Path,
};

use serde_json::json;

use super::{CommandError, print, print_json, token::data_dir};
use crate::{settings::Environment, web::auth::password::Administrator};

/// Arguments of `password`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Report in JSON.
    #[arg(long)]
    pub json: bool,
}

/// Makes a new password for the page, and ends all its logins, whether a bridge runs or not. Shows the password on a terminal
/// only: what is not one may be kept.
///
/// # Errors
/// The settings are invalid (status 2); there is no data directory, or a file cannot be written (status 1).
pub fn run(args: &Args, dir: &Path, environment: &Environment) -> Result<(), CommandError> {
    let administrator = Administrator::of(&data_dir(dir, environment)?);
    let password = administrator.renew().map_err(CommandError::failed)?;
    let file = administrator.initial_file();
    if args.json {
        return print_json(&json!({ "file": file.display().to_string() }));
    }
    let place = file.display();
    print(&if io::stdout().is_terminal() {
        format!(
            "The administrator's password for the page is now:\n\n{}\n\nIt stands in {place}, too, until it is changed. \
             Whoever was logged in is not any more.\n",
            *password
        )
    } else {
        format!(
            "The administrator has a new password for the page. It stands in {place} until it is changed. Whoever was logged in \
             is not any more.\n"
        )
    })
}
