//! The members of a job with their types checked: what a record says, before asking whether it makes sense.

use std::borrow::Cow;
use std::collections::BTreeMap;

use mailroom_actors::domain::failure::Failure;
use serde_json::value::RawValue;

use super::members::{Kind, entries, inside, malformed, members, string};

/// Every field of the contract's section 2.
const FIELDS: [&str; 16] = [
    "to",
    "cc",
    "bcc",
    "from",
    "reply_to",
    "subject",
    "text",
    "html",
    "otp",
    "id",
    "tags",
    "template",
    "variables",
    "attachments",
    "headers",
    "expires_at",
];

/// One address as the job gives it, not yet looked into.
#[derive(Debug)]
pub(super) enum Given<'a> {
    /// `"a@b.c"` or `"Ada <a@b.c>"`.
    Text(Cow<'a, str>),
    /// `{"email", "name"?}`.
    Parts { email: Option<Cow<'a, str>>, name: Option<Cow<'a, str>> },
}

/// The value of `to`, `cc` or `bcc`.
#[derive(Debug, Default)]
pub(super) struct List<'a> {
    /// Given as an array, so that places have an index.
    pub is_array: bool,
    pub items: Vec<Given<'a>>,
}

/// A job whose fields have the right types. None where a field is absent or null.
#[derive(Debug)]
pub(super) struct Shape<'a> {
    pub to: Option<List<'a>>,
    pub cc: Option<List<'a>>,
    pub bcc: Option<List<'a>>,
    pub from: Option<Given<'a>>,
    pub reply_to: Option<Given<'a>>,
    pub subject: Option<Cow<'a, str>>,
    pub text: Option<Cow<'a, str>>,
    pub html: Option<Cow<'a, str>>,
    pub otp: Option<Cow<'a, str>>,
    pub id: Option<Cow<'a, str>>,
    pub tags: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    pub template: Option<Cow<'a, str>>,
    /// An object.
    pub variables: Option<&'a RawValue>,
    pub attachments: Vec<GivenAttachment<'a>>,
    /// In the job's order.
    pub headers: Vec<Pair<'a>>,
    pub expires_at: Option<Cow<'a, str>>,
}

/// A member of an object of strings.
pub(super) type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// One file as the job gives it, not yet looked into.
#[derive(Debug)]
pub(super) struct GivenAttachment<'a> {
    pub filename: Option<Cow<'a, str>>,
    pub content_type: Option<Cow<'a, str>>,
    pub content: Option<Cow<'a, str>>,
    pub content_id: Option<Cow<'a, str>>,
}

impl<'a> Shape<'a> {
    /// Reads a whole job.
    ///
    /// # Errors
    /// Malformed: not an object, a known field twice or of the wrong type.
    pub fn read(job: &'a RawValue) -> Result<Shape<'a>, Failure> {
        let [
            to,
            cc,
            bcc,
            from,
            reply_to,
            subject,
            text,
            html,
            otp,
            id,
            tags,
            template,
            variables,
            attachments,
            headers,
            expires_at,
        ] = members(job, &FIELDS, "")?;
        let text_of = |value: Option<&'a RawValue>, name| value.map(|value| string(value, name)).transpose();
        if let Some(kind) = variables.map(Kind::of).filter(|kind| *kind != Kind::Object) {
            return Err(malformed(format!("variables: must be an object, not {kind}")));
        }
        Ok(Shape {
            to: list(to, "to")?,
            cc: list(cc, "cc")?,
            bcc: list(bcc, "bcc")?,
            from: from.map(|value| given(value, "from")).transpose()?,
            reply_to: reply_to.map(|value| given(value, "reply_to")).transpose()?,
            subject: text_of(subject, "subject")?,
            text: text_of(text, "text")?,
            html: text_of(html, "html")?,
            otp: text_of(otp, "otp")?,
            id: text_of(id, "id")?,
            tags: read_tags(tags)?,
            template: text_of(template, "template")?,
            variables,
            attachments: read_attachments(attachments)?,
            headers: pairs(headers, "headers")?,
            expires_at: text_of(expires_at, "expires_at")?,
        })
    }
}

/// What can be read of a job even where the rest of it is no job. Each is none
/// where it is missing or of the wrong type.
#[derive(Debug, Default)]
pub(super) struct Glimpse<'a> {
    pub id: Option<Cow<'a, str>>,
    pub tags: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    pub from: Option<Given<'a>>,
    pub expires_at: Option<Cow<'a, str>>,
}

