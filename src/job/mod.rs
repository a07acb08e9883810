//! The job: what a record of the main queue asks for, checked in full before any of it is used.
//!
//! Section 2 of the contract, read in three steps: the bytes are JSON (`json`), the fields have their types
//! (`shape`; the failures so far are `malformed`), the values make sense (here; `invalid`).

mod address;
mod attachment;
mod expiry;
pub mod form;
mod headers;
mod identity;
pub mod json;
mod media_type;
mod members;
mod shape;
mod tags;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use mailroom_actors::domain::failure::{Cause, Failure, Stage};
use mailroom_actors::domain::job::Record;
use serde_json::value::RawValue;

pub use address::{Address, Mailbox};
pub use attachment::Attachment;
pub use expiry::expires_at;
pub use headers::{Header, pieces};
pub use identity::{Identity, message_id};
pub use tags::tags;

use address::has_control;
use members::invalid;
use shape::{Given, List, Shape};

/// Recipients of one job, `to`, `cc` and `bcc` together, each address counted once.
pub const MAX_RECIPIENTS: usize = 100;
const MAX_SUBJECT_BYTES: usize = 998;
const MAX_ID_BYTES: usize = 256;
const MAX_TAGS: usize = 10;
const MAX_TAG_BYTES: usize = 64;
/// What each escape of a letter in JSON begins with: a member's name may be written so.
const ESCAPED_LETTER: &[u8] = b"\\u00";

/// One e-mail to make. Each address is in `to`, `cc` and `bcc` together only once, where it was named first.
#[derive(Debug)]
pub struct Job<'a> {
    /// None: `smtp.from`.
    pub from: Option<Mailbox>,
    pub reply_to: Option<Mailbox>,
    /// At least one.
    pub to: Vec<Mailbox>,
    pub cc: Vec<Mailbox>,
    /// Only ever in the envelope.
    pub bcc: Vec<Mailbox>,
    pub subject: Option<Cow<'a, str>>,
    pub text: Option<Cow<'a, str>>,
    pub html: Option<Cow<'a, str>>,
    /// The name of a template; never together with `otp`.
    pub template: Option<Cow<'a, str>>,
    /// A JSON object.
    pub variables: Option<&'a RawValue>,
    /// The code for the template `otp`.
    pub otp: Option<Cow<'a, str>>,
    pub attachments: Vec<Attachment<'a>>,
    /// In the job's own order; at most 50, no name twice.
    pub headers: Vec<Header<'a>>,
    /// Past it the e-mail is no longer sent.
    pub expires_at: Option<DateTime<Utc>>,
    /// At most 10, names and values at most 64 bytes each.
    pub tags: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    /// The job's `id`, else the record's header `idempotency-key`, else the record's name.
    pub idempotency_key: Cow<'a, str>,
}

impl Job<'_> {
    /// The bare addresses of the envelope: `to`, `cc`, `bcc`, in the job's own order. 1 to 100.
    pub fn recipients(&self) -> impl Iterator<Item = &Address> {
        self.to.iter().chain(&self.cc).chain(&self.bcc).map(|mailbox| &mailbox.address)
    }
}

/// Reads the job that `record` holds. `message_bytes` is the limit on the record's value.
///
/// # Errors
/// A failure before any attempt, stage `decode`: `too_large` (found before anything is parsed), `malformed`
/// or `invalid`. Its reason says what is wrong and where, and holds nothing of the job's content.
pub fn decode(record: &Record, message_bytes: usize) -> Result<Job<'_>, Failure> {
    let value = record.value.as_deref().ok_or_else(|| members::malformed("the value is null"))?;
    if value.len() > message_bytes {
        return Err(Failure::before_attempt(
            Stage::Decode,
            Cause::TooLarge,
            format!(
                "the record's value is {} bytes, over limits.message_bytes ({message_bytes})",
                value.len()
            ),
        ));
    }
    let shape = Shape::read(json::read(value).map_err(members::malformed)?)?;
    let (to, cc, bcc) = recipients(&shape)?;
    if let Some(subject) = &shape.subject {
        check_subject(subject).map_err(|why| invalid(format!("subject: {why}")))?;
    }
    if shape.template.is_some() && shape.otp.is_some() {
        return Err(invalid("template, otp: only one of them may be given"));
    }
    let texts = [&shape.text, &shape.html, &shape.template, &shape.otp];
    if texts.iter().all(|text| text.is_none()) {
        return Err(invalid("nothing to say: give text, html, template or otp"));
    }
    check_tags(&shape.tags)?;
    if shape.id.as_ref().is_some_and(|id| !identity::is_usable(id)) {
        return Err(invalid(format!("id: must have 1 to {MAX_ID_BYTES} bytes")));
    }
    Ok(Job {
        from: shape.from.as_ref().map(|given| mailbox(given, "from")).transpose()?,
        reply_to: shape.reply_to.as_ref().map(|given| mailbox(given, "reply_to")).transpose()?,
        to,
        cc,
        bcc,
        subject: shape.subject,
        text: shape.text,
        html: shape.html,
        template: shape.template,
        variables: shape.variables,
        otp: shape.otp,
        attachments: attachment::check_all(shape.attachments)?,
        headers: headers::check_all(shape.headers)?,
        expires_at: shape.expires_at.as_deref().map(expiry::read).transpose()?,
        tags: shape.tags,
        idempotency_key: identity::key(shape.id, record),
    })
}

