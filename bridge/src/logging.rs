//! The log: standard error, readable lines for people, or JSON.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, filter::ParseError, fmt};

use crate::settings::{Log, LogFormat};

/// Starts the log. The variable `RUST_LOG`, if set, decides instead of the configured level.
///
/// # Errors
/// `RUST_LOG` cannot be understood.
pub fn start(log: &Log) -> Result<(), ParseError> {
    let filter = filter(log, std::env::var("RUST_LOG").ok().as_deref())?;
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colours = std::io::stderr().is_terminal() && !no_color;
    let lines =
        fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).with_target(false);
    match log.format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
    Ok(())
}

fn filter(log: &Log, rust_log: Option<&str>) -> Result<EnvFilter, ParseError> {
    let directives = rust_log.filter(|value| !value.is_empty()).unwrap_or(&log.level);
    // rumqttd's spans halve its throughput, so they stay off whatever is asked for. The last directive for a target wins.
    EnvFilter::try_new(format!("{directives},rumqttd=off"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn rumqttd_is_always_off_and_rust_log_decides() {
        let log = Log { level: "info".to_owned(), format: LogFormat::Text };
        let shown = |rust_log| filter(&log, rust_log).unwrap().to_string();
        assert_eq!(shown(None), "rumqttd=off,info");
        assert_eq!(shown(Some("")), "rumqttd=off,info");
        assert_eq!(shown(Some("debug,rumqttd=trace")), "rumqttd=off,debug");
        assert!(filter(&log, Some("x=nonsense")).is_err());
    }
}
