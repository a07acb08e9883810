//! Reasons that differ by an address, a number or an identifier only, made the same.

/// The longest reason that is kept, in characters.
const MAX_CHARACTERS: usize = 200;
/// So many bytes are at least as many characters.
const MAX_BYTES: usize = 4 * MAX_CHARACTERS;
const ADDRESS: &str = "<address>";

/// The reason with `<address>` for each address and `#` for each number of four and more digits and each identifier
/// with a digit in it. Reply codes and enhanced codes stay. At most 200 characters.
pub fn alike(reason: &str) -> String {
    let mut out = String::with_capacity(reason.len().min(MAX_CHARACTERS));
    let mut rest = reason;
    while let Some(first) = rest.chars().next().filter(|_| out.len() < MAX_BYTES) {
        let length = rest.find(|c| !belongs_to_word(c)).unwrap_or(rest.len());
        if length == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let (word, behind) = rest.split_at(length);
        rest = behind;
        let bare = word.trim_end_matches(['.', '-', '_', '=']);
        match stand_in(bare) {
            // It has its own.
            Some(ADDRESS) if out.ends_with('<') && bare == word && behind.starts_with('>') => {
                out.push_str("address")
            }
            Some(stand_in) => out.push_str(stand_in),
            None => out.push_str(bare),
        }
        out.push_str(&word[bare.len()..]);
    }
    if let Some((end, _)) = out.char_indices().nth(MAX_CHARACTERS) {
        out.truncate(end);
    }
    out
}

fn belongs_to_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '@' | '.' | '_' | '-' | '+' | '=')
}

fn stand_in(word: &str) -> Option<&'static str> {
    if word.bytes().any(|byte| byte == b'@') {
        return Some(ADDRESS);
    }
    if word.len() < 4 || !word.bytes().any(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let is_code =
        word.split('.').all(|part| matches!(part.len(), 1..=3) && part.bytes().all(|b| b.is_ascii_digit()));
    (!is_code || word.split('.').count() == 4).then_some("#")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_stay_and_what_differs_from_letter_to_letter_goes() {
        for (reason, expected) in [
            ("550 5.1.1 No such user", "550 5.1.1 No such user"),
            ("550 5.1.1 <ada@example.com>: unknown", "550 5.1.1 <address>: unknown"),
            ("550 5.1.1 ada@example.com unknown.", "550 5.1.1 <address> unknown."),
            ("451 4.7.1 queue id 4F3A2B1C, try in 3600 s", "451 4.7.1 queue id #, try in # s"),
            ("554 5.7.1 192.0.2.17 is listed", "554 5.7.1 # is listed"),
            ("Connection timed out (stage rcpt)", "Connection timed out (stage rcpt)"),
            ("<ada@example.com.> <ada@example.com", "<<address>.> <<address>"),
            ("a 1.2.3 1.2.3.4 1.2.3.4.5 12345 1234 123 x1 x123", "a 1.2.3 # 1.2.3.4.5 # # 123 x1 #"),
            ("", ""),
        ] {
            assert_eq!(alike(reason), expected);
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        assert_eq!(alike(&"ä ".repeat(500)).chars().count(), MAX_CHARACTERS);
    }
}
