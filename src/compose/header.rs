//! Header lines (RFC 5322, section 2.2) that are folded and show any text as it was given (RFC 2047). All are ASCII
//! but for addresses that can't be (RFC 6531).

use super::line::{Line, MAX_LINE};
use crate::job::{Header, Mailbox};

/// Words longer than this are encoded, so that no line gets too long whatever a producer sends.
const MAX_WORD: usize = 60;

/// A line of a short value that is ours and printable ASCII.
pub fn plain(out: &mut Vec<u8>, name: &str, value: &str) {
    Line::begin(out, name).push(value).end();
}

/// A line of free text without control characters, of any length.
pub fn text(out: &mut Vec<u8>, name: &str, value: &str) {
    let mut line = Line::begin(out, name);
    if is_plain_text(value) {
        for (index, word) in value.split(' ').enumerate() {
            if index > 0 {
                line.space_before(word.len());
            }
            line.push(word);
        }
    } else {
        line.push_encoded(value);
    }
    line.end();
}

/// A line of at least one mailbox.
pub fn mailboxes(out: &mut Vec<u8>, name: &str, list: &[Mailbox]) {
    let mut line = Line::begin(out, name);
    for (index, mailbox) in list.iter().enumerate() {
        if index > 0 {
            line.push(",");
        }
        let address = mailbox.address.as_str();
        let Some(name) = &mailbox.name else {
            if index > 0 {
                line.space_before(address.len());
            }
            line.push(address);
            continue;
        };
        let shown = shown_name(name);
        if index > 0 {
            line.space_before(shown.as_ref().map_or(MAX_LINE, String::len));
        }
        match shown {
            Some(shown) => {
                line.push(&shown);
            }
            None => line.push_encoded(name),
        }
        line.space_before(address.len() + 2);
        line.push("<").push(address).push(">");
    }
    line.end();
}

/// A line of the job's own, under `name`. Free text stands as it is where it can, so that programs that read it find
/// it; of the others, ids, URLs and words stand as they are, and only words that are not ASCII are encoded.
pub fn given(out: &mut Vec<u8>, name: &str, header: &Header<'_>) {
    let mut line = Line::begin(out, name);
    if header.is_free() && !(header.value.is_ascii() && header.can_be_folded()) {
        line.push_encoded(&header.value);
    } else {
        line.push_pieces(&header.value);
    }
    line.end();
}

/// Whether the text can stand as it is, so that every reader shows exactly it: printable ASCII, words of a
/// bounded length between single spaces, and nothing that reads as an encoded word.
fn is_plain_text(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        && !text.contains("=?")
        && (text.is_empty() || text.split(' ').all(|word| (1..=MAX_WORD).contains(&word.len())))
}

