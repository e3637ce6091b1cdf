use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use rustix::io::Errno;
use serde_json::json;

use super::{Source, Span};
use crate::terminal::has_colours;

/// One thing that is wrong with the configuration: where, what, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    place: Place,
    message: String,
    hint: Option<String>,
    related: Option<(Span, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Text {
        source: Arc<Source>,
        span: Span,
    },
    File(PathBuf),
    /// A file that gave no text to judge.
    NoText(PathBuf),
    Variable(String),
}

impl Problem {
    /// Something in the text of a file.
    pub(crate) fn at(source: &Arc<Source>, span: Span, message: impl Into<String>) -> Self {
        Self::new(Place::Text { source: Arc::clone(source), span }, message.into())
    }

    /// Something about a file as a whole.
    pub(crate) fn of_file(path: &Path, message: impl Into<String>) -> Self {
        Self::new(Place::File(path.to_owned()), message.into())
    }

    /// A file that cannot be read.
    pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Self {
        let hint = match error.raw_os_error() {
            Some(number) if [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error).contains(&number) => {
                "too many files and connections are open: raise LimitNOFILE in the unit, or lower limits.connections"
            }
            _ => "make it a file that the bridge's user may read",
        };
        Self::new(Place::NoText(path.to_owned()), format!("cannot be read: {error}")).hint(hint)
    }

    /// A file that is not there.
    pub(crate) fn missing(path: &Path, hint: impl Into<String>) -> Self {
        Self::new(Place::NoText(path.to_owned()), "there is no such file".to_owned()).hint(hint)
    }

    /// Something in an environment variable.
    pub(crate) fn of_variable(name: &str, message: impl Into<String>) -> Self {
        Self::new(Place::Variable(name.to_owned()), message.into())
    }

    /// Adds what to write instead.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Points to another part of the same file.
    pub(crate) fn related(mut self, span: Span, label: impl Into<String>) -> Self {
        self.related = Some((span, label.into()));
        self
    }

    /// Whether it may pass by itself: the file could not be read at all.
    pub fn may_pass(&self) -> bool {
        matches!(self.place, Place::NoText(_))
    }

    /// The file it is in; `None` for an environment variable.
    pub fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::Text { source, .. } => Some(source.path()),
            Place::File(path) | Place::NoText(path) => Some(path),
            Place::Variable(_) => None,
        }
    }

    /// The environment variable that it is in.
    pub fn variable(&self) -> Option<&str> {
        match &self.place {
            Place::Variable(name) => Some(name),
            _ => None,
        }
    }

    /// Line and column, both from 1, if it is about a part of a file.
    pub fn position(&self) -> Option<(usize, usize)> {
        match &self.place {
            Place::Text { source, span } => Some(source.position(span.start)),
            _ => None,
        }
    }

    /// Where in this text it is, as a byte offset; `None` if it is about something else.
    pub(crate) fn offset_in(&self, text: &Arc<Source>) -> Option<usize> {
        match &self.place {
            Place::Text { source, span } if Arc::ptr_eq(source, text) => Some(span.start),
            _ => None,
        }
    }

    /// What is wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to write instead.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    fn new(place: Place, message: String) -> Self {
        Self { place, message, hint: None, related: None }
    }

    fn offset(&self) -> usize {
        match &self.place {
            Place::Text { span, .. } => span.start,
            _ => 0,
        }
    }

    fn render(&self, renderer: &Renderer) -> String {
        let path;
        let title = match &self.place {
            Place::Text { .. } => self.message.clone(),
            Place::File(path) | Place::NoText(path) => format!("{}: {}", path.display(), self.message),
            Place::Variable(name) => format!("environment variable {name}: {}", self.message),
        };
        let mut group = Group::with_title(Level::ERROR.primary_title(title));
        if let Place::Text { source, span } = &self.place {
            path = source.path().display().to_string();
            let mut snippet = Snippet::source(source.text()).path(path.as_str());
            snippet = snippet.annotation(AnnotationKind::Primary.span(span.clone()));
            if let Some((span, label)) = &self.related {
                snippet =
                    snippet.annotation(AnnotationKind::Context.span(span.clone()).label(label.as_str()));
            }
            group = group.element(snippet);
        }
        if let Some(hint) = &self.hint {
            group = group.element(Level::HELP.message(hint.as_str()));
        }
        renderer.render(&[group])
    }
}

/// Most problems that are told one by one. Each is shown with its place in the text, so telling all that can be wrong with
/// a large file would take minutes.
pub const MAX_TOLD: usize = 100;

/// Everything that is wrong with the configuration, at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    /// At most [`MAX_TOLD`].
    told: Vec<Problem>,
    /// Those that are counted only.
    more: usize,
}

impl Problems {
    /// The first [`MAX_TOLD`], in the order in which to show them.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.told.iter()
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many there are, those that are not told included.
    pub fn len(&self) -> usize {
        self.told.len() + self.more
    }

    /// As a compiler prints it: file, line, column, the line with a caret, the hint.
    pub fn render(&self, colours: bool) -> String {
        let renderer = if colours { Renderer::styled() } else { Renderer::plain() };
        let mut text = String::new();
        for problem in &self.told {
            text.push_str(&problem.render(&renderer));
            text.push_str("\n\n");
        }
        text.push_str(&match self.len() {
            1 => "1 error in the configuration".to_owned(),
            count if self.more > 0 => format!("{count} errors in the configuration: these are the first"),
            count => format!("{count} errors in the configuration"),
        });
        text
    }

    /// [`Problems::render`] for standard error: colours only on a terminal, and not with `NO_COLOR`.
    pub fn render_for_stderr(&self) -> String {
        self.render(has_colours(&std::io::stderr()))
    }

    /// For programs: an array of the first [`MAX_TOLD`], as objects with `file`, `line`, `column` or `variable`, `message`, `hint`.
    pub fn to_json(&self) -> serde_json::Value {
        let one = |problem: &Problem| {
            json!({
                "file": problem.path().map(|path| path.display().to_string()),
                "line": problem.position().map(|(line, _)| line),
                "column": problem.position().map(|(_, column)| column),
                "variable": problem.variable(),
                "message": problem.message,
                "hint": problem.hint,
            })
        };
        self.told.iter().map(one).collect()
    }

    pub(crate) fn extend(&mut self, more: Self) {
        self.more += more.more;
        more.told.into_iter().for_each(|problem| self.push(problem));
    }

    pub(crate) fn push(&mut self, problem: Problem) {
        self.push_with(|| problem);
    }

    /// Takes a problem that is only made if it is told: making it may take long.
    pub(crate) fn push_with(&mut self, problem: impl FnOnce() -> Problem) {
        if self.told.len() < MAX_TOLD {
            self.told.push(problem());
        } else {
            self.more += 1;
        }
    }

    /// Takes another file's problems, sorted by their position.
    pub(crate) fn append(&mut self, mut of_one_file: Self) {
        of_one_file.told.sort_by_key(Problem::offset);
        self.extend(of_one_file);
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self { told: vec![problem], more: 0 }
    }
}

impl std::fmt::Display for Problems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Problems {}
