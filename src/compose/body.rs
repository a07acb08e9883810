//! Texts as they go over the wire (RFC 2045, 2046): line ends made CRLF, then the plainest encoding that carries the
//! text intact.

use std::borrow::Cow;

use lettre::message::Body;
use lettre::message::header::ContentTransferEncoding;
use mailroom_actors::ports::BodyType;

/// The longest line that is left as it is; longer ones are encoded.
const MAX_PLAIN_LINE: usize = 76;
/// RFC 5322, section 2.1.1, in bytes: a text of other alphabets needs more of them for the same width.
const MAX_EIGHT_BIT_LINE: usize = 998;

/// A content transfer encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    SevenBit,
    EightBit,
    QuotedPrintable,
    Base64,
}

impl Encoding {
    pub fn as_str(self) -> &'static str {
        match self {
            Encoding::SevenBit => "7bit",
            Encoding::EightBit => "8bit",
            Encoding::QuotedPrintable => "quoted-printable",
            Encoding::Base64 => "base64",
        }
    }
}

/// Appends the text in that encoding, which is one that [`encoding_for`] gives for it.
pub fn write(text: &str, encoding: Encoding, out: &mut Vec<u8>) {
    let encoded = |encoding| {
        Body::new_with_encoding(text.to_owned(), encoding).expect("quoted-printable and base64 take anything")
    };
    match encoding {
        Encoding::SevenBit | Encoding::EightBit => out.extend_from_slice(text.as_bytes()),
        Encoding::QuotedPrintable => {
            out.extend_from_slice(encoded(ContentTransferEncoding::QuotedPrintable).as_ref());
        }
        Encoding::Base64 => out.extend_from_slice(encoded(ContentTransferEncoding::Base64).as_ref()),
    }
}

/// The encoding for `text`, which has CRLF line ends only. Plain only where nothing on the way may change it: printable
/// characters, lines that are not too long, no white space before a line end (relays cut it).
pub fn encoding_for(text: &str, body_type: BodyType) -> Encoding {
    let mut to_escape = 0usize;
    let mut eight_bit = 0usize;
    let mut longest = 0;
    let mut ends_with_space = false;
    for line in text.as_bytes().split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        longest = longest.max(line.len());
        ends_with_space |= line.ends_with(b" ") || line.ends_with(b"\t");
        // Counted without a branch, so that the compiler can take many bytes at a time.
        to_escape += line
            .iter()
            .map(|byte| usize::from(!(b' '..=b'~').contains(byte) && *byte != b'\t'))
            .sum::<usize>();
        eight_bit += line.iter().map(|byte| usize::from(*byte >= 0x80)).sum::<usize>();
    }
    let is_eight_bit = body_type == BodyType::EightBitMime && to_escape == eight_bit;
    if to_escape == 0 && longest <= MAX_PLAIN_LINE && !ends_with_space {
        Encoding::SevenBit
    } else if is_eight_bit && eight_bit > 0 && longest <= MAX_EIGHT_BIT_LINE && !ends_with_space {
        Encoding::EightBit
    } else if to_escape <= text.len() / 6 {
        // An escaped byte takes three bytes, base64 a third more for all.
        Encoding::QuotedPrintable
    } else {
        Encoding::Base64
    }
}

/// `text` with CRLF for each line end, be it CRLF, LF or CR: RFC 2046, section 4.1.1, knows no other in text.
pub fn crlf(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut out = String::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(found) = bytes[at..].iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
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
        let too_long = "ж".repeat(500);
        let cases = [
            ("", SevenBit, SevenBit),
            ("hello\r\n\tworld", SevenBit, SevenBit),
            ("hello \r\nworld", QuotedPrintable, QuotedPrintable),
            ("hello\t", QuotedPrintable, QuotedPrintable),
            (&long, QuotedPrintable, QuotedPrintable),
            ("a NUL \0 in here", QuotedPrintable, QuotedPrintable),
            ("a NUL \0 and an ü in here", QuotedPrintable, QuotedPrintable),
            ("a bell \u{7} and an escape", QuotedPrintable, QuotedPrintable),
            ("one ü in a line", QuotedPrintable, EightBit),
            ("ü \r\n", Base64, Base64),
            ("Съешь ещё этих мягких булок", Base64, EightBit),
            (&too_long, Base64, Base64),
            ("\0", Base64, Base64),
        ];
        for (text, seven, eight) in cases {
            assert_eq!(encoding_for(text, BodyType::SevenBit), seven, "{text:?}");
            assert_eq!(encoding_for(text, BodyType::EightBitMime), eight, "{text:?}");
        }
    }
}
