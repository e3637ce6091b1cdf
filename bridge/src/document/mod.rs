//! Configuration files as text with positions, so that every error can name its file, line and column.

mod edit;
mod json;
mod problem;
mod reader;
mod replacement;
mod source;

pub use edit::EntryList;
pub(crate) use json::{Node, Value, parse};
pub use problem::{MAX_TOLD, Problem, Problems};
pub(crate) use reader::{Object, Reader, Spanned, nearest};
pub use replacement::Replacement;
pub(crate) use replacement::is_changed_meanwhile;
pub(crate) use source::Span;
pub use source::{MAX_FILE_SIZE, Source};
