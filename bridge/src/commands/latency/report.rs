//! What a measurement found, as text and as JSON.

use std::fmt::Write;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::super::client::Endpoint;
use super::{Args, CommandError};

/// Longest latency that is told apart from longer ones, in microseconds: an hour.
const LONGEST: u64 = 3_600_000_000;
/// Columns of the longest bar.
const BAR: u64 = 40;

/// What happened to the messages of a measurement.
pub(super) struct Run {
    /// Messages handed to the client.
    pub(super) sent: u64,
    /// Messages that arrived, each counted once.
    pub(super) received: u64,
    /// How long sending has taken.
    pub(super) sending: Duration,
    /// Whether the operator ended it.
    pub(super) interrupted: bool,
    duplicates: u64,
    out_of_order: u64,
    next: u64,
    seen: Vec<bool>,
    /// Microseconds; none if its bounds were refused, which its constants exclude.
    latencies: Option<Histogram<u64>>,
}

impl Run {
    /// Nothing sent yet of `count` messages.
    pub(super) fn new(count: u64) -> Self {
        Self {
            sent: 0,
            received: 0,
            sending: Duration::ZERO,
            interrupted: false,
            duplicates: 0,
            out_of_order: 0,
            next: 0,
            seen: vec![false; usize::try_from(count).unwrap_or(usize::MAX)],
            latencies: Histogram::new_with_max(LONGEST, 3).ok(),
        }
    }

    /// Notes an arrival. Sequence numbers that were never sent are ignored.
    pub(super) fn arrived(&mut self, sequence: u64, latency: Duration) {
        let Some(seen) = usize::try_from(sequence).ok().and_then(|index| self.seen.get_mut(index)) else {
            return;
        };
        if std::mem::replace(seen, true) {
            self.duplicates += 1;
            return;
        }
        self.received += 1;
        if sequence < self.next {
            self.out_of_order += 1;
        }
        self.next = self.next.max(sequence + 1);
        if let Some(latencies) = &mut self.latencies {
            latencies.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(LONGEST));
        }
    }
}

/// A measurement's outcome; its JSON keys are stable.
#[derive(Serialize)]
pub(super) struct Report {
    from: String,
    to: String,
    qos: u8,
    size: u32,
    rate: u32,
    rate_reached: f64,
    sent: u64,
    received: u64,
    lost: u64,
    duplicates: u64,
    out_of_order: u64,
    interrupted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_us: Option<Latency>,
    histogram: Vec<Bucket>,
}

#[derive(Serialize)]
struct Latency {
    min: u64,
    mean: f64,
    p50: u64,
    p90: u64,
    p99: u64,
    max: u64,
}

/// Messages that took at least `from_us` and less than `to_us`.
#[derive(Serialize)]
struct Bucket {
    from_us: u64,
    to_us: u64,
    count: u64,
}

impl Report {
    /// Sums a run up.
    pub(super) fn new(args: &Args, from: &Endpoint, to: &Endpoint, run: &Run) -> Self {
        let latencies = run.latencies.as_ref().filter(|latencies| !latencies.is_empty());
        let seconds = run.sending.as_secs_f64();
        Self {
            from: from.credentials.name.clone(),
            to: to.credentials.name.clone(),
            qos: args.qos,
            size: args.size,
            rate: args.rate,
            // The first message leaves at 0 s: n messages span n - 1 intervals.
            rate_reached: if seconds > 0.0 && run.sent > 1 {
                ((run.sent - 1) as f64 / seconds * 10.0).round() / 10.0
            } else {
                f64::from(args.rate)
            },
            sent: run.sent,
            received: run.received,
            lost: run.sent - run.received,
            duplicates: run.duplicates,
            out_of_order: run.out_of_order,
            interrupted: run.interrupted,
            latency_us: latencies.map(Latency::new),
            histogram: latencies.map(buckets).unwrap_or_default(),
        }
    }

    /// One JSON object on one line.
    pub(super) fn json(&self) -> Result<String, CommandError> {
        serde_json::to_string(self)
            .map_err(|error| CommandError::failed(format!("cannot write JSON: {error}")))
    }

