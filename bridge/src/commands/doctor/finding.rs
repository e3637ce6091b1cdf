use serde::Serialize;

use crate::commands::words::{Colour, Style};

/// Widest line, in columns.
const WIDTH: usize = 80;
/// Where sentences begin.
const INDENT: usize = 22;

/// What came of looking at one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(in crate::commands) struct Finding {
    /// What was looked at.
    pub(super) check: &'static str,
    pub(super) verdict: Verdict,
    /// What was found, as a sentence without its end.
    pub(super) what: String,
    /// What to do about it.
    pub(super) advice: Option<String>,
}

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// It works, but not for ever or not for everybody.
    Warning,
    /// It does not work.
    Problem,
    /// It could not be looked at.
    Unknown,
}

impl Finding {
    pub(super) fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, what: what.into(), advice: None }
    }

    pub(super) fn warning(check: &'static str, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Warning, what: what.into(), advice: Some(advice.into()) }
    }

    pub(super) fn problem(check: &'static str, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Problem, what: what.into(), advice: Some(advice.into()) }
    }

    /// `why` says how it could be looked at, if it could.
    pub(super) fn unknown(check: &'static str, why: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Unknown, what: why.into(), advice: None }
    }

    /// What a user may not look at.
    pub(super) fn not_allowed(check: &'static str) -> Self {
        Self::unknown(check, "this user may not look at it: run this with sudo")
    }

    pub(super) fn to_text(&self, style: Style) -> String {
        let (word, colour) = match self.verdict {
            Verdict::Ok => ("ok", Colour::Green),
            Verdict::Warning => ("warning", Colour::Yellow),
            Verdict::Problem => ("PROBLEM", Colour::Red),
            Verdict::Unknown => ("unknown", Colour::Dim),
        };
        let word = style.paint(colour, &format!("{word:<7}"));
        let mut text = format!("{word}  {:<11}  {}\n", self.check, wrapped(&self.what));
        if let Some(advice) = &self.advice {
            text.push_str(&format!("{:INDENT$}-> {}\n", "", wrapped(advice)));
        }
        text
    }
}

/// In lines that fit behind the indent; words that do not stay whole.
fn wrapped(sentence: &str) -> String {
    let mut text = String::new();
    for (number, line) in sentence.lines().enumerate() {
        if number > 0 {
            text.push('\n');
            text.push_str(&" ".repeat(if line.is_empty() { 0 } else { INDENT }));
        }
        // What is laid out already, such as a line of a file, stays as it is.
        if line.starts_with(' ') || line.contains(" | ") {
            text.push_str(line);
            continue;
        }
        let mut at = INDENT + if number == 0 { 3 } else { 0 };
        for (place, word) in line.split_whitespace().enumerate() {
            let width = word.chars().count();
            if place > 0 && at + 1 + width > WIDTH {
                text.push_str(&format!("\n{:INDENT$}", ""));
                at = INDENT;
            } else if place > 0 {
                text.push(' ');
                at += 1;
            }
            text.push_str(word);
            at += width;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_fit_80_columns() {
        let long = "word ".repeat(60);
        let finding = Finding::warning("disk space", long.trim(), long.trim());
        let text = finding.to_text(Style::plain());
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        assert!(text.starts_with("warning  disk space   word") && text.contains("-> word"), "{text}");
    }
}
