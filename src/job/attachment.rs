//! The files that a job attaches: names, media types and base64, checked so that any of them can be sent.

use std::borrow::Cow;
use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mailroom_actors::domain::failure::Failure;
use serde_json::value::RawValue;

use super::check_header_text;
use super::media_type::MediaType;
use super::members::{Kind, elements, inside, invalid, malformed, members, string};

const MAX_CONTENT_ID_BYTES: usize = 256;
/// Base64 is checked in pieces of so many characters, a multiple of 4, so that nothing large is kept twice.
const PIECE: usize = 8192;

/// One file.
#[derive(Debug, PartialEq, Eq)]
pub struct Attachment<'a> {
    /// One path segment, neither blank nor `.` or `..`; no control character, any other.
    pub filename: Cow<'a, str>,
    pub content_type: MediaType<'a>,
    /// The bytes as base64 (RFC 4648, section 4): padded, one line, surely decodable.
    pub content: Cow<'a, str>,
    /// Without angle brackets: printable ASCII, 1 to 256 bytes. With one it is inline: the HTML refers to it.
    pub content_id: Option<Cow<'a, str>>,
}

/// An attachment whose members have the right types.
#[derive(Debug)]
pub(super) struct GivenAttachment<'a> {
    filename: Option<Cow<'a, str>>,
    content_type: Option<Cow<'a, str>>,
    content: Option<Cow<'a, str>>,
    content_id: Option<Cow<'a, str>>,
}

impl<'a> GivenAttachment<'a> {
    /// Reads the array `attachments`.
    ///
    /// # Errors
    /// Malformed: no array, an element that is no object, a member twice or of the wrong type.
    pub fn read_all(value: Option<&'a RawValue>) -> Result<Vec<GivenAttachment<'a>>, Failure> {
        let Some(value) = value else { return Ok(Vec::new()) };
        if Kind::of(value) != Kind::Array {
            return Err(malformed(format!("attachments: must be an array, not {}", Kind::of(value))));
        }
        let items = elements(value, "attachments")?.into_iter().enumerate();
        items.map(|(index, item)| GivenAttachment::read(item, &place_of(index))).collect()
    }

    fn read(item: &'a RawValue, place: &str) -> Result<GivenAttachment<'a>, Failure> {
        let [filename, content_type, content, content_id] =
            members(item, &["filename", "content_type", "content", "content_id"], place)?;
        let text_of = |value: Option<&'a RawValue>, name| {
            value.map(|value| string(value, inside(place, name))).transpose()
        };
        Ok(GivenAttachment {
            filename: text_of(filename, "filename")?,
            content_type: text_of(content_type, "content_type")?,
            content: text_of(content, "content")?,
            content_id: text_of(content_id, "content_id")?,
        })
    }
}

/// The files, checked.
///
/// # Errors
/// Invalid: a required member missing, a name, type, base64 or id that can't be used, an id twice.
pub(super) fn check_all(given: Vec<GivenAttachment<'_>>) -> Result<Vec<Attachment<'_>>, Failure> {
    let checked = given
        .into_iter()
        .enumerate()
        .map(|(index, given)| check(given, &place_of(index)))
        .collect::<Result<Vec<_>, _>>()?;
    // There may be very many.
    let mut ids = HashSet::new();
    let twice = checked.iter().position(|file| file.content_id.as_deref().is_some_and(|id| !ids.insert(id)));
    match twice {
        Some(index) => {
            Err(invalid(format!("{}.content_id: is another attachment's already", place_of(index))))
        }
        None => Ok(checked),
    }
}

fn place_of(index: usize) -> String {
    format!("attachments[{index}]")
}

fn check<'a>(given: GivenAttachment<'a>, place: &str) -> Result<Attachment<'a>, Failure> {
    let missing = |member| invalid(format!("{place}.{member}: is missing"));
    let wrong = |member: &'static str| move |why: String| invalid(format!("{place}.{member}: {why}"));
    let filename = given.filename.ok_or_else(|| missing("filename"))?;
    let content = given.content.ok_or_else(|| missing("content"))?;
    check_header_text(format_args!("{place}.filename"), Some(&filename))?;
    check_header_text(format_args!("{place}.content_type"), given.content_type.as_deref())?;
    check_header_text(format_args!("{place}.content_id"), given.content_id.as_deref())?;
    let content_type = match &given.content_type {
        None => MediaType::default(),
        Some(text) => MediaType::parse(text).map_err(|why| wrong("content_type")(why.into()))?.into_owned(),
    };
    check_base64(&content).map_err(wrong("content"))?;
    Ok(Attachment {
        filename: last_segment(filename).map_err(|why| wrong("filename")(why.into()))?,
        content_type,
        content,
        content_id: given
            .content_id
            .map(bare_id)
            .transpose()
            .map_err(|why| wrong("content_id")(why.into()))?,
    })
}

