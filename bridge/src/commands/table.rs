//! Tables for people.

/// Widest line of a table, in columns, if the words allow it.
const WIDTH: usize = 80;

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
    fn aligns_columns_and_breaks_up_what_does_not_fit() {
        let row = |a: &str, b: &str| [a.to_owned(), b.to_owned()];
        let fits = table(["A", "LONG"], &[row("aaa", "b"), row("a", "bb")]);
        assert_eq!(fits, "A    LONG\naaa  b\na    bb\n");
        let wide = "x".repeat(79);
        assert_eq!(table(["A", "LONG"], &[row("aaa", &wide)]), format!("A     aaa\nLONG  {wide}\n\n"));
    }
}
