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
    let is_base64 = encoding_for(shorter) == ContentTransferEncoding::Base64;
    part(content_type, if is_base64 { &text } else { shorter }).formatted()
}

fn part(content_type: ContentType, text: &str) -> SinglePart {
    let bytes = text.as_bytes().to_vec();
    let body = match encoding_for(text) {
        ContentTransferEncoding::SevenBit => {
            Body::dangerous_pre_encoded(bytes, ContentTransferEncoding::SevenBit)
        }
        encoding => {
            Body::new_with_encoding(bytes, encoding).expect("quoted-printable and base64 take any bytes")
        }
    };
    SinglePart::builder().header(content_type).body(body)
}

/// `text` has CRLF line ends only. Plain only where nothing on the way may change it: printable ASCII, short
/// lines, no white space before a line end (relays cut it).
fn encoding_for(text: &str) -> ContentTransferEncoding {
    let mut to_escape = 0usize;
    let mut plain = true;
    for line in text.split("\r\n") {
        plain &= line.len() <= MAX_PLAIN_LINE && !line.ends_with([' ', '\t']);
        to_escape += line.bytes().filter(|byte| !matches!(byte, b'\t' | b' '..=b'~')).count();
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
    let mut out = String::new();
    let mut rest = text;
    let mut kept = 0; // How much of `rest` is fine as it is.
    while let Some(at) = rest[kept..].find(['\r', '\n']).map(|at| at + kept) {
        if rest[at..].starts_with("\r\n") {
            kept = at + 2;
            continue;
        }
        if out.capacity() == 0 {
            out.reserve(text.len() + text.len() / 16 + 16);
        }
        out.push_str(&rest[..at]);
        out.push_str("\r\n");
        rest = &rest[at + 1..];
        kept = 0;
    }
    if rest.len() == text.len() {
        return Cow::Borrowed(text);
    }
    out.push_str(rest);
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