/// The name as atoms or a quoted string; none where it must be encoded.
fn shown_name(name: &str) -> Option<String> {
    if !is_plain_text(name) || name.len() > MAX_WORD {
        return None;
    }
    let is_atoms = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" -_'".contains(&byte));
    if is_atoms {
        return Some(name.to_owned());
    }
    let mut quoted = String::with_capacity(name.len() + 2);
    quoted.push('"');
    for c in name.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    Some(quoted)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn plain_text_stays_readable_and_anything_else_is_encoded() {
        let cases = [
            ("Hello, world!", "Subject: Hello, world!\r\n"),
            ("", "Subject: \r\n"),
            ("Grüße", "Subject: =?utf-8?B?R3LDvMOfZQ==?=\r\n"),
            ("=?utf-8?B?eA==?=", "Subject: =?utf-8?B?PT91dGYtOD9CP2VBPT0/PQ==?=\r\n"),
            (" a", "Subject: =?utf-8?B?IGE=?=\r\n"),
            ("a  b", "Subject: =?utf-8?B?YSAgYg==?=\r\n"),
        ];
        for (value, expected) in cases {
            assert_eq!(written(|out| text(out, "Subject", value)), expected);
        }
    }

    #[test]
    fn long_text_is_folded_below_77_columns() {
        let words = "word ".repeat(50);
        for value in
            [words.trim_end(), &"ä".repeat(499), &"x".repeat(998), &"😀".repeat(200), &" ".repeat(998)]
        {
            let written = written(|out| text(out, "Subject", value));
            let lines: Vec<&str> = written.strip_suffix("\r\n").unwrap().split("\r\n").collect();
            assert!(lines.len() > 3);
            assert!(lines.iter().all(|line| line.len() <= 76), "{written}");
            assert!(lines[1..].iter().all(|line| line.starts_with(' ') && !line.trim().is_empty()));
        }
    }

    #[test]
    fn names_are_written_as_atoms_quoted_or_encoded() {
        let cases = [
            ("Ada Lovelace", "To: Ada Lovelace <a@b.c>\r\n"),
            ("Lovelace, Ada", "To: \"Lovelace, Ada\" <a@b.c>\r\n"),
            ("J.R. \"Bob\" \\", "To: \"J.R. \\\"Bob\\\" \\\\\" <a@b.c>\r\n"),
            ("Žofie", "To: =?utf-8?B?xb1vZmll?= <a@b.c>\r\n"),
            ("=?x?=", "To: =?utf-8?B?PT94Pz0=?= <a@b.c>\r\n"),
        ];
        for (name, expected) in cases {
            let list = [Mailbox::from_parts(Some(name), "a@b.c").unwrap()];
            assert_eq!(written(|out| mailboxes(out, "To", &list)), expected);
        }
    }

    fn line(name: &str, value: &str) -> String {
        let header = Header { name: name.to_owned().into(), value: value.to_owned().into() };
        written(|out| given(out, name, &header))
    }

    #[test]
    fn a_jobs_own_line_stands_as_it_is_where_it_can() {
        let json = format!("{{\"category\": [{}\"x\"]}}", "\"a  b\", ".repeat(40));
        let url = format!("<https://x.example/{}>", "u".repeat(900));
        let unsubscribe = format!("{url}, <mailto:u@x.example>");
        for (name, value) in [
            ("X-SMTPAPI", &*json),
            ("X-A", "a b  c   d"),
            ("X-Like", "=?utf-8?B?eA==?="),
            ("List-Unsubscribe", &unsubscribe),
            ("References", "<abcdefghij@example.com> ".repeat(50).trim_end()),
        ] {
            let written = line(name, value);
            assert_eq!(written.replace("\r\n ", " "), format!("{name}: {value}\r\n"));
            let folded: Vec<_> = written.trim_end().split("\r\n").collect();
            assert!(folded.iter().all(|line| line.len() <= 76 || line.contains(&*url)), "{written}");
            assert!(folded.iter().all(|line| !line.trim().is_empty() && !line.ends_with(' ')), "{written}");
        }
        assert_eq!(line("X-A", ""), "X-A: \r\n");
    }

    #[test]
    fn a_jobs_own_line_is_encoded_where_it_must_be_and_no_further() {
        let cases = [
            ("X-A", "süß = {}", "X-A: =?utf-8?B?c8O8w58gPSB7fQ==?=\r\n"),
            ("List-Id", "Große Liste <l.example>", "List-Id: =?utf-8?B?R3Jvw59l?= Liste <l.example>\r\n"),
            ("List-Id", "A é è <l.example>", "List-Id: A =?utf-8?B?w6kgw6g=?= <l.example>\r\n"),
        ];
        for (name, value, expected) in cases {
            assert_eq!(line(name, value), expected);
        }
        for value in ["x".repeat(5000), "ü".repeat(3000)] {
            let written = line(&format!("X-{}", "n".repeat(74)), &value);
            assert!(written.split("\r\n").all(|line| line.len() <= 78 && line.is_ascii()), "{written}");
            assert!(written.contains("=?utf-8?B?"));
        }
        let words = line("List-Help", &"wörter ".repeat(100));
        assert!(words.split("\r\n").all(|line| line.len() <= 76), "{words}");
    }

    #[test]
    fn an_address_that_is_not_ascii_stands_as_it_is() {
        let list = [Mailbox::parse("Žofie <žofie@bücher.example>").unwrap()];
        let expected = "To: =?utf-8?B?xb1vZmll?= <žofie@xn--bcher-kva.example>\r\n";
        assert_eq!(written(|out| mailboxes(out, "To", &list)), expected);
    }

    #[test]
    fn many_mailboxes_are_folded_between_them() {
        let long = "n".repeat(3000);
        let list: Vec<Mailbox> = (0..100)
            .map(|index| match index % 3 {
                0 => Mailbox::parse(&format!("reader{index}@example.com")).unwrap(),
                1 => Mailbox::from_parts(Some("Reader, the"), &format!("r{index}@example.com")).unwrap(),
                _ => Mailbox::from_parts(Some(&long), &format!("r{index}@example.com")).unwrap(),
            })
            .collect();
        let written = written(|out| mailboxes(out, "To", &list));
        assert!(written.split("\r\n").all(|line| line.len() <= 76));
        assert_eq!(written.matches("@example.com").count(), 100);
    }
}
