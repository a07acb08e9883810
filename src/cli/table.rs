//! Tables: columns as wide as they need to be, and at a terminal no wider than it.

use std::io::{self, IsTerminal};

use comfy_table::{ColumnConstraint, ContentArrangement, Table};

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
    let mut longest_name = 0;
    for row in rows {
        longest_name = row.first().map_or(0, |name| name.chars().count()).max(longest_name);
        table.add_row(row);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        // What a row is called is for copying: it is never broken.
        if index == 0 && width.is_some_and(|width| longest_name <= usize::from(width) / 2) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    let lines: Vec<_> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_row_is_called_is_never_broken_where_there_is_room() {
        let rows = || {
            [["20261130T230721-fd2c1503", "one two three four", "one two three four five"].map(str::to_owned)]
        };
        let told = lines_within(Some(60), None, rows());
        assert!(told.starts_with("20261130T230721-fd2c1503  one"), "{told}");
        assert!(told.lines().all(|line| line.chars().count() <= 60), "{told}");
        let told = lines_within(Some(30), None, rows());
        assert!(told.lines().all(|line| line.chars().count() <= 30), "{told}");
    }

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
