//! What `POST /dlq/runs` asks for: `{"action", "select", "reason", "rate"?, "canary"?, "max"?, "include"?, "dry_run"?, "value"?}`.

use std::fmt;

use actix_web::HttpRequest;
use chrono::Utc;
use mailroom_actors::domain::letters::filter::Filter;
use mailroom_actors::domain::letters::rules::Action;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{BY, bad};
use crate::config::kind;
use crate::dlq::question;
use crate::dlq::request::Request;
use crate::http::body;
use crate::http::errors::Refusal;

/// How a run is asked for.
pub(super) const HINT: &str = "send {\"action\": \"replay\", \"select\": {\"cause\": \"smtp_unreachable\"}, \"reason\": \"the relay \
     was down\"}; action is replay, discard or restore, select has filters or \"letters\": [\"0-17\"], and rate, canary, max, \
     include, dry_run and value may be given";

/// The longest key, in bytes.
const MAX_KEY: usize = 256;

/// A run that is asked for.
#[derive(Debug, PartialEq)]
pub(super) struct Asked {
    pub(super) request: Request,
    /// The request of the same key is the same run.
    pub(super) key: Option<String>,
    /// Only what it would do.
    pub(super) dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    action: Option<String>,
    select: Option<Select>,
    reason: Option<String>,
    rate: Option<Value>,
    canary: Option<u64>,
    max: Option<u64>,
    include: Option<Vec<String>>,
    dry_run: Option<bool>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
}

/// Names and values of an object, none of them twice.
struct Select(Vec<(String, Value)>);

impl Asked {
    /// Refuses with 400 what is no such request, with all that is wrong.
    pub(super) fn of(request: &HttpRequest, body: &[u8]) -> Result<Asked, Refusal> {
        let mut keys = request.headers().get_all("idempotency-key");
        let key = match (keys.next(), keys.next()) {
            (None, _) => None,
            (Some(key), None) => Some(key_of(key.as_bytes())?),
            (Some(_), Some(_)) => return Err(bad("there are two Idempotency-Key headers", KEY_HINT)),
        };
        let (request, dry_run) = read(body)?;
        Ok(Asked { request, key, dry_run })
    }
}

const KEY_HINT: &str = "send one Idempotency-Key of 1 to 256 ASCII characters, or none";

fn key_of(bytes: &[u8]) -> Result<String, Refusal> {
    let fits = (1..=MAX_KEY).contains(&bytes.len()) && bytes.iter().all(|byte| (b' '..=b'~').contains(byte));
    let key = std::str::from_utf8(bytes).ok().filter(|_| fits);
    key.map(str::to_owned).ok_or_else(|| bad("this Idempotency-Key can't be used", KEY_HINT))
}

fn read(body: &[u8]) -> Result<(Request, bool), Refusal> {
    let Body { action, select, reason, rate, canary, max, include, dry_run, value } =
        body::object(body, HINT)?;
    let mut mistakes = Vec::new();
    let action = noted(&mut mistakes, action_of(action.as_deref()));
    let filter = noted(&mut mistakes, filter_of(select));
    let rate = noted(&mut mistakes, rate.map(rate_of).transpose());
    let value = noted(&mut mistakes, value.map(job_of).transpose());
    let include = include.unwrap_or_default();
    if include.iter().any(|each| each != "permanent" && each != "parked") {
        mistakes.push("include may hold \"permanent\" and \"parked\"".into());
    }
    if reason.as_deref().is_none_or(|reason| reason.trim().is_empty()) {
        mistakes.push("reason is required: it is kept with every letter".into());
    }
    let (Some(action), Some(filter), Some(rate), Some(value), Some(reason), true) =
        (action, filter, rate, value, reason, mistakes.is_empty())
    else {
        return Err(bad(&mistakes.join("; "), HINT));
    };
    let includes = |name: &str| include.iter().any(|each| each == name);
    let request = Request {
        action,
        filter,
        reason,
        rate,
        canary: canary.unwrap_or(0),
        max,
        include_permanent: includes("permanent"),
        include_parked: includes("parked"),
        value,
        by: BY.to_owned(),
    };
    Ok((request, dry_run.unwrap_or(false)))
}

