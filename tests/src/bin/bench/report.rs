//! The table and the JSON.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::args::Args;
use crate::process::Machine;
use crate::results::{Row, SECTIONS, Target, Values, ratio};
use crate::wire::Version;

/// Everything that a run found out.
pub(crate) struct Report<'a> {
    pub(crate) args: &'a Args,
    pub(crate) machine: Machine,
    /// Name, version and values of every relay, the reference first.
    pub(crate) relays: Vec<(String, String, Values)>,
    /// What the reader must know to trust the figures.
    pub(crate) notes: Vec<String>,
}

impl Report<'_> {
    /// One table of 80 columns for every relay beside the reference.
    pub(crate) fn table(&self) -> String {
        let mut text = self.heading();
        let Some((reference, others)) = self.relays.split_first() else { return text };
        if others.is_empty() {
            table(&mut text, (&reference.0, &reference.2), None);
        }
        for other in others {
            table(&mut text, (&reference.0, &reference.2), Some((&other.0, &other.2)));
        }
        for note in &self.notes {
            let _ = writeln!(text, "\nNote: {note}");
        }
        text
    }

    pub(crate) fn json(&self) -> Value {
        let reference = self.relays.first().map(|(_, _, values)| values);
        let relays: Vec<_> = self
            .relays
            .iter()
            .enumerate()
            .map(|(index, (name, version, values))| {
                let reference = reference.filter(|_| index > 0);
                let mut rows = Map::new();
                for row in SECTIONS.iter().flat_map(|section| section.rows) {
                    if let Some(value) = values.value(row.key) {
                        rows.insert(row.key.into(), entry(row, value, values, reference));
                    }
                }
                json!({ "name": name, "version": version, "rows": rows })
            })
            .collect();
        let args = self.args;
        json!({
            "machine": { "cpu": self.machine.model, "cores": self.machine.cores, "memory": self.machine.memory,
                         "kernel": self.machine.kernel },
            "load": { "pairs": args.pairs, "size": args.size, "in_flight": args.in_flight,
                      "mqtt": version(args.mqtt), "rate": args.rate, "rounds": args.rounds(),
                      "seconds": args.measured().as_secs(), "generator_threads": args.threads,
                      "share_cores": args.share_cores, "idle_devices": args.idle, "start_devices": args.start,
                      "wear_seconds": args.wear_seconds().as_secs() },
            "relays": relays,
            "notes": self.notes,
        })
    }

    fn heading(&self) -> String {
        let (args, machine) = (self.args, &self.machine);
        let versions: Vec<_> =
            self.relays.iter().map(|(name, version, _)| format!("{name} {version}")).collect();
        format!(
            "{versions}\n{model}, {cores} cores, {memory:.1} GB, Linux {kernel}\n\
             {pairs} pairs, {size} bytes, {in_flight} in flight per pair, MQTT {mqtt};\n\
             clean sessions where none is called persistent; latency at {rate} messages/s;\n\
             {idle} idle devices; start with {start} devices;\n\
             medians of {rounds} rounds of {seconds} s, load generator on the same machine\n",
            versions = versions.join(", ").trim(),
            model = machine.model,
            cores = machine.cores,
            memory = machine.memory as f64 / 1e9,
            kernel = machine.kernel,
            pairs = args.pairs,
            size = args.size,
            in_flight = args.in_flight,
            mqtt = version(args.mqtt),
            rate = args.rate,
            idle = args.idle,
            start = args.start,
            rounds = args.rounds(),
            seconds = args.measured().as_secs(),
        )
    }
}

/// Two relays side by side; the reference alone where there is no other.
fn table(text: &mut String, reference: (&str, &Values), other: Option<(&str, &Values)>) {
    let name = |name: &str| -> String { name.chars().take(11).collect() };
    let other_name = other.map_or_else(String::new, |(other, _)| name(other));
    let _ = writeln!(
        text,
        "\n{:<30}{:>11}{other_name:>12}{:>8}  {}",
        "",
        name(reference.0),
        if other.is_some() { "ratio" } else { "" },
        if other.is_some() { "target" } else { "" },
    );
    for section in SECTIONS {
        let lines: Vec<_> = section
            .rows
            .iter()
            .filter_map(|row| line(row, reference.1, other.map(|(_, other)| other)))
            .collect();
        if !lines.is_empty() {
            let _ = writeln!(text, "{}\n{}", section.title, lines.join("\n"));
        }
    }
}

fn line(row: &Row, reference: &Values, other: Option<&Values>) -> Option<String> {
    let (left, right) = (reference.value(row.key), other.and_then(|other| other.value(row.key)));
    if left.is_none() && right.is_none() {
        return None;
    }
    let cell = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| number(value, row.decimals));
    let mut line = format!("  {:<28}{:>11}", row.label, cell(left));
    if other.is_some() {
        let times = right.zip(left).and_then(|(right, left)| ratio(right, left));
        let times = times.map_or_else(String::new, |times| format!("{times:.2}"));
        let met = match right.and_then(|right| row.target.is_met(right, left)) {
            Some(true) => "met",
            Some(false) => "NOT MET",
            None => "",
        };
        let _ = write!(line, "{:>12}{times:>8}  {:<9} {met}", cell(right), row.target);
    }
    Some(line.trim_end().to_owned())
}

fn entry(row: &Row, value: f64, values: &Values, reference: Option<&Values>) -> Value {
    let reference = reference.and_then(|reference| reference.value(row.key));
    let mut entry = json!({ "value": value, "rounds": values.rounds(row.key) });
    if let Some(ratio) = reference.and_then(|reference| ratio(value, reference)) {
        entry["ratio"] = json!(ratio);
    }
    if row.target != Target::None && reference.is_some() {
        entry["target"] = json!(row.target.to_string());
        entry["met"] = json!(row.target.is_met(value, reference));
    }
    entry
}

/// With a comma between thousands.
fn number(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut result = String::new();
    for (index, digit) in whole.chars().enumerate() {
        let left = whole.len() - index;
        if index > 0 && left.is_multiple_of(3) && !result.ends_with('-') {
            result.push(',');
        }
        result.push(digit);
    }
    if fraction.is_empty() { result } else { format!("{result}.{fraction}") }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::V311 => "3.1.1",
        Version::V5 => "5",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_commas() {
        assert_eq!(number(1_234_567.4, 0), "1,234,567");
        assert_eq!(number(-1234.0, 1), "-1,234.0");
        assert_eq!(number(-123.0, 0), "-123");
        assert_eq!(number(0.0, 0), "0");
    }

    #[test]
    fn a_line_fits_80_columns_and_says_whether_the_target_is_met() {
        let (mut reference, mut other) = (Values::default(), Values::default());
        for row in SECTIONS.iter().flat_map(|section| section.rows) {
            reference.push(row.key, 123_456.0);
            other.push(row.key, 987_654.0);
            let line = line(row, &reference, Some(&other)).unwrap_or_default();
            assert!(line.len() <= 80, "{line}");
            assert_eq!(
                row.target != Target::None,
                line.ends_with("met") || line.ends_with("NOT MET"),
                "{line}"
            );
        }
    }
}
