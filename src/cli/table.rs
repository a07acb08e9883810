//! Tables: columns as wide as they need to be, and at a terminal no wider than it.

use std::io::{self, IsTerminal};

use comfy_table::{ContentArrangement, Table};

/// The rows as lines, without frames; at a terminal long cells go over several lines, in a pipe they are never cut.
/// No line ends in blanks.
pub(super) fn lines<const N: usize>(
    head: Option<[&str; N]>,
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let width = io::stdout().is_terminal().then(terminal_width).flatten();
    lines_within(width, head, rows)
}

fn terminal_width() -> Option<u16> {
    terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| width.0)
}

fn lines_within<const N: usize>(
    width: Option<u16>,
    head: Option<[&str; N]>,
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    if let Some(head) = head {
        table.add_row(head);
    }
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines: Vec<_> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> [[String; 2]; 2] {
        [
            ["smtp.host", "relay.example.com"],
            ["smtp.from", "Somebody With A Long Name <somebody@example.com>"],
        ]
        .map(|row| row.map(str::to_owned))
    }

    #[test]
    fn columns_stand_under_each_other_and_a_pipe_gets_one_line_a_row() {
        let told = lines_within(None, Some(["key", "value"]), rows());
        let expected = "key        value\n\
                        smtp.host  relay.example.com\n\
                        smtp.from  Somebody With A Long Name <somebody@example.com>";
        assert_eq!(told, expected);
    }

    #[test]
    fn at_a_terminal_no_line_is_longer_than_it_is_wide() {
        let told = lines_within(Some(40), Some(["key", "value"]), rows());
        assert!(told.lines().all(|line| line.len() <= 40), "{told}");
        assert!(told.lines().count() > 3, "{told}");
        assert!(told.contains("somebody@example.com"), "{told}");
    }
}
