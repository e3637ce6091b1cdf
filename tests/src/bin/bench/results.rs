//! What was measured, by relay and row, and the rows with their targets.

use std::collections::BTreeMap;

/// A line of the table.
pub(crate) struct Row {
    /// Its name in the JSON.
    pub(crate) key: &'static str,
    pub(crate) label: &'static str,
    pub(crate) decimals: usize,
    pub(crate) target: Target,
}

/// What is asked of ior-bridge.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Target {
    /// Nothing: the row explains others.
    None,
    /// At least so many times the reference.
    TimesAtLeast(f64),
    /// At most so many times the reference.
    TimesAtMost(f64),
    /// The value itself is below this.
    Below(f64),
    /// The value itself is at most this.
    AtMost(f64),
}

/// A block of the table.
pub(crate) struct Section {
    pub(crate) title: &'static str,
    pub(crate) rows: &'static [Row],
}

const fn row(key: &'static str, label: &'static str, decimals: usize, target: Target) -> Row {
    Row { key, label, decimals, target }
}

/// The table. The targets are for the defaults: 100 pairs, 64 bytes, 10 in flight, 2 cores.
pub(crate) const SECTIONS: &[Section] = &[
    Section {
        title: "Throughput, QoS 0",
        rows: &[
            row("throughput.qos0.rate", "delivered/s", 0, Target::TimesAtLeast(4.0)),
            row("throughput.qos0.cpu_us", "relay CPU, us/message", 2, Target::TimesAtMost(0.35)),
            row("throughput.qos0.lost", "lost", 0, Target::AtMost(0.0)),
            row("throughput.qos0.wrong", "duplicate or out of order", 0, Target::AtMost(0.0)),
            row("throughput.qos0.peak_mb", "resident, peak, MB", 1, Target::Below(60.0)),
            row("throughput.qos0.generator_us", "generator CPU, us/message", 2, Target::None),
            row("throughput.qos0.generator_load", "generator, % of its cores", 0, Target::None),
        ],
    },
    Section {
        title: "Throughput, QoS 1",
        rows: &[
            row("throughput.qos1.rate", "delivered/s", 0, Target::TimesAtLeast(6.0)),
            row("throughput.qos1.cpu_us", "relay CPU, us/message", 2, Target::TimesAtMost(0.2)),
            row("throughput.qos1.lost", "lost", 0, Target::AtMost(0.0)),
            row("throughput.qos1.wrong", "duplicate or out of order", 0, Target::AtMost(0.0)),
            row("throughput.qos1.peak_mb", "resident, peak, MB", 1, Target::Below(60.0)),
            row("throughput.qos1.generator_us", "generator CPU, us/message", 2, Target::None),
            row("throughput.qos1.generator_load", "generator, % of its cores", 0, Target::None),
        ],
    },
    Section {
        title: "Latency, QoS 0",
        rows: &[
            row("latency.qos0.p50_us", "p50, us", 0, Target::TimesAtMost(2.0)),
            row("latency.qos0.p99_us", "p99, us", 0, Target::TimesAtMost(2.0)),
            row("latency.qos0.max_us", "max, us", 0, Target::None),
            row("latency.qos0.generator_us", "of it the generator's, us", 0, Target::None),
            row("latency.qos0.lost", "lost", 0, Target::AtMost(0.0)),
        ],
    },
    Section {
        title: "Latency, QoS 1",
        rows: &[
            row("latency.qos1.p50_us", "p50, us", 0, Target::TimesAtMost(2.0)),
            row("latency.qos1.p99_us", "p99, us", 0, Target::TimesAtMost(2.0)),
            row("latency.qos1.max_us", "max, us", 0, Target::None),
            row("latency.qos1.generator_us", "of it the generator's, us", 0, Target::None),
            row("latency.qos1.lost", "lost", 0, Target::AtMost(0.0)),
        ],
    },
    Section {
        title: "Durable: QoS 1, persistent sessions, online",
        rows: &[
            row("durable.online.rate", "delivered/s", 0, Target::TimesAtLeast(2.0)),
            row("durable.online.cpu_us", "relay CPU, us/message", 2, Target::None),
            row("durable.online.lost", "lost", 0, Target::AtMost(0.0)),
            row("durable.online.wrong", "duplicate or out of order", 0, Target::AtMost(0.0)),
            row("durable.online.peak_mb", "resident, peak, MB", 1, Target::None),
            row("durable.online.generator_us", "generator CPU, us/message", 2, Target::None),
            row("durable.online.generator_load", "generator, % of its cores", 0, Target::None),
        ],
    },
    Section {
        title: "Durable: QoS 1, persistent sessions, away",
        rows: &[
            row("durable.away.sync_ms", "one fdatasync here, ms", 2, Target::None),
            row("durable.away.rate", "acknowledged/s", 0, Target::None),
            row("durable.away.cpu_us", "relay CPU, us/message", 2, Target::None),
            row("durable.away.backlog_rate", "back again, delivered/s", 0, Target::None),
            row("durable.away.lost", "lost", 0, Target::AtMost(0.0)),
            row("durable.away.wrong", "duplicate or out of order", 0, Target::AtMost(0.0)),
            row("durable.away.peak_mb", "resident, peak, MB", 1, Target::None),
            row("durable.away.generator_us", "generator CPU, us/message", 2, Target::None),
            row("durable.away.generator_load", "generator, % of its cores", 0, Target::None),
        ],
    },
    Section {
        title: "Wear: written for each message of 100 bytes",
        rows: &[
            row("wear.away.1_kb", "subscriber away, 1/s, KB", 2, Target::AtMost(12.0)),
            row("wear.away.stopped_kb", "the same and a clean stop, KB", 2, Target::None),
            row("wear.away.10_kb", "subscriber away, 10/s, KB", 2, Target::None),
            row("wear.away.1000_kb", "subscriber away, 1,000/s, KB", 2, Target::None),
            row("wear.online.1_kb", "online, 1/s, KB", 2, Target::AtMost(1.0)),
            row("wear.online.10_kb", "online, 10/s, KB", 2, Target::None),
            row("wear.online.1000_kb", "online, 1,000/s, KB", 2, Target::None),
            row("wear.idle_kb", "nobody publishes, KB/s", 2, Target::None),
            row("wear.lost", "lost", 0, Target::AtMost(0.0)),
            row("wear.wrong", "duplicate or out of order", 0, Target::AtMost(0.0)),
        ],
    },
    Section {
        title: "Memory",
        rows: &[
            row("memory.idle_mb", "resident after start, MB", 1, Target::Below(12.0)),
            row("memory.device_kb", "per further idle device, KB", 1, Target::AtMost(8.0)),
        ],
    },
    Section {
        title: "Start to first CONNACK",
        rows: &[
            row("start.new_ms", "empty data directory, ms", 0, Target::Below(200.0)),
            row("start.existing_ms", "existing data directory, ms", 0, Target::Below(200.0)),
        ],
    },
];