    /// A few lines for a terminal.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write_text(&mut text);
        text
    }

    /// Whether the measurement found the connection in order.
    ///
    /// # Errors
    /// Nothing arrived, or something was lost although it was acknowledged.
    pub(super) fn verdict(&self) -> Result<(), CommandError> {
        if self.interrupted {
            return Ok(());
        }
        if self.received == 0 {
            return Err(CommandError::failed(format!(
                "none of the {} messages arrived at {}",
                self.sent, self.to
            )));
        }
        if self.lost > 0 && self.qos > 0 {
            return Err(CommandError::failed(format!(
                "{} of {} messages did not arrive although QoS {} promises it",
                self.lost, self.sent, self.qos
            )));
        }
        Ok(())
    }

    fn write_text(&self, text: &mut String) -> std::fmt::Result {
        let Self { from, to, sent, received, lost, .. } = self;
        let early = if self.interrupted { ", interrupted" } else { "" };
        writeln!(
            text,
            "{from} to {to}: {sent} messages of {} bytes at QoS {}, {} a second{early}",
            self.size, self.qos, self.rate_reached
        )?;
        let (missing, share) = (
            if self.interrupted { "not arrived yet" } else { "lost" },
            *lost as f64 * 100.0 / (*sent).max(1) as f64,
        );
        write!(text, "received {received}, {missing} {lost} ({share:.2} %)")?;
        for (number, what) in [(self.duplicates, "twice"), (self.out_of_order, "out of order")] {
            if number > 0 {
                write!(text, ", {what} {number}")?;
            }
        }
        writeln!(text)?;
        let Some(latency) = &self.latency_us else { return Ok(()) };
        let [p50, p90, p99, max] = [latency.p50, latency.p90, latency.p99, latency.max].map(shown);
        writeln!(text, "p50 {p50}   p90 {p90}   p99 {p99}   max {max}\n")?;
        let most = self.histogram.iter().map(|bucket| bucket.count).max().unwrap_or(1).max(1);
        for bucket in &self.histogram {
            let length = if bucket.count == 0 { 0 } else { (bucket.count * BAR / most).max(1) };
            let bar = "#".repeat(usize::try_from(length).unwrap_or_default());
            let (low, high) = (shown(bucket.from_us), shown(bucket.to_us));
            let line = format!("{low:>8} to {high:>8} {:>9}  {bar}", bucket.count);
            writeln!(text, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

impl Latency {
    fn new(latencies: &Histogram<u64>) -> Self {
        let at = |quantile| latencies.value_at_quantile(quantile).min(latencies.max());
        Self {
            min: latencies.min(),
            mean: (latencies.mean() * 10.0).round() / 10.0,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: latencies.max(),
        }
    }
}

/// Buckets with bounds 1, 2, 5, 10, 20, 50, …: from the first that holds something to the last.
fn buckets(latencies: &Histogram<u64>) -> Vec<Bucket> {
    let mut bounds = vec![0];
    let mut decade = 1;
    while bounds.last().is_some_and(|&bound| bound <= latencies.max()) {
        bounds.extend([decade, decade * 2, decade * 5]);
        decade *= 10;
    }
    let mut buckets: Vec<_> = bounds.iter().zip(bounds.iter().skip(1)).map(bucket_of(latencies)).collect();
    let first = buckets.iter().position(|bucket| bucket.count > 0).unwrap_or_default();
    buckets.drain(..first);
    while buckets.last().is_some_and(|bucket| bucket.count == 0) {
        buckets.pop();
    }
    buckets
}

/// Counts by the recorded values, so that every message is in exactly one bucket.
fn bucket_of(latencies: &Histogram<u64>) -> impl Fn((&u64, &u64)) -> Bucket {
    move |(&from_us, &to_us)| {
        let count = latencies
            .iter_recorded()
            .filter(|step| (from_us..to_us).contains(&step.value_iterated_to().min(latencies.max())))
            .map(|step| step.count_at_value())
            .sum();
        Bucket { from_us, to_us, count }
    }
}

fn shown(microseconds: u64) -> String {
    match microseconds {
        0..1_000 => format!("{microseconds} µs"),
        1_000..1_000_000 => format!("{} ms", short(microseconds as f64 / 1e3)),
        _ => format!("{} s", short(microseconds as f64 / 1e6)),
    }
}

fn short(number: f64) -> String {
    let text = format!("{number:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(value: u64) -> Duration {
        Duration::from_micros(value)
    }

    #[test]
    fn arrivals_are_counted_once_and_in_order() {
        let mut run = Run::new(4);
        for sequence in [0, 2, 1, 2, 9] {
            run.arrived(sequence, micros(50));
        }
        assert_eq!((run.received, run.duplicates, run.out_of_order), (3, 1, 1));
    }

    #[test]
    fn every_message_is_in_one_bucket() {
        let mut run = Run::new(1000);
        for sequence in 0..1000 {
            run.arrived(sequence, micros(sequence * sequence));
        }
        let latencies = run.latencies.unwrap_or_else(|| unreachable!("its bounds are constants"));
        let buckets = buckets(&latencies);
        assert_eq!(buckets.iter().map(|bucket| bucket.count).sum::<u64>(), 1000);
        assert_eq!(buckets.first().map(|bucket| (bucket.from_us, bucket.count)), Some((0, 1)));
        assert_eq!(buckets.last().map(|bucket| bucket.to_us), Some(1_000_000));
    }

    #[test]
    fn times_are_shown_in_a_unit_that_fits() {
        assert_eq!([0, 999, 1_000, 1_230_000].map(shown), ["0 µs", "999 µs", "1 ms", "1.23 s"]);
    }
}
