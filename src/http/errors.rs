//! The one form in which a request is refused: `{"error": "…", "hint": "…"}`.

use std::borrow::Cow;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use serde::Serialize;

/// Why a request gets no answer, and what to do about it. Neither text repeats what the client sent, but for a
/// short part of a filter, its addresses masked.
#[derive(Debug)]
pub(super) struct Refusal(Box<Parts>);

#[derive(Debug)]
struct Parts {
    status: StatusCode,
    header: Option<(HeaderName, HeaderValue)>,
    text: Text,
}

#[derive(Debug, Serialize)]
struct Text {
    error: Cow<'static, str>,
    hint: Cow<'static, str>,
}

impl Refusal {
    pub(super) fn new(
        status: StatusCode,
        error: impl Into<Cow<'static, str>>,
        hint: impl Into<Cow<'static, str>>,
    ) -> Refusal {
        let text = Text { error: error.into(), hint: hint.into() };
        Refusal(Box::new(Parts { status, header: None, text }))
    }

    pub(super) fn with_header(mut self, name: HeaderName, value: &'static str) -> Refusal {
        self.0.header = Some((name, HeaderValue::from_static(value)));
        self
    }

    /// Headers and body were not there in time.
    pub(super) fn too_late() -> Refusal {
        Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            "the request took too long to arrive",
            "send headers and body at once",
        )
    }

    /// The supervisor, or the metrics actor, did not answer in time.
    pub(super) fn no_answer(who: &str) -> Refusal {
        Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{who} does not answer"),
            "ask again; when it stays so, look at the worker's last log lines and restart it",
        )
    }

    /// The bytes of the answer, where there is no request that actix-web could answer. The connection ends with it.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        let Parts { status, text, .. } = *self.0;
        let body = serde_json::to_string(&text).expect("two texts can be written as JSON");
        let date = chrono::Utc::now().format("%a, %d %b %Y %H:%M:%S GMT");
        format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\ncontent-type: application/json\r\n\
             cache-control: no-store\r\ndate: {date}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }

    pub(super) fn into_response(self) -> HttpResponse {
        let Parts { status, header, text } = *self.0;
        let mut response = HttpResponse::build(status);
        if let Some(header) = header {
            response.insert_header(header);
        }
        response.json(text)
    }
}
