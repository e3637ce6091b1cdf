use std::io::{self, IsTerminal, Write};

use super::CommandError;

/// Asks on the terminal whether to do what cannot be undone, after saying what that is.
///
/// # Errors
/// Nobody can be asked (status 2), or the answer is no (status 1).
pub(super) fn confirm(what: &str, question: &str) -> Result<(), CommandError> {
    if !io::stdin().is_terminal() {
        let message = "this asks before it does anything, and nobody can be asked here: add --yes";
        return Err(CommandError::usage(message).and(what));
    }
    let failed = |error| CommandError::failed(format!("cannot ask: {error}"));
    // Not into the report.
    let mut terminal = io::stderr().lock();
    write!(terminal, "{what}\n{question} [y/N] ").and_then(|()| terminal.flush()).map_err(failed)?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(failed)?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(CommandError::failed("not confirmed: nothing was changed")),
    }
}
