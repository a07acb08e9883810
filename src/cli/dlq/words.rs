//! How letters and runs are put into words and columns. Nothing in them can steer a terminal.

use std::io::{self, IsTerminal};

use serde::Serialize;
use serde_json::Value;

use crate::cli::table;

/// The text with its control characters written out: a relay's reply may hold any.
pub(super) fn plain(text: &str) -> String {
    let is_plain = !text.chars().any(char::is_control);
    if is_plain {
        return text.to_owned();
    }
    let written = |c: char| if c.is_control() { c.escape_default().collect() } else { c.to_string() };
    text.chars().map(written).collect()
}

/// A table with a head, which stands out at a terminal.
pub(super) fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let rows = rows.into_iter().map(|row| row.map(|cell| plain(&cell)));
    let lines = table::lines(Some(head), rows);
    if has_colours() { stand_out(&lines) } else { lines }
}

fn has_colours() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn stand_out(lines: &str) -> String {
    let (head, rest) = lines.split_once('\n').map_or((lines, None), |(head, rest)| (head, Some(rest)));
    let rest = rest.map(|rest| format!("\n{rest}")).unwrap_or_default();
    format!("\x1b[1m{head}\x1b[0m{rest}")
}

/// `2026-11-24T02:07:47.123Z` to the second.
pub(super) fn to_the_second(at: &str) -> String {
    at.split_once('.').map_or_else(|| at.to_owned(), |(seconds, _)| format!("{seconds}Z"))
}

/// A view for other programs, its members in their order.
pub(super) fn json(view: &impl Serialize) -> String {
    serde_json::to_string_pretty(view).expect("texts and finite numbers always make JSON")
}

/// A field of a letter: texts as they are, lists of texts with blanks between, nothing for null.
pub(super) fn of(field: Option<&Value>) -> String {
    match field {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) if items.iter().all(Value::is_string) => {
            items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
        }
        Some(other) => other.to_string(),
    }
}

/// `1 letter`, `2 letters`.
pub(super) fn letters(count: u64) -> String {
    if count == 1 { "1 letter".to_owned() } else { format!("{count} letters") }
}

/// The counts that are not 0, as `3 expired, 1 already`.
pub(super) fn counts<'a>(counts: impl IntoIterator<Item = (&'a &'static str, &'a u64)>) -> String {
    let told = counts.into_iter().filter(|(_, count)| **count > 0);
    told.map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_can_steer_a_terminal() {
        assert_eq!(plain("550 \x1b[2Jno\u{9b}1m\r\n"), "550 \\u{1b}[2Jno\\u{9b}1m\\r\\n");
        assert_eq!(plain("Größe <a@b.c>"), "Größe <a@b.c>");
        assert!(table(["a"], [["x\ny".to_owned()]]).contains("x\\ny"));
    }

    #[test]
    fn only_the_head_stands_out() {
        assert_eq!(stand_out("HEAD\nrow"), "\x1b[1mHEAD\x1b[0m\nrow");
    }

    #[test]
    fn times_and_counts_are_short() {
        assert_eq!(to_the_second("2026-11-24T02:07:47.123Z"), "2026-11-24T02:07:47Z");
        assert_eq!((letters(1), letters(0)), ("1 letter".into(), "0 letters".into()));
        assert_eq!(counts([(&"expired", &3), (&"parked", &0), (&"already", &1)]), "3 expired, 1 already");
    }
}
