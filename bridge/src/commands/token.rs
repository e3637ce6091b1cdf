//! `token`: what programs show to the API instead of logging in.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{
    CommandError, print, print_json,
    table::{Column, grid},
    words::Style,
};
use crate::{
    settings::{Environment, Settings},
    web::{
        Scope,
        auth::tokens::{self, Token, TokenError},
    },
};

/// Arguments of `token`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What to do with tokens.
#[derive(Debug, clap::Subcommand)]
pub enum Action {
    /// Make a token and show it, once.
    New(NewArgs),
    /// Show all tokens, without what they are.
    List(ListArgs),
    /// Take a token away: it is good for nothing from then on.
    Revoke(RevokeArgs),
}

/// Arguments of `token new`.
#[derive(Debug, clap::Args)]
pub struct NewArgs {
    /// Who uses it, such as "grafana": 1 to 64 characters, unique.
    #[arg(long)]
    pub name: String,
    /// What it is good for.
    #[arg(long, value_enum)]
    pub scope: Scope,
    /// Report in JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `token list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Report in JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `token revoke`.
#[derive(Debug, clap::Args)]
pub struct RevokeArgs {
    /// Its id, as `token list` shows it.
    pub id: String,
    /// Report in JSON.
    #[arg(long)]
    pub json: bool,
}

/// Makes, lists or revokes tokens in the data directory, whether a bridge runs or not: one that does takes that up with the
/// next request.
///
/// # Errors
/// The settings are invalid, the name is none or taken, or no token has this id (status 2); there is no data directory, or the
/// file cannot be read or written (status 1).
pub fn run(args: &Args, dir: &Path, environment: &Environment) -> Result<(), CommandError> {
    let data_dir = data_dir(dir, environment)?;
    match &args.action {
        Action::New(args) => {
            let (token, text) = tokens::create(&data_dir, &args.name, args.scope)?;
            if args.json {
                let mut report = shown(&token);
                report["token"] = json!(*text);
                return print_json(&report);
            }
            print(&format!(
                "The token {} has the scope {} and the id {}. It is shown only now:\n\n{}\n\nPrograms send it as the header \
                 Authorization: Bearer TOKEN.\n",
                token.name,
                token.scope.name(),
                token.id,
                *text
            ))
        }
        Action::List(args) => {
            let tokens = tokens::list(&data_dir)?;
            if args.json {
                return print_json(&json!({ "tokens": tokens.iter().map(shown).collect::<Vec<_>>() }));
            }
            print(&list(&tokens))
        }
        Action::Revoke(args) => {
            let token = tokens::revoke(&data_dir, &args.id)?;
            if args.json {
                return print_json(&shown(&token));
            }
            print(&format!("The token {} is good for nothing any more.\n", token.name))
        }
    }
}

/// The data directory, in which something has run already: what root makes there belongs to its owner.
///
/// # Errors
/// The settings are invalid (status 2), or it is not there (status 1).
pub(super) fn data_dir(dir: &Path, environment: &Environment) -> Result<PathBuf, CommandError> {
    let data_dir = Settings::load(dir, environment)?.data_dir;
    if data_dir.is_dir() {
        return Ok(data_dir);
    }
    Err(CommandError::failed(format!(
        "there is no {}: nothing has run there yet. Start the bridge first (is this the right --config and data_dir?)",
        data_dir.display()
    )))
}

fn list(tokens: &[Token]) -> String {
    if tokens.is_empty() {
        return "There are no tokens: make one with ior-bridge token new.\n".to_owned();
    }
    let columns =
        [Column::keys("ID"), Column::words("NAME"), Column::whole("SCOPE"), Column::whole("CREATED")];
    let row = |token: &Token| {
        let created = humantime::format_rfc3339_seconds(token.created.0).to_string();
        [token.id.clone(), token.name.clone(), token.scope.name().to_owned(), created]
    };
    let rows: Vec<_> = tokens.iter().map(row).collect();
    grid(columns, &rows, Style::of_stdout().width()).into_iter().map(|line| line + "\n").collect()
}

fn shown(token: &Token) -> Value {
    json!({ "id": token.id, "name": token.name, "scope": token.scope, "created": token.created })
}

impl From<TokenError> for CommandError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::File(_) => Self::failed(error),
            TokenError::Invalid(_) | TokenError::Unknown(_) => Self::usage(error),
        }
    }
}
