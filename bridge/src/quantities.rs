//! Numbers, sizes, durations and words as the configuration holds them. A value that is none of these, or out of its
//! range, is refused with what to write instead.

use std::{ops::RangeInclusive, time::Duration};

/// Why a value was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) message: &'static str,
    /// What to write instead.
    pub(crate) hint: String,
}

/// A whole number. `None` stands for a value of another kind, here and below.
pub(crate) fn count(text: Option<&str>, range: RangeInclusive<usize>) -> Result<usize, Refused> {
    let number = text.and_then(|text| text.parse().ok()).filter(|number| range.contains(number));
    number.ok_or_else(|| Refused {
        message: "this number is not possible here",
        hint: format!("write a whole number from {} to {}", range.start(), range.end()),
    })
}

/// A size in bytes.
pub(crate) fn size(text: Option<&str>, range: RangeInclusive<usize>) -> Result<usize, Refused> {
    let size = text.and_then(bytes).and_then(|bytes| usize::try_from(bytes).ok());
    size.filter(|bytes| range.contains(bytes)).ok_or_else(|| {
        let [least, most] = [*range.start(), *range.end()].map(|bytes| show_bytes(bytes as u64));
        Refused {
            message: "this size is not possible here",
            hint: format!("write bytes, or a text such as \"8KiB\" or \"64MiB\", from {least} to {most}"),
        }
    })
}

/// A duration in whole seconds.
pub(crate) fn duration(text: Option<&str>, range: RangeInclusive<u64>) -> Result<Duration, Refused> {
    let duration = text.and_then(seconds).filter(|seconds| range.contains(seconds));
    duration.map(Duration::from_secs).ok_or_else(|| {
        let [least, most] = [*range.start(), *range.end()].map(show_seconds);
        Refused {
            message: "this duration is not possible here",
            hint: format!(
                "write a text such as \"10s\", \"15m\", \"24h\" or \"30d\", from {least} to {most}"
            ),
        }
    })
}

/// One of a few words.
pub(crate) fn choice<T: Copy>(text: Option<&str>, choices: &[(&str, T)]) -> Result<T, Refused> {
    let chosen = choices.iter().find(|(word, _)| Some(*word) == text);
    chosen.map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<_> = choices.iter().map(|(word, _)| format!("{word:?}")).collect();
        Refused { message: "this is not one of the choices", hint: format!("write {}", words.join(" or ")) }
    })
}

/// A size as [`size`] reads it, in the largest unit that is exact.
pub(crate) fn show_bytes(bytes: u64) -> String {
    show(bytes, &[("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("", 1)])
}

/// Seconds of `"10s"`, `"15m"`, `"24h"`, `"30d"`.
fn seconds(text: &str) -> Option<u64> {
    scaled(text, &[("s", 1), ("m", 60), ("h", 60 * 60), ("d", 24 * 60 * 60)])
}

/// Bytes of `"100"`, `"8KiB"`, `"1MiB"`, `"1GiB"`.
fn bytes(text: &str) -> Option<u64> {
    scaled(text, &[("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("", 1)])
}

/// A duration as [`seconds`] reads it, in the largest unit that is exact.
fn show_seconds(seconds: u64) -> String {
    show(seconds, &[("d", 24 * 60 * 60), ("h", 60 * 60), ("m", 60), ("s", 1)])
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = text.get(digits.len()..)?.trim_start();
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    digits.bytes().all(|digit| digit.is_ascii_digit()).then_some(())?;
    digits.parse::<u64>().ok()?.checked_mul(*factor)
}

fn show(value: u64, units: &[(&str, u64)]) -> String {
    let exact = units.iter().find(|(_, factor)| value != 0 && value.is_multiple_of(*factor));
    let (unit, factor) = exact.or(units.last()).copied().unwrap_or(("", 1));
    format!("{}{unit}", value / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_sizes_may_have_one() {
        assert_eq!(
            [seconds("10s"), seconds("15m"), seconds("24 h"), seconds("30d")].map(Option::unwrap_or_default),
            [10, 900, 86_400, 2_592_000]
        );
        assert_eq!(
            [bytes("100"), bytes("8KiB"), bytes("1 MiB")].map(Option::unwrap_or_default),
            [100, 8192, 1 << 20]
        );
        for wrong in
            ["", "10", "s", "-1s", "1.5h", "1s2", "99999999999999999999s", "9999999999999999d", "+1s"]
        {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
        assert_eq!([bytes("1kb"), bytes("MiB"), bytes("1M")], [None; 3]);
        assert_eq!([show_seconds(0), show_seconds(90), show_seconds(86_400)], ["0s", "90s", "1d"]);
        assert_eq!([show_bytes(0), show_bytes(1 << 20), show_bytes(1025)], ["0", "1MiB", "1025"]);
    }
}
