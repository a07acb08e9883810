//! The header lines that a job may set: which names, and which values can be written as lines of an e-mail.

use std::borrow::Cow;

use mailroom_actors::domain::failure::Failure;
use serde_json::value::RawValue;

use super::address::has_control;
use super::members::{Entries, Kind, invalid, malformed, string};

const MAX_HEADERS: usize = 50;
const MAX_NAME_BYTES: usize = 76;
/// RFC 5322, section 2.1.1, without the line end.
const MAX_LINE_BYTES: usize = 998;
/// Beside `X-*` and `List-*`.
const NAMES: [&str; 5] = ["References", "In-Reply-To", "Auto-Submitted", "Precedence", "Feedback-ID"];

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// As the job writes it: RFC 5322's ftext, at most 76 bytes.
    pub name: Cow<'a, str>,
    /// No control character, no space around it. Unless the header is [free](Header::is_free): not empty, each
    /// [piece](pieces) that is ASCII short enough for a line.
    pub value: Cow<'a, str>,
}

impl Header<'_> {
    /// Whether that is its name; names compare without case.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// Whether its value is free text (`X-*`), which may be encoded as a whole; the others are ids, URLs and words
    /// that programs read.
    pub fn is_free(&self) -> bool {
        has_prefix(&self.name, "X-")
    }

    /// Whether every line can be kept within 998 bytes by folding at spaces.
    pub fn can_be_folded(&self) -> bool {
        is_foldable(&self.name, &self.value)
    }
}

/// The value cut where a line may be folded: a word each, all but the first with the spaces before it.
pub fn pieces(value: &str) -> impl Iterator<Item = &str> {
    let mut rest = value;
    std::iter::from_fn(move || {
        let spaces = rest.len() - rest.trim_start_matches(' ').len();
        let end = rest[spaces..].find(' ').map_or(rest.len(), |at| spaces + at);
        let (piece, behind) = rest.split_at(end);
        rest = behind;
        (!piece.is_empty()).then_some(piece)
    })
}

/// The object `headers`, types checked: names and values in its order, without those that are null.
///
/// # Errors
/// Malformed: no object, or a value that is no string.
pub(super) fn read(value: Option<&RawValue>) -> Result<Vec<Header<'_>>, Failure> {
    let Some(value) = value else { return Ok(Vec::new()) };
    if Kind::of(value) != Kind::Object {
        return Err(malformed(format!("headers: must be an object, not {}", Kind::of(value))));
    }
    let Entries(entries) = serde_json::from_str(value.get())
        .map_err(|e| malformed(format!("headers: is not a JSON object: {e}")))?;
    entries
        .into_iter()
        .filter(|(_, value)| value.get() != "null")
        .enumerate()
        .map(|(index, (name, value))| Ok(Header { value: string(value, place_of(index, &name))?, name }))
        .collect()
}

/// The headers with their values trimmed.
///
/// # Errors
/// Invalid: too many, a name off the list or twice, a value that can't be written.
pub(super) fn check_all(mut headers: Vec<Header<'_>>) -> Result<Vec<Header<'_>>, Failure> {
    if headers.len() > MAX_HEADERS {
        return Err(invalid(format!("headers: more than {MAX_HEADERS}")));
    }
    for index in 0..headers.len() {
        let (before, rest) = headers.split_at_mut(index);
        let header = &mut rest[0];
        let wrong = |why: &str| invalid(format!("{}: {why}", place_of(index, &header.name)));
        check_name(&header.name).map_err(wrong)?;
        if before.iter().any(|other| other.is(&header.name)) {
            return Err(wrong("is there twice (names are compared without case)"));
        }
        if has_control(&header.value) {
            return Err(wrong("holds a control character"));
        }
        header.value = trimmed(std::mem::take(&mut header.value));
        if !header.is_free() {
            check_structured(header)
                .map_err(|why| invalid(format!("{}: {why}", place_of(index, &header.name))))?;
        }
    }
    Ok(headers)
}

/// Named only where that is a header's name.
fn place_of(index: usize, name: &str) -> String {
    if is_ftext(name) { format!("headers.{name}") } else { format!("headers[{index}]") }
}

fn check_name(name: &str) -> Result<(), &'static str> {
    if !is_ftext(name) {
        return Err("its name is not a header's (1 to 76 printable ASCII characters but the colon)");
    }
    let is_known = NAMES.iter().any(|known| known.eq_ignore_ascii_case(name));
    let is_of = |prefix: &str| has_prefix(name, prefix) && name.len() > prefix.len();
    match is_known || is_of("X-") || is_of("List-") {
        true => Ok(()),
        false => Err("is not one that a job may set (X-*, List-*, References, In-Reply-To, Auto-Submitted, \
                      Precedence, Feedback-ID)"),
    }
}

fn has_prefix(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// RFC 5322, section 3.6.8.
fn is_ftext(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':')
}

fn trimmed(value: Cow<'_, str>) -> Cow<'_, str> {
    match value {
        Cow::Borrowed(value) => Cow::Borrowed(value.trim_matches(' ')),
        Cow::Owned(value) => match value.trim_matches(' ') {
            inner if inner.len() == value.len() => Cow::Owned(value),
            inner => Cow::Owned(inner.to_owned()),
        },
    }
}

fn check_structured(header: &Header<'_>) -> Result<(), &'static str> {
    if header.value.is_empty() {
        return Err("is empty");
    }
    if !is_foldable(&header.name, &header.value) {
        return Err("has a word too long for a line of 998 bytes");
    }
    // As an encoded word it would be no id and no URL any more.
    match pieces(&header.value).any(|piece| !piece.is_ascii() && piece.contains(['<', '>'])) {
        true => Err("has something in angle brackets that is not ASCII; percent-encode it"),
        false => Ok(()),
    }
}

/// Pieces that are not ASCII become encoded words, which can be folded anywhere.
fn is_foldable(name: &str, value: &str) -> bool {
    let first = name.len() + ": ".len();
    pieces(value).enumerate().all(|(index, piece)| {
        !piece.is_ascii() || piece.len() + if index == 0 { first } else { 0 } <= MAX_LINE_BYTES
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_value_is_cut_before_its_spaces() {
        let cut = |value: &'static str| pieces(value).collect::<Vec<_>>();
        assert_eq!(cut("a b  c"), ["a", " b", "  c"]);
        assert_eq!(cut("abc"), ["abc"]);
        assert!(cut("").is_empty());
    }

    proptest! {
        #[test]
        fn the_pieces_of_a_value_are_all_of_it(value in "([!-~é]([ -~é]{0,40}[!-~é])?)?") {
            prop_assert_eq!(pieces(&value).collect::<String>(), value.clone());
            prop_assert!(pieces(&value).all(|piece| !piece.ends_with(' ')));
        }
    }
}
