//! An e-mail's content as a tree of MIME parts (RFC 2046), written into one buffer.

use std::io::Write as _;

use mailroom_actors::ports::BodyType;

use super::body::{Body, Encoding, in_lines, write_in_lines};
use super::line::Line;
use crate::job::Attachment;

/// A leaf, or several parts in one.
#[derive(Debug)]
pub enum Part<'a> {
    /// The subtype of `text`, and the text.
    Text(&'static str, Body<'a>),
    File(&'a Attachment<'a>),
    Several(Multipart<'a>),
}

/// Never empty.
#[derive(Debug)]
pub struct Multipart<'a> {
    subtype: &'static str,
    parts: Vec<Part<'a>>,
}

impl<'a> Part<'a> {
    /// The content of an e-mail: the texts (none at all makes an empty one), and around them what is attached. Inline
    /// files, those with a content id, lie beside the HTML that refers to them, without HTML beside the text.
    pub fn of(
        text: Option<&'a str>,
        html: Option<&'a str>,
        attachments: &'a [Attachment<'a>],
        body_type: BodyType,
    ) -> Part<'a> {
        let leaf = |subtype, text| Part::Text(subtype, Body::new(text, body_type));
        let (inline, files): (Vec<_>, Vec<_>) =
            attachments.iter().partition(|attachment| attachment.content_id.is_some());
        let content = match (text, html) {
            (Some(text), Some(html)) => {
                let parts = vec![leaf("plain", text), leaf("html", html).with("related", inline)];
                Part::Several(Multipart { subtype: "alternative", parts })
            }
            (None, Some(html)) => leaf("html", html).with("related", inline),
            (text, None) => leaf("plain", text.unwrap_or_default()).with("related", inline),
        };
        content.with("mixed", files)
    }

    fn with(self, subtype: &'static str, files: Vec<&'a Attachment<'a>>) -> Part<'a> {
        if files.is_empty() {
            return self;
        }
        let parts = std::iter::once(self).chain(files.into_iter().map(Part::File)).collect();
        Part::Several(Multipart { subtype, parts })
    }

    /// Whether some body holds a byte over 127, and whether some would be written otherwise for the other body type.
    pub fn body_type(&self) -> (BodyType, bool) {
        match self {
            Part::Text(_, body) if body.encoding() == Encoding::EightBit => (BodyType::EightBitMime, true),
            Part::Text(_, body) => (BodyType::SevenBit, body.depends_on_body_type()),
            Part::File(_) => (BodyType::SevenBit, false),
            Part::Several(several) => {
                several.parts.iter().map(Part::body_type).fold((BodyType::SevenBit, false), |all, one| {
                    (if one.0 == BodyType::SevenBit { all.0 } else { one.0 }, all.1 || one.1)
                })
            }
        }
    }

    /// About how many bytes it takes; seldom too few.
    pub fn size_hint(&self) -> usize {
        match self {
            Part::Text(_, body) => 100 + body.size_hint(),
            Part::File(file) => 300 + 6 * file.filename.len() + in_lines(file.content.len()),
            Part::Several(several) => {
                several.parts.iter().map(|part| part.size_hint() + 50).sum::<usize>() + 150
            }
        }
    }

    /// Appends the Content headers, an empty line and the content, ended with CRLF. A lone text's own last line end is
    /// that one, and does not come twice (unless it is base64, where the last one is no content).
    pub fn write(&self, out: &mut Vec<u8>) {
        self.write_inner(out);
        match self {
            Part::Text(_, body) if body.ends_with_line_end() => {}
            _ => out.extend_from_slice(b"\r\n"),
        }
    }

    /// As [`Part::write`], without the last CRLF: within a multipart it belongs to the boundary behind.
    fn write_inner(&self, out: &mut Vec<u8>) {
        match self {
            Part::Text(subtype, body) => {
                for piece in ["Content-Type: text/", subtype, "; charset=utf-8\r\n"] {
                    out.extend_from_slice(piece.as_bytes());
                }
                write_encoding(out, body.encoding());
                out.extend_from_slice(b"\r\n");
                body.write(out);
            }
            Part::File(file) => {
                write_file_headers(out, file);
                out.extend_from_slice(b"\r\n");
                write_in_lines(out, &file.content);
            }
            Part::Several(several) => several.write(out, self.body_type().0),
        }
    }

    /// The media type of a leaf, as the `type` of a multipart/related names it.
    fn media_type(&self) -> String {
        match self {
            Part::Text(subtype, _) => format!("text/{subtype}"),
            Part::File(file) => file.content_type.essence.to_string(),
            Part::Several(several) => format!("multipart/{}", several.subtype),
        }
    }
}

impl Multipart<'_> {
    fn write(&self, out: &mut Vec<u8>, body_type: BodyType) {
        let boundary = boundary();
        let mut line = Line::begin(out, "Content-Type");
        line.push("multipart/").push(self.subtype);
        if self.subtype == "related" {
            // RFC 2387, section 3.1: that of its root, the first part.
            line.parameter(&format!("type=\"{}\"", self.parts[0].media_type()));
        }
        line.parameter(&format!("boundary=\"{boundary}\""));
        line.end();
        if body_type == BodyType::EightBitMime {
            write_encoding(out, Encoding::EightBit);
        }
        for part in &self.parts {
            out.extend_from_slice(b"\r\n--");
            out.extend_from_slice(boundary.as_bytes());
            out.extend_from_slice(b"\r\n");
            part.write_inner(out);
        }
        out.extend_from_slice(b"\r\n--");
        out.extend_from_slice(boundary.as_bytes());
        out.extend_from_slice(b"--");
    }
}

