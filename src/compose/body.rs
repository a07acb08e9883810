//! The bodies of an e-mail as MIME parts (RFC 2045, 2046): line ends made CRLF, then the shortest of the 7-bit
//! encodings that carries the text intact.

use std::borrow::Cow;

use lettre::message::header::{ContentTransferEncoding, ContentType};
use lettre::message::{Body, MultiPart, SinglePart};

/// The longest line that is left as it is; longer ones are encoded.
const MAX_PLAIN_LINE: usize = 76;

/// The Content headers, an empty line and the body: of the one that is given, or multipart/alternative of
/// both. At least one must be given; none at all makes an empty text.
pub fn parts(text: Option<Cow<'_, str>>, html: Option<Cow<'_, str>>) -> Vec<u8> {
    match (text, html) {
        (Some(text), Some(html)) => MultiPart::alternative()
            .singlepart(part(ContentType::TEXT_PLAIN, &crlf(&text)))
            .singlepart(part(ContentType::TEXT_HTML, &crlf(&html)))
            .formatted(),
        (None, Some(html)) => lone(ContentType::TEXT_HTML, &html),
        (text, None) => lone(ContentType::TEXT_PLAIN, text.as_deref().unwrap_or_default()),
    }
}

/// lettre ends every part with CRLF. In a multipart that belongs to the boundary; in a lone part it is the
/// body's last line end, which must not come twice (unless the body is base64, where it is no content).
fn lone(content_type: ContentType, text: &str) -> Vec<u8> {
    let text = crlf(text);
    let shorter = text.strip_suffix("\r\n").unwrap_or(&text);
    match encoding_for(shorter) {
        encoding @ ContentTransferEncoding::Base64 => encoded(content_type, &text, encoding),
        encoding => encoded(content_type, shorter, encoding),
    }
    .formatted()
}

fn part(content_type: ContentType, text: &str) -> SinglePart {
    encoded(content_type, text, encoding_for(text))
}

fn encoded(content_type: ContentType, text: &str, encoding: ContentTransferEncoding) -> SinglePart {
    let bytes = text.as_bytes().to_vec();
    let body = match encoding {
        ContentTransferEncoding::SevenBit => Body::dangerous_pre_encoded(bytes, encoding),
        _ => Body::new_with_encoding(bytes, encoding).expect("quoted-printable and base64 take any bytes"),
    };
    SinglePart::builder().header(content_type).body(body)
}

/// `text` has CRLF line ends only. Plain only where nothing on the way may change it: printable ASCII, short
/// lines, no white space before a line end (relays cut it).
fn encoding_for(text: &str) -> ContentTransferEncoding {
    let mut to_escape = 0usize;
    let mut plain = true;
    for line in text.as_bytes().split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        plain &= line.len() <= MAX_PLAIN_LINE && !line.ends_with(b" ") && !line.ends_with(b"\t");
        // Counted without a branch, so that the compiler can take many bytes at a time.
        to_escape += line
            .iter()
            .map(|byte| usize::from(!(b' '..=b'~').contains(byte) && *byte != b'\t'))
            .sum::<usize>();
    }
    if plain && to_escape == 0 {
        ContentTransferEncoding::SevenBit
    } else if to_escape <= text.len() / 6 {
        // An escaped byte takes three bytes, base64 a third more for all.
        ContentTransferEncoding::QuotedPrintable
    } else {
        ContentTransferEncoding::Base64
    }
}

/// `text` with CRLF for each line end, be it CRLF, LF or CR: RFC 2046, section 4.1.1, knows no other in text.
fn crlf(text: &str) -> Cow<'_, str> {
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
        use ContentTransferEncoding::{Base64, QuotedPrintable, SevenBit};
        let long = "a".repeat(77);
        let cases = [
            ("", SevenBit),
            ("hello\r\n\tworld", SevenBit),
            ("hello \r\nworld", QuotedPrintable),
            ("hello\t", QuotedPrintable),
            (&long, QuotedPrintable),
            ("a NUL \0 in here", QuotedPrintable),
            ("a bell \u{7} and an escape", QuotedPrintable),
            ("one ü in a line", QuotedPrintable),
            ("Съешь ещё этих мягких булок", Base64),
            ("\0", Base64),
        ];
        for (text, expected) in cases {
            assert_eq!(encoding_for(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_lone_part_ends_with_one_line_end_of_its_own() {
        let body = |text: &str| {
            let whole = String::from_utf8(parts(Some(text.into()), None)).unwrap();
            whole.split_once("\r\n\r\n").unwrap().1.to_owned()
        };
        assert_eq!(body("hello"), "hello\r\n");
        assert_eq!(body("hello\n"), "hello\r\n");
        assert_eq!(body("hello\n\n"), "hello\r\n\r\n");
        assert_eq!(body(""), "\r\n");
        assert_eq!(body("hello, one ü\n"), "hello, one =C3=BC\r\n");
        assert_eq!(body("üü\n"), "w7zDvA0K\r\n");
    }
}
