//! Tables for people.

use super::words::{clip, width};

/// Widest line of a table, in columns, if the words allow it and no terminal is wider.
pub(super) const WIDTH: usize = 80;

/// A column of a [`grid`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    name: &'static str,
    align: Align,
    /// How narrow it gets if the columns do not fit; `None` if it does not give way.
    narrowest: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Align {
    Left,
    Right,
}

impl Column {
    /// For words, which are clipped if there is no place.
    pub const fn words(name: &'static str) -> Self {
        Self { name, align: Align::Left, narrowest: Some(8) }
    }

    /// For what people have to write, of which more is left if there is no place.
    pub const fn keys(name: &'static str) -> Self {
        Self { name, align: Align::Left, narrowest: Some(16) }
    }

    /// For words of which none may be missing.
    pub const fn whole(name: &'static str) -> Self {
        Self { name, align: Align::Left, narrowest: None }
    }

    /// For numbers.
    pub const fn numbers(name: &'static str) -> Self {
        Self { name, align: Align::Right, narrowest: None }
    }
}

/// Rows in aligned columns, the header first, each line without an end. If they do not fit into `room`, in columns of a
/// terminal, the widest give way, and what does not fit into them is clipped.
pub(super) fn grid<const N: usize>(columns: [Column; N], rows: &[[String; N]], room: usize) -> Vec<String> {
    let header = columns.map(|column| column.name.to_owned());
    let lines = || [&header].into_iter().chain(rows);
    let mut widths = widest(lines());
    while sum(&widths) > room {
        let yielding = widths.iter_mut().zip(columns);
        let yielding =
            yielding.filter(|(width, column)| column.narrowest.is_some_and(|least| **width > least));
        match yielding.max_by_key(|(width, _)| **width) {
            Some((width, _)) => *width -= 1,
            None => break,
        }
    }
    let show = |line: &[String; N]| {
        let cells = line.iter().zip(widths).zip(columns).map(|((cell, most), column)| {
            let cell = clip(cell, most);
            let space = " ".repeat(most.saturating_sub(width(&cell)));
            match column.align {
                Align::Left => cell + &space,
                Align::Right => space + &cell,
            }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines().map(show).collect()
}

/// Rows in aligned columns. If they do not fit, every row becomes a block of lines, so that no topic is cut.
pub(super) fn table<const N: usize>(header: [&'static str; N], rows: &[[String; N]]) -> String {
    let columns = header.map(Column::whole);
    let lines = grid(columns, rows, WIDTH);
    if lines.iter().all(|line| width(line) <= WIDTH) {
        return lines.join("\n") + "\n";
    }
    let most = header.iter().map(|name| name.len()).max().unwrap_or(0);
    let block = |row: &[String; N]| {
        let lines = header.iter().zip(row).map(|(name, cell)| format!("{name:<most$}  {cell}\n"));
        lines.collect::<String>() + "\n"
    };
    rows.iter().map(block).collect()
}

/// How wide the widest cell of each column is.
fn widest<'a, const N: usize>(lines: impl Iterator<Item = &'a [String; N]>) -> [usize; N] {
    lines.fold([0; N], |mut widths, line| {
        for (most, cell) in widths.iter_mut().zip(line) {
            *most = (*most).max(width(cell));
        }
        widths
    })
}

/// How wide a line is.
fn sum<const N: usize>(widths: &[usize; N]) -> usize {
    widths.iter().sum::<usize>() + 2 * N.saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row<const N: usize>(cells: [&str; N]) -> [String; N] {
        cells.map(str::to_owned)
    }

    #[test]
    fn the_widest_words_give_way_and_numbers_never_do() {
        let columns = [Column::keys("CODE"), Column::words("NAME"), Column::numbers("N")];
        let fits = grid(columns, &[row(["4569", "a", "7"]), row(["1", "bb", "1000"])], 80);
        assert_eq!(fits, ["CODE  NAME     N", "4569  a        7", "1     bb    1000"]);
        let long = "x".repeat(100);
        let wide = grid(columns, &[row(["4569", &long, "7"])], 78);
        assert_eq!(wide[1], format!("4569  {}…  7", "x".repeat(68)));
        let narrow = grid(columns, &[row([&long, &long, "7"])], 20);
        assert_eq!(narrow[1], format!("{}…  xxxxxxx…  7", "x".repeat(15)), "more of what is written is left");
        let columns = [Column::whole("CODE"), Column::words("NAME"), Column::numbers("N")];
        let cannot = grid(columns, &[row([&long, &long, "7"])], 80);
        assert_eq!(cannot[1], format!("{long}  xxxxxxx…  7"));
    }

    #[test]
    fn one_long_row_leaves_the_names_of_all_others() {
        let columns = [Column::keys("DEVICE"), Column::words("NAME"), Column::whole("STATE")];
        let long = format!("{}.{}", "u".repeat(32), "c".repeat(32));
        let rows = [row([&long, "Device 1", "never seen"]), row(["4569", "Device 12", "never seen"])];
        let shown = grid(columns, &rows, 80);
        assert!(shown[1].ends_with("…  Device 1   never seen"), "{}", shown[1]);
        assert!(shown[2].ends_with("   Device 12  never seen"), "{}", shown[2]);
    }

    #[test]
    fn wide_characters_take_two_columns_of_a_terminal() {
        let columns = [Column::words("NAME"), Column::numbers("N")];
        let names = [row(["🤖 robot", "1"]), row(["ロボット", "2"]), row(["e\u{301}", "3"])];
        let shown = grid(columns, &names, 80);
        assert_eq!(shown, ["NAME      N", "🤖 robot  1", "ロボット  2", "e\u{301}         3"]);
        let shown = grid(columns, &[row([&"ロ".repeat(60), "1"])], 80);
        assert_eq!(shown[1], format!("{}…  1", "ロ".repeat(38)));
        assert!(width(&shown[1]) <= 80);
        let blocks = table(["A", "B"], &[row(["a", &"ロ".repeat(39)])]);
        assert!(blocks.starts_with("A  a\nB  ロ"), "{blocks}");
    }

    #[test]
    fn aligns_columns_and_breaks_up_what_does_not_fit() {
        let fits = table(["A", "LONG"], &[row(["aaa", "b"]), row(["a", "bb"])]);
        assert_eq!(fits, "A    LONG\naaa  b\na    bb\n");
        let wide = "x".repeat(79);
        assert_eq!(table(["A", "LONG"], &[row(["aaa", &wide])]), format!("A     aaa\nLONG  {wide}\n\n"));
    }
}
