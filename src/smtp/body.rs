//! The e-mail as it goes over the wire: checked, dot-stuffed (RFC 5321, section 4.5.2), piece by piece.

use memchr::{memchr, memchr2_iter};

/// What ends an e-mail: from its first byte on the e-mail is past the dot.
pub const FINAL_DOT: &[u8] = b"\r\n.\r\n";

/// An e-mail that has been found fit for the wire.
#[derive(Clone, Copy, Debug)]
pub struct Body<'a> {
    /// Without the CRLF at its end, which belongs to the final dot.
    text: &'a [u8],
    /// Some line begins with a dot.
    has_dots: bool,
    /// Bytes of `text` that have gone out, or are about to.
    sent: usize,
}

impl<'a> Body<'a> {
    /// Checks `data`: every line, the last too, ends with CRLF, and neither CR nor LF stands alone. A bare
    /// one could end the e-mail early at one server and not at another ("SMTP smuggling").
    ///
    /// # Errors
    /// In words, without anything of the e-mail.
    pub fn check(data: &'a [u8]) -> Result<Body<'a>, String> {
        let Some(text) = data.strip_suffix(b"\r\n") else {
            return Err("the e-mail does not end with CRLF".into());
        };
        let mut has_dots = data.first() == Some(&b'.');
        let mut line_feed = None;
        for at in memchr2_iter(b'\r', b'\n', data) {
            match data[at] {
                b'\r' if data.get(at + 1) == Some(&b'\n') => line_feed = Some(at + 1),
                b'\n' if line_feed == Some(at) => has_dots |= data.get(at + 1) == Some(&b'.'),
                _ => return Err(format!("a bare CR or LF at byte {at} of the e-mail")),
            }
        }
        Ok(Body { text, has_dots, sent: 0 })
    }

    /// Whether the next piece of at most about `size` bytes is the last, which carries the final dot.
    pub fn is_last(&self, size: usize) -> bool {
        self.text.len() - self.sent <= size
    }

    /// Appends the next piece of at most `size` bytes, dots stuffed; the final dot behind the last.
    pub fn write_piece(&mut self, size: usize, out: &mut Vec<u8>) {
        let last = self.is_last(size);
        let end = if last { self.text.len() } else { self.sent + size };
        let piece = &self.text[self.sent..end];
        out.reserve(piece.len() + piece.len() / 64 + FINAL_DOT.len());
        if self.has_dots {
            let begins_a_line = self.sent == 0 || self.text[self.sent - 1] == b'\n';
            write_stuffed(piece, begins_a_line, out);
        } else {
            out.extend_from_slice(piece);
        }
        self.sent = end;
        if last {
            out.extend_from_slice(FINAL_DOT);
        }
    }
}

fn write_stuffed(mut rest: &[u8], mut begins_a_line: bool, out: &mut Vec<u8>) {
    while !rest.is_empty() {
        if begins_a_line && rest[0] == b'.' {
            out.push(b'.');
        }
        let end = memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        out.extend_from_slice(&rest[..end]);
        rest = &rest[end..];
        begins_a_line = true;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn on_the_wire(data: &[u8], size: usize) -> Vec<u8> {
        let mut body = Body::check(data).expect("fit for the wire");
        let mut out = Vec::new();
        loop {
            let last = body.is_last(size);
            body.write_piece(size, &mut out);
            if last {
                return out;
            }
        }
    }

    /// What a server makes of it: everything up to the first lone dot, dots taken off.
    fn as_received(wire: &[u8]) -> (Vec<u8>, usize) {
        let mut received = Vec::new();
        let mut at = 0;
        for line in wire.split_inclusive(|byte| *byte == b'\n') {
            at += line.len();
            if line == b".\r\n" {
                break;
            }
            received.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        }
        (received, at)
    }

    #[test]
    fn bare_line_ends_and_a_missing_last_one_are_refused() {
        let table: [&[u8]; 9] =
            [b"", b"a", b"a\n", b"a\rb\r\n", b"a\nb\r\n", b"\r\r\n", b"a\r\n.\n", b"a\r\n.\r", b"\n\r\n"];
        for data in table {
            assert!(Body::check(data).is_err(), "{:?}", String::from_utf8_lossy(data));
        }
    }

    #[test]
    fn an_empty_line_is_the_shortest_e_mail() {
        assert_eq!(on_the_wire(b"\r\n", 10), b"\r\n.\r\n");
    }

    proptest! {
        #[test]
        fn any_e_mail_arrives_as_it_was_and_ends_only_at_its_end(
            lines in proptest::collection::vec("[.a]{0,6}", 1..20),
            size in 1_usize..40,
        ) {
            let data = lines.iter().flat_map(|line| [line.as_str(), "\r\n"]).collect::<String>();
            let wire = on_the_wire(data.as_bytes(), size);
            let (received, end) = as_received(&wire);
            prop_assert_eq!(received, data.as_bytes());
            prop_assert_eq!(end, wire.len());
        }
    }
}
