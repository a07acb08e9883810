//! The job as a producer writes it: the type that the JSON Schema of the queue is generated from.
//!
//! Reading is stricter than a schema can say (addresses, bytes instead of characters, limits over several fields), and
//! gives better reasons than a deserializer: so [`super::decode`] reads JSON by itself, and the tests hold both together.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};

/// A job on the queue: one e-mail to send.
///
/// At least one of text, html, template and otp is needed. Members that are not named here are ignored and kept; null counts as
/// absent.
#[derive(Clone, Debug, Default, JsonSchema)]
#[schemars(title = "Mailroom job", extend("anyOf" = something_to_say(), "not" = template_and_otp()))]
pub struct Form {
    /// Who gets it. At most 100 recipients in to, cc and bcc together; an address named twice gets one e-mail.
    #[schemars(extend("minItems" = 1))]
    pub to: Addresses,
    pub cc: Option<Addresses>,
    /// Only ever in the envelope: no other recipient sees them.
    pub bcc: Option<Addresses>,
    /// Left out: the worker's smtp.from. It may have to lie in one of the worker's email.allowed_from_domains.
    pub from: Option<Address>,
    pub reply_to: Option<Address>,
    /// At most 998 bytes of UTF-8.
    pub subject: Option<HeaderText<998>>,
    /// The plain text. With html it makes two alternatives.
    pub text: Option<String>,
    pub html: Option<String>,
    /// A template of the worker's templates.dir: it gives the subject, text and HTML that the job does not give itself.
    pub template: Option<String>,
    /// What the template's variables stand for: any JSON.
    pub variables: Option<Map<String, Value>>,
    /// Short for the template otp with {"otp": …}. A string, also where it is all digits.
    pub otp: Option<String>,
    pub attachments: Option<Vec<Attachment>>,
    /// At most 50 further header lines: X-…, List-…, References, In-Reply-To, Auto-Submitted, Precedence, Feedback-ID.
    #[schemars(default, skip_serializing_if = "Option::is_none", schema_with = "headers")]
    pub headers: Option<BTreeMap<String, String>>,
    /// The idempotency key, 1 to 256 bytes: e-mails with the same key carry the same Message-ID. Left out: the record's header
    /// idempotency-key, else topic-partition-offset.
    pub id: Option<Text<1, 256>>,
    /// Past this time the e-mail is no longer sent, and goes to the dead letter queue. RFC 3339, such as 2026-11-24T02:07:47Z.
    #[schemars(extend("format" = "date-time"))]
    pub expires_at: Option<String>,
    /// At most 10 names with values, each at most 64 bytes: carried to the log and to the dead letter.
    #[schemars(default, skip_serializing_if = "Option::is_none", schema_with = "tags")]
    pub tags: Option<BTreeMap<String, String>>,
}

/// One address or several.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(untagged)]
pub enum Addresses {
    One(Address),
    Several(Vec<Address>),
}

impl Default for Addresses {
    fn default() -> Addresses {
        Addresses::Several(Vec::new())
    }
}

/// "ada@example.com", "Ada <ada@example.com>", or an object.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(untagged)]
pub enum Address {
    Text(HeaderText<{ u32::MAX }>),
    Parts {
        /// The bare address.
        email: HeaderText<{ u32::MAX }>,
        /// What is shown for it.
        name: Option<HeaderText<{ u32::MAX }>>,
    },
}

/// A file that goes with the e-mail.
#[derive(Clone, Debug, JsonSchema)]
pub struct Attachment {
    /// Of a path only the last segment is kept.
    pub filename: HeaderText<{ u32::MAX }>,
    /// Its media type; left out: application/octet-stream.
    pub content_type: Option<HeaderText<256>>,
    /// The bytes in base64: the standard alphabet, padded, without white space.
    pub content: Base64,
    /// With it the file is part of the HTML, which shows it by src="cid:…".
    pub content_id: Option<HeaderText<258>>,
}

/// Text for a header: no control characters, at most so many characters.
#[derive(Clone, Debug)]
pub struct HeaderText<const MAX: u32>(pub String);

impl<const MAX: u32> JsonSchema for HeaderText<MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "HeaderText".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut schema = json_schema!({ "type": "string", "pattern": NO_CONTROL_CHARACTER });
        if MAX < u32::MAX {
            schema.insert("maxLength".into(), MAX.into());
        }
        schema
    }
}

/// Text with a length in characters, where the worker counts bytes: never stricter than it.
#[derive(Clone, Debug)]
pub struct Text<const MIN: u32, const MAX: u32>(pub String);

impl<const MIN: u32, const MAX: u32> JsonSchema for Text<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": MIN, "maxLength": MAX })
    }
}

/// Bytes in base64.
#[derive(Clone, Debug)]
pub struct Base64(pub String);

impl JsonSchema for Base64 {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Base64".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "contentEncoding": "base64",
            // The last symbol before the padding holds no bits that are not decoded.
            "pattern": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$",
        })
    }
}

/// Characters of a header's name.
const MAX_HEADER_NAME: usize = 76;
const NO_CONTROL_CHARACTER: &str = r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*$";

// Members that are null count as absent, whatever their names and however many there are.
fn headers(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["object", "null"],
        "patternProperties": {
            header_name(): { "type": ["string", "null"], "pattern": NO_CONTROL_CHARACTER },
        },
        "additionalProperties": { "type": "null" },
    })
}

/// The names that a job may use, in any case: JSON Schema's expressions have no switch for that.
fn header_name() -> String {
    let either = |c: char| match c.is_ascii_alphabetic() {
        true => format!("[{}{}]", c.to_ascii_uppercase(), c.to_ascii_lowercase()),
        false => c.to_string(),
    };
    let names = ["X-", "List-", "References", "In-Reply-To", "Auto-Submitted", "Precedence", "Feedback-ID"];
    let any_case = names.map(|name| {
        let rest = format!("[!-9;-~]{{1,{}}}", MAX_HEADER_NAME - name.len());
        name.chars().map(either).collect::<String>() + if name.ends_with('-') { &rest } else { "" }
    });
    format!("^({})$", any_case.join("|"))
}

fn tags(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["object", "null"],
        "patternProperties": { r"^[\s\S]{0,64}$": { "type": ["string", "null"], "maxLength": 64 } },
        "additionalProperties": { "type": "null" },
    })
}

fn given(name: &str) -> Value {
    serde_json::json!({ "required": [name], "properties": { name: { "type": "string" } } })
}

fn something_to_say() -> Value {
    ["text", "html", "template", "otp"].map(given).to_vec().into()
}

fn template_and_otp() -> Value {
    serde_json::json!({ "allOf": [given("template"), given("otp")] })
}
