//! A header being written (RFC 5322, section 2.2.3): folded at spaces, anything but ASCII in encoded words (RFC 2047).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::job::pieces;

/// Lines are folded to this where they can be; with encoded words they must be (RFC 2047, section 2).
pub const MAX_LINE: usize = 76;
/// Room that an encoded word behind other words is given at least.
const ENCODED_ROOM: usize = 30;
const ENCODED_START: &str = "=?utf-8?B?";
const ENCODED_END: &str = "?=";

/// A header that is being written, and how far its last line has come.
pub struct Line<'a> {
    out: &'a mut Vec<u8>,
    column: usize,
}

impl<'a> Line<'a> {
    /// Appends `name: ` to `out`; the value comes next, and [`Line::end`] behind it.
    pub fn begin(out: &'a mut Vec<u8>, name: &str) -> Line<'a> {
        let mut line = Line { out, column: 0 };
        line.push(name).push(": ");
        line
    }

    /// Appends the text as it stands.
    pub fn push(&mut self, text: &str) -> &mut Self {
        self.out.extend_from_slice(text.as_bytes());
        self.column += text.len();
        self
    }

    /// A space, folded when `next` more bytes would not fit the line.
    pub fn space_before(&mut self, next: usize) {
        if self.column + 1 + next > MAX_LINE {
            self.fold();
        } else {
            self.push(" ");
        }
    }

    /// Goes on in a new line, behind a space.
    pub fn fold(&mut self) {
        self.out.extend_from_slice(b"\r\n ");
        self.column = 1;
    }

    /// The value folded only before spaces that it has, words that are not ASCII encoded.
    pub fn push_pieces(&mut self, value: &str) {
        let mut at = 0;
        while let Some(piece) = pieces(&value[at..]).next() {
            if piece.is_ascii() {
                if at > 0 && self.column + piece.len() > MAX_LINE {
                    self.out.extend_from_slice(b"\r\n");
                    self.column = 0;
                }
                self.push(piece);
                at += piece.len();
                continue;
            }
            // Readers drop the space between encoded words: neighbours are encoded with it, as one text.
            let run = pieces(&value[at..]).take_while(|piece| !piece.is_ascii()).map(str::len).sum::<usize>();
            if at > 0 {
                self.space_before(ENCODED_ROOM);
            }
            self.push_encoded(value[at..at + run].trim_start_matches(' '));
            at += run;
        }
    }

    /// The text in encoded words of whole characters, one on a line where it takes several.
    pub fn push_encoded(&mut self, text: &str) {
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

    /// Ends the header.
    pub fn end(&mut self) {
        self.out.extend_from_slice(b"\r\n");
    }
}
