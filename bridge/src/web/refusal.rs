//! Why the configuration was not changed, as a problem of the API.

use std::{
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use axum::http::{HeaderValue, StatusCode, header::RETRY_AFTER};
use serde_json::{Value, json};

use super::Problem;
use crate::{
    changes::{EditError, Fault},
    document::{Problems, is_changed_meanwhile},
    links::real_path,
    registry::why_no_id,
};

impl From<EditError> for Problem {
    fn from(error: EditError) -> Self {
        let status = status(&error);
        match error {
            EditError::Invalid(problems) => invalid(&problems),
            EditError::WouldBeInvalid { faults, .. } => refused(&faults),
            EditError::OtherRevision(revision) => {
                Self::new(status, error.to_string()).with("revision", revision.to_string())
            }
            EditError::NoEnd { end, unclear } => refused(&[Fault {
                field: Some(end.name().to_owned()),
                what: unclear.to_string(),
                hint: None,
            }]),
            EditError::NoId { name } => refused(&[Fault {
                field: Some("name".to_owned()),
                what: format!("no id can be made from this name: {}", why_no_id(&name)),
                hint: Some("give an id of A-Z a-z 0-9 _ -, such as connection-1".to_owned()),
            }]),
            EditError::StillConnected { device, connections, .. } => {
                let detail = format!(
                    "{device} is still in {}: remove those first, or together with it; nothing was changed",
                    connections.join(", ")
                );
                Self::new(status, detail).with("connections", connections)
            }
            EditError::Busy { .. } => busy("a command is changing the configuration just now"),
            EditError::CannotWrite { path, error, written } if !is_changed_meanwhile(&error) => {
                Self::new(status, cannot_write(&path, &error, &written)).with("written", names(&written))
            }
            EditError::NotTakenUp { ref files, .. } => {
                Self::new(status, error.to_string()).with("written", names(files))
            }
            error @ EditError::TooLarge(_) => {
                refused(&[Fault { field: None, what: error.to_string(), hint: None }])
            }
            error => Self::new(status, error.to_string()),
        }
    }
}

/// Somebody else is at it.
pub(super) fn busy(what: &str) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("{what}: try again; nothing was changed"))
        .header(RETRY_AFTER, HeaderValue::from_static("1"))
}

/// The files as they are.
pub(super) fn invalid(problems: &Problems) -> Problem {
    let told = problems.iter().map(|problem| {
        let (line, column) = problem.position().unzip();
        json!({
            "file": problem.path().map(|path| path.display().to_string()),
            "line": line,
            "column": column,
            "variable": problem.variable(),
            "what": problem.message(),
            "hint": problem.hint_text(),
        })
    });
    let detail = "the configuration in the files is invalid at the moment, so nothing was changed, and what runs is what was \
                  valid last: put the files right first";
    Problem::new(StatusCode::CONFLICT, detail).with("problems", told.collect::<Value>())
}

fn refused(faults: &[Fault]) -> Problem {
    let told = faults.iter().map(|Fault { field, what, hint }| {
        let mut told = json!({ "what": what, "hint": hint });
        if let Some(field) = field {
            told["field"] = json!(field);
        }
        told
    });
    let told: Value = told.collect();
    let detail = faults.iter().map(|fault| fault.what.as_str()).collect::<Vec<_>>().join("; ");
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail).with("problems", told)
}

fn status(error: &EditError) -> StatusCode {
    match error {
        EditError::OtherRevision(_) => StatusCode::PRECONDITION_FAILED,
        EditError::Changed | EditError::HighestVersion(_) | EditError::StillConnected { .. } => {
            StatusCode::CONFLICT
        }
        EditError::CannotWrite { error: cause, .. } => match cause.kind() {
            _ if error.is_conflict() => StatusCode::CONFLICT,
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => StatusCode::CONFLICT,
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StatusCode::INSUFFICIENT_STORAGE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        },
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn cannot_write(path: &Path, error: &io::Error, written: &[PathBuf]) -> String {
    // The file itself may be elsewhere.
    let place = real_path(path).unwrap_or_else(|_| path.to_owned());
    let dir = place.parent().unwrap_or(Path::new("/")).display();
    let advice = match error.kind() {
        ErrorKind::PermissionDenied => format!(
            "; give {dir} to the user of the bridge, or make the change with a command as a user who may (sudo ior-bridge --help)"
        ),
        ErrorKind::ReadOnlyFilesystem => format!(
            "; {dir} is read-only for the bridge: as a service it may write into the directory registry beside its configuration \
             only, so put the file there and link to it, as deploy/README.md says, or make the change with a command as root \
             (sudo ior-bridge --help)"
        ),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "; the disk is full: make room there".to_owned(),
        _ => String::new(),
    };
    let what = match written {
        [] => "nothing was changed".to_owned(),
        files => format!("{} hold their part of the change already", names(files).join(" and ")),
    };
    format!("the bridge may not write {}: {error}{advice}; {what}", path.display())
}

fn names(files: &[PathBuf]) -> Vec<String> {
    files.iter().map(|file| file.display().to_string()).collect()
}
