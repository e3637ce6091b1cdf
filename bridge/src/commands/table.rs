//! Tables for people.

use super::words::clip;

/// Widest line of a table, in columns, if the words allow it.
pub(super) const WIDTH: usize = 80;

/// A column of a [`Grid`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    name: &'static str,
    align: Align,
    /// Whether it gives way if the columns do not fit.
    yields: Yields,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Align {
    Left,
    Right,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Yields {
    Never,
    Last,
    First,
}

/// Narrowest that a column gets that gives way.
const NARROWEST: usize = 8;

impl Column {
    /// For words, which are clipped if there is no place.
    pub const fn words(name: &'static str) -> Self {
        Self { name, align: Align::Left, yields: Yields::First }
    }

    /// For what people have to write, which is clipped if all words are and there is still no place.
    pub const fn keys(name: &'static str) -> Self {
        Self { name, align: Align::Left, yields: Yields::Last }
    }

    /// For words of which none may be missing.
    pub const fn whole(name: &'static str) -> Self {
        Self { name, align: Align::Left, yields: Yields::Never }
    }

    /// For numbers.
    pub const fn numbers(name: &'static str) -> Self {
        Self { name, align: Align::Right, yields: Yields::Never }
    }
}

/// Rows in aligned columns, the header first, each line without an end. If they do not fit behind `indent` characters,
/// columns give way, the widest first, and what does not fit into them is clipped.
pub(super) fn grid<const N: usize>(columns: [Column; N], rows: &[[String; N]], indent: usize) -> Vec<String> {
    let header = columns.map(|column| column.name.to_owned());
    let lines: Vec<_> = [&header].into_iter().chain(rows).collect();
    let mut widths = [0; N];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(*line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    while indent + widths.iter().sum::<usize>() + 2 * N.saturating_sub(1) > WIDTH {
        let yielding = |(column, width): (usize, &usize)| {
            let yields = columns[column].yields;
            (yields != Yields::Never && *width > NARROWEST).then_some((yields, *width, column))
        };
        match widths.iter().enumerate().filter_map(yielding).max() {
            Some((_, _, column)) => widths[column] -= 1,
            None => break,
        }
    }
    let show = |line: &[String; N]| {
        let cells = line.iter().zip(widths).zip(columns).map(|((cell, width), column)| {
            let cell = clip(cell, width);
            match column.align {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines.into_iter().map(show).collect()
}

/// Rows in aligned columns. If they do not fit, every row becomes a block of lines, so that no topic is cut.
pub(super) fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let cells = || rows.iter().map(|row| row.each_ref().map(String::as_str)).chain([header]);
    let mut widths = [0; N];
    for row in cells() {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    if widths.iter().sum::<usize>() + 2 * N.saturating_sub(1) <= WIDTH {
        for row in [header].into_iter().chain(cells().take(rows.len())) {
            let line: String =
                row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}  ")).collect();
            text.push_str(line.trim_end());
            text.push('\n');
        }
    } else {
        let most = header.iter().map(|name| name.len()).max().unwrap_or(0);
        for row in rows {
            for (name, cell) in header.iter().zip(row) {
                text.push_str(&format!("{name:<most$}  {cell}\n"));
            }
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_widest_words_give_way_and_numbers_never_do() {
        let columns = [Column::keys("CODE"), Column::words("NAME"), Column::numbers("N")];
        let row = |code: &str, name: &str, number: &str| [code, name, number].map(str::to_owned);
        let fits = grid(columns, &[row("4569", "a", "7"), row("1", "bb", "1000")], 0);
        assert_eq!(fits, ["CODE  NAME     N", "4569  a        7", "1     bb    1000"]);
        let wide = grid(columns, &[row("4569", &"x".repeat(100), "7")], 2);
        assert_eq!(wide[1], format!("4569  {}…  7", "x".repeat(68)));
        assert!(wide.iter().all(|line| line.chars().count() <= WIDTH - 2));
        let keys = grid(columns, &[row(&"c".repeat(90), &"x".repeat(100), "7")], 0);
        assert_eq!(keys[1], format!("{}…  xxxxxxx…  7", "c".repeat(66)));
        let columns = [Column::whole("CODE"), Column::words("NAME"), Column::numbers("N")];
        let code = "c".repeat(90);
        let cannot = grid(columns, &[row(&code, &"x".repeat(100), "7")], 0);
        assert_eq!(cannot[1], format!("{code}  xxxxxxx…  7"));
    }

    #[test]
    fn aligns_columns_and_breaks_up_what_does_not_fit() {
        let row = |a: &str, b: &str| [a.to_owned(), b.to_owned()];
        let fits = table(["A", "LONG"], &[row("aaa", "b"), row("a", "bb")]);
        assert_eq!(fits, "A    LONG\naaa  b\na    bb\n");
        let wide = "x".repeat(79);
        assert_eq!(table(["A", "LONG"], &[row("aaa", &wide)]), format!("A     aaa\nLONG  {wide}\n\n"));
    }
}
