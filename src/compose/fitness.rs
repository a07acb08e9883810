//! The last look at an e-mail before it may leave this process.

use mailroom_actors::ports::BodyType;
use memchr::{memchr, memchr2_iter, memmem};

/// RFC 5321, section 4.5.3.1.6, without the line end.
const MAX_LINE: usize = 998;

/// What makes `data` unfit for the wire; none when it is fit. Unfit are a bare CR or LF (it could end the e-mail early
/// at the server), a line over 998 bytes, NUL, an unfinished last line, a byte over 127 in the header unless it
/// `header_needs_smtputf8` (RFC 6532), and one in a body unless that is the `body_type` (RFC 6152).
pub fn flaw(data: &[u8], body_type: BodyType, header_needs_smtputf8: bool) -> Option<&'static str> {
    if !data.ends_with(b"\r\n") {
        return Some("does not end with a line end");
    }
    if memchr(0, data).is_some() {
        return Some("holds a NUL");
    }
    let (header, body) = data.split_at(memmem::find(data, b"\r\n\r\n").unwrap_or(data.len()));
    if !header_needs_smtputf8 && !header.is_ascii() {
        return Some("has a header that is not ASCII");
    }
    if body_type == BodyType::SevenBit && !body.is_ascii() {
        return Some("is not 7-bit text");
    }
    let mut line = 0;
    let mut line_feed = None;
    for at in memchr2_iter(b'\r', b'\n', data) {
        match data[at] {
            b'\r' if data.get(at + 1) == Some(&b'\n') => {
                if at - line > MAX_LINE {
                    return Some("has a line of more than 998 bytes");
                }
                line = at + 2;
                line_feed = Some(at + 1);
            }
            b'\n' if line_feed == Some(at) => {}
            b'\r' => return Some("has a carriage return without a line feed"),
            _ => return Some("has a line feed without a carriage return"),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_look_finds_what_must_not_go_out() {
        let long = [&[b'a'; 999][..], b"\r\n"].concat();
        let longest = [&[b'a'; 998][..], b"\r\n"].concat();
        let long_at_last = [&b"a: b\r\n\r\n"[..], &long].concat();
        let cases: [(&[u8], bool); 13] = [
            (b"a: b\r\n\r\nc\r\n", true),
            (&longest, true),
            (&long, false),
            (&long_at_last, false),
            (b"", false),
            (b"a", false),
            (b"a\n", false),
            (b"a\rb\r\n", false),
            (b"a\r\r\n", false),
            (b"a\n\r\n", false),
            (b"a\r\nb\n\r\n", false),
            (b"a\0\r\n", false),
            ("a\r\n\r\né\r\n".as_bytes(), false),
        ];
        for (data, is_fit) in cases {
            assert_eq!(flaw(data, BodyType::SevenBit, false).is_none(), is_fit, "{data:.20?}");
        }
    }

    #[test]
    fn bytes_over_127_stand_only_where_they_are_said_to_stand() {
        let header = "é\r\n\r\na\r\n".as_bytes();
        let body = "a\r\n\r\né\r\n".as_bytes();
        for (body_type, smtputf8) in [
            (BodyType::SevenBit, false),
            (BodyType::SevenBit, true),
            (BodyType::EightBitMime, false),
            (BodyType::EightBitMime, true),
        ] {
            assert_eq!(flaw(header, body_type, smtputf8).is_none(), smtputf8);
            assert_eq!(flaw(body, body_type, smtputf8).is_none(), body_type == BodyType::EightBitMime);
            assert!(flaw("a\r\n\r\né\0\r\n".as_bytes(), body_type, smtputf8).is_some());
        }
    }
}
