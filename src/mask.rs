//! Addresses as logs may show them: `a***@example.com`.

use std::borrow::Cow;

const HIDDEN: &str = "***";

/// `ada@example.com` as `a***@example.com`. A text without an `@` is hidden whole.
pub fn mask_address(address: &str) -> String {
    if address.contains('@') { mask_text(address).into_owned() } else { HIDDEN.to_owned() }
}

/// The text, a server's reply say, with every address in it masked. Rather too much is masked than too
/// little: all that may stand before an `@` and touches one counts as an address.
pub fn mask_text(text: &str) -> Cow<'_, str> {
    if !text.contains('@') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    // Where in `out` the quoted strings open that may yet turn out to stand before an @.
    let mut quotes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let run = rest.find(|c| !belongs_to_address(c)).unwrap_or(rest.len());
        if run == 0 {
            if first == '"' {
                quotes.push(out.len());
            }
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let (word, behind) = rest.split_at(run);
        rest = behind;
        let Some((local, domain)) = word.rsplit_once('@') else {
            out.push_str(word);
            continue;
        };
        if out.ends_with('"') && word.starts_with('@') {
            hide_quoted(&mut out, &mut quotes);
        }
        push_hidden(&mut out, local);
        out.push('@');
        out.push_str(domain);
    }
    Cow::Owned(out)
}

/// Letters, digits and signs of an unquoted local part, the dot, the `@`, and anything that is not ASCII.
fn belongs_to_address(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || "!#$%&'*+-/=?^_`{|}~.@".contains(c)
        || (!c.is_ascii() && !c.is_whitespace() && !c.is_control())
}

/// Keeps what is no letter or digit at the start (a quote mark, say) and the first letter or digit.
fn push_hidden(out: &mut String, local: &str) {
    if local.is_empty() {
        return;
    }
    let shown = local.find(char::is_alphanumeric).unwrap_or(0);
    let first = local[shown..].chars().next().filter(|c| c.is_alphanumeric());
    out.push_str(&local[..shown]);
    out.extend(first);
    out.push_str(HIDDEN);
}

/// Hides the quoted string that `out` ends with: all from its opening quote, or, where there is only one
/// quote, from the start.
fn hide_quoted(out: &mut String, quotes: &mut Vec<usize>) {
    let closing = quotes.pop();
    // Escaped quotes stand inside the quoted string: the opening one is the last that is not escaped.
    let mut opening = quotes.pop();
    while let Some(at) = opening
        && out[..at].ends_with('\\')
    {
        opening = quotes.pop();
    }
    debug_assert!(closing.is_some(), "the text before the @ ends with a quote");
    out.truncate(opening.unwrap_or(0));
    out.push('"');
    out.push_str(HIDDEN);
    out.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_shows_its_first_letter_and_its_domain() {
        let cases = [
            ("ada@example.com", "a***@example.com"),
            ("a@example.com", "a***@example.com"),
            ("Åda@exämple.com", "Å***@exämple.com"),
            ("\"ada lovelace\"@example.com", "\"***\"@example.com"),
            ("_@example.com", "***@example.com"),
            ("no address", "***"),
            ("", "***"),
        ];
        for (address, masked) in cases {
            assert_eq!(mask_address(address), masked);
        }
    }

    #[test]
    fn every_address_in_a_text_is_masked() {
        let cases = [
            ("550 5.1.1 No such user", "550 5.1.1 No such user"),
            ("<ada@example.com>: unknown", "<a***@example.com>: unknown"),
            ("to=<ada.l+x@example.com>, from=bob@b.org.", "to=<a***@example.com>, f***@b.org."),
            ("rcpt to:ada@example.com", "rcpt to:a***@example.com"),
            ("'ada@example.com' is full", "'a***@example.com' is full"),
            ("(ada@example.com)", "(a***@example.com)"),
            ("bounce+ada=example.com@list.org", "b***@list.org"),
            ("ada@[192.0.2.1] and Ådam@x.y", "a***@[192.0.2.1] and Å***@x.y"),
            ("ada@first@second.com", "a***@second.com"),
            ("say \"hi\" to \"ada l\"@x.y now", "say \"hi\" to \"***\"@x.y now"),
            (r#""a\"da l"@x.y"#, r#""***"@x.y"#),
            ("at 10:00 @ noon", "at 10:00 @ noon"),
            ("ada@", "a***@"),
        ];
        for (text, masked) in cases {
            assert_eq!(mask_text(text), masked);
        }
    }

    proptest! {
        #[test]
        fn no_local_part_survives_whatever_stands_around_it(
            before in "[^a-z]{0,20}",
            local in "[a-z]{2}[a-z0-9._+-]{2,20}",
            after in "([^a-zA-Z0-9@].{0,20})?",
        ) {
            let masked = mask_text(&format!("{before} <{local}@example.com>{after}")).into_owned();
            prop_assert!(!masked.contains(&local), "{}", masked);
        }

        #[test]
        fn any_text_can_be_masked(text in "[\"\\\\@<> a\u{e9}\u{2028}.]{0,40}") {
            mask_text(&text);
        }
    }
}
