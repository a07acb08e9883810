//! Numbers, times and long texts as the live view has room for them.

use std::time::Duration;

/// `1234567` as `1,234,567`.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `83 s` as `1:23`, hours in front where there are any.
pub(super) fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds / 3600 {
        0 => format!("{}:{:02}", seconds / 60, seconds % 60),
        hours => format!("{hours}:{:02}:{:02}", seconds / 60 % 60, seconds % 60),
    }
}

/// At the right of so many columns.
pub(super) fn right(text: &str, columns: usize) -> String {
    format!("{text:>columns$}")
}

/// At most so many characters, with `…` in place of the rest; what would move the cursor becomes a space.
pub(super) fn cut(text: &str, columns: usize) -> String {
    let text = text.replace(char::is_control, " ");
    if text.chars().count() <= columns {
        return text;
    }
    text.chars().take(columns.saturating_sub(1)).chain((columns > 0).then_some('…')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_commas_and_times_colons() {
        let numbers = [0, 7, 999, 1_000, 12_345, 1_234_567].map(number);
        assert_eq!(numbers, ["0", "7", "999", "1,000", "12,345", "1,234,567"]);
        let times = [0, 59, 83, 3_599, 3_723].map(|seconds| clock(Duration::from_secs(seconds)));
        assert_eq!(times, ["0:00", "0:59", "1:23", "59:59", "1:02:03"]);
    }

    #[test]
    fn what_is_too_long_is_cut_with_a_sign() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "ab…");
        assert_eq!(cut("äöüß", 2), "ä…");
        assert_eq!(cut("abcd", 0), "");
        assert_eq!(cut("a\x1b[2Jb\n", 9), "a [2Jb ");
        assert_eq!(right("12", 4), "  12");
    }
}