impl<'a> Glimpse<'a> {
    pub fn of(job: &'a RawValue) -> Glimpse<'a> {
        let Ok([id, tags, from, expires_at]) = members(job, &["id", "tags", "from", "expires_at"], "") else {
            return Glimpse::default();
        };
        Glimpse {
            id: id.and_then(|value| string(value, "id").ok()),
            tags: read_tags(tags).unwrap_or_default(),
            from: from.and_then(|value| given(value, "from").ok()),
            expires_at: expires_at.and_then(|value| string(value, "expires_at").ok()),
        }
    }
}

fn list<'a>(value: Option<&'a RawValue>, name: &str) -> Result<Option<List<'a>>, Failure> {
    let Some(value) = value else { return Ok(None) };
    if Kind::of(value) != Kind::Array {
        return Ok(Some(List { is_array: false, items: vec![given(value, name)?] }));
    }
    let items = elements(value, name)?
        .into_iter()
        .enumerate()
        .map(|(index, item)| match Kind::of(item) {
            Kind::String | Kind::Object => given(item, &format!("{name}[{index}]")),
            other => Err(not_an_address(&format!("{name}[{index}]"), other)),
        })
        .collect::<Result<_, _>>()?;
    Ok(Some(List { is_array: true, items }))
}

fn given<'a>(value: &'a RawValue, place: &str) -> Result<Given<'a>, Failure> {
    match Kind::of(value) {
        Kind::String => Ok(Given::Text(string(value, place)?)),
        Kind::Object => {
            let [email, name] = members(value, &["email", "name"], place)?;
            let text_of = |value: Option<&'a RawValue>, name| {
                value.map(|value| string(value, inside(place, name))).transpose()
            };
            Ok(Given::Parts { email: text_of(email, "email")?, name: text_of(name, "name")? })
        }
        other => Err(not_an_address(place, other)),
    }
}

fn not_an_address(place: &str, kind: Kind) -> Failure {
    malformed(format!("{place}: must be an address (a string, or an object with email), not {kind}"))
}

fn elements<'a>(value: &'a RawValue, place: &str) -> Result<Vec<&'a RawValue>, Failure> {
    serde_json::from_str(value.get()).map_err(|e| malformed(format!("{place}: is not a JSON array: {e}")))
}

/// The tags; of a name given twice the last. A tag that is null counts as absent.
fn read_tags<'a>(value: Option<&'a RawValue>) -> Result<BTreeMap<Cow<'a, str>, Cow<'a, str>>, Failure> {
    Ok(pairs(value, "tags")?.into_iter().collect())
}

/// The members of an object of strings, in its order; those that are null are left out. Where one is of another type
/// its number is told, not its name: that may hold anything.
fn pairs<'a>(value: Option<&'a RawValue>, place: &str) -> Result<Vec<Pair<'a>>, Failure> {
    let Some(value) = value else { return Ok(Vec::new()) };
    let entries = entries(value, place)?;
    let given = entries.into_iter().enumerate().filter(|(_, (_, value))| value.get() != "null");
    given
        .map(|(index, (name, value))| {
            Ok((name, string(value, format_args!("{place}, member {}", index + 1))?))
        })
        .collect()
}

fn read_attachments<'a>(value: Option<&'a RawValue>) -> Result<Vec<GivenAttachment<'a>>, Failure> {
    let Some(value) = value else { return Ok(Vec::new()) };
    if Kind::of(value) != Kind::Array {
        return Err(malformed(format!("attachments: must be an array, not {}", Kind::of(value))));
    }
    let items = elements(value, "attachments")?.into_iter().enumerate();
    items
        .map(|(index, item)| {
            let place = format!("attachments[{index}]");
            let names = &["filename", "content_type", "content", "content_id"];
            let [filename, content_type, content, content_id] = members(item, names, &place)?;
            let text_of = |value: Option<&'a RawValue>, name| {
                value.map(|value| string(value, inside(&place, name))).transpose()
            };
            Ok(GivenAttachment {
                filename: text_of(filename, "filename")?,
                content_type: text_of(content_type, "content_type")?,
                content: text_of(content, "content")?,
                content_id: text_of(content_id, "content_id")?,
            })
        })
        .collect()
}
