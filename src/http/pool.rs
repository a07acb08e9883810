//! `GET /pool` and `PUT /pool`: how many mailers there are, what they do, and how many there shall be.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use mailroom_actors::messages::{PoolStatus, SizeOutOfBounds};
use serde::{Deserialize, Serialize};
use serde_json::Number;

use super::doors::{Doors, ask};
use super::errors::Refusal;

/// The pool as it is; 503 when the supervisor does not answer within `limit`.
pub(super) async fn show(doors: &dyn Doors, limit: Duration) -> Result<HttpResponse, Refusal> {
    let status = ask(limit, doors.status()).await.ok_or_else(|| Refusal::no_answer("the supervisor"))?;
    Ok(HttpResponse::Ok().json(PoolView::of(&status.pool)))
}

/// Makes the pool as large as `body` says and answers with its new state.
///
/// Refuses with 400 when the body is not `{"size": N}` or N is out of bounds, 503 when the supervisor does
/// not answer within `limit`.
pub(super) async fn resize(doors: &dyn Doors, limit: Duration, body: &[u8]) -> Result<HttpResponse, Refusal> {
    let size = wanted_size(body)?;
    match ask(limit, doors.resize(size)).await {
        Some(Ok(pool)) => Ok(HttpResponse::Ok().json(PoolView::of(&pool))),
        Some(Err(SizeOutOfBounds { min, max })) => Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            format!("size must be from {min} to {max}"),
            "choose a size in that range; mailers.max sets its upper end",
        )),
        None => Err(Refusal::no_answer("the supervisor")),
    }
}

/// `{"size": N}`, N a whole number. One below zero is read as zero, which is below every range; one that is too large
/// for any integer as the largest, which is above.
fn wanted_size(body: &[u8]) -> Result<usize, Refusal> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Change {
        size: Number,
    }
    // serde would take the array [16] for the object {"size": 16} as well.
    let is_object = body.trim_ascii_start().first() == Some(&b'{');
    let change: Change = match serde_json::from_slice(body) {
        Ok(change) if is_object => change,
        Err(error) if !error.is_data() => {
            return Err(bad_body(format!(
                "the body is not JSON (line {}, column {})",
                error.line(),
                error.column()
            )));
        }
        _ => return Err(bad_body("the body has the wrong shape")),
    };
    match (change.size.as_u64(), change.size.as_f64()) {
        (Some(size), _) => Ok(usize::try_from(size).unwrap_or(usize::MAX)),
        (None, Some(size)) if size <= 0.0 && size.fract() == 0.0 => Ok(0),
        // Whole numbers of 2^64 and more are among these, and nothing below it is.
        (None, Some(size)) if size >= u64::MAX as f64 => Ok(usize::MAX),
        (None, _) => Err(bad_body("size is not a whole number")),
    }
}

fn bad_body(error: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, error, "send {\"size\": 16}, and nothing else")
}

#[derive(Serialize)]
struct PoolView {
    size: usize,
    min: usize,
    max: usize,
    busy: usize,
    allowed: usize,
    mailers: Vec<MailerView>,
}

#[derive(Serialize)]
struct MailerView {
    id: usize,
    state: &'static str,
    restarts: u64,
}

impl PoolView {
    fn of(pool: &PoolStatus) -> PoolView {
        let mailers = pool.mailers.iter().map(|mailer| MailerView {
            id: mailer.id,
            state: mailer.state.as_str(),
            restarts: mailer.restarts,
        });
        PoolView {
            size: pool.size,
            min: pool.min,
            max: pool.max,
            busy: pool.busy,
            allowed: pool.allowed,
            mailers: mailers.collect(),
        }
    }
}