fn noted<T>(mistakes: &mut Vec<String>, result: Result<T, String>) -> Option<T> {
    result.map_err(|mistake| mistakes.push(mistake)).ok()
}

fn action_of(action: Option<&str>) -> Result<Action, String> {
    let known = action.and_then(|action| action.parse().ok());
    known.ok_or_else(|| "action must be replay, discard or restore".into())
}

fn filter_of(select: Option<Select>) -> Result<Filter, String> {
    let Select(members) = select.ok_or("select is required: say which letters are meant")?;
    let now = Utc::now();
    let mut filter = Filter::default();
    // A variable that was not set is not all letters.
    if !members.is_empty() && members.iter().all(|(_, value)| value.is_null()) {
        return Err("select has nulls alone: say which letters are meant, or {} for all".into());
    }
    for (name, value) in members {
        match (name.as_str(), value) {
            (_, Value::Null) => {}
            ("letters", Value::Array(names)) if !names.is_empty() => {
                let names: Option<Vec<&str>> = names.iter().map(Value::as_str).collect();
                let names = names.ok_or("select.letters holds texts such as \"0-17\"")?;
                filter.letters = question::letters(names)?;
            }
            // None named is not all of them.
            ("letters", _) => {
                return Err("select.letters is an array of at least one name such as \"0-17\"".into());
            }
            (_, Value::String(text)) => question::add(&mut filter, &name, &text, now)?,
            (_, Value::Number(number)) => question::add(&mut filter, &name, &number.to_string(), now)?,
            (_, Value::Bool(_) | Value::Array(_) | Value::Object(_)) => {
                return Err(format!("select holds texts: {}; and letters, an array", question::NAMES));
            }
        }
    }
    Ok(filter)
}

fn rate_of(rate: Value) -> Result<f64, String> {
    let rate = rate.as_f64().or_else(|| kind::rate(rate.as_str()?));
    rate.ok_or_else(|| "rate must be such as \"10/s\", or a number of letters a second".into())
}

/// An object is the job, byte for byte; a text is the job's text.
fn job_of(value: &RawValue) -> Result<Vec<u8>, String> {
    match value.get().as_bytes().first() {
        Some(b'{') => Ok(value.get().as_bytes().to_vec()),
        Some(b'"') => {
            let text = serde_json::from_str::<String>(value.get());
            text.map(String::into_bytes).map_err(|_| "value is a text that can't be read".into())
        }
        _ => Err("value must be the job: an object, or a text that holds one".into()),
    }
}

