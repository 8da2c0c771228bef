//! Columns for people.

use std::fmt::Write as _;

/// Aligns rows under each other, two spaces apart. Numbers stand right, everything else left.
pub(super) fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |row: &Vec<String>, column: usize| row.get(column).cloned().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| cell(row, column).chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    // The first row is the heading and says nothing about what stands below it.
    let right = |column: usize| rows.iter().skip(1).all(|row| is_number(&cell(row, column)));
    let rights: Vec<bool> = (0..columns).map(right).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (width, right)) in widths.iter().zip(&rights).enumerate() {
            let text = cell(row, column);
            // A String takes every write.
            let _ = if *right {
                write!(line, "{text:>width$}  ")
            } else {
                write!(line, "{text:<width$}  ")
            };
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// A quantity, with or without a unit; `-` and nothing stand for an unknown one.
fn is_number(text: &str) -> bool {
    // Addresses begin with digits, too; they hold a colon.
    matches!(text, "" | "-")
        || text.starts_with(|c: char| c.is_ascii_digit()) && !text.contains(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_right_words_left_and_no_space_at_the_end() {
        let rows = [
            ["NAME", "COUNT", "NOTE"],
            ["worker 0", "5", ""],
            ["agent", "-", "gone"],
            ["worker 1", "1200", ""],
        ];
        let rows: Vec<Vec<String>> = rows
            .iter()
            .map(|row| row.map(String::from).to_vec())
            .collect();
        assert_eq!(
            aligned(&rows),
            "NAME      COUNT  NOTE\n\
             worker 0      5\n\
             agent         -  gone\n\
             worker 1   1200\n"
        );
        assert_eq!(aligned(&[]), "");
    }
}
