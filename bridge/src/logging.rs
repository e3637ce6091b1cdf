//! The log: to systemd's journal with its fields, or to standard error, as readable lines for people or as JSON.

mod text;

use std::os::linux::fs::MetadataExt;

use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::{
    Layer, Registry,
    filter::{LevelFilter, ParseError, Targets},
    fmt,
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

use self::text::{MessageOnly, Prioritised};
use crate::{
    settings::{Log, LogFormat},
    terminal::has_colours,
};

/// What stays off whatever is asked for: rumqttd's spans halve its throughput, and what rumqttc and notify complain of is
/// judged by who uses them.
const OFF: [&str; 3] = ["rumqttd", "rumqttc", "notify"];

type Output = Box<dyn Layer<Registry> + Send + Sync>;

/// Changes how much is logged while the bridge runs.
pub struct Level(Box<dyn Fn(Targets) + Send + Sync>);

/// Starts the log, in this format if one is given, else in the configured one. The variable `RUST_LOG`, if set, decides
/// instead of the configured level.
///
/// # Errors
/// `RUST_LOG` cannot be understood.
pub fn start(log: &Log, format: Option<LogFormat>) -> Result<Level, ParseError> {
    let (filter, handle) = reload::Layer::new(filter(log, rust_log().as_deref())?);
    let output = match format.unwrap_or(log.format) {
        LogFormat::Json => json(),
        LogFormat::Text if is_journal() => journal(),
        LogFormat::Text => lines(),
    };
    tracing_subscriber::registry().with(output).with(filter).init();
    // An error says that the log has ended.
    Ok(Level(Box::new(move |filter| drop(handle.reload(filter)))))
}

/// What a person is told by a process that ends with an error; as an error where standard error leads to the journal.
pub fn last_words(message: &str) {
    if is_journal() {
        eprint!("{}", text::prioritised(text::ERROR, message));
    } else {
        eprintln!("{message}");
    }
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

fn filter(log: &Log, rust_log: Option<&str>) -> Result<Targets, ParseError> {
    let directives = rust_log.filter(|value| !value.is_empty()).unwrap_or(&log.level);
    Ok(directives.parse::<Targets>()?.with_targets(OFF.map(|target| (target, LevelFilter::OFF))))
}

/// Whether standard error leads to the journal, as systemd says with the device and the inode of what it leads to.
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let metadata = std::fs::metadata("/proc/self/fd/2");
    metadata.is_ok_and(|metadata| stream == format!("{}:{}", metadata.st_dev(), metadata.st_ino()))
}

/// With fields, or as lines with priorities if the journal cannot be reached.
fn journal() -> Output {
    let priorities = PriorityMappings {
        error: Priority::Error,
        warn: Priority::Warning,
        info: Priority::Informational,
        debug: Priority::Debug,
        trace: Priority::Debug,
    };
    match tracing_journald::layer() {
        Ok(journal) => journal.with_field_prefix(None).with_priority_mappings(priorities).boxed(),
        Err(_) => fmt::layer()
            .event_format(Prioritised)
            .fmt_fields(MessageOnly)
            .with_ansi(false)
            .with_writer(std::io::stderr)
            .boxed(),
    }
}

fn lines() -> Output {
    fmt::layer()
        .fmt_fields(MessageOnly)
        .with_target(false)
        .with_ansi(has_colours(&std::io::stderr()))
        .with_writer(std::io::stderr)
        .boxed()
}

fn json() -> Output {
    fmt::layer().json().flatten_event(true).with_target(false).with_writer(std::io::stderr).boxed()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tracing::Level as L;

    use super::*;

    #[test]
    fn rumqttd_is_always_off_and_rust_log_decides() {
        let log = Log { level: "info".to_owned(), format: LogFormat::Text };
        for (rust_log, level) in [
            (None, L::INFO),
            (Some(""), L::INFO),
            (Some("debug,rumqttd=trace"), L::DEBUG),
            (Some("warn,ior_bridge=trace"), L::WARN),
        ] {
            let filter = filter(&log, rust_log).unwrap();
            assert!(filter.would_enable("ior_broker", &level), "{filter}");
            assert!(!filter.would_enable("ior_broker", &L::TRACE), "{filter}");
            for off in ["rumqttd::router", "rumqttc", "notify"] {
                assert!(!filter.would_enable(off, &L::ERROR), "{filter}");
            }
        }
        let filter_of = |rust_log| filter(&log, Some(rust_log));
        assert!(filter_of("warn,ior_bridge=trace").unwrap().would_enable("ior_bridge::diary", &L::TRACE));
        assert!(filter_of("x=nonsense").is_err());
    }
}
