//! One letter with all that is known of it, as answers show it: its fields as they lie there, addresses masked, and the job
//! itself only to who may see it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mailroom_actors::domain::letters::decision::Step;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::archive::Whole;
use super::letter::Letter;
use super::original::Job;
use super::records::written_time;
use crate::mask::mask_text;

/// Where the job lies in a letter's value.
const ORIGINAL: &str = "original_message";

/// See the module's text.
#[derive(Clone, Debug, Serialize)]
pub struct FullView {
    pub letter: String,
    /// Null where it is not known.
    pub state: Option<&'static str>,
    /// When it failed.
    pub at: String,
    /// Of the record.
    pub key: Option<Value>,
    /// The names of the record's headers, in order.
    pub headers: Vec<String>,
    pub replayed_from: Option<String>,
    pub replayed_as: Option<String>,
    /// The latest first; null where they are not known.
    pub decisions: Option<Vec<StepView>>,
    /// Why it can't be read, where it can't.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<Unreadable>,
    /// The letter's own, `attempts` among them.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

/// A decision as it is shown.
#[derive(Clone, Debug, Serialize)]
pub struct StepView {
    pub state: &'static str,
    pub run: Option<String>,
    pub by: String,
    pub reason: String,
    pub at: String,
    pub round: u32,
}

/// A letter that can't be read.
#[derive(Clone, Debug, Serialize)]
pub struct Unreadable {
    /// How many there are.
    pub bytes: usize,
    pub error: String,
}

impl FullView {
    /// With `reveal` addresses are not masked, and the job is there as `original`: `{"text"}`, `{"base64"}`,
    /// `{"omitted", "bytes", "sha256"}`, or null for a null value. Of a letter that can't be read its bytes are, as `value`.
    pub fn of(whole: &Whole, reveal: bool) -> FullView {
        let record = &whole.record;
        let bytes = record.value.as_deref();
        let error = wrong_with(bytes);
        let mut fields = match (&error, bytes) {
            (None, Some(bytes)) => serde_json::from_slice(bytes).unwrap_or_default(),
            _ => Map::new(),
        };
        let stub = fields.remove(ORIGINAL);
        // What is ours is said by us.
        fields.retain(|name, _| !OURS.contains(&name.as_str()));
        if !reveal {
            fields = masked(fields);
        }
        if reveal && error.is_some() {
            fields.insert("value".into(), bytes.map_or(Value::Null, shown));
        } else if reveal {
            fields.insert("original".into(), original_of(whole, stub));
        }
        let key = record.key.as_deref().map(shown_plainly);
        FullView {
            letter: whole.name.to_string(),
            state: whole.state.map(|state| state.as_str()),
            at: written_time(record.timestamp_ms.unwrap_or(-1)),
            key: if reveal { key } else { key.map(masked_value) },
            headers: record.headers.iter().map(|(name, _)| masked_text(name)).collect(),
            replayed_from: whole.replayed_from.map(|from| from.to_string()),
            replayed_as: whole.replayed_as.map(|back| back.to_string()),
            decisions: whole.state.map(|_| decisions(whole)),
            unreadable: error.map(|error| Unreadable { bytes: bytes.map_or(0, <[u8]>::len), error }),
            fields,
        }
    }
}

const OURS: [&str; 11] = [
    "letter",
    "state",
    "at",
    "key",
    "headers",
    "replayed_from",
    "replayed_as",
    "decisions",
    "unreadable",
    "original",
    "value",
];

fn decisions(whole: &Whole) -> Vec<StepView> {
    let decision = whole.decision.iter();
    decision
        .flat_map(|decision| std::iter::once(&decision.latest).chain(decision.history.iter().rev()))
        .map(StepView::of)
        .collect()
}

impl StepView {
    fn of(step: &Step) -> StepView {
        StepView {
            state: step.state.as_str(),
            run: step.run.clone(),
            by: step.by.clone(),
            reason: masked_text(&step.reason),
            at: written_time(step.at_ms),
            round: step.round,
        }
    }
}

/// What keeps these bytes from being a letter, without a word of them.
fn wrong_with(bytes: Option<&[u8]>) -> Option<String> {
    let Some(bytes) = bytes else { return Some("the record has no value".into()) };
    if Letter::read(bytes).is_some() {
        return None;
    }
    let error = serde_json::from_slice::<Letter<'_>>(bytes).err();
    let place = error.map(|error| format!("(line {}, column {})", error.line(), error.column()));
    let place = place.unwrap_or_default();
    Some(match serde_json::from_slice::<Value>(bytes) {
        Err(_) if std::str::from_utf8(bytes).is_err() => "it is no JSON: not UTF-8".into(),
        Err(_) => format!("it is no JSON {place}"),
        Ok(Value::Object(fields)) if !fields.contains_key(ORIGINAL) => format!("it has no {ORIGINAL}"),
        Ok(Value::Object(_)) => format!("a field has the wrong type, or is there twice {place}"),
        Ok(_) => "it is JSON, but no object".into(),
    })
}

fn original_of(whole: &Whole, stub: Option<Value>) -> Value {
    match whole.job() {
        Job::Whole(None) => Value::Null,
        Job::Whole(Some(bytes)) => shown(&bytes),
        Job::Omitted => stub.unwrap_or_default(),
    }
}

fn shown(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!({ "text": text }),
        Err(_) => json!({ "base64": STANDARD.encode(bytes) }),
    }
}

