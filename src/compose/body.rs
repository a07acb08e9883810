//! A text as the body of a MIME part (RFC 2045, section 6): line ends made CRLF, then the plainest transfer encoding
//! that carries it intact.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lettre::message::header::ContentTransferEncoding;
use mailroom_actors::ports::BodyType;

/// The longest line of ASCII that is left as it is; longer ones are encoded.
const MAX_PLAIN_LINE: usize = 76;
/// The longest line that may go out at all: RFC 5322, section 2.1.1.
const MAX_LINE: usize = 998;

/// RFC 2045, section 6.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    SevenBit,
    EightBit,
    QuotedPrintable,
    Base64,
}

impl Encoding {
    /// As the header names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Encoding::SevenBit => "7bit",
            Encoding::EightBit => "8bit",
            Encoding::QuotedPrintable => "quoted-printable",
            Encoding::Base64 => "base64",
        }
    }
}

/// One text, and how it is to be written.
#[derive(Debug)]
pub struct Body<'a> {
    text: Cow<'a, str>,
    encoding: Encoding,
    depends_on_body_type: bool,
}

impl<'a> Body<'a> {
    /// `text` for a relay that takes `body_type`.
    pub fn new(text: &'a str, body_type: BodyType) -> Body<'a> {
        let text = crlf(text);
        let (seven_bit, can_be_eight_bit) = encodings_for(&text);
        let encoding = match body_type {
            BodyType::EightBitMime if can_be_eight_bit => Encoding::EightBit,
            _ => seven_bit,
        };
        Body { text, encoding, depends_on_body_type: can_be_eight_bit }
    }

    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Whether it would be written otherwise for the other body type.
    pub fn depends_on_body_type(&self) -> bool {
        self.depends_on_body_type
    }

    /// About how many bytes it takes; seldom too few.
    pub fn size_hint(&self) -> usize {
        let length = self.text.len();
        match self.encoding {
            Encoding::SevenBit | Encoding::EightBit => length,
            _ => length + length / 2,
        }
    }

    /// Whether what is written ends with the text's own line end.
    pub fn ends_with_line_end(&self) -> bool {
        self.encoding != Encoding::Base64 && self.text.ends_with("\r\n")
    }

    /// Appends the text, encoded, and no line end that is not its own.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self.encoding {
            Encoding::SevenBit | Encoding::EightBit => out.extend_from_slice(self.text.as_bytes()),
            Encoding::QuotedPrintable => {
                let encoding = ContentTransferEncoding::QuotedPrintable;
                let bytes = self.text.as_bytes().to_vec();
                let encoded = lettre::message::Body::new_with_encoding(bytes, encoding);
                out.extend_from_slice(encoded.expect("quoted-printable takes any bytes").as_ref());
            }
            Encoding::Base64 => write_in_lines(out, &STANDARD.encode(&*self.text)),
        }
    }
}

/// Appends base64 in lines of 76, without a line end behind the last.
pub fn write_in_lines(out: &mut Vec<u8>, base64: &str) {
    out.reserve(in_lines(base64.len()));
    for (index, line) in base64.as_bytes().chunks(MAX_PLAIN_LINE).enumerate() {
        if index > 0 {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(line);
    }
}

/// How many bytes that much base64 takes in lines.
pub fn in_lines(length: usize) -> usize {
    length + length / MAX_PLAIN_LINE * 2
}

/// The encoding for 7-bit relays, and whether the text may stand as it is where 8BITMIME is offered, which is only
/// asked of one that is not ASCII. `text` has CRLF line ends only. As they are only texts that nothing on the way may
/// change: no control characters, no long lines, no white space before a line end (relays cut it).
fn encodings_for(text: &str) -> (Encoding, bool) {
    let mut to_escape = 0usize;
    let mut longest = 0;
    let mut blank_ends = false;
    for line in text.as_bytes().split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        longest = longest.max(line.len());
        blank_ends |= line.ends_with(b" ") || line.ends_with(b"\t");
        // Counted without a branch, so that the compiler can take many bytes at a time.
        to_escape += line
            .iter()
            .map(|byte| usize::from(!(b' '..=b'~').contains(byte) && *byte != b'\t'))
            .sum::<usize>();
    }
    if to_escape == 0 && longest <= MAX_PLAIN_LINE && !blank_ends {
        return (Encoding::SevenBit, false);
    }
    let not_ascii = text.bytes().map(|byte| usize::from(!byte.is_ascii())).sum::<usize>();
    let can_be_eight_bit = not_ascii > 0 && not_ascii == to_escape && longest <= MAX_LINE && !blank_ends;
    // An escaped byte takes three bytes, base64 a third more for all.
    match to_escape <= text.len() / 6 {
        true => (Encoding::QuotedPrintable, can_be_eight_bit),
        false => (Encoding::Base64, can_be_eight_bit),
    }
}

