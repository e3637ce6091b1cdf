//! Numbers, moments and states as people read them.

use std::{io::IsTerminal, time::Duration};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::table::WIDTH;
use crate::{
    report::{Device, Time},
    terminal::has_colours,
};

/// How wide what is printed on standard output may be, and whether it may be coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Style {
    is_terminal: bool,
    colours: bool,
    width: usize,
}

/// How something is to be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    Green,
    Yellow,
    Red,
    Dim,
}

impl Style {
    /// As wide as the terminal if that is wider than usual; colours only on a terminal, and not with `NO_COLOR`.
    pub fn of_stdout() -> Self {
        let stdout = std::io::stdout();
        if !stdout.is_terminal() {
            return Self::plain();
        }
        let columns = rustix::termios::tcgetwinsize(&stdout).map_or(0, |size| size.ws_col);
        Self::of_terminal(has_colours(&stdout), columns)
    }

    /// For a terminal with so many columns; 0 if nobody knows.
    pub fn of_terminal(colours: bool, columns: u16) -> Self {
        Self { is_terminal: true, colours, width: WIDTH.max(columns.into()) }
    }

    /// For what goes into a file, or to a program.
    pub fn plain() -> Self {
        Self { is_terminal: false, colours: false, width: WIDTH }
    }

    /// Widest line, in columns.
    pub fn width(self) -> usize {
        self.width
    }

    pub fn paint(self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Green => "32",
            Colour::Yellow => "33",
            Colour::Red => "31",
            Colour::Dim => "2",
        };
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// What stands before a device: a dot on a terminal, which says at a glance whether it is online.
    pub fn dot(self, device: &Device) -> String {
        match &device.live {
            Some(live) if self.is_terminal && live.online => self.paint(Colour::Green, "●") + " ",
            Some(_) if self.is_terminal => self.paint(Colour::Dim, "○") + " ",
            _ => String::new(),
        }
    }

    /// How wide [`Style::dot`] is.
    pub fn dot_width(self) -> usize {
        if self.is_terminal { 2 } else { 0 }
    }
}

/// Its code, with its user if that is not the default one.
pub(super) fn short_name(device: &Device) -> String {
    if device.user == crate::registry::DEFAULT_USER {
        device.code.to_string()
    } else {
        device.username.clone()
    }
}

/// Its id, with its user if that is not the default one.
pub(super) fn short_id(connection: &crate::report::Connection) -> String {
    if connection.user == crate::registry::DEFAULT_USER {
        connection.id.clone()
    } else {
        format!("{}/{}", connection.user, connection.id)
    }
}

/// Whether it is there.
pub(super) fn state(device: &Device, now: Time) -> String {
    let Some(live) = &device.live else {
        return if device.disabled { "disabled".to_owned() } else { String::new() };
    };
    match (live.online, live.online_since, live.last_seen) {
        (true, Some(since), _) => format!("online {}", span(since.age(now))),
        (true, None, _) => "online".to_owned(),
        (false, _, _) if device.disabled => "disabled".to_owned(),
        (false, _, Some(seen)) => format!("seen {}", ago(seen, now)),
        (false, _, None) => "never seen".to_owned(),
    }
}

/// "3 min ago".
pub(super) fn ago(then: Time, now: Time) -> String {
    match then.age(now) {
        age if age < Duration::from_secs(1) => "just now".to_owned(),
        age => format!("{} ago", span(age)),
    }
}

/// "3 min ago", or that it never was.
pub(super) fn ago_or_never(then: Option<Time>, now: Time) -> String {
    then.map_or_else(|| "never".to_owned(), |then| ago(then, now))
}

/// In its largest unit that makes at least two of them, or one second, minute or hour.
pub(super) fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds @ ..60 => format!("{seconds} s"),
        seconds @ ..3_600 => format!("{} min", seconds / 60),
        seconds @ ..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// At most seven characters.
pub(super) fn number(number: u64) -> String {
    const UNITS: [&str; 5] = ["k", "M", "G", "T", "P"];
    if number < 10_000_000 { number.to_string() } else { scaled(number, 1000.0, "", &UNITS) }
}

/// Bytes.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = [" KiB", " MiB", " GiB", " TiB", " PiB"];
    scaled(bytes, 1024.0, " B", &UNITS)
}

fn scaled(number: u64, step: f64, plain: &str, units: &[&str]) -> String {
    let mut left = number as f64;
    let mut unit = plain;
    for next in units {
        // What would be written as 1024.0 is one of the next unit.
        if left < step - 0.05 {
            break;
        }
        left /= step;
        unit = next;
    }
    if unit == plain { format!("{number}{unit}") } else { format!("{left:.1}{unit}") }
}

/// "1 device", "2 devices".
pub(super) fn count(times: u64, what: &str) -> String {
    format!("{} {what}{}", number(times), if times == 1 { "" } else { "s" })
}

/// "1 message", "2 messages".
pub(super) fn messages(times: u64) -> String {
    count(times, "message")
}

/// How many columns of a terminal it takes.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// Not wider than so many columns; what is cut off is told by an ellipsis.
pub(super) fn clip(text: &str, most: usize) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let mut left = most.saturating_sub(1);
    let fits = |c: &char| {
        let width = match c {
            // Makes the character before it twice as wide.
            '\u{fe0f}' => 1,
            _ => c.width().unwrap_or(1),
        };
        let rest = left.checked_sub(width);
        left = rest.unwrap_or(left);
        rest.is_some()
    };
    let mut clipped: String = text.chars().take_while(fits).collect();
    clipped.push('…');
    clipped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_in_one_unit() {
        for (seconds, told) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3_599, "59 min"),
            (3_600, "1 h"),
            (172_799, "47 h"),
            (172_800, "2 days"),
            (86_400 * 400, "400 days"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), told);
        }
        let now = Time::from_unix_ms(1_000_000);
        assert_eq!(ago(Time::from_unix_ms(999_100), now), "just now");
        assert_eq!(ago(Time::from_unix_ms(820_000), now), "3 min ago");
        assert_eq!(ago(Time::from_unix_ms(2_000_000), now), "just now", "the clock went backwards");
    }

    #[test]
    fn numbers_never_take_more_than_seven_characters() {
        for (value, told) in [
            (0, "0"),
            (9_999_999, "9999999"),
            (10_000_000, "10.0M"),
            (999_999_999, "1.0G"),
            (u64::MAX, "18446.7P"),
        ] {
            assert_eq!(number(value), told);
        }
        for (bytes, told) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1 << 20, "1.0 MiB"),
            (1 << 30, "1.0 GiB"),
        ] {
            assert_eq!(size(bytes), told);
        }
    }

    #[test]
    fn what_does_not_fit_is_clipped() {
        assert_eq!(clip("Größe", 5), "Größe");
        assert_eq!(clip("Größer", 5), "Größ…");
        assert_eq!(clip("ロボット", 8), "ロボット");
        assert_eq!(clip("ロボット", 7), "ロボッ…");
        assert_eq!(clip("ロボット", 6), "ロボ…", "half a character cannot be shown");
        assert_eq!(width(&clip(&"❤\u{fe0f}".repeat(4), 6)), 6);
    }
}
