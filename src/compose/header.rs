//! Header lines (RFC 5322, section 2.2) that are folded, ASCII, and show any text as it was given (RFC 2047).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::job::{Header, MAX_WORD_BYTES, Mailbox};

/// Lines are folded to this where they can be; with encoded words they must be (RFC 2047, section 2).
const MAX_LINE: usize = 76;
/// Words longer than this are encoded, so that no line gets too long whatever a producer sends.
const MAX_WORD: usize = 60;
const ENCODED_START: &str = "=?utf-8?B?";
const ENCODED_END: &str = "?=";

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

/// A line of the job's own. Free text is encoded only where it must be, so that programs that look for what they know
/// (a JSON text, say) find it; ids and addresses of pages are never broken.
pub fn own(out: &mut Vec<u8>, header: &Header<'_>) {
    let (name, value) = (&*header.name, &*header.value);
    let mut line = Line::begin(out, name);
    let fits_a_line = value.len() <= MAX_WORD_BYTES && value.trim() == value;
    let can_be_folded = value.split(' ').all(|word| (1..=MAX_WORD_BYTES).contains(&word.len()));
    if !header.is_free_text() || (is_printable(value) && can_be_folded) {
        line.push_words(value);
    } else if is_printable(value) && fits_a_line {
        // Spaces side by side would not survive a fold between them.
        line.push(value);
    } else {
        line.push_encoded(value);
    }
    line.end();
}

/// The name and value of a Content header with its parameters, each on a line of its own where it does not fit.
pub fn content(out: &mut Vec<u8>, name: &str, value: &str, parameters: &[String]) {
    let mut line = Line::begin(out, name);
    line.push(value);
    for parameter in parameters {
        line.push(";").space_before(parameter.len());
        line.push(parameter);
    }
    line.end();
}

/// The text as one encoded word (RFC 2047); none where it is too long for one.
pub fn encoded_word(text: &str) -> Option<String> {
    let word = format!("{ENCODED_START}{}{ENCODED_END}", STANDARD.encode(text));
    (word.len() < MAX_LINE).then_some(word)
}

/// A header that is being written, and how far its last line has come.
struct Line<'a> {
    out: &'a mut Vec<u8>,
    column: usize,
}

impl<'a> Line<'a> {
    fn begin(out: &'a mut Vec<u8>, name: &str) -> Line<'a> {
        let mut line = Line { out, column: 0 };
        line.push(name).push(": ");
        line
    }

    fn push(&mut self, text: &str) -> &mut Self {
        self.out.extend_from_slice(text.as_bytes());
        self.column += text.len();
        self
    }

    /// A space, folded when `next` more bytes would not fit the line.
    fn space_before(&mut self, next: usize) {
        if self.column + 1 + next > MAX_LINE {
            self.fold();
        } else {
            self.push(" ");
        }
    }

    fn fold(&mut self) {
        self.out.extend_from_slice(b"\r\n ");
        self.column = 1;
    }

    /// Words of any length with a space between them, folded there; those that are not ASCII are encoded, side by side
    /// together: between encoded words readers leave spaces out.
    fn push_words(&mut self, text: &str) {
        let mut words = text.split(' ').filter(|word| !word.is_empty()).peekable();
        let mut is_first = true;
        while let Some(word) = words.next() {
            if !is_first {
                self.space_before(word.len());
            }
            is_first = false;
            if word.is_ascii() {
                self.push(word);
                continue;
            }
            let mut run = word.to_owned();
            while let Some(next) = words.next_if(|next| !next.is_ascii()) {
                run.push(' ');
                run.push_str(next);
            }
            self.push_encoded(&run);
        }
    }

    /// The text in encoded words of whole characters, one on a line where it takes several.
    fn push_encoded(&mut self, text: &str) {
        let mut rest = text;
        while !rest.is_empty() {
            let overhead = ENCODED_START.len() + ENCODED_END.len();
            // One column less than a line has: an encoded word may be 75 characters long at most.
            let room = (MAX_LINE - 1).saturating_sub(self.column + overhead) / 4 * 3;
            let mut end = room.min(rest.len());
            while !rest.is_char_boundary(end) {
                end -= 1;
            }
            if end == 0 {
                self.fold();
                continue;
            }
            let (word, behind) = rest.split_at(end);
            self.push(ENCODED_START).push(&STANDARD.encode(word)).push(ENCODED_END);
            rest = behind;
            if !rest.is_empty() {
                self.fold();
            }
        }
    }

    fn end(&mut self) {
        self.out.extend_from_slice(b"\r\n");
    }
}

/// Whether the text can stand as it is, so that every reader shows exactly it: printable ASCII, words of a
/// bounded length between single spaces, and nothing that reads as an encoded word.
fn is_plain_text(text: &str) -> bool {
    is_printable(text)
        && (text.is_empty() || text.split(' ').all(|word| (1..=MAX_WORD).contains(&word.len())))
}

/// Printable ASCII, and nothing that reads as an encoded word.
fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && !text.contains("=?")
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
    Some(quoted(name))
}

/// Printable ASCII as a quoted string (RFC 5322, section 3.2.4).
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
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