type Lists = (Vec<Mailbox>, Vec<Mailbox>, Vec<Mailbox>);

fn recipients(shape: &Shape<'_>) -> Result<Lists, Failure> {
    let named = shape.to.as_ref().ok_or_else(|| invalid("to: is missing"))?;
    if named.items.is_empty() {
        return Err(invalid("to: is empty"));
    }
    let to = distinct(named, "to", &[])?;
    let cc = shape.cc.as_ref().map_or(Ok(Vec::new()), |list| distinct(list, "cc", &[&to]))?;
    let bcc = shape.bcc.as_ref().map_or(Ok(Vec::new()), |list| distinct(list, "bcc", &[&to, &cc]))?;
    Ok((to, cc, bcc))
}

/// The mailboxes of `list` without those that are in `before`, each address once.
fn distinct(list: &List<'_>, name: &str, before: &[&[Mailbox]]) -> Result<Vec<Mailbox>, Failure> {
    let already: usize = before.iter().map(|list| list.len()).sum();
    let mut found: Vec<Mailbox> = Vec::new();
    for (index, given) in list.items.iter().enumerate() {
        let mailbox = if list.is_array {
            mailbox(given, format_args!("{name}[{index}]"))?
        } else {
            mailbox(given, name)?
        };
        let is_known = |list: &[Mailbox]| list.iter().any(|other| other.address.is_same(&mailbox.address));
        if is_known(&found) || before.iter().any(|list| is_known(list)) {
            continue;
        }
        if already + found.len() == MAX_RECIPIENTS {
            return Err(invalid(format!("{name}: more than {MAX_RECIPIENTS} recipients in to, cc and bcc")));
        }
        found.push(mailbox);
    }
    Ok(found)
}

fn mailbox(given: &Given<'_>, place: impl std::fmt::Display) -> Result<Mailbox, Failure> {
    match given {
        Given::Text(text) => Mailbox::parse(text).map_err(|e| invalid(format!("{place}: {e}"))),
        Given::Parts { email: None, .. } => Err(invalid(format!("{place}.email: is missing"))),
        Given::Parts { email: Some(email), name } => {
            check_header_text(format_args!("{place}.name"), name.as_deref())?;
            Mailbox::from_parts(name.as_deref(), email).map_err(|e| invalid(format!("{place}.email: {e}")))
        }
    }
}

fn check_header_text(place: impl std::fmt::Display, text: Option<&str>) -> Result<(), Failure> {
    match text {
        Some(text) if has_control(text) => Err(invalid(format!("{place}: holds a control character"))),
        _ => Ok(()),
    }
}

/// Whether a subject can be sent, a job's own or a template's; else why not, as the end of a sentence.
pub fn check_subject(subject: &str) -> Result<(), &'static str> {
    if has_control(subject) {
        return Err("holds a control character");
    }
    if subject.len() > MAX_SUBJECT_BYTES {
        return Err("is longer than 998 bytes");
    }
    Ok(())
}

fn check_tags(tags: &BTreeMap<Cow<'_, str>, Cow<'_, str>>) -> Result<(), Failure> {
    if tags.len() > MAX_TAGS {
        return Err(invalid(format!("tags: more than {MAX_TAGS}")));
    }
    if tags.iter().any(|(name, value)| name.len() > MAX_TAG_BYTES || value.len() > MAX_TAG_BYTES) {
        return Err(invalid(format!("tags: a name or value is longer than {MAX_TAG_BYTES} bytes")));
    }
    Ok(())
}