/// All values of one relay, one per round, by row.
#[derive(Debug, Default)]
pub(crate) struct Values(BTreeMap<String, Vec<f64>>);

impl Values {
    pub(crate) fn push(&mut self, key: impl Into<String>, value: f64) {
        self.0.entry(key.into()).or_default().push(value);
    }

    /// The value that stands for the row: the median; of what must not happen, the sum.
    pub(crate) fn value(&self, key: &str) -> Option<f64> {
        let values = self.0.get(key)?;
        if key.ends_with(".lost") || key.ends_with(".wrong") {
            return Some(values.iter().sum());
        }
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let upper = *sorted.get(middle)?;
        Some(if sorted.len() % 2 == 1 { upper } else { (sorted[middle - 1] + upper) / 2.0 })
    }

    /// The values of all rounds.
    pub(crate) fn rounds(&self, key: &str) -> &[f64] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }
}

impl Target {
    /// Whether `value` meets it, beside the reference's; `None` where nothing is asked or the ratio is unknown.
    pub(crate) fn is_met(self, value: f64, reference: Option<f64>) -> Option<bool> {
        let ratio = reference.and_then(|reference| ratio(value, reference));
        match self {
            Self::None => None,
            Self::TimesAtLeast(times) => ratio.map(|ratio| ratio >= times),
            Self::TimesAtMost(times) => ratio.map(|ratio| ratio <= times),
            Self::Below(limit) => Some(value < limit),
            Self::AtMost(limit) => Some(value <= limit),
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = match self {
            Self::None => String::new(),
            Self::TimesAtLeast(times) => format!(">= {times} x"),
            Self::TimesAtMost(times) => format!("<= {times} x"),
            Self::Below(limit) => format!("< {limit}"),
            Self::AtMost(limit) => format!("<= {limit}"),
        };
        formatter.pad(&text)
    }
}

/// `value` as a multiple of `reference`, where that means something.
pub(crate) fn ratio(value: f64, reference: f64) -> Option<f64> {
    (reference > 0.0).then(|| value / reference)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_stands_for_its_median_and_a_fault_for_its_sum() {
        let mut values = Values::default();
        for value in [5.0, 1.0, 3.0] {
            values.push("start.new_ms", value);
            values.push("throughput.qos0.lost", value);
        }
        assert_eq!(values.value("start.new_ms"), Some(3.0));
        values.push("start.new_ms", 4.0);
        assert_eq!(values.value("start.new_ms"), Some(3.5));
        assert_eq!(values.value("throughput.qos0.lost"), Some(9.0));
        assert_eq!(values.value("memory.idle_mb"), None);
    }

    #[test]
    fn targets_are_judged_by_ratio_or_value() {
        assert_eq!(Target::TimesAtLeast(4.0).is_met(400.0, Some(100.0)), Some(true));
        assert_eq!(Target::TimesAtLeast(4.0).is_met(399.0, Some(100.0)), Some(false));
        assert_eq!(Target::TimesAtMost(2.0).is_met(1.0, None), None);
        assert_eq!(Target::Below(12.0).is_met(12.0, None), Some(false));
        assert_eq!(Target::AtMost(0.0).is_met(0.0, Some(0.0)), Some(true));
        assert_eq!(Target::None.is_met(0.0, Some(1.0)), None);
    }
}
