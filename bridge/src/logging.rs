//! The log: standard error, readable lines for people, or JSON.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, filter::ParseError, fmt};

/// What stays off whatever is asked for: rumqttd's spans halve its throughput, and what rumqttc and notify complain of is
/// judged by who uses them. The last directive for a target wins.
const OFF: &str = "rumqttd=off,rumqttc=off,notify=off";

/// Changes how much is logged while the bridge runs.
pub struct Level(Box<dyn Fn(EnvFilter) + Send + Sync>);

use crate::settings::{Log, LogFormat};

/// Starts the log. The variable `RUST_LOG`, if set, decides instead of the configured level.
///
/// # Errors
/// `RUST_LOG` cannot be understood.
pub fn start(log: &Log) -> Result<Level, ParseError> {
    let filter = filter(log, rust_log().as_deref())?;
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colours = std::io::stderr().is_terminal() && !no_color;
    let lines =
        fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).with_target(false);
    // An error says that the log has ended.
    Ok(match log.format {
        LogFormat::Text => {
            let lines = lines.with_filter_reloading();
            let handle = lines.reload_handle();
            lines.init();
            Level(Box::new(move |filter| drop(handle.reload(filter))))
        }
        LogFormat::Json => {
            let lines = lines.json().with_filter_reloading();
            let handle = lines.reload_handle();
            lines.init();
            Level(Box::new(move |filter| drop(handle.reload(filter))))
        }
    })
}

impl Level {
    /// From now on as much as this says, unless `RUST_LOG` decides.
    pub fn set(&self, log: &Log) {
        // It was understood at the start, and the level is one of a few words.
        if let Ok(filter) = filter(log, rust_log().as_deref()) {
            self.0(filter);
        }
    }
}

fn rust_log() -> Option<String> {
    std::env::var("RUST_LOG").ok()
}

fn filter(log: &Log, rust_log: Option<&str>) -> Result<EnvFilter, ParseError> {
    let directives = rust_log.filter(|value| !value.is_empty()).unwrap_or(&log.level);
    EnvFilter::try_new(format!("{directives},{OFF}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn rumqttd_is_always_off_and_rust_log_decides() {
        let log = Log { level: "info".to_owned(), format: LogFormat::Text };
        let shown = |rust_log| filter(&log, rust_log).unwrap().to_string();
        for (rust_log, level) in [(None, "info"), (Some(""), "info"), (Some("debug,rumqttd=trace"), "debug")]
        {
            let shown = shown(rust_log);
            assert!(shown.contains("rumqttd=off") && shown.contains("notify=off"), "{shown}");
            assert!(shown.ends_with(level) && !shown.contains("trace"), "{shown}");
        }
        assert!(filter(&log, Some("x=nonsense")).is_err());
    }
}
