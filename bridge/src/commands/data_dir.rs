use std::{io, path::PathBuf};

use serde_json::json;

use crate::{
    instance::{Holder, Instance},
    quantities::show_bytes,
    settings::{Durability, Settings},
    storage::{SCARCE, advice, probe},
};

/// What `check` finds out about the data directory.
pub(super) struct DataDir {
    path: PathBuf,
    /// Nothing if it does not exist yet.
    state: io::Result<Option<State>>,
}

struct State {
    /// Bytes.
    free: u64,
    holder: Option<Holder>,
}

impl DataDir {
    /// Looks at the directory, if anything is to be kept there.
    pub(super) fn examine(settings: &Settings) -> Option<Self> {
        if settings.durability == Durability::Memory {
            return None;
        }
        let path = settings.data_dir.clone();
        let state = path.try_exists().and_then(|exists| {
            if !exists {
                return Ok(None);
            }
            Ok(Some(State { free: probe(&path)?, holder: Instance::holder(&path)? }))
        });
        Some(Self { path, state })
    }

    /// Why nothing can be kept there, and what to do about it.
    pub(super) fn problem(&self) -> Option<String> {
        let error = self.state.as_ref().err()?;
        let path = self.path.display();
        Some(format!("the data directory {path} cannot be written: {error}; {}", advice(error)))
    }

    /// For people; without the problem.
    pub(super) fn to_text(&self) -> String {
        let path = self.path.display();
        let state = match &self.state {
            Ok(Some(state)) => state,
            Ok(None) => return format!("\nData directory {path}: made at the first start.\n"),
            Err(_) => return String::new(),
        };
        let mut text = format!("\nData directory {path}: can be written, {} free.\n", rounded(state.free));
        if let Some(holder) = state.holder {
            text.push_str(&format!("It is in use by {holder}.\n"));
        }
        if let Some(warning) = state.warning() {
            text.push_str(&format!("warning: {warning}\n"));
        }
        text
    }

    /// For programs.
    pub(super) fn to_json(&self) -> serde_json::Value {
        let state = self.state.as_ref().ok().and_then(Option::as_ref);
        json!({
            "path": self.path.display().to_string(),
            "exists": state.is_some() || self.state.is_err(),
            "writable": state.is_some(),
            "free_bytes": state.map(|state| state.free),
            "in_use": state.is_some_and(|state| state.holder.is_some()),
            "pid": state.and_then(|state| state.holder?.pid),
            "warning": state.and_then(State::warning),
            "problem": self.problem(),
        })
    }
}

impl State {
    fn warning(&self) -> Option<String> {
        (self.free < SCARCE).then(|| {
            format!(
                "less than {} are free there: when nothing is, messages of QoS 1 and 2 are refused",
                show_bytes(SCARCE)
            )
        })
    }
}

/// A size that people can read.
pub(super) fn rounded(bytes: u64) -> String {
    let units = [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.iter().find(|(_, factor)| bytes >= *factor) {
        Some((unit, factor)) => format!("{:.1} {unit}", bytes as f64 / *factor as f64),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_space_is_a_warning_and_an_error_is_a_problem() {
        let of = |state| DataDir { path: "d".into(), state };
        let with = |free| of(Ok(Some(State { free, holder: Some(Holder { pid: Some(7) }) })));
        assert_eq!(
            with(SCARCE).to_text(),
            "\nData directory d: can be written, 64.0 MiB free.\nIt is in use by another ior-bridge (process 7).\n"
        );
        assert!(with(SCARCE - 1).to_text().contains("warning: less than 64MiB are free"));
        assert_eq!((with(SCARCE).problem(), with(0).problem()), (None, None));
        let full = of(Err(io::ErrorKind::StorageFull.into()));
        let problem = full.problem().unwrap_or_default();
        assert!(problem.contains("data directory d") && problem.contains("the disk is full"), "{problem}");
        assert_eq!(full.to_json()["writable"], false);
        assert_eq!(of(Ok(None)).to_json()["exists"], false);
        assert_eq!([rounded(7), rounded(1 << 10), rounded(3 << 29)], ["7 bytes", "1.0 KiB", "1.5 GiB"]);
    }
}
