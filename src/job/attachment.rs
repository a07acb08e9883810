//! Files that go with an e-mail: their names, media types and bytes, checked (RFC 2045, 2183, 2392).

use std::borrow::Cow;

use base64::DecodeError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mailroom_actors::domain::failure::Failure;

use super::check_header_text;
use super::members::invalid;
use super::shape::GivenAttachment;

/// What a file without a `content_type` is, and one whose type may not be base64-encoded.
const OCTET_STREAM: &str = "application/octet-stream";
const MAX_CONTENT_TYPE_BYTES: usize = 255;
const MAX_CONTENT_ID_BYTES: usize = 256;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment<'a> {
    /// The last segment of the path that was given; not empty, no control character.
    pub filename: Cow<'a, str>,
    /// `type/subtype`, perhaps with parameters; ASCII, of a bounded length.
    pub content_type: Cow<'a, str>,
    /// In base64: the standard alphabet, padded, no white space.
    pub content: Cow<'a, str>,
    /// Without angle brackets; with it the file is shown inside the HTML.
    pub content_id: Option<Cow<'a, str>>,
}

/// All the attachments of a job.
///
/// # Errors
/// Invalid, with the place of the first mistake.
pub(super) fn read(given: Vec<GivenAttachment<'_>>) -> Result<Vec<Attachment<'_>>, Failure> {
    let mut attachments: Vec<Attachment<'_>> = Vec::with_capacity(given.len());
    for (index, given) in given.into_iter().enumerate() {
        let place = format!("attachments[{index}]");
        let attachment = read_one(given, &place)?;
        let is_twice = attachment.content_id.is_some()
            && attachments.iter().any(|other| other.content_id == attachment.content_id);
        if is_twice {
            return Err(invalid(format!("{place}.content_id: is that of another attachment, too")));
        }
        attachments.push(attachment);
    }
    Ok(attachments)
}

fn read_one<'a>(given: GivenAttachment<'a>, place: &str) -> Result<Attachment<'a>, Failure> {
    let GivenAttachment { filename, content_type, content, content_id } = given;
    let filename = filename.ok_or_else(|| invalid(format!("{place}.filename: is missing")))?;
    check_header_text(format_args!("{place}.filename"), Some(&filename))?;
    let filename = last_segment(filename);
    if matches!(filename.trim(), "" | "." | "..") {
        return Err(invalid(format!("{place}.filename: names no file")));
    }
    check_header_text(format_args!("{place}.content_type"), content_type.as_deref())?;
    let content_type = match content_type {
        None => Cow::Borrowed(OCTET_STREAM),
        Some(content_type) => media_type(content_type, place)?,
    };
    check_header_text(format_args!("{place}.content_id"), content_id.as_deref())?;
    let content_id = content_id.map(|id| bare_content_id(id, place)).transpose()?;
    let content = content.ok_or_else(|| invalid(format!("{place}.content: is missing")))?;
    check_base64(&content).map_err(|what| invalid(format!("{place}.content: not base64{what}")))?;
    Ok(Attachment { filename, content_type, content, content_id })
}

/// What stands behind the last separator of either kind of system: no path gets into an e-mail.
fn last_segment(path: Cow<'_, str>) -> Cow<'_, str> {
    match (path.rfind(['/', '\\']), path) {
        (None, path) => path,
        (Some(at), Cow::Borrowed(path)) => Cow::Borrowed(&path[at + 1..]),
        (Some(at), Cow::Owned(path)) => Cow::Owned(path[at + 1..].to_owned()),
    }
}

fn media_type<'a>(text: Cow<'a, str>, place: &str) -> Result<Cow<'a, str>, Failure> {
    if text.len() > MAX_CONTENT_TYPE_BYTES || !is_media_type(&text) {
        return Err(invalid(format!(
            "{place}.content_type: is not a media type such as application/pdf of at most \
             {MAX_CONTENT_TYPE_BYTES} bytes"
        )));
    }
    // Their content may not be encoded (RFC 2045, section 6.4), and bytes travel encoded.
    let is_composite = ["multipart/", "message/"]
        .iter()
        .any(|kind| text.get(..kind.len()).is_some_and(|start| start.eq_ignore_ascii_case(kind)));
    Ok(if is_composite { Cow::Borrowed(OCTET_STREAM) } else { text })
}

