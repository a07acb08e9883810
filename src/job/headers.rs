//! Header lines that a job may add: which names are allowed, and what may stand behind them.

use std::borrow::Cow;

use mailroom_actors::domain::failure::Failure;

use super::members::invalid;
use super::{check_header_text, shape};

pub(super) const MAX_HEADERS: usize = 50;
/// So that name, colon and a first word always fit a line of 998 bytes.
const MAX_NAME_BYTES: usize = 76;
/// The longest word that is never broken or encoded: with a line's name and its fold it fits in 998 bytes.
pub const MAX_WORD_BYTES: usize = 900;

const NAMES: [&str; 5] = ["References", "In-Reply-To", "Auto-Submitted", "Precedence", "Feedback-ID"];

/// One header line of a job's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// As the job writes it.
    pub name: Cow<'a, str>,
    /// No control character. Free text where the name begins with `X-`; else ASCII words of at most
    /// [`MAX_WORD_BYTES`] bytes, and words that are not ASCII.
    pub value: Cow<'a, str>,
}

impl Header<'_> {
    /// Whether it may say anything at all; the others are made of ids, addresses of pages and keywords.
    pub fn is_free_text(&self) -> bool {
        starts_with(&self.name, "X-")
    }

    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// The header lines of a job, in its order.
///
/// # Errors
/// Invalid, with the name of the first that is not allowed, where that name can be shown.
pub(super) fn read(given: Vec<shape::Pair<'_>>) -> Result<Vec<Header<'_>>, Failure> {
    if given.len() > MAX_HEADERS {
        return Err(invalid(format!("headers: more than {MAX_HEADERS}")));
    }
    let mut headers: Vec<Header<'_>> = Vec::with_capacity(given.len());
    for (index, (name, value)) in given.into_iter().enumerate() {
        let header = Header { name, value };
        check_name(&header.name, index)?;
        if headers.iter().any(|other| other.is(&header.name)) {
            return Err(invalid(format!("headers.{}: appears twice", header.name)));
        }
        check_value(&header)?;
        headers.push(header);
    }
    Ok(headers)
}

fn check_name(name: &str, index: usize) -> Result<(), Failure> {
    // RFC 5322, section 2.2: visible ASCII but the colon. What is none may hold anything and is not shown.
    if !name.bytes().all(|b| b.is_ascii_graphic() && b != b':') || !(1..=MAX_NAME_BYTES).contains(&name.len())
    {
        return Err(invalid(format!(
            "headers: name {} is not the name of a header (1 to {MAX_NAME_BYTES} visible ASCII characters but the \
             colon)",
            index + 1
        )));
    }
    let is_allowed = NAMES.iter().any(|allowed| name.eq_ignore_ascii_case(allowed))
        || ["X-", "List-"].iter().any(|prefix| starts_with(name, prefix) && name.len() > prefix.len());
    if is_allowed {
        return Ok(());
    }
    Err(invalid(format!(
        "headers.{name}: is not one of those that a job may set: X-…, List-…, {}",
        NAMES.join(", ")
    )))
}

fn check_value(header: &Header<'_>) -> Result<(), Failure> {
    let name = &header.name;
    check_header_text(format_args!("headers.{name}"), Some(&header.value))?;
    if header.is_free_text() {
        return Ok(());
    }
    if header.value.trim().is_empty() {
        return Err(invalid(format!("headers.{name}: is empty")));
    }
    let is_too_long = |word: &str| word.is_ascii() && word.len() > MAX_WORD_BYTES;
    if header.value.split(' ').any(is_too_long) {
        return Err(invalid(format!("headers.{name}: a word is longer than {MAX_WORD_BYTES} bytes")));
    }
    Ok(())
}

fn starts_with(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}
