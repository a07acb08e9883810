//! Reads SMTP replies (RFC 5321, section 4.2) from bytes as they come in, in whatever pieces.
//!
//! Codes are read from bytes: a reply whose text is no UTF-8 is a reply all the same.

use memchr::memchr;

use mailroom_actors::domain::failure::{EnhancedCode, Reply};

/// Bytes that one reply may have, all its lines and line ends together.
pub const REPLY_BYTES: usize = 64 * 1024;
/// Bytes of a reply's text that are kept for people: reasons of failures live as long as their jobs.
const TEXT_BYTES: usize = 4 * 1024;

/// What the relay has said and nobody has read yet.
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    /// Where the reply begins that comes next.
    start: usize,
    /// Where the line of it begins that is not yet complete.
    line: usize,
    /// Up to where there is no line end in that line.
    searched: usize,
    /// The code of the lines before, of a reply that goes on.
    code: Option<u16>,
}

/// Why what came is no reply, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoReply(pub String);

impl Inbox {
    /// Adds what came in.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start == self.bytes.len() {
            self.clear();
        } else if self.start > 0 {
            self.bytes.drain(..self.start);
            self.line -= self.start;
            self.searched -= self.start;
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether everything that came has been read.
    pub fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// Bytes that came and have not been read.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Forgets everything; what was allocated for a large reply is given back.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(REPLY_BYTES / 16);
        (self.start, self.line, self.searched, self.code) = (0, 0, 0, None);
    }

    /// The next whole reply, or none while it is not complete.
    ///
    /// # Errors
    /// A line that is no reply line, lines of one reply with different codes, or more than
    /// [`REPLY_BYTES`] in one reply. The same error is given again from then on.
    pub fn next_reply(&mut self) -> Result<Option<RawReply<'_>>, NoReply> {
        loop {
            let Some(length) = memchr(b'\n', &self.bytes[self.searched..]) else {
                self.searched = self.bytes.len();
                return if self.len() > REPLY_BYTES { Err(too_long()) } else { Ok(None) };
            };
            let end = self.searched + length + 1;
            if end - self.start > REPLY_BYTES {
                return Err(too_long());
            }
            let line = without_line_end(&self.bytes[self.line..end]);
            let (code, goes_on) = read_line_head(line)?;
            if let Some(before) = self.code
                && before != code
            {
                return Err(NoReply(format!("one reply with two codes, {before} and {code}")));
            }
            (self.line, self.searched) = (end, end);
            if goes_on {
                self.code = Some(code);
                continue;
            }
            self.code = None;
            let start = std::mem::replace(&mut self.start, end);
            return Ok(Some(RawReply { code, bytes: &self.bytes[start..end] }));
        }
    }
}

/// A whole reply, still as bytes: most are only asked for their code.
#[derive(Clone, Copy, Debug)]
pub struct RawReply<'a> {
    pub code: u16,
    /// Every line with its line end; each has been found to be a reply line.
    bytes: &'a [u8],
}

impl<'a> RawReply<'a> {
    /// The text of each line, behind its code.
    pub fn lines(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.bytes.split_inclusive(|byte| *byte == b'\n').map(|line| {
            let line = without_line_end(line);
            line.get(4..).unwrap_or_default()
        })
    }

    /// The reply for people and tables: the enhanced code (of the first line that has one) is taken off
    /// every line that repeats it, control characters become spaces, the lines are joined by one space,
    /// and of very long text only the first 4 KiB are kept.
    pub fn to_reply(self) -> Reply {
        let mut enhanced = None;
        let mut text = String::new();
        for line in self.lines() {
            let line = String::from_utf8_lossy(line);
            let line = match EnhancedCode::split_from(&line) {
                Some((code, rest)) if *enhanced.get_or_insert(code) == code => rest,
                _ => &line,
            };
            let line = line.trim_matches(|c: char| c.is_whitespace() || c.is_control());
            if line.is_empty() {
                continue;
            }
            if !text.is_empty() {
                text.push(' ');
            }
            text.extend(line.chars().map(|c| if c.is_control() { ' ' } else { c }));
            if text.len() > TEXT_BYTES {
                text.truncate(text.floor_char_boundary(TEXT_BYTES));
                text.push('…');
                break;
            }
        }
        Reply { code: self.code, enhanced, text }
    }
}

fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The code of a reply line, and whether another line of the same reply follows. `250` alone will do.
fn read_line_head(line: &[u8]) -> Result<(u16, bool), NoReply> {
    let goes_on = match line.get(3) {
        None | Some(b' ') => Some(false),
        Some(b'-') => Some(true),
        Some(_) => None,
    };
    match (line, goes_on) {
        ([a @ b'2'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9', ..], Some(goes_on)) => {
            let digit = |byte: &u8| u16::from(byte - b'0');
            Ok((100 * digit(a) + 10 * digit(b) + digit(c), goes_on))
        }
        _ => {
            let shown = String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned();
            Err(NoReply(format!("not an SMTP reply: {shown:?}")))
        }
    }
}

fn too_long() -> NoReply {
    NoReply(format!("a reply of more than {REPLY_BYTES} bytes"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_all(pieces: &[&[u8]]) -> Vec<Result<String, String>> {
        let mut inbox = Inbox::default();
        let mut read = Vec::new();
        for piece in pieces {
            inbox.push(piece);
            loop {
                match inbox.next_reply() {
                    Ok(None) => break,
                    Ok(Some(reply)) => read.push(Ok(reply.to_reply().to_string())),
                    Err(NoReply(why)) => {
                        read.push(Err(why));
                        return read;
                    }
                }
            }
        }
        read
    }

    fn read(bytes: &[u8]) -> Result<String, String> {
        read_all(&[bytes]).into_iter().next().unwrap_or(Err("incomplete".into()))
    }

    #[test]
    fn each_code_stands_once_in_the_words() {
        let table: [(&[u8], &str); 12] = [
            (b"250\r\n", "250"),
            (b"250 \r\n", "250"),
            (b"250 ok\n", "250 ok"),
            (b"550 5.1.1 No such user\r\n", "550 5.1.1 No such user"),
            (b"550-5.1.1 No such\r\n550-5.1.1 user\r\n550 5.1.1 here\r\n", "550 5.1.1 No such user here"),
            (b"550-5.1.1\r\n550 5.1.1 No\r\n", "550 5.1.1 No"),
            (b"550-Sorry\r\n550 5.7.1 no\r\n", "550 5.7.1 Sorry no"),
            (b"550-5.1.1 one\r\n550 5.7.1 other\r\n", "550 5.1.1 one 5.7.1 other"),
            (b"550 5.1.1.1 four\r\n", "550 5.1.1.1 four"),
            (b"250-\r\n250-\r\n250 done\r\n", "250 done"),
            (b"451 \xff\xfe odd\r\n", "451 \u{fffd}\u{fffd} odd"),
            (b"451 4.3.0\tbell\x07 rings\r\n", "451 4.3.0\tbell  rings"),
        ];
        for (bytes, words) in table {
            let expected = words.replace('\t', " ");
            assert_eq!(read(bytes), Ok(expected), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        let table: [&[u8]; 10] = [
            b"\r\n",
            b"25\r\n",
            b"hello\r\n",
            b"HTTP/1.1 400 Bad Request\r\n",
            b"250ok\r\n",
            b"150 early\r\n",
            b"650 late\r\n",
            b" 250 ok\r\n",
            b"\x00\x00\x00\n",
            b"250-a\r\n550 b\r\n",
        ];
        for bytes in table {
            let why = read(bytes).expect_err("no reply");
            assert_ne!(why, "incomplete", "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn an_endless_line_and_an_endless_reply_are_cut_at_the_budget() {
        for piece in [b"250 aaaaaaaaaaaaaaaaaaaaaaaaaaaa".as_slice(), b"250-and so on\r\n"] {
            let mut inbox = Inbox::default();
            let mut pushed = 0;
            let why = loop {
                inbox.push(piece);
                pushed += piece.len();
                match inbox.next_reply() {
                    Ok(None) => assert!(pushed <= REPLY_BYTES, "over the budget without an error"),
                    Ok(Some(reply)) => panic!("a reply: {reply:?}"),
                    Err(NoReply(why)) => break why,
                }
            };
            assert_eq!(why, "a reply of more than 65536 bytes");
        }
    }

    #[test]
    fn long_text_is_kept_in_part() {
        let long = format!("550 {}\r\n", "é".repeat(10_000));
        let reply = read(long.as_bytes()).expect("a reply");
        assert!(reply.len() < TEXT_BYTES + 16 && reply.ends_with('…'));
    }

    proptest! {
        #[test]
        fn the_pieces_in_which_bytes_come_do_not_matter(
            bytes in proptest::collection::vec(
                prop_oneof![
                    Just(b"250 ok\r\n".to_vec()), Just(b"250-more\r\n".to_vec()), Just(b"550 5.1.1 no\n".to_vec()),
                    proptest::collection::vec(any::<u8>(), 0..5),
                ], 0..12).prop_map(|parts| parts.concat()),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            prop_assert_eq!(read_all(&pieces), read_all(&[&bytes]));
        }
    }
}