impl<'de> Deserialize<'de> for Select {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Select, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Select;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Select, M::Error> {
                let mut members: Vec<(String, Value)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if members.iter().any(|(known, _)| *known == name) {
                        return Err(M::Error::custom("a name is there twice"));
                    }
                    members.push((name, value));
                }
                Ok(Select(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use mailroom_actors::domain::failure::Cause;

    use super::*;

    #[test]
    fn a_run_is_read_with_all_that_may_be_given() {
        let body = br#" {"action": "replay", "select": {"letters": ["0-1"], "code": 452, "cause": "quota", "q": null},
            "reason": " the relay was down ", "rate": "5/s", "canary": 2, "max": 10, "include": ["parked"], "dry_run": true,
            "value": {"to": "a@b.c",  "otp":"1"}}"#;
        let (request, dry_run) = read(body).unwrap();
        let expected = Request {
            action: Action::Replay,
            filter: Filter {
                cause: Some(Cause::Quota),
                code: Some(452),
                letters: question::letters(["0-1"]).unwrap(),
                ..Filter::default()
            },
            reason: " the relay was down ".into(),
            rate: Some(5.0),
            canary: 2,
            max: Some(10),
            include_permanent: false,
            include_parked: true,
            value: Some(br#"{"to": "a@b.c",  "otp":"1"}"#.to_vec()),
            by: "http".into(),
        };
        assert_eq!((request, dry_run), (expected, true));
        let least = br#"{"action":"discard","select":{"tag.team":"red"},"reason":"r","rate":2.5,"value":"no json","max":null}"#;
        let (request, dry_run) = read(least).unwrap();
        assert_eq!((request.action, request.rate, dry_run), (Action::Discard, Some(2.5), false));
        assert_eq!((request.value.as_deref(), request.max), (Some(&b"no json"[..]), None));
    }

    #[test]
    fn what_is_no_run_is_refused_with_what_is_wrong() {
        let good = r#""select":{"cause":"quota"},"reason":"r""#;
        for (body, says) in [
            ("", "not JSON"),
            ("{", "not JSON"),
            ("[]", "wrong shape"),
            (r#"["replay"]"#, "wrong shape"),
            (r#"{"action":"replay","action":"replay"}"#, "wrong shape"),
            (&format!(r#"{{"action":"replay",{good},"size":1}}"#), "wrong shape"),
            (&format!(r#"{{"action":"replay",{good},"max":-1}}"#), "wrong shape"),
            (&format!(r#"{{"action":"replay",{good},"max":1.5}}"#), "wrong shape"),
            (&format!(r#"{{"action":"replay",{good},"dry_run":"yes"}}"#), "wrong shape"),
            (r#"{"action":"replay","select":{"cause":"quota","cause":"quota"},"reason":"r"}"#, "wrong shape"),
            (r#"{"action":"replay","select":[["cause","quota"]],"reason":"r"}"#, "wrong shape"),
            (&format!("{{{good}}}"), "action must be"),
            (&format!(r#"{{"action":"delete",{good}}}"#), "action must be"),
            (r#"{"action":"replay","reason":"r"}"#, "select is required"),
            (r#"{"action":"replay","select":{"cause":"quota"}}"#, "reason is required"),
            (r#"{"action":"replay","select":{"cause":"quota"},"reason":" "}"#, "reason is required"),
            (r#"{"action":"replay","select":{"cause":"quotas"},"reason":"r"}"#, "cause is one of"),
            (r#"{"action":"replay","select":{"size":"1"},"reason":"r"}"#, "there are cause"),
            (r#"{"action":"replay","select":{"cause":["quota"]},"reason":"r"}"#, "select holds texts"),
            (r#"{"action":"replay","select":{"letters":[]},"reason":"r"}"#, "at least one name"),
            (r#"{"action":"replay","select":{"letters":"0-1"},"reason":"r"}"#, "at least one name"),
            (r#"{"action":"replay","select":{"letters":[1]},"reason":"r"}"#, "such as \"0-17\""),
            (r#"{"action":"replay","select":{"letters":["x"]},"reason":"r"}"#, "names no letter"),
            (&format!(r#"{{"action":"replay",{good},"rate":"fast"}}"#), "rate must be"),
            (&format!(r#"{{"action":"replay",{good},"include":["all"]}}"#), "include may hold"),
            (&format!(r#"{{"action":"replay",{good},"value":7}}"#), "value must be"),
            (
                r#"{"action":"x","select":{}}"#,
                "action must be replay, discard or restore; reason is required",
            ),
        ] {
            let error = format!("{:?}", read(body.as_bytes()).unwrap_err());
            assert!(error.contains(&says.replace('"', "\\\"")), "{body}: {error}");
        }
    }

    #[test]
    fn a_key_is_a_short_line_of_ascii() {
        assert_eq!(key_of(b"\"a b\"").unwrap(), "\"a b\"");
        for key in [&b""[..], b"\xff", b"a\tb", &[b'k'; 257]] {
            assert!(key_of(key).is_err(), "{key:?}");
        }
    }
}