/// What stands behind the last `/` or `\`.
fn last_segment(path: Cow<'_, str>) -> Result<Cow<'_, str>, &'static str> {
    let from = path.rfind(['/', '\\']).map_or(0, |at| at + 1);
    let segment = match path {
        Cow::Borrowed(path) => Cow::Borrowed(&path[from..]),
        Cow::Owned(mut path) => Cow::Owned(path.split_off(from)),
    };
    match segment.trim() {
        "" | "." | ".." => Err("names no file"),
        _ => Ok(segment),
    }
}

fn bare_id(id: Cow<'_, str>) -> Result<Cow<'_, str>, &'static str> {
    let bare = match id {
        Cow::Borrowed(id) => Cow::Borrowed(without_brackets(id)),
        Cow::Owned(id) => Cow::Owned(without_brackets(&id).to_owned()),
    };
    if !(1..=MAX_CONTENT_ID_BYTES).contains(&bare.len()) {
        return Err("must have 1 to 256 bytes");
    }
    match bare.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>')) {
        true => Ok(bare),
        false => Err("must be printable ASCII without white space or angle brackets (one pair around it is \
                      taken off)"),
    }
}

fn without_brackets(id: &str) -> &str {
    id.strip_prefix('<').and_then(|id| id.strip_suffix('>')).unwrap_or(id)
}

/// Decodes it all, and keeps nothing of it.
fn check_base64(text: &str) -> Result<(), String> {
    let bytes = text.as_bytes();
    // Only at the end of all: a piece alone may be padded.
    if let Some(at) = memchr::memchr(b'=', bytes)
        && at + 2 < bytes.len()
    {
        return Err(format!("not base64 (at byte {at})"));
    }
    let mut decoded = [0; PIECE / 4 * 3];
    for (index, piece) in bytes.chunks(PIECE).enumerate() {
        if let Err(e) = STANDARD.decode_slice(piece, &mut decoded) {
            use base64::{DecodeError, DecodeSliceError};
            return Err(match e {
                DecodeSliceError::DecodeError(
                    DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _),
                ) => format!("not base64 (at byte {})", index * PIECE + at),
                _ => "not base64 (it ends too early, or is not padded)".into(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_last_segment_of_a_file_name_is_kept() {
        let cases = [
            ("a.pdf", Ok("a.pdf")),
            ("../../etc/passwd", Ok("passwd")),
            ("C:\\Users\\ada\\a.pdf", Ok("a.pdf")),
            ("a/b\\c/ü \"x\".txt", Ok("ü \"x\".txt")),
            (".profile", Ok(".profile")),
            ("...", Ok("...")),
            ("", Err("names no file")),
            ("a/", Err("names no file")),
            ("..", Err("names no file")),
            ("a\\.", Err("names no file")),
            ("a/ ", Err("names no file")),
        ];
        for (path, expected) in cases {
            assert_eq!(last_segment(path.into()).as_deref().map_err(|e| *e), expected, "{path:?}");
            assert_eq!(last_segment(path.to_owned().into()).as_deref().map_err(|e| *e), expected, "{path:?}");
        }
    }

    #[test]
    fn base64_is_standard_padded_and_in_one_line() {
        for good in [
            "",
            "QQ==",
            "QUI=",
            "QUJD",
            "+/+/",
            &"QUJD".repeat(5000),
            &format!("{}QQ==", "QUJD".repeat(2048)),
        ] {
            assert_eq!(check_base64(good), Ok(()), "{good:.20}");
        }
        let beyond_a_piece = format!("{}QU!D", "QUJD".repeat(2048));
        let padded_within = format!("{}QQ=={}", "QUJD".repeat(2047), "QUJD");
        let cases = [
            ("QQ", "ends too early"),
            ("QQ=", "ends too early"),
            ("Q", "ends too early"),
            ("Q===", "at byte 1"),
            ("====", "at byte 0"),
            ("QQ==QQ==", "at byte 2"),
            ("QUJD\nQUJD", "at byte 4"),
            (" QUJD", "at byte 0"),
            ("QUJD ", "at byte 4"),
            ("-_-_", "at byte 0"),
            ("QR==", "at byte 1"),
            ("QUé=", "at byte 2"),
            (&beyond_a_piece, "at byte 8194"),
            (&padded_within, "at byte 8190"),
        ];
        for (bad, place) in cases {
            let reason = check_base64(bad).expect_err(place);
            assert!(reason.contains("not base64") && reason.contains(place), "{bad:.20}: {reason}");
        }
    }

    proptest! {
        #[test]
        fn whatever_an_encoder_makes_is_taken_and_no_other_text(
            bytes in prop::collection::vec(any::<u8>(), 0..9000),
            text in "[A-D=+/ -]{0,12}",
        ) {
            prop_assert_eq!(check_base64(&STANDARD.encode(&bytes)), Ok(()));
            prop_assert_eq!(check_base64(&text).is_ok(), STANDARD.decode(&text).is_ok());
        }
    }
}
