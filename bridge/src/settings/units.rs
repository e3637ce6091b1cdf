//! Durations and sizes with their units.

/// Seconds of `"10s"`, `"15m"`, `"24h"`, `"30d"`.
pub(super) fn seconds(text: &str) -> Option<u64> {
    scaled(text, &[("s", 1), ("m", 60), ("h", 60 * 60), ("d", 24 * 60 * 60)])
}

/// Bytes of `"100"`, `"8KiB"`, `"1MiB"`, `"1GiB"`.
pub(super) fn bytes(text: &str) -> Option<u64> {
    scaled(text, &[("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("", 1)])
}

/// A duration as [`seconds`] reads it, in the largest unit that is exact.
pub(super) fn show_seconds(seconds: u64) -> String {
    show(seconds, &[("d", 24 * 60 * 60), ("h", 60 * 60), ("m", 60), ("s", 1)])
}

/// A size as [`bytes`] reads it, in the largest unit that is exact.
pub(super) fn show_bytes(bytes: u64) -> String {
    show(bytes, &[("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("", 1)])
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
