//! The last look at an e-mail before it may leave this process.

use mailroom_actors::ports::{BodyType, Email};

/// The longest line, without its CRLF: RFC 5321, section 4.5.3.1.6, and RFC 5322, section 2.1.1.
const MAX_LINE: usize = 998;

/// What must never be on the wire: a bare CR or LF (it could end the e-mail early at the server), a line over 998 bytes, NUL,
/// a byte over 127 where none is announced, or an unfinished last line. None when the e-mail is fit for it. Its header, but for
/// the Content lines, is the first `header_bytes`.
pub fn flaw(email: &Email, header_bytes: usize) -> Option<&'static str> {
    let data = &email.data;
    let (header, body) = data.split_at(header_bytes);
    if !data.ends_with(b"\r\n") {
        return Some("does not end with a line end");
    }
    if !header.is_ascii() && !email.header_needs_smtputf8 {
        return Some("has a header that is not ASCII");
    }
    if !body.is_ascii() && email.body_type != BodyType::EightBitMime {
        return Some("has a body that is not 7-bit text");
    }
    for line in data.split_inclusive(|&byte| byte == b'\n') {
        let Some(line) = line.strip_suffix(b"\r\n") else {
            return Some("has a line feed without a carriage return");
        };
        if line.len() > MAX_LINE {
            return Some("has a line of more than 998 bytes");
        }
        if memchr::memchr2(b'\r', 0, line).is_some() {
            return Some("has a carriage return without a line feed, or a NUL");
        }
    }
    None
}
