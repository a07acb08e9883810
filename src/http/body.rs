//! Reads a request's body within its limits: at most 64 KiB, all of it within 10 s of the connection.

use std::time::Instant;

use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::web::{Bytes, BytesMut, Payload};
use actix_web::{HttpRequest, error::PayloadError};
use futures::StreamExt;
use serde::Deserialize;

use super::errors::Refusal;

/// Refuses with 413 a body that is said to be longer than `limit` bytes, before any of it is read.
pub(super) fn check_announced_size(request: &HttpRequest, limit: usize) -> Result<(), Refusal> {
    let announced = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.trim().parse::<u64>().ok());
    match announced {
        Some(length) if length > limit as u64 => Err(too_large(limit)),
        _ => Ok(()),
    }
}

/// The whole body. 413 once it is longer than `limit` bytes, however it was announced; 408 when its end has
/// not come by `deadline`; 400 when it breaks off.
pub(super) async fn read(payload: &mut Payload, limit: usize, deadline: Instant) -> Result<Bytes, Refusal> {
    let whole = async {
        let mut body = BytesMut::new();
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|error| broken(&error))?;
            if body.len() + chunk.len() > limit {
                return Err(too_large(limit));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    };
    match tokio::time::timeout_at(deadline.into(), whole).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Refusal::too_late()),
    }
}

/// What the body says, which is one JSON object; 400 where it is none, or has another shape.
pub(super) fn object<'a, T: Deserialize<'a>>(body: &'a [u8], hint: &'static str) -> Result<T, Refusal> {
    let refuse = |error: String| Refusal::new(StatusCode::BAD_REQUEST, error, hint);
    // serde would take an array for the object as well.
    let is_object = body.trim_ascii_start().first() == Some(&b'{');
    match serde_json::from_slice(body) {
        Ok(value) if is_object => Ok(value),
        Err(error) if !error.is_data() => {
            Err(refuse(format!("the body is not JSON (line {}, column {})", error.line(), error.column())))
        }
        Err(error) if is_object => Err(refuse(format!(
            "the body has the wrong shape (line {}, column {})",
            error.line(),
            error.column()
        ))),
        _ => Err(refuse("the body has the wrong shape: it is no object".to_owned())),
    }
}

fn too_large(limit: usize) -> Refusal {
    Refusal::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "the body is too large",
        format!("send at most {limit} bytes"),
    )
}

fn broken(error: &PayloadError) -> Refusal {
    let what = match error {
        PayloadError::Incomplete(_) => "the body ended before its announced end",
        PayloadError::EncodingCorrupted => "the body's chunks can't be read",
        _ => "the body can't be read",
    };
    Refusal::new(StatusCode::BAD_REQUEST, what, "send the whole body, with its true length")
}