/// `type/subtype` of tokens, then parameters `; name=token` or `; name="…"` (RFC 2045, section 5.1).
fn is_media_type(text: &str) -> bool {
    let mut parts = Parts(text);
    let essence = parts.token() && parts.skip('/') && parts.token();
    if !essence {
        return false;
    }
    loop {
        parts.white_space();
        if parts.0.is_empty() {
            return true;
        }
        if !parts.skip(';') {
            return false;
        }
        parts.white_space();
        let parameter = parts.token() && parts.skip('=') && (parts.token() || parts.quoted());
        if !parameter {
            return false;
        }
    }
}

/// What is left of a header's value.
struct Parts<'a>(&'a str);

impl Parts<'_> {
    fn white_space(&mut self) {
        self.0 = self.0.trim_start_matches(' ');
    }

    fn skip(&mut self, c: char) -> bool {
        self.0.strip_prefix(c).map(|rest| self.0 = rest).is_some()
    }

    fn token(&mut self) -> bool {
        let is_token = |b: u8| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&b);
        let length = self.0.bytes().take_while(|b| is_token(*b)).count();
        self.0 = &self.0[length..];
        length > 0
    }

    fn quoted(&mut self) -> bool {
        let Some(rest) = self.0.strip_prefix('"') else { return false };
        let is_plain = |b: u8| (b' '..=b'~').contains(&b) && b != b'"' && b != b'\\';
        let length = rest.bytes().take_while(|b| is_plain(*b)).count();
        rest[length..].strip_prefix('"').map(|rest| self.0 = rest).is_some()
    }
}

/// The id without its angle brackets, as `cid:` names it (RFC 2392).
fn bare_content_id<'a>(id: Cow<'a, str>, place: &str) -> Result<Cow<'a, str>, Failure> {
    let is_bracketed = id.starts_with('<') && id.ends_with('>') && id.len() > 1;
    let bare = match id {
        Cow::Borrowed(id) if is_bracketed => Cow::Borrowed(&id[1..id.len() - 1]),
        Cow::Owned(id) if is_bracketed => Cow::Owned(id[1..id.len() - 1].to_owned()),
        id => id,
    };
    let is_fit = (1..=MAX_CONTENT_ID_BYTES).contains(&bare.len())
        && bare.bytes().all(|b| b.is_ascii_graphic() && !b"<>".contains(&b));
    if is_fit {
        return Ok(bare);
    }
    Err(invalid(format!(
        "{place}.content_id: must be 1 to {MAX_CONTENT_ID_BYTES} visible ASCII characters without < and >"
    )))
}

/// Says what is wrong, as what follows "not base64".
fn check_base64(text: &str) -> Result<(), String> {
    match STANDARD.decode(text) {
        Ok(_) => Ok(()),
        Err(DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _)) => {
            Err(format!(" (at byte {at})"))
        }
        Err(DecodeError::InvalidLength(_) | DecodeError::InvalidPadding) => {
            Err(": it is not padded with = to a multiple of 4 characters".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_tokens_with_parameters() {
        for text in [
            "application/pdf",
            "text/csv; charset=utf-8",
            "text/csv;charset=\"utf-8\" ; header=present",
            "application/vnd.example+json",
            "Image/PNG",
            "a/b ",
        ] {
            assert!(is_media_type(text), "{text}");
        }
        for text in [
            "",
            "pdf",
            "a/",
            "/b",
            "a/b/c",
            "a b/c",
            "a/b;",
            "a/b; x",
            "a/b; x=",
            "a/b x=y",
            "a/b; x=\"y",
            "ü/b",
            "a/ü",
            "a/b; x=\"ü\"",
            " a/b",
            "a/b; x=y z",
        ] {
            assert!(!is_media_type(text), "{text}");
        }
    }

    #[test]
    fn of_a_path_only_the_last_segment_is_kept() {
        let cases = [
            ("a.txt", "a.txt"),
            ("../../x", "x"),
            ("C:\\b\\c.doc", "c.doc"),
            ("/a/b\\c", "c"),
            ("a/", ""),
            ("..", ".."),
        ];
        for (path, expected) in cases {
            assert_eq!(last_segment(path.into()), expected, "{path}");
            assert_eq!(last_segment(Cow::Owned(path.to_owned())), expected, "{path}");
        }
    }
}
