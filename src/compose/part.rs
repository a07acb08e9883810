//! The body of an e-mail as a tree of MIME parts (RFC 2045, 2046, 2387), written into one buffer.

use std::borrow::Cow;

use mailroom_actors::ports::BodyType;

use super::body::{self, Encoding};
use super::{header, parameter};
use crate::job::Attachment;

/// A line of base64 (RFC 2045, section 6.8).
const BASE64_LINE: usize = 76;

/// One part, with all that lies inside it.
#[derive(Debug)]
pub enum Part<'a> {
    /// text/plain or text/html; CRLF line ends only.
    Text {
        subtype: &'static str,
        text: Cow<'a, str>,
    },
    File(&'a Attachment<'a>),
    /// At least one.
    Several {
        kind: Kind,
        parts: Vec<Part<'a>>,
    },
}

/// How the parts of a multipart belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The best that the reader's program can show.
    Alternative,
    /// The first shows the others.
    Related,
    /// One after the other.
    Mixed,
}

impl<'a> Part<'a> {
    /// The body of an e-mail with these texts and files; an empty text where there is none.
    ///
    /// Images that the HTML shows stand beside it, within the alternative: so a program that shows the text passes over
    /// them.
    pub fn of(text: Option<&'a str>, html: Option<&'a str>, files: &'a [Attachment<'a>]) -> Part<'a> {
        let (inline, attached): (Vec<_>, Vec<_>) = files.iter().partition(|file| file.content_id.is_some());
        let text_part = |subtype, text| Part::Text { subtype, text: body::crlf(text) };
        let shown = |root| Part::several(Kind::Related, root, inline);
        let body = match (text, html) {
            (Some(text), Some(html)) => Part::Several {
                kind: Kind::Alternative,
                parts: vec![text_part("plain", text), shown(text_part("html", html))],
            },
            (None, Some(html)) => shown(text_part("html", html)),
            (text, None) => shown(text_part("plain", text.unwrap_or_default())),
        };
        Part::several(Kind::Mixed, body, attached)
    }

    fn several(kind: Kind, first: Part<'a>, files: Vec<&'a Attachment<'a>>) -> Part<'a> {
        if files.is_empty() {
            return first;
        }
        let mut parts = vec![first];
        parts.extend(files.into_iter().map(Part::File));
        Part::Several { kind, parts }
    }

    /// About how many bytes it takes.
    pub fn size_hint(&self) -> usize {
        match self {
            Part::Text { text, .. } => text.len() + text.len() / 4 + 256,
            Part::File(file) => file.content.len() + file.content.len() / 38 + file.filename.len() * 4 + 512,
            Part::Several { parts, .. } => parts.iter().map(Part::size_hint).sum::<usize>() + 512,
        }
    }

    /// Whether some text stands as it is for a relay with 8BITMIME, and is encoded for others.
    pub fn depends_on_body_type(&self) -> bool {
        match self {
            Part::Text { text, .. } => body::encoding_for(text, BodyType::EightBitMime) == Encoding::EightBit,
            Part::File(_) => false,
            Part::Several { parts, .. } => parts.iter().any(Part::depends_on_body_type),
        }
    }

    /// Appends its Content headers, an empty line and its body, which ends with a line end: a part that is the whole e-mail.
    pub fn write_alone(&self, body_type: BodyType, out: &mut Vec<u8>) {
        match self {
            Part::Text { subtype, text } => {
                // The last line end of a lone text is the e-mail's own, which must not come twice (unless it is base64,
                // where it is no content).
                let shorter = text.strip_suffix("\r\n").unwrap_or(text);
                match body::encoding_for(shorter, body_type) {
                    Encoding::Base64 => write_text(subtype, text, Encoding::Base64, out),
                    encoding => write_text(subtype, shorter, encoding, out),
                }
                out.extend_from_slice(b"\r\n");
            }
            Part::File(_) | Part::Several { .. } => self.write(body_type, out),
        }
    }

    /// Appends its Content headers, an empty line and its body, without a line end of its own.
    fn write(&self, body_type: BodyType, out: &mut Vec<u8>) {
        match self {
            Part::Text { subtype, text } => {
                write_text(subtype, text, body::encoding_for(text, body_type), out);
            }
            Part::File(file) => write_file(file, out),
            Part::Several { kind, parts } => write_several(*kind, parts, body_type, out),
        }
    }

    /// As `Content-Type` names it.
    fn media_type(&self) -> String {
        match self {
            Part::Text { subtype, .. } => format!("text/{subtype}"),
            Part::File(file) => file.content_type.clone().into_owned(),
            Part::Several { kind, .. } => format!("multipart/{}", kind.as_str()),
        }
    }
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Kind::Alternative => "alternative",
            Kind::Related => "related",
            Kind::Mixed => "mixed",
        }
    }
}

fn write_text(subtype: &str, text: &str, encoding: Encoding, out: &mut Vec<u8>) {
    header::plain(out, "Content-Type", &format!("text/{subtype}; charset=utf-8"));
    header::plain(out, "Content-Transfer-Encoding", encoding.as_str());
    out.extend_from_slice(b"\r\n");
    body::write(text, encoding, out);
}

fn write_file(file: &Attachment<'_>, out: &mut Vec<u8>) {
    let name: Vec<String> = parameter::name(&file.filename).into_iter().collect();
    header::content(out, "Content-Type", &file.content_type, &name);
    let disposition = if file.content_id.is_some() { "inline" } else { "attachment" };
    header::content(out, "Content-Disposition", disposition, &parameter::filename(&file.filename));
    if let Some(id) = &file.content_id {
        header::plain(out, "Content-ID", &format!("<{id}>"));
    }
    header::plain(out, "Content-Transfer-Encoding", "base64");
    // The job has it in base64 already: all that is missing are the line ends.
    for line in file.content.as_bytes().chunks(BASE64_LINE) {
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(line);
    }
    out.extend_from_slice(b"\r\n");
}

fn write_several(kind: Kind, parts: &[Part<'_>], body_type: BodyType, out: &mut Vec<u8>) {
    // "=_" is in no quoted-printable and no base64; that a text should hold the rest by chance, or by somebody's design,
    // takes guessing 128 bits.
    let boundary = format!("=_{:032x}", fastrand::u128(..));
    let mut parameters = vec![format!("boundary=\"{boundary}\"")];
    if kind == Kind::Related {
        // RFC 2387, section 3.1.
        parameters.insert(0, format!("type=\"{}\"", parts[0].media_type()));
    }
    header::content(out, "Content-Type", &format!("multipart/{}", kind.as_str()), &parameters);
    for part in parts {
        // The line end before a boundary belongs to it.
        out.extend_from_slice(b"\r\n--");
        out.extend_from_slice(boundary.as_bytes());
        out.extend_from_slice(b"\r\n");
        part.write(body_type, out);
    }
    out.extend_from_slice(b"\r\n--");
    out.extend_from_slice(boundary.as_bytes());
    out.extend_from_slice(b"--\r\n");
}
