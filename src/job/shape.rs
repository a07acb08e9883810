//! The members of a job with their types checked: what a record says, before asking whether it makes sense.

use std::borrow::Cow;
use std::collections::BTreeMap;

use mailroom_actors::domain::failure::Failure;
use serde_json::value::RawValue;

use super::attachment::GivenAttachment;
use super::headers::{self, Header};
use super::members::{Kind, elements, inside, malformed, members, string};

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
    pub headers: Vec<Header<'a>>,
    pub expires_at: Option<Cow<'a, str>>,
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
        if let Some(other) = variables.map(Kind::of).filter(|kind| *kind != Kind::Object) {
            return Err(malformed(format!("variables: must be an object, not {other}")));
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
            attachments: GivenAttachment::read_all(attachments)?,
            headers: headers::read(headers)?,
            expires_at: text_of(expires_at, "expires_at")?,
        })
    }
}

/// What can be read of a job even where the rest of it is no job: `id`, `tags` and `from`. Each is none
/// where it is missing or of the wrong type.
#[derive(Debug, Default)]
pub(super) struct Glimpse<'a> {
    pub id: Option<Cow<'a, str>>,
    pub tags: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    pub from: Option<Given<'a>>,
}

impl<'a> Glimpse<'a> {
    pub fn of(job: &'a RawValue) -> Glimpse<'a> {
        let Ok([id, tags, from]) = members(job, &["id", "tags", "from"], "") else {
            return Glimpse::default();
        };
        Glimpse {
            id: id.and_then(|value| string(value, "id").ok()),
            tags: read_tags(tags).unwrap_or_default(),
            from: from.and_then(|value| given(value, "from").ok()),
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

/// The tags; of a name given twice the last. A tag that is null counts as absent.
fn read_tags<'a>(value: Option<&'a RawValue>) -> Result<BTreeMap<Cow<'a, str>, Cow<'a, str>>, Failure> {
    let Some(value) = value else { return Ok(BTreeMap::new()) };
    if Kind::of(value) != Kind::Object {
        return Err(malformed(format!("tags: must be an object, not {}", Kind::of(value))));
    }
    let tags: BTreeMap<Cow<'a, str>, &'a RawValue> = serde_json::from_str(value.get())
        .map_err(|e| malformed(format!("tags: is not a JSON object: {e}")))?;
    tags.into_iter()
        .filter(|(_, value)| value.get() != "null")
        .map(|(name, value)| Ok((name, string(value, "tags, a value")?)))
        .collect()
}
