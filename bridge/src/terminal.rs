//! What a terminal obeys, and whether it is to be coloured.

use std::io::IsTerminal;

/// Whether what is written there may be coloured: only on a terminal, and not where `NO_COLOR` says something.
pub(crate) fn has_colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// What a terminal obeys or hides instead of showing it, among it what turns the direction of a text round. The joiners
/// are shown: some scripts and emoji need them.
pub(crate) fn is_unseen(character: char) -> bool {
    matches!(
        character,
        '\u{AD}'
            | '\u{61C}'
            | '\u{200B}'
            | '\u{200E}'
            | '\u{200F}'
            | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{FEFF}'
    ) || character.is_control()
}