/// `text` with CRLF for each line end, be it CRLF, LF or CR: RFC 2046, section 4.1.1, knows no other in text.
fn crlf(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut out = String::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(found) = memchr::memchr2(b'\r', b'\n', &bytes[at..]) {
        let end = at + found;
        at = end + 1;
        if bytes[end..].starts_with(b"\r\n") {
            at = end + 2;
            continue;
        }
        if out.capacity() == 0 {
            out.reserve(text.len() + text.len() / 16 + 16);
        }
        out.push_str(&text[copied..end]);
        out.push_str("\r\n");
        copied = at;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_line_end_becomes_crlf_and_nothing_else_changes() {
        let cases = [
            ("", ""),
            ("a", "a"),
            ("a\r\nb\r\n", "a\r\nb\r\n"),
            ("a\nb\n", "a\r\nb\r\n"),
            ("a\rb\r", "a\r\nb\r\n"),
            ("\n\r\r\n\n", "\r\n\r\n\r\n\r\n"),
            ("\r\n.\r\nMAIL FROM:<x@y.z>", "\r\n.\r\nMAIL FROM:<x@y.z>"),
            ("é\r\nü\nö", "é\r\nü\r\nö"),
        ];
        for (text, expected) in cases {
            assert_eq!(crlf(text), expected, "{text:?}");
        }
    }

    #[test]
    fn the_encoding_is_the_plainest_that_carries_the_text() {
        use Encoding::{Base64, EightBit, QuotedPrintable, SevenBit};
        let long = "a".repeat(77);
        let longest = "ü".repeat(499);
        let too_long = format!("{longest}a");
        let cases = [
            ("", SevenBit, SevenBit),
            ("hello\n\tworld", SevenBit, SevenBit),
            ("hello \nworld", QuotedPrintable, QuotedPrintable),
            ("hello\t", QuotedPrintable, QuotedPrintable),
            (&long, QuotedPrintable, QuotedPrintable),
            ("a NUL \0 in here", QuotedPrintable, QuotedPrintable),
            ("a bell \u{7} and an escape", QuotedPrintable, QuotedPrintable),
            ("one ü in a line", QuotedPrintable, EightBit),
            ("Съешь ещё этих мягких булок", Base64, EightBit),
            ("Съешь\tещё\nэтих мягких\n", Base64, EightBit),
            (&longest, Base64, EightBit),
            (&too_long, Base64, Base64),
            ("one ü in a line and \0", QuotedPrintable, QuotedPrintable),
            ("one ü in a line and \u{7f}", QuotedPrintable, QuotedPrintable),
            ("one ü in a line \n", QuotedPrintable, QuotedPrintable),
            ("one ü in a line\t", QuotedPrintable, QuotedPrintable),
            ("\0", Base64, Base64),
        ];
        for (text, seven_bit, eight_bit) in cases {
            for (body_type, expected) in
                [(BodyType::SevenBit, seven_bit), (BodyType::EightBitMime, eight_bit)]
            {
                let body = Body::new(text, body_type);
                assert_eq!(body.encoding(), expected, "{text:.40?}");
                assert_eq!(body.depends_on_body_type(), seven_bit != eight_bit, "{text:.40?}");
            }
        }
    }

    #[test]
    fn base64_is_cut_into_lines_of_76() {
        for (length, expected) in [(0, 0), (76, 76), (80, 82), (152, 154), (156, 160)] {
            let mut out = Vec::new();
            write_in_lines(&mut out, &"A".repeat(length));
            assert_eq!(out.len(), expected);
            assert!(in_lines(length) >= expected);
            assert!(out.split(|byte| *byte == b'\n').all(|line| line.len() <= 77));
        }
    }
}
