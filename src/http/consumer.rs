//! `POST /consumer/pause` and `POST /consumer/resume`: intake stopped and started by hand (contract, section 5).

use std::borrow::Cow;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use chrono::SecondsFormat;
use mailroom_actors::messages::IntakeByHand;
use serde::{Deserialize, Serialize};

use super::body;
use super::doors::{Doors, ask};
use super::errors::Refusal;
use crate::config::kind::{Kind, Raw, Value};

/// The longest reason, in characters: it stands in a log line and in `/health`.
const MAX_REASON: usize = 200;
/// The longest pause that ends by itself; a week is longer than anybody means.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// What is asked for by a body `{"reason": "…", "for": "10m"}`.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    reason: String,
    duration: Option<Duration>,
}

/// Takes no more jobs, and answers how it is now.
///
/// Refuses with 400 when the body is not as above, 503 when the supervisor does not answer within `limit`.
pub(super) async fn pause(doors: &dyn Doors, limit: Duration, body: &[u8]) -> Result<HttpResponse, Refusal> {
    let Wanted { reason, duration } = wanted(body)?;
    answer(ask(limit, doors.pause(reason, duration)).await)
}

/// Takes jobs again, and answers how it is now. The body is empty or `{}`.
///
/// Refuses as [`pause`].
pub(super) async fn resume(doors: &dyn Doors, limit: Duration, body: &[u8]) -> Result<HttpResponse, Refusal> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}
    if !body.trim_ascii().is_empty() {
        body::object::<Nothing>(body, "send no body")?;
    }
    answer(ask(limit, doors.resume()).await)
}

fn answer(intake: Option<IntakeByHand>) -> Result<HttpResponse, Refusal> {
    #[derive(Serialize)]
    struct View<'a> {
        paused: bool,
        reason: Option<&'a str>,
        until: Option<String>,
    }
    let IntakeByHand(pause) = intake.ok_or_else(|| Refusal::no_answer("the supervisor"))?;
    let until = pause.as_ref().and_then(mailroom_actors::pause::Pause::until);
    Ok(HttpResponse::Ok().json(View {
        paused: pause.is_some(),
        reason: pause.as_ref().map(|pause| pause.reason.as_str()),
        until: until.map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true)),
    }))
}

fn wanted(body: &[u8]) -> Result<Wanted, Refusal> {
    const HINT: &str = "send {\"reason\": \"the relay is moved\", \"for\": \"10m\"}; \"for\" may be left out";
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Change {
        reason: Option<String>,
        r#for: Option<String>,
    }
    let Change { reason, r#for } = body::object(body, HINT)?;
    let reason = reason.unwrap_or_default();
    let reason = reason.trim();
    if reason.is_empty() {
        return Err(refuse("reason is required: whoever is called at night wants to know why", HINT));
    }
    if reason.chars().count() > MAX_REASON || reason.chars().any(char::is_control) {
        return Err(refuse(
            format!("reason must have at most {MAX_REASON} characters, and no control characters"),
            HINT,
        ));
    }
    let duration = match r#for {
        None => None,
        Some(text) => {
            let kind = Kind::Duration { min: Duration::from_secs(1), max: LONGEST };
            match kind.read(&Raw::untyped(&text)) {
                Some(Value::Duration(duration)) => Some(duration),
                _ => return Err(refuse(format!("for must be {}", kind.allowed()), HINT)),
            }
        }
    };
    Ok(Wanted { reason: reason.to_owned(), duration })
}

fn refuse(error: impl Into<Cow<'static, str>>, hint: &'static str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, error, hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_all_that_a_pause_needs_and_a_duration_ends_it() {
        let read = |body: &str| wanted(body.as_bytes()).expect("it is well formed");
        let reason = "the relay is moved".to_owned();
        assert_eq!(
            read(r#"{"reason": "the relay is moved"}"#),
            Wanted { reason: reason.clone(), duration: None }
        );
        let for_ten = Wanted { reason, duration: Some(Duration::from_secs(600)) };
        assert_eq!(read(r#" {"reason": " the relay is moved ", "for": "10m"}"#), for_ten);
    }

    #[test]
    fn what_is_no_reason_or_no_duration_is_refused() {
        let long = format!(r#"{{"reason": "{}"}}"#, "a".repeat(201));
        for body in [
            "",
            "[]",
            "{",
            "{}",
            r#"["a", "10m"]"#,
            r#"{"reason": ""}"#,
            r#"{"reason": "  "}"#,
            r#"{"reason": 7}"#,
            r#"{"reason": null}"#,
            r#"{"reason": "a\nb"}"#,
            r#"{"reason": "a", "for": 600}"#,
            r#"{"reason": "a", "for": "10"}"#,
            r#"{"reason": "a", "for": "0s"}"#,
            r#"{"reason": "a", "for": "-1s"}"#,
            r#"{"reason": "a", "for": "8days"}"#,
            r#"{"reason": "a", "until": "tomorrow"}"#,
            long.as_str(),
        ] {
            assert!(wanted(body.as_bytes()).is_err(), "{body}");
        }
    }
}