/// `=_` stands in no base64 and no quoted-printable (RFC 2045, section 6.7), and nobody who writes a text can foresee
/// the 128 bits behind it.
fn boundary() -> String {
    format!("=_{:032x}", fastrand::u128(..))
}

fn write_encoding(out: &mut Vec<u8>, encoding: Encoding) {
    write!(out, "Content-Transfer-Encoding: {}\r\n", encoding.as_str()).expect("a Vec takes everything");
}

fn write_file_headers(out: &mut Vec<u8>, file: &Attachment<'_>) {
    let mut line = Line::begin(out, "Content-Type");
    line.push(&file.content_type.essence);
    for parameter in &file.content_type.parameters {
        line.parameter(parameter);
    }
    line.name(&file.filename);
    line.end();
    write_encoding(out, Encoding::Base64);
    let mut line = Line::begin(out, "Content-Disposition");
    line.push(if file.content_id.is_some() { "inline" } else { "attachment" });
    line.filename(&file.filename);
    line.end();
    if let Some(id) = &file.content_id {
        Line::begin(out, "Content-ID").push("<").push(id).push(">").end();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn written(text: Option<&str>, html: Option<&str>, attachments: &[Attachment<'_>]) -> String {
        let mut out = Vec::new();
        Part::of(text, html, attachments, BodyType::SevenBit).write(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn file(filename: &'static str, content_id: Option<&'static str>) -> Attachment<'static> {
        Attachment {
            filename: filename.into(),
            content_type: Default::default(),
            content: "QQ==".into(),
            content_id: content_id.map(Into::into),
        }
    }

    /// The media types in the order in which they stand, a multipart's followed by a bracket with its parts.
    fn outline(text: Option<&str>, html: Option<&str>, attachments: &[Attachment<'_>]) -> String {
        fn of(part: &Part<'_>) -> String {
            match part {
                Part::Several(several) => {
                    format!(
                        "{}({})",
                        several.subtype,
                        several.parts.iter().map(of).collect::<Vec<_>>().join(" ")
                    )
                }
                Part::File(file) => file.filename.to_string(),
                Part::Text(subtype, _) => (*subtype).to_owned(),
            }
        }
        of(&Part::of(text, html, attachments, BodyType::SevenBit))
    }

    #[test]
    fn files_lie_around_the_texts_and_inline_ones_beside_what_refers_to_them() {
        let both = [file("a", None), file("i", Some("i")), file("b", None), file("j", Some("j"))];
        let (text, html) = (Some("t"), Some("h"));
        let cases = [
            (text, None, &both[..0], "plain"),
            (None, html, &both[..0], "html"),
            (None, None, &both[..0], "plain"),
            (text, html, &both[..0], "alternative(plain html)"),
            (text, html, &both[1..2], "alternative(plain related(html i))"),
            (None, html, &both[1..2], "related(html i)"),
            (text, None, &both[1..2], "related(plain i)"),
            (text, None, &both[..1], "mixed(plain a)"),
            (text, html, &both[..1], "mixed(alternative(plain html) a)"),
            (text, html, &both[..], "mixed(alternative(plain related(html i j)) a b)"),
        ];
        for (text, html, attachments, expected) in cases {
            assert_eq!(outline(text, html, attachments), expected);
        }
    }

    #[test]
    fn a_multipart_is_written_byte_by_byte_as_the_rfc_has_it() {
        let written = written(Some("t\n"), None, &[file("a.bin", None), file("i", Some("x@y"))]);
        let boundary = |after: &str| {
            let from = written.find(after).unwrap();
            let from = from + written[from..].find("=_").unwrap();
            written[from..from + 34].to_owned()
        };
        let (mixed, related) = (boundary("multipart/mixed"), boundary("multipart/related"));
        assert_ne!(mixed, related);
        let written = written.replace(&mixed, "MIXED").replace(&related, "RELATED");
        assert_eq!(
            written,
            "Content-Type: multipart/mixed; boundary=\"MIXED\"\r\n\r\n--MIXED\r\n\
             Content-Type: multipart/related; type=\"text/plain\";\r\n boundary=\"RELATED\"\r\n\r\n--RELATED\r\n\
             Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\nt\r\n\r\n--RELATED\r\n\
             Content-Type: application/octet-stream; name=\"i\"\r\nContent-Transfer-Encoding: base64\r\n\
             Content-Disposition: inline; filename=\"i\"\r\nContent-ID: <x@y>\r\n\r\nQQ==\r\n--RELATED--\r\n--MIXED\r\n\
             Content-Type: application/octet-stream; name=\"a.bin\"\r\nContent-Transfer-Encoding: base64\r\n\
             Content-Disposition: attachment; filename=\"a.bin\"\r\n\r\nQQ==\r\n--MIXED--\r\n"
                .replace("mixed; boundary", "mixed;\r\n boundary")
        );
    }

    #[test]
    fn a_lone_part_ends_with_one_line_end_of_its_own() {
        let body = |text: &str| written(Some(text), None, &[]).split_once("\r\n\r\n").unwrap().1.to_owned();
        assert_eq!(body("hello"), "hello\r\n");
        assert_eq!(body("hello\n"), "hello\r\n");
        assert_eq!(body("hello\n\n"), "hello\r\n\r\n");
        assert_eq!(body(""), "\r\n");
        assert_eq!(body("hello, one ü\n"), "hello, one =C3=BC\r\n");
        assert_eq!(body("üü\n"), "w7zDvA0K\r\n");
    }
}