/// A text as it is, for what is nearly always one.
fn shown_plainly(bytes: &[u8]) -> Value {
    std::str::from_utf8(bytes).map_or_else(|_| shown(bytes), Value::from)
}

fn masked(fields: Map<String, Value>) -> Map<String, Value> {
    fields
        .into_iter()
        .map(|(name, value)| match value {
            Value::String(id) if name == "message_id" && is_ours(&id) => (name, Value::String(id)),
            value => (masked_text(&name), masked_value(value)),
        })
        .collect()
}

fn masked_value(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(masked_text(&text)),
        Value::Array(values) => values.into_iter().map(masked_value).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (masked_text(&name), masked_value(value))).collect()
        }
        plain => plain,
    }
}

fn masked_text(text: &str) -> String {
    mask_text(text).into_owned()
}

/// A Message-ID whose part before the `@` is a hash is no address.
fn is_ours(id: &str) -> bool {
    let local = id.strip_prefix('<').and_then(|id| id.split_once('@')).map(|(local, _)| local);
    local.is_some_and(|local| local.len() == 32 && local.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;
    use mailroom_actors::domain::job::Record;
    use mailroom_actors::domain::letters::decision::{Decision, State};
    use mailroom_actors::domain::letters::name::LetterName;

    use super::*;

    const ID: &str = "<0123456789abcdef0123456789abcdef@mailroom.example>";

    fn whole(value: &[u8]) -> Whole {
        Whole {
            name: LetterName { partition: 0, offset: 7 },
            record: Record {
                topic: "email-dlq".into(),
                partition: 0,
                offset: 7,
                timestamp_ms: Some(1_000),
                key: Some(Bytes::from_static(b"ada@example.com")),
                value: Some(Bytes::copy_from_slice(value)),
                headers: vec![("mine".into(), Some(Bytes::from_static(b"secret"))), ("mine".into(), None)],
            },
            state: Some(State::Waiting),
            decision: None,
            replayed_from: None,
            replayed_as: None,
        }
    }

    fn view(value: &str, reveal: bool) -> Value {
        serde_json::to_value(FullView::of(&whole(value.as_bytes()), reveal)).unwrap()
    }

    fn letter(original: &str, cause: &str) -> String {
        format!(
            r#"{{"original_message":{original},"error_reason":"550 <ada@example.com> no","cause":"{cause}","recipients":
            ["ada@example.com"],"tags":{{"ada@example.com":"bob@example.com"}},"attempts":[{{"number":1,"error":"ada@example.com"}}],
            "message_id":"{ID}","state":"bad","smtp_code":550,"more":{{"x":[null,"ada@example.com"]}}}}"#
        )
    }

    #[test]
    fn a_letter_is_shown_without_its_job_and_with_every_address_masked() {
        let shown = view(&letter(r#"{"to":"ada@example.com","otp":"493021"}"#, "quota"), false);
        let masked = "a***@example.com";
        let expected = json!({
            "letter": "0-7", "state": "waiting", "at": "1970-01-01T00:00:01.000Z", "key": masked,
            "headers": ["mine", "mine"], "replayed_from": null, "replayed_as": null, "decisions": [],
            "error_reason": "550 <a***@example.com> no", "cause": "quota", "recipients": [masked],
            "tags": {masked: "b***@example.com"}, "attempts": [{"number": 1, "error": masked}],
            "message_id": ID, "smtp_code": 550, "more": {"x": [null, masked]},
        });
        assert_eq!(shown, expected);
    }

    #[test]
    fn revealed_it_has_its_addresses_and_its_job_as_it_was() {
        let shown = view(&letter(r#"{"to": "ada@example.com",  "otp":"1"}"#, "quota"), true);
        assert_eq!(shown["original"], json!({"text": r#"{"to": "ada@example.com",  "otp":"1"}"#}));
        assert_eq!((&shown["key"], &shown["recipients"][0]), (&json!("ada@example.com"), &shown["key"]));
        for (original, expected) in [
            ("null", Value::Null),
            ("\"no json\"", json!({"text": "no json"})),
            (r#"{"base64":"/wA="}"#, json!({"base64": "/wA="})),
            (
                r#"{"omitted":true,"bytes":9,"sha256":"00"}"#,
                json!({"omitted": true, "bytes": 9, "sha256": "00"}),
            ),
        ] {
            let shown = view(&letter(original, "malformed"), true);
            assert_eq!(shown["original"], expected, "{original}");
        }
    }

    #[test]
    fn a_letter_that_can_t_be_read_says_what_is_wrong_and_nothing_of_what_it_says() {
        let wrong_type = r#"{"original_message":1,"smtp_code":"493021"}"#;
        for (value, says) in [
            ("", "no JSON (line 1"),
            ("{\"to\": 493021", "no JSON (line 1"),
            ("[493021]", "no object"),
            (r#"{"otp":"493021"}"#, "no original_message"),
            (wrong_type, "wrong type"),
            (r#"{"original_message":493021,"original_message":493021}"#, "there twice"),
        ] {
            let shown = view(value, false);
            assert_eq!(shown["unreadable"]["bytes"], value.len(), "{shown}");
            assert!(shown["unreadable"]["error"].as_str().unwrap().contains(says), "{shown}");
            assert!(!shown.to_string().contains("493021") && shown.get("original").is_none(), "{shown}");
            assert_eq!(view(value, true)["value"]["text"], value);
        }
        let shown = serde_json::to_value(FullView::of(&whole(b"\xff"), true)).unwrap();
        assert_eq!((&shown["value"], &shown["unreadable"]["bytes"]), (&json!({"base64": "/w=="}), &json!(1)));
        let mut null = whole(b"");
        null.record.value = None;
        let shown = serde_json::to_value(FullView::of(&null, true)).unwrap();
        assert_eq!((&shown["value"], &shown["unreadable"]["bytes"]), (&Value::Null, &json!(0)));
    }

    #[test]
    fn decisions_are_shown_the_latest_first_and_not_at_all_where_they_are_not_known() {
        let step = |state, at_ms| {
            let (by, reason) = ("ada".to_owned(), "asked by bob@example.com".to_owned());
            Step { state, run: Some("r1".into()), by, reason, at_ms, round: 0 }
        };
        let first = Decision::after(None, 1_000, step(State::Parked, 1));
        let second = Decision::after(Some(first), 1_000, step(State::Waiting, 2));
        let mut whole = whole(b"{\"original_message\":1}");
        whole.decision = Some(Decision::after(Some(second), 1_000, step(State::Discarded, 3)));
        let shown = serde_json::to_value(FullView::of(&whole, false)).unwrap();
        let expected = |state, at, round| {
            let reason = "asked by b***@example.com";
            json!({"state": state, "run": "r1", "by": "ada", "reason": reason, "at": at, "round": round})
        };
        let expected = json!([
            expected("discarded", "1970-01-01T00:00:00.003Z", 3),
            expected("waiting", "1970-01-01T00:00:00.002Z", 2),
            expected("parked", "1970-01-01T00:00:00.001Z", 1),
        ]);
        assert_eq!(shown["decisions"], expected);
        whole.state = None;
        let shown = serde_json::to_value(FullView::of(&whole, false)).unwrap();
        assert_eq!((&shown["decisions"], &shown["state"]), (&Value::Null, &Value::Null));
    }
}
